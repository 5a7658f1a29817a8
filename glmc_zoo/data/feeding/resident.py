"""Small images that stay on the device. One gather makes a batch of crops, so no loader process is needed."""

import torch
from torch import Tensor

from glmc_zoo.data.feeding.transforms import CropParams, CropTrainTransform, Views
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError

RESIDENT_SHARE = 0.25
"""A training set is kept on the device by default if it takes at most this share of its free memory."""

LARGEST_RESIDENT_SIDE = 64
"""Images are kept on the device by default up to this side in pixels."""

_CHUNK = 1024


def resident_bytes(split: ImageSplit, transform: object) -> int | None:
    """Bytes that `ResidentImages` of ``split`` would take; ``None`` where it is not possible.

    The images must be decoded, and the augmentation must only crop and mirror.
    """
    if split.pixels is None or not isinstance(transform, CropTrainTransform):
        return None
    side = transform.size + 2 * transform.padding
    return len(split) * side * side * 3 * (2 if transform.flip else 1)


def free_memory(device: torch.device) -> int:
    """Free bytes of ``device``; for a CPU, the memory that is available without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


class ResidentImages:
    """The images of a split on the device, padded with zeros, with their mirror images if the transform mirrors.

    The images must be decoded. Images of another size are resized to the size of the transform's crops.

    Raises:
        UserError: The images are not decoded, or the transform is not a `CropTrainTransform`.
    """

    def __init__(self, split: ImageSplit, transform: object, device: torch.device) -> None:
        if split.pixels is None or not isinstance(transform, CropTrainTransform):
            raise UserError(
                "resident_on= needs decoded images (`pixels` of the split) and a transform that only crops and "
                "mirrors: leave it out."
            )
        self.device = device
        self.transform = transform
        self.labels = torch.from_numpy(split.labels).to(device)
        size, pad = transform.size, transform.padding
        shifts, side = 2 * pad + 1, size + 2 * pad
        kinds = 2 if transform.flip else 1
        # Channels come last, so a crop consists of contiguous rows, and the result has the layout channels_last, in
        # which convolutions are fastest.
        padded = torch.zeros(kinds, len(split), side, side, 3, dtype=torch.uint8, device=device)
        for start in range(0, len(split), _CHUNK):
            images = torch.from_numpy(split.pixels[start : start + _CHUNK]).permute(0, 3, 1, 2)
            fitted = transform.fit(images).permute(0, 2, 3, 1).to(device)
            inner = padded[:, start : start + _CHUNK, pad : pad + size, pad : pad + size]
            inner[0] = fitted
            if kinds == 2:
                inner[1] = fitted.flip(2)
        kind, image, row, column, colour = padded.stride()
        self._windows = padded.as_strided(
            (kinds, len(split), shifts, shifts, size, size, 3), (kind, image, row, column, row, column, colour)
        )

    def augment(self, samples: list[tuple[list[int], list[int]]], views: int) -> list[tuple[Views, Tensor]]:
        """Views and classes of several batches, given by positions and sample seeds, from one gather.

        The values are those of `CropTrainTransform` for each batch by itself.
        """
        params = [view for _, seeds in samples for view in self.transform.sample_params(seeds, views)]
        joined = CropParams(*(torch.cat(values) for values in zip(*params, strict=True)))
        positions = torch.tensor([positions for positions, _ in samples])
        pixels, labels = self.crop(positions.repeat_interleave(views, dim=0).flatten(), joined)
        crops, targets = pixels.split(positions.shape[1]), labels.split(positions.shape[1])
        batches = []
        for number, (_, seeds) in enumerate(samples):
            start = number * views
            rest = self.transform.rest.sample_params(seeds, views, self.transform.size)
            batches.append((Views(crops[start : start + views], rest), targets[start]))
        return batches

    def crop(self, positions: Tensor, params: CropParams) -> tuple[Tensor, Tensor]:
        """Crop and mirror the images at ``positions`` of the split, in one gather; the CPU does not wait for
        the device.

        Positions, int64 of shape (B,), and parameters lie on the CPU. Crops, uint8 of shape (B, 3, size, size) in the
        layout channels_last with the values of `CropTrainTransform.crop`, and classes (B,) lie on the device.
        """
        # The right edge of an image is the left edge of its mirror image.
        left = torch.where(params.flip, 2 * self.transform.padding - params.left, params.left)
        index = torch.stack((params.flip.long(), positions, params.top, left))
        if self.device.type == "cpu":
            # NumPy does the same gather faster: it copies whole rows, and torch single values.
            crops = torch.from_numpy(self._windows.numpy()[tuple(index.numpy())])
            return crops.permute(0, 3, 1, 2), self.labels[positions]
        if self.device.type == "cuda":
            index = index.pin_memory()
        index = index.to(self.device, non_blocking=True)
        return self._windows[tuple(index)].permute(0, 3, 1, 2), self.labels[index[1]]
