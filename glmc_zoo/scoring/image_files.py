"""Image files to classify, read batch by batch; a file that cannot be read gets a reason instead of an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from glmc_zoo.data.reading.decoding import UnreadableImage, one_line, read_image
from glmc_zoo.data.reading.formats import UNREADABLE
from glmc_zoo.data.reading.intensity import Intensity

FileBatch = tuple[Tensor, list[int], list[tuple[int, str]]]


@dataclass
class ImageFiles(Dataset[FileBatch]):
    """Batches ``(uint8 images that can be read, their positions, [(position, reason) of the others])``."""

    files: Sequence[Path]
    transform: Callable[[Any], Tensor]
    """From PIL RGB images to uint8 (B, 3, H, W)."""
    intensity: Intensity | None = None
    """The range of images of more than 8 bits that the model was trained with."""

    def __len__(self) -> int:
        return len(self.files)

    def sample(self) -> Tensor:
        """What one image adds to a batch; its content means nothing."""
        return self.transform([Image.new("RGB", (8, 8))])

    def __getitems__(self, positions: Sequence[int]) -> FileBatch:
        """The batch of these files."""
        good, images, bad = [], [], []
        for position in positions:
            try:
                images.append(self._read(self.files[position]))
                good.append(position)
            except UnreadableImage as error:
                bad.append((position, str(error)))
        # Where nothing can be read, the empty batch has the shape of the others.
        batch = torch.cat(images) if images else self.sample()[:0]
        return batch, good, bad

    def _read(self, path: Path) -> Tensor:
        """One image, transformed by itself: its pixels before that are not kept, and what it lacks harms no other."""
        image = read_image(str(path), self.intensity)
        try:
            return self.transform([image])
        except MemoryError as error:
            raise UnreadableImage("it does not fit into memory") from error
        except UNREADABLE as error:
            raise UnreadableImage(one_line(error)) from error
