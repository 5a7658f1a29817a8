from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data.reading.decoding import to_rgb
from glmc_zoo.data.reading.images import ArrowImages
from glmc_zoo.data.reading.split import readable_rows
from glmc_zoo.errors import UserError


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(to_rgb(image))


def test_rgb_is_left_alone() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (array(Image.fromarray(pixels)) == pixels).all()


def test_grey_is_repeated() -> None:
    grey = np.array([[0, 100], [200, 255]], dtype=np.uint8)
    assert (array(Image.fromarray(grey)) == grey[..., None]).all()
    assert (array(Image.fromarray(grey > 50).convert("1")) == np.where(grey > 50, 255, 0)[..., None]).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_16_bit_is_scaled_not_clipped(dtype: type, tmp_path: Path) -> None:
    values = np.array([[0, 257], [32768, 65535]], dtype=dtype)
    image = Image.fromarray(values)
    assert array(image)[..., 0].tolist() == [[0, 1], [128, 255]]
    image.save(tmp_path / "deep.tiff")
    assert array(Image.open(tmp_path / "deep.tiff"))[..., 0].tolist() == [[0, 1], [128, 255]]


def test_float_grey() -> None:
    assert array(Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32)))[..., 0].tolist() == [[0, 255]]
    assert array(Image.fromarray(np.array([[3.0, 99.6, 255.0]], dtype=np.float32)))[..., 0].tolist() == [[3, 100, 255]]
    assert array(Image.fromarray(np.array([[-100.0, 100, 410]], dtype=np.float32)))[..., 0].tolist() == [[0, 100, 255]]


def test_transparency_is_laid_on_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 100, 100, 128]]], dtype=np.uint8)
    got = array(Image.fromarray(rgba))
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[0, 1].tolist() == [255, 255, 255]
    assert np.abs(got[0, 2].astype(int) - round(100 * 128 / 255 + 255 * 127 / 255)).max() <= 1


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    assert array(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    image.info["transparency"] = 0
    assert array(image).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_cmyk() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8), mode="CMYK")
    assert array(image).tolist() == [[[0, 255, 255], [0, 0, 0]]]


def test_orientation_of_the_camera_is_applied() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    assert to_rgb(Image.open(data)).size == (1, 2)


def arrow(records: list, column: str = "image", folder: Path | None = None) -> ArrowImages:
    import datasets

    features = datasets.Features({column: datasets.Image(), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({column: records, "label": [0] * len(records)}, features=features)
    return ArrowImages(table, column, "training", folder)


def png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (5, 6, 4, 3)).astype(np.uint8)


def test_arrow_images_by_row(images: np.ndarray) -> None:
    source = arrow([{"bytes": png(image), "path": None} for image in images])
    got = source.read(np.array([3, 0, 3]))
    assert (np.stack([np.asarray(image) for image in got]) == images[[3, 0, 3]]).all()


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"bytes": b"no image at all", "path": "cats/x.jpg"}, ["Image 1 of the training split (cats/x.jpg)"]),
        ({"bytes": b"", "path": None}, ["Image 1 of the training split cannot", "not an image"]),
        ({"bytes": None, "path": "gone.png"}, ["(gone.png)", "No such file"]),
        (None, ["Image 1", "the cell is empty"]),
    ],
)
def test_bad_images_are_named(images: np.ndarray, record: dict | None, parts: list[str], tmp_path: Path) -> None:
    source = arrow([{"bytes": png(images[0]), "path": None}, record], folder=tmp_path)
    with pytest.raises(UserError) as caught:
        source.read(np.array([0, 1]))
    assert all(part in str(caught.value) for part in [*parts, "remove it or pass skip_bad_images=True"])
    assert str(caught.value) == caught.value.sentence
    assert readable_rows(source, np.array([1, 0])).tolist() == [0]


def test_truncated_file_is_bad(images: np.ndarray, tmp_path: Path) -> None:
    big = np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    (tmp_path / "cut.png").write_bytes(png(big)[:2000])
    source = arrow([{"bytes": None, "path": str(tmp_path / "cut.png")}], folder=tmp_path)
    with pytest.raises(UserError, match=r"^Image 0 of the training split \(cut\.png\) cannot be read"):
        source.read(np.array([0]))
