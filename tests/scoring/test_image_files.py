"""Batches of the files that can be read, and a reason for each of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from glmc_zoo.data.reading import decoding
from glmc_zoo.scoring.image_files import ImageFiles


def sides(images: Sequence[Image.Image]) -> torch.Tensor:
    """Instead of a transform: a batch of one value for each image, its width."""
    return torch.tensor([image.width for image in images])


def test_batches_of_what_can_be_read(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, path in enumerate(files):
        Image.new("L", (i + 1, 5)).save(path)
    files[1].write_text("no image")
    files[3].write_bytes(files[3].read_bytes()[:40])
    dataset = ImageFiles(files, sides)
    batch, good, bad = dataset.__getitems__([2, 1, 0, 3])
    assert len(dataset) == 4 and batch.tolist() == [3, 1] and good == [2, 0]
    assert [position for position, _ in bad] == [1, 3] and bad[0][1] == "not an image"
    empty, good, bad = dataset.__getitems__([1])
    assert empty.shape == (0,) and good == [] and len(bad) == 1


def test_what_is_not_a_file_gets_a_reason_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "loop.png", tmp_path / "loop.png")
    files = [tmp_path / name for name in ("pipe.png", "loop.png", "missing.png", "nul\0.png", ".")]
    _, good, bad = ImageFiles(files, sides).__getitems__(range(len(files)))
    assert good == []
    assert [reason for _, reason in bad] == [
        "not a regular file",
        "Too many levels of symbolic links",
        "No such file or directory",
        "embedded null byte",
        "Is a directory",
    ]


@pytest.mark.parametrize("fault", [MemoryError, IndexError, KeyError, ZeroDivisionError, TypeError, RuntimeError])
def test_whatever_a_decoder_raises_concerns_one_image(
    fault: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(files):
        Image.new("L", (i + 1, 5)).save(path)

    def decode(image: Image.Image, intensity: object) -> Image.Image:
        if image.width == 2:
            raise fault
        return image

    monkeypatch.setattr(decoding, "to_rgb", decode)
    batch, good, bad = ImageFiles(files, sides).__getitems__([0, 1, 2])
    assert batch.tolist() == [1, 3] and good == [0, 2]
    assert bad == [(1, "it does not fit into memory" if fault is MemoryError else fault.__name__)]
