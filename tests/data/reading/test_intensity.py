"""The one range of a data set for images of more than 8 bits."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
from encoders import pil, png16, tiff
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading import intensity_search
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages
from glmc_zoo.data.reading.intensity import Intensity, ValueRange
from glmc_zoo.data.reading.intensity_search import find_intensity
from glmc_zoo.data.reading.split import ImageSplit, readable_rows
from glmc_zoo.errors import UserError


def deep(seed: int, top: int, side: int = 12) -> bytes:
    """A grey PNG of 16 bits whose largest value is ``top``."""
    values = np.random.RandomState(seed).randint(0, top + 1, (side, side, 1)).astype(np.uint16)
    values[0, 0] = top
    return png16(values)


def shallow() -> bytes:
    return pil(Image.new("RGB", (12, 12), "red"), "PNG")


def files(folder: Path, contents: list[bytes]) -> FileImages:
    for i, content in enumerate(contents):
        (folder / f"{i}.png").write_bytes(content)
    return FileImages(folder, [f"{i}.png" for i in range(len(contents))], "training")


def everything(source: FileImages) -> list[tuple[FileImages, np.ndarray]]:
    return [(source, np.arange(len(source)))]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0, 1], 0, 255),
        ([3, 255], 0, 255),
        ([3, 256], 0, 1023),
        ([1023], 0, 1023),
        ([4095], 0, 4095),
        ([4096], 0, 16383),
        ([16384], 0, 65535),
        ([65536], 0, 131071),
        ([-5, 100], -5, 100),
        ([0.0, 1.0], 0, 1),
        ([0.0, 1.5], 0, 255),
        ([0.0, 255.0], 0, 255),
        ([0.0, 256.0], 0, 256),
        ([-0.5, 0.5], -0.5, 0.5),
        ([np.nan, np.inf, -np.inf, 0.3], 0, 1),
        ([np.nan], 0, 1),
    ],
)
def test_range_of_values(values: list[float], low: float, high: float) -> None:
    found = ValueRange()
    for value in values:
        found.add(np.array([[value]]))
    assert found.intensity() == Intensity(low, high)


def test_one_range_for_the_data_set(tmp_path: Path) -> None:
    source = files(tmp_path, [deep(0, 200), b"bad", shallow(), deep(1, 3000), deep(2, 900)])
    assert find_intensity(everything(source)) == Intensity(0, 4095)
    assert find_intensity([(source, np.array([0, 1, 2]))]) == Intensity(0, 255)
    assert find_intensity([(source, np.array([1, 2]))]) is None
    assert find_intensity([(source, np.array([], dtype=np.int64))]) is None
    source.intensity = Intensity(0, 4095)
    assert np.asarray(source.read(np.array([0]))[0]).max() == round(200 / 4095 * 255)


def test_columns_of_tables_too() -> None:
    feature = datasets.Features({"image": datasets.Image()})
    records = [{"bytes": data, "path": None} for data in (shallow(), deep(0, 5000))]
    source = ArrowImages(datasets.Dataset.from_dict({"image": records}, features=feature), "image", "training")
    assert find_intensity([(source, np.array([0, 1]))]) == Intensity(0, 16383)
    assert find_intensity([(ArrayImages(np.zeros((3, 4, 4, 3), np.uint8), "training"), np.arange(3))]) is None


def test_a_sample_of_the_images_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity_search, "_HEADERS", 3)
    monkeypatch.setattr(intensity_search, "_DECODED", 5)
    source, opened = files(tmp_path, [shallow()] * 40), list[int]()
    original = FileImages.open

    def spy(self: FileImages, row: int) -> object:
        opened.append(row)
        return original(self, row)

    monkeypatch.setattr(FileImages, "open", spy)
    halves = [(source, np.arange(20)), (source, np.arange(20, 40))]
    assert find_intensity(halves) is None
    assert opened == [0, 20, 39]
    (tmp_path / "39.png").write_bytes(deep(0, 999))
    opened.clear()
    assert find_intensity(halves) == Intensity(0, 1023)
    assert opened == [0, 20, 39, 0, 10, 20, 29, 39]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "日本.png", "x" * 200 + ".png", "gone\udcff.png"]
    for k, name in enumerate(names[:3]):
        (tmp_path / name).write_bytes(pil(Image.new("RGB", (4, 4), (k, 0, 0)), "PNG"))
    source = pickle.loads(pickle.dumps(FileImages(tmp_path, names, "training")))
    assert [np.asarray(image)[0, 0, 0] for image in source.read(np.array([2, 0, 1]))] == [2, 0, 1]
    assert source.paths(np.arange(4)) == ["caf\\xe9.png", "日本.png", "x" * 200 + ".png", "gone\\xff.png"]
    with source.open(1) as file:
        assert file.read() == (tmp_path / names[1]).read_bytes()
    assert readable_rows(source, np.arange(4)).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"Image 3 of the training split \(gone\\xff\.png\) cannot be read: No such"):
        source.read(np.array([3]))
    with pytest.raises(IndexError):
        source.file(4)
    assert len(FileImages(tmp_path, [], "training")) == 0


def classes(folder: Path, top: int) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(6):
            (folder / name / f"{i}.png").write_bytes(deep(i, top // (i + 1)))
    return folder


def test_load_data(tmp_path: Path) -> None:
    data = load_data(classes(tmp_path / "data", 4000))
    assert (data.facts.intensity_range, data.facts.intensity_given) == ([0, 4095], False)
    assert data.facts.inventory is not None
    assert data.facts.inventory.intensity == "Images of more than 8 bits are scaled from 0..4095 to 0..255."
    assert Intensity.of(data.facts) == Intensity(0, 4095)
    tops = sorted({int(np.asarray(image).max()) for split in (data.train, data.test) for image in split.images([0, 1])})
    assert set(tops) <= {round(4000 // k / 4095 * 255) for k in range(1, 7)}
    assert len(tops) > 1  # a darker image stays darker


def test_load_data_with_a_range(tmp_path: Path) -> None:
    data = load_data(classes(tmp_path / "data", 4000), intensity_range="100,1000")
    assert (data.facts.intensity_range, data.facts.intensity_given) == ([100, 1000], True)
    assert {np.asarray(image).max() for image in data.train.images([0, 1])} == {255}
    assert load_data("digits_lt").facts.intensity_range is None
    with pytest.raises(UserError, match=r"intensity_range='0,9' is for images of more than 8 bits"):
        load_data("digits_lt", intensity_range="0,9")


@pytest.mark.parametrize("text", [",", "9", "1,2,3", "5,5", "9,1", "a,b", "nan,1", "0,inf"])
def test_a_range_is_two_numbers(text: str) -> None:
    with pytest.raises(UserError, match=r"intensity_range=.* is not accepted: it must be two numbers with a comma"):
        DataOptions(intensity_range=text)
    assert DataOptions(intensity_range="-1000, 2.5e3").intensity_limits == (-1000, 2500)


def test_a_split_with_another_range(tmp_path: Path) -> None:
    source = files(tmp_path, [deep(0, 1000)])
    split = ImageSplit(source, np.array([0]), np.array([0]), ["a"])
    assert split.with_intensity(Intensity(0, 4095)) is split  # no range was found: its images have 8 bits
    source.intensity = Intensity(0, 1023)
    other = split.with_intensity(Intensity(0, 4095))
    assert [np.asarray(s.images([0])[0]).max() for s in (split, other)] == [249, 62]
    assert split.with_intensity(Intensity(0, 1023)) is split


def test_floats_are_scaled_together(tmp_path: Path) -> None:
    source = files(tmp_path, [tiff(np.full((4, 4, 1), value, np.float32)) for value in (-10, 0, 30)])
    source.intensity = find_intensity(everything(source))
    assert source.intensity == Intensity(-10, 30)
    assert [np.asarray(image)[0, 0, 0] for image in source.read(np.arange(3))] == [0, 64, 255]
