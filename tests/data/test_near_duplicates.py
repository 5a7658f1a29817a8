from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from glmc_zoo.data import near_duplicates as module
from glmc_zoo.data.near_duplicates import near_duplicates
from glmc_zoo.data.reading.images import ArrayImages, FileImages
from glmc_zoo.data.reading.split import ImageSplit

imagehash = pytest.importorskip("imagehash")


def scene(seed: int) -> Image.Image:
    """A smooth random image, as photographs are."""
    small = np.random.RandomState(seed).randint(0, 256, (6, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)


def files(folder: Path, images: dict[str, Image.Image]) -> ImageSplit:
    folder.mkdir()
    for name, image in images.items():
        image.save(folder / name)
    rows = np.arange(len(images))
    return ImageSplit(FileImages(folder, list(images), "training"), rows, np.zeros(len(images), np.int64), ["a"])


def split_of(count: int) -> ImageSplit:
    pixels = np.zeros((count, 1, 1, 3), np.uint8)
    return ImageSplit(ArrayImages(pixels, "x"), np.arange(count), np.zeros(count, np.int64), ["a"])


def test_resized_and_recompressed_images_are_found(tmp_path: Path) -> None:
    train = files(tmp_path / "train", {f"{index}.png": scene(index) for index in range(12)})
    test = files(
        tmp_path / "test",
        {
            "small.jpg": scene(3).resize((64, 64)),
            "pale.png": ImageEnhance.Contrast(scene(7)).enhance(0.9),
            "other.png": scene(50),
        },
    )
    found = near_duplicates({"train": train, "test": test})
    pairs = {(pair.first, pair.second) for pair in found.pairs}
    assert pairs == {(("train", 3), ("test", 0)), (("train", 7), ("test", 1))}
    for pair in found.pairs:
        (one,), (other,) = train.images([pair.first[1]]), test.images([pair.second[1]])
        assert imagehash.phash(one) - imagehash.phash(other) == pair.distance <= 4
    assert (found.total, found.unreadable) == (2, 0)


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    split = files(tmp_path / "set", {"0.png": scene(0), "1.png": scene(0)})
    (tmp_path / "set" / "0.png").write_bytes(b"no image")
    found = near_duplicates({"train": split})
    assert (found.pairs, found.unreadable) == ([], 1)
    assert near_duplicates({}).pairs == []


@pytest.fixture
def given_hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], dict[str, ImageSplit]]:
    def give(hashes: np.ndarray) -> dict[str, ImageSplit]:
        monkeypatch.setattr(module, "_hashes", lambda _: (hashes, np.ones(len(hashes), dtype=bool)))
        return {"train": split_of(len(hashes))}

    return give


def test_against_a_comparison_of_all_pairs(given_hashes: Callable[..., dict[str, ImageSplit]]) -> None:
    rng = np.random.RandomState(0)
    hashes = rng.randint(0, 2**63, 1300).astype(np.uint64)
    for index in range(300):  # near others, in random bits; some are equal
        bits = set(rng.randint(0, 64, index % 7).tolist())
        hashes[1000 + index] = hashes[index] ^ np.uint64(sum(1 << bit for bit in bits))
    expected = {}
    for one in range(1300):
        for other in range(one + 1, 1300):
            bits = bin(int(hashes[one]) ^ int(hashes[other])).count("1")
            if bits <= 4:
                expected[one, other] = bits
    found = near_duplicates(given_hashes(hashes), distance=4)
    assert {(pair.first[1], pair.second[1]): pair.distance for pair in found.pairs} == expected
    assert found.total == len(expected) > 150
    distances = [pair.distance for pair in found.pairs]
    assert distances == sorted(distances)
    few = near_duplicates(given_hashes(hashes), distance=4, limit=7)
    assert few.pairs == found.pairs[:7] and few.total == found.total


def test_many_images_and_many_equal_ones(given_hashes: Callable[..., dict[str, ImageSplit]]) -> None:
    hashes = np.random.RandomState(0).randint(0, 2**63, 20_000).astype(np.uint64)
    hashes[:5000] = 0  # as images of one colour
    found = near_duplicates(given_hashes(hashes), limit=10_000)
    assert found.total == 4999 and all(pair.first == ("train", 0) for pair in found.pairs)
