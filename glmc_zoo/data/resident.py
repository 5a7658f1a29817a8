"""Small images that stay on the device: a batch of crops is one gather, and nothing of it passes through workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import Dataset

from glmc_zoo.data.images import ImageSplit
from glmc_zoo.data.sampling import SECOND_IMAGE, PairedBatch, PairIndex, SingleBatch
from glmc_zoo.data.transforms import CropDraw, CropTrainTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "LARGEST_RESIDENT_SIDE",
    "RESIDENT_SHARE",
    "ResidentImages",
    "ResidentTrainDataset",
    "free_memory",
    "resident_bytes",
]

RESIDENT_SHARE = 0.25
"""Of the memory that is free on the device, what a training set may take to be kept there unasked."""

LARGEST_RESIDENT_SIDE = 64
"""Pixels a side up to which a set is kept on the device unasked; larger ones are enlarged from smaller pictures."""

_CHUNK = 1024


def resident_bytes(split: ImageSplit, transform: object) -> int | None:
    """Bytes that `ResidentImages` of ``split`` would take; ``None`` where it cannot be made.

    It takes decoded pictures, and an augmentation that crops and mirrors alone.
    """
    if split.pixels is None or not isinstance(transform, CropTrainTransform):
        return None
    side = transform.size + 2 * transform.crop.padding
    return len(split) * side * side * 3 * (2 if transform.crop.flip else 1)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on ``device``, of a CPU those that the system can give without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


class ResidentImages:
    """A split's pictures on the device, padded with zeros, each beside its mirror image where these are drawn.

    Args:
        split: with decoded pictures (``pixels``); those of another size are brought to the size of the crops.
        transform: whose crops are wanted.
        device: where the pictures are kept.
    """

    def __init__(self, split: ImageSplit, transform: CropTrainTransform, device: torch.device) -> None:
        assert split.pixels is not None
        self.device = device
        self.labels = torch.from_numpy(split.labels).to(device)
        size, pad = transform.size, transform.crop.padding
        self._room = 2 * pad
        side = size + self._room
        kinds = 2 if transform.crop.flip else 1
        # Rows of pixels with their three colours together: a crop is made of whole runs of memory, and comes out in
        # the layout that convolutions are fastest in.
        padded = torch.zeros(kinds, len(split), side, side, 3, dtype=torch.uint8, device=device)
        for start in range(0, len(split), _CHUNK):
            fitted = _fitted(split.pixels[start : start + _CHUNK], transform).to(device)
            place = padded[:, start : start + _CHUNK, pad : pad + size, pad : pad + size]
            place[0] = fitted
            if kinds == 2:
                place[1] = fitted.flip(2)
        kind, image, row, column, colour = padded.stride()
        self._windows = padded.as_strided(
            (kinds, len(split), self._room + 1, self._room + 1, size, size, 3),
            (kind, image, row, column, row, column, colour),
        )

    def cut(self, positions: Tensor, draw: CropDraw) -> tuple[Tensor, Tensor]:
        """Crop and mirror the pictures at ``positions`` of the split as drawn, in one gather.

        Args:
            positions: int64 of shape (B,), on the CPU.
            draw: for each of them, on the CPU.

        Returns:
            uint8 of shape (B, 3, size, size) in the layout channels_last, as `BatchCrop.apply` gives it, and the
            classes, int64 of shape (B,), both on the device. Nothing waits for the device.
        """
        mirrored = draw.flip.long()
        # Of the mirror image, what lay at the right end of the picture lies at the left.
        left = torch.where(draw.flip, self._room - draw.left, draw.left)
        index = torch.stack((mirrored, positions, draw.top, left))
        if self.device.type == "cpu":
            # The same gather; NumPy copies runs of memory, torch one value at a time.
            cut = torch.from_numpy(self._windows.numpy()[tuple(index.numpy())])
            return cut.permute(0, 3, 1, 2), self.labels[positions]
        if self.device.type == "cuda":
            index = index.pin_memory()
        index = index.to(self.device, non_blocking=True)
        return self._windows[tuple(index)].permute(0, 3, 1, 2), self.labels[index[1]]


class ResidentTrainDataset(Dataset[PairedBatch | SingleBatch]):
    """The batches of `TrainDataset` with ``CropTrainTransform``, from pictures that lie on the device.

    The same draws give the same pixels, on the device and in the layout channels_last.

    Args:
        split: the training part, decoded.
        transform: of small pictures.
        views: independent augmentations of each image.
        device: where pictures and batches are.
    """

    def __init__(self, split: ImageSplit, transform: CropTrainTransform, views: int, device: torch.device) -> None:
        self.split = split
        self.transform = transform
        self.views = views
        self.resident = ResidentImages(split, transform, device)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: PairIndex) -> PairedBatch | SingleBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[PairIndex]) -> PairedBatch | SingleBatch:
        """The batch of these samples, as of `TrainDataset`."""
        streams = [index.stream for index in indices]
        batches, positions = [streams], [[index.first for index in indices]]
        if indices[0].second >= 0:
            batches.append([stream ^ SECOND_IMAGE for stream in streams])
            positions.append([index.second for index in indices])
        draw = _joined_draws(self.transform, batches, self.views)
        repeated = torch.tensor(positions)[:, None].expand(-1, self.views, -1).flatten()
        pixels, labels = self.resident.cut(repeated, draw)
        views, targets = pixels.split(len(indices)), labels.split(len(indices))
        if len(batches) == 2:
            return PairedBatch(views[: self.views], targets[0], views[self.views :], targets[self.views])
        return SingleBatch(views[0], targets[0]) if self.views == 1 else PairedBatch(views, targets[0], None, None)


def _fitted(pixels: NDArray, transform: CropTrainTransform) -> Tensor:
    """(B, H, W, 3) to (B, size, size, 3), the pixels that the transform itself would crop."""
    return transform.fit(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _joined_draws(transform: CropTrainTransform, streams: Sequence[Sequence[int]], views: int) -> CropDraw:
    """The draws of all views of several batches, one after the other: of each batch every view in turn.

    The same numbers as ``transform(images, streams, views)`` takes for each of the batches.
    """
    draws = [draw for batch in streams for draw in transform.draw(batch, views)]
    return CropDraw(*(torch.cat(parts) for parts in zip(*draws, strict=True)))
