"""Image files to classify: finding them, and reading them batch by batch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from glmc_zoo.data.reading.decoding import UnreadableImage, read_image
from glmc_zoo.data.reading.intensity import Intensity
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError


def find_images(paths: Iterable[str]) -> list[Path]:
    """Files as they are given, and the images below folders, sorted; each once."""
    given, files = list(paths), list[Path]()
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            files += sorted(
                Path(path, folder, image) for folder, images in walk_images(path).folders.items() for image in images
            )
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"images={name!r} does not exist: give image files, or folders that hold some.")
    if not files:
        raise UserError(
            f"No image was found in {', '.join(given)}: give image files, such as .jpg, .png or .tif, or folders that "
            "hold some."
        )
    return list(dict.fromkeys(files))


@dataclass
class ImageFiles(Dataset[Any]):
    """Batches ``(uint8 images that can be read, their positions, [(position, reason) of the others])``."""

    files: Sequence[Path]
    transform: Callable[[Any], Tensor]
    """From PIL RGB images to uint8 (B, 3, H, W)."""
    skip: bool
    """Leave out images that cannot be read; else they are a `UserError`."""
    intensity: Intensity | None = None
    """The range of images of more than 8 bits that the model was trained with."""

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, positions: Sequence[int]) -> tuple[Tensor, list[int], list[tuple[int, str]]]:
        """The batch of these files."""
        good, images, bad = [], [], []
        for position in positions:
            try:
                images.append(read_image(str(self.files[position]), self.intensity))
                good.append(position)
            except UnreadableImage as error:
                if not self.skip:
                    raise UserError(
                        f"Image {self.files[position]} cannot be read: {error}; remove it or pass skip_bad_images=True."
                    ) from error
                bad.append((position, str(error)))
        # Where nothing can be read, the empty batch has the shape of the others.
        batch = self.transform(images) if images else self.transform([Image.new("RGB", (8, 8))])[:0]
        return batch, good, bad
