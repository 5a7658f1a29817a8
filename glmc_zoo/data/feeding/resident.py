"""Small images that stay on the device: a batch of crops is one gather, and no worker is needed."""

import torch
from torch import Tensor

from glmc_zoo.data.feeding.transforms import CropParams, CropTrainTransform, Views
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError

RESIDENT_SHARE = 0.25
"""Share of the free memory of the device that a training set may take to be kept there by default."""

LARGEST_RESIDENT_SIDE = 64
"""Pixels a side up to which images are kept on the device by default; larger ones are enlarged from smaller images."""

_CHUNK = 1024


def resident_bytes(split: ImageSplit, transform: object) -> int | None:
    """Bytes that `ResidentImages` of ``split`` would take; ``None`` where it is not possible.

    It needs decoded images, and an augmentation that only crops and mirrors.
    """
    if split.pixels is None or not isinstance(transform, CropTrainTransform):
        return None
    side = transform.size + 2 * transform.padding
    return len(split) * side * side * 3 * (2 if transform.flip else 1)


def free_memory(device: torch.device) -> int:
    """Free bytes of ``device``; of a CPU those that the system can give without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


class ResidentImages:
    """A split's images on the device, padded with zeros, each beside its mirror image where mirroring is chosen.

    The images must be decoded; those of another size are brought to the size of the transform's crops.
    """

    def __init__(self, split: ImageSplit, transform: object, device: torch.device) -> None:
        if split.pixels is None or not isinstance(transform, CropTrainTransform):
            raise UserError("resident=True needs decoded images that are only cropped and mirrored: leave it out.")
        self.device = device
        self.transform = transform
        self.labels = torch.from_numpy(split.labels).to(device)
        size, pad = transform.size, transform.padding
        shifts, side = 2 * pad + 1, size + 2 * pad
        kinds = 2 if transform.flip else 1
        # Rows of pixels with their three colours together: a crop consists of whole runs of memory, and comes out in
        # the layout that convolutions are fastest in.
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
        """Views and classes of each batch of images, given by positions and sample seeds; all from one gather.

        The parameters are those of `CropTrainTransform` for one batch after the other.
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
        """Crop and mirror the images at ``positions`` of the split, in one gather; nothing waits for the device.

        Positions, int64 of shape (B,), and parameters lie on the CPU. Crops, uint8 of shape (B, 3, size, size) in the
        layout channels_last with the values of `CropTrainTransform.crop`, and classes (B,) lie on the device.
        """
        # The right end of the image is the left end of its mirror image.
        left = torch.where(params.flip, 2 * self.transform.padding - params.left, params.left)
        index = torch.stack((params.flip.long(), positions, params.top, left))
        if self.device.type == "cpu":
            # The same gather; NumPy copies runs of memory, torch one value at a time.
            crops = torch.from_numpy(self._windows.numpy()[tuple(index.numpy())])
            return crops.permute(0, 3, 1, 2), self.labels[positions]
        if self.device.type == "cuda":
            index = index.pin_memory()
        index = index.to(self.device, non_blocking=True)
        return self._windows[tuple(index)].permute(0, 3, 1, 2), self.labels[index[1]]
