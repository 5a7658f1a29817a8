from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.data.encoded import EncodedImages, check_encoded_fits, keep_encoded
from glmc_zoo.data.images import ArrayImages, ArrowImages, ImageSplit
from glmc_zoo.data.loaders import train_loader
from glmc_zoo.data.transforms import build_transforms
from glmc_zoo.errors import UserError


def photograph(number: int) -> Image.Image:
    """Larger than what is decoded in advance, and of a size of its own."""
    pixels = np.random.RandomState(number).randint(0, 256, (70 + number % 7, 80, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def jpeg(number: int) -> bytes:
    data = io.BytesIO()
    photograph(number).save(data, "JPEG")
    return data.getvalue()


def table(records: Sequence[Any], feature: Any = None) -> Any:
    import datasets

    features = datasets.Features({"image": feature or datasets.Image()})
    return datasets.Dataset.from_dict({"image": list(records)}, features=features)


def split_of(source: ArrowImages, rows: Sequence[int]) -> ImageSplit:
    return ImageSplit(source, np.array(rows), np.arange(len(rows)) % 3)


def pixels(split: ImageSplit, positions: Sequence[int]) -> list[np.ndarray]:
    return [np.asarray(image) for image in split.images(positions)]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def files(folder: Path, count: int) -> list[dict[str, Any]]:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    return [{"bytes": None, "path": str(folder / f"{number}.jpg")} for number in range(count)]


@pytest.mark.parametrize("kind", ["files", "embedded", "mixed", "binary", "in pieces", "selected"])
def test_the_pictures_are_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    import datasets

    records: list[Any] = files(tmp_path / "in", 12)
    if kind != "files":
        records = [{"bytes": jpeg(number), "path": f"{number}.jpg"} for number in range(12)]
    if kind == "mixed":
        records[3] = {"bytes": None, "path": str(tmp_path / "in" / "3.jpg")}
    if kind == "binary":
        found = table([jpeg(number) for number in range(12)], datasets.Value("binary"))
    else:
        found = table(records)
    if kind == "in pieces":
        found = datasets.concatenate_datasets([found.select(range(k, k + 3)) for k in range(0, 12, 3)])
    if kind == "selected":  # the rows of the split are not those of the table below
        found = found.select([11, 3, 5, 0, 1, 2, 9, 10, 4])
    split = split_of(ArrowImages(found, "image", "training"), [7, 2, 0, 8, 3, 5])
    positions = [5, 0, 3, 0, 2]
    expected = pixels(split, positions)
    keep_encoded(split)
    assert split.encoded is not None and len(split.encoded) == 6
    assert same(pixels(split, positions), expected)
    assert len(split.encoded.data) == sum(map(len, (split.encoded[i] for i in range(6))))


def test_rows_of_a_long_table_in_any_order() -> None:
    names = [b"%d" % row for row in range(3000)]
    found = table([{"bytes": name, "path": None} for name in names])
    rows = np.random.RandomState(0).permutation(3000)[:700]
    split = split_of(ArrowImages(found, "image", "training"), rows.tolist())
    keep_encoded(split)
    assert split.encoded is not None
    assert [bytes(split.encoded[i]) for i in range(700)] == [names[row] for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_without_the_files(workers: int, write_images: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", [12, 10, 8], draw=photograph)
    split = load_data(folder).train

    def epoch() -> list[torch.Tensor]:
        loader = train_loader(
            split, build_transforms("large", 32)[0], batch_size=8, second_weights=torch.ones(len(split)), seed=3,
            workers=workers,
        )  # fmt: skip
        return [view for batch in loader for view in (*batch.first, *batch.second, batch.first_targets)]

    expected = epoch()
    keep_encoded(split)
    shutil.rmtree(folder)
    found = epoch()
    assert len(found) == len(expected) > 0
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    split.encoded = None
    with pytest.raises(UserError, match="No such file"):
        split.images([0])


def test_spawned_workers_are_given_the_memory_itself() -> None:
    encoded = EncodedImages(torch.arange(200, dtype=torch.uint8), torch.tensor([0, 50, 200]))
    other = ForkingPickler.loads(ForkingPickler.dumps(encoded))
    assert bytes(other[1]) == bytes(range(50, 200))
    encoded.data[50] = 7
    assert other[1][0] == 7


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"bytes": None, "path": "gone.jpg"}, ["(gone.jpg)", "No such file"]),
        (None, ["the cell is empty"]),
    ],
)
def test_what_cannot_be_read_is_named_at_the_start(record: Any, parts: list[str]) -> None:
    found = table([{"bytes": jpeg(0), "path": None}, record])
    split = split_of(ArrowImages(found, "image", "training"), [1, 0])
    for act in (keep_encoded, check_encoded_fits):
        with pytest.raises(UserError) as caught:
            act(split)
        assert all(part in str(caught.value) for part in ["Image 1 of the training split", *parts, "--skip-bad-images"])
    assert split.encoded is None


def test_what_is_no_picture_is_named_as_without(tmp_path: Path) -> None:
    records = files(tmp_path / "in", 3)
    (tmp_path / "in" / "2.jpg").write_bytes(jpeg(2)[:900])
    (tmp_path / "in" / "1.jpg").write_bytes(b"")
    split = split_of(ArrowImages(table(records), "image", "training", tmp_path), [2, 0, 1])

    def sentences() -> list[str]:
        found = []
        for position in (0, 2):
            with pytest.raises(UserError) as caught:
                split.images([position])
            found.append(caught.value.sentence)
        return found

    expected = sentences()
    assert expected[0].startswith("Image 2 of the training split (in/2.jpg) cannot be read")
    keep_encoded(split)
    assert sentences() == expected


def test_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    import psutil

    split = split_of(ArrowImages(table(files(tmp_path / "in", 2)), "image", "training"), [0, 1])
    check_encoded_fits(split, copies=2)
    size = len(jpeg(0)) + len(jpeg(1))
    copies = 2 * psutil.virtual_memory().total // size
    with pytest.raises(UserError) as caught:
        check_encoded_fits(split, copies)
    needed = f"{size * copies / 2**20:,.0f} MiB in {copies} processes"
    assert all(part in str(caught.value) for part in [needed, "2 training images", "are available", "leave it out"])


def test_pictures_that_are_decoded_are_refused() -> None:
    split = ImageSplit(ArrayImages(np.zeros((2, 8, 8, 3), np.uint8), "training"), np.arange(2), np.arange(2))
    for act in (keep_encoded, check_encoded_fits):
        with pytest.raises(UserError, match="decoded already: leave it out"):
            act(split)
