"""Which files count as images, and batches of those that can be read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.image_files import ImageFiles, find_images


def test_files_and_folders_are_found(tmp_path: Path) -> None:
    for name in ("b.JPG", "sub/deep/a.tiff", "sub/c.webp", "sub/notes.txt", ".hidden/d.png", "sub/._e.png", "f.weird"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.symlink(tmp_path / "in" / "sub", tmp_path / "in" / "zlink")
    given = [str(tmp_path / "in" / "f.weird"), str(tmp_path / "in"), str(tmp_path / "in" / "b.JPG")]
    paths = [path.relative_to(tmp_path / "in").as_posix() for path in find_images(given)]
    assert paths == [
        "f.weird",
        "b.JPG",
        "sub/c.webp",
        "sub/deep/a.tiff",
    ]  # the link leads to a folder that is read already
    with pytest.raises(UserError, match="does not exist"):
        find_images([str(tmp_path / "in" / "*.png")])


def sides(images: Sequence[Image.Image]) -> torch.Tensor:
    """Instead of a transform: a batch of one value for each image, its width."""
    return torch.tensor([image.width for image in images])


def test_batches_of_what_can_be_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(files):
        Image.new("L", (i + 1, 5)).save(path)
    files[1].write_text("no image")
    files[3].write_bytes(files[3].read_bytes()[:40])
    dataset = ImageFiles(files, sides, skip=True)
    batch, good, bad = dataset.__getitems__([2, 1, 0, 3])
    assert len(dataset) == 4 and batch.tolist() == [3, 1] and good == [2, 0]
    assert [position for position, _ in bad] == [1, 3] and bad[0][1] == "not an image"
    empty, good, bad = dataset.__getitems__([1])
    assert empty.shape == (0,) and good == [] and len(bad) == 1
    with pytest.raises(UserError, match=r"1\.png cannot be read: not an image; remove it or pass skip_bad_images=True"):
        ImageFiles(files, sides, skip=False).__getitems__([0, 1])


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"No image was found in .*: give image files, such as \.jpg"):
        find_images([str(tmp_path)])
