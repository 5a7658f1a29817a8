from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data.images import ArrayImages, ArrowImages, ImageSplit, decode_small, readable_rows, to_rgb
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
    assert array(Image.fromarray(np.array([[-3.0, 99.6, 400.0]], dtype=np.float32)))[..., 0].tolist() == [[0, 100, 255]]


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
def pictures() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (5, 6, 4, 3)).astype(np.uint8)


def test_arrow_pictures_by_row(pictures: np.ndarray) -> None:
    source = arrow([{"bytes": png(picture), "path": None} for picture in pictures])
    got = source.read(np.array([3, 0, 3]))
    assert (np.stack([np.asarray(image) for image in got]) == pictures[[3, 0, 3]]).all()


@pytest.mark.parametrize(
    ("record", "parts"),
    [
        ({"bytes": b"no image at all", "path": "cats/x.jpg"}, ["Image 1 of the training split (cats/x.jpg)"]),
        ({"bytes": b"", "path": None}, ["Image 1 of the training split cannot", "not an image"]),
        ({"bytes": None, "path": "gone.png"}, ["(gone.png)", "No such file"]),
        (None, ["Image 1", "the cell is empty"]),
    ],
)
def test_bad_pictures_are_named(pictures: np.ndarray, record: dict | None, parts: list[str]) -> None:
    source = arrow([{"bytes": png(pictures[0]), "path": None}, record])
    with pytest.raises(UserError) as caught:
        source.read(np.array([0, 1]))
    assert all(part in str(caught.value) for part in [*parts, "remove it or pass --skip-bad-images"])
    assert str(caught.value) == caught.value.sentence
    assert readable_rows(source, np.array([1, 0])).tolist() == [0]


def test_truncated_file_is_bad(pictures: np.ndarray, tmp_path: Path) -> None:
    big = np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    (tmp_path / "cut.png").write_bytes(png(big)[:2000])
    source = arrow([{"bytes": None, "path": str(tmp_path / "cut.png")}], folder=tmp_path)
    with pytest.raises(UserError, match=r"^Image 0 of the training split \(cut\.png\) cannot be read"):
        source.read(np.array([0]))


def test_split_of_decoded_pictures(pictures: np.ndarray) -> None:
    split = ImageSplit(ArrayImages(pictures, "training"), np.array([4, 1]), np.array([1, 0]))
    assert len(split) == 2
    assert split.labels.tolist() == [1, 0]
    assert split.pixels is not None
    assert (split.pixels == pictures[[4, 1]]).all()
    assert (np.asarray(split.images([1])[0]) == pictures[1]).all()


def test_small_pictures_are_decoded_once(pictures: np.ndarray) -> None:
    source = arrow([{"bytes": png(picture), "path": None} for picture in pictures])
    train = ImageSplit(source, np.array([4, 1]), np.array([1, 0]))
    test = ImageSplit(source, np.array([0]), np.array([0]))
    decode_small([train, test], 3 * 6 * 4 * 3 - 1)
    assert train.pixels is None
    decode_small([train, test], 3 * 6 * 4 * 3)
    assert train.pixels is not None
    assert test.pixels is not None
    assert train.pixels.dtype == np.uint8
    assert (train.pixels == pictures[[4, 1]]).all()
    assert (test.pixels == pictures[[0]]).all()
    assert (np.asarray(train.images([0])[0]) == pictures[4]).all()


@pytest.mark.parametrize("shapes", [[(6, 4), (6, 5)], [(65, 8), (65, 8)]])
def test_other_pictures_stay_as_they_are(shapes: list[tuple[int, int]]) -> None:
    source = arrow([{"bytes": png(np.zeros((*shape, 3), np.uint8)), "path": None} for shape in shapes])
    split = ImageSplit(source, np.array([0, 1]), np.array([0, 1]))
    decode_small([split], 1 << 30)
    assert split.pixels is None
    assert [image.size for image in split.images([0, 1])] == [shape[::-1] for shape in shapes]


def test_pictures_of_one_split_only_decode_nothing_else(pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    source = arrow([{"bytes": png(picture), "path": None} for picture in pictures])
    read: list[int] = []
    original: Callable = ArrowImages.read

    def spy(self: ArrowImages, rows: np.ndarray) -> list[Image.Image]:
        read.extend(rows.tolist())
        return original(self, rows)

    monkeypatch.setattr(ArrowImages, "read", spy)
    decode_small([ImageSplit(source, np.array([4, 1]), np.array([1, 0]))], 1 << 30)
    assert set(read) == {1, 4}


def test_files_are_told_below_the_folder_and_elsewhere_by_their_name_alone(write_images, tmp_path: Path) -> None:
    from glmc_zoo.data import load_data

    folder = write_images(tmp_path / "data", [6, 5])
    split = load_data(folder).train
    paths = split.paths()
    assert len(paths) == len(split) and set(paths) <= {f"class_{c}/{i:03d}.png" for c in range(2) for i in range(6)}
    assert [int(path[6]) for path in paths] == split.labels.tolist()
    split.source.folder = None
    assert split.paths() == [Path(path).name for path in paths]


def test_pictures_that_are_no_files_have_no_paths() -> None:
    from glmc_zoo.data import load_data

    assert load_data("digits_lt").test.paths() is None
