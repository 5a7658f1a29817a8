"""A data set of image files to classify. A file that cannot be read gives the reason instead of an image."""

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
    """Reads image files in batches ``(images, positions, problems)``.

    ``images`` are the readable ones, uint8 (B, 3, H, W), at ``positions`` in ``files``; ``problems`` has the position
    and the reason of each file that cannot be read.
    """

    files: Sequence[Path]
    transform: Callable[[Any], Tensor]
    """From a list of PIL RGB images to uint8 (B, 3, H, W)."""
    intensity: Intensity | None = None
    """The intensity range that the model was trained with, for images of more than 8 bits."""

    def __len__(self) -> int:
        return len(self.files)

    def sample(self) -> Tensor:
        """A batch of one blank image, which shows the shape of a batch."""
        return self.transform([Image.new("RGB", (8, 8))])

    def __getitems__(self, positions: Sequence[int]) -> FileBatch:
        """The batch of the files at these positions."""
        readable, images, problems = [], [], []
        for position in positions:
            try:
                images.append(self._read(self.files[position]))
                readable.append(position)
            except UnreadableImage as error:
                problems.append((position, str(error)))
        # An empty batch has the shape of the others.
        batch = torch.cat(images) if images else self.sample()[:0]
        return batch, readable, problems

    def _read(self, path: Path) -> Tensor:
        """One transformed image. Images are transformed one by one to save memory, and so that errors stay separate."""
        image = read_image(str(path), self.intensity)
        try:
            return self.transform([image])
        except MemoryError as error:
            raise UnreadableImage("it does not fit into memory") from error
        except UNREADABLE as error:
            raise UnreadableImage(one_line(error)) from error
