"""Names of images across layouts: hand-written cases, and the real lists in both of their forms."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from glmc_zoo.data.official.facts import Naming
from glmc_zoo.data.official.index import folder_classes, image_keys, list_keys


@pytest.mark.parametrize(
    ("naming", "key", "paths"),
    [
        (
            "imagenet",
            "n01440764_10026",
            [
                "train/n01440764/n01440764_10026.JPEG",
                "n01440764_10026_n01440764.JPEG",
                "n01440764/n01440764_10026.JPEG",
                "/data/ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_10026.jpg",
                "n01440764_10026",
            ],
        ),
        (
            "imagenet",
            "ILSVRC2012_val_00000001",
            [
                "val/n01440764/ILSVRC2012_val_00000001.JPEG",
                "ILSVRC2012_val_00000001_n01440764.JPEG",
                "ILSVRC2012_val_00000001.JPEG",
            ],
        ),
        (
            "inat",
            "9f8e",
            ["train_val2018/Plantae/7291/9f8e.jpg", "Plantae/7291/9f8e.jpg", "x/7291/9f8e.png", "9f8e.jpg"],
        ),
        (
            "places",
            "airfield/00004851",
            [
                "train/airfield/00004851.jpg",
                "data_256/a/airfield/00004851.jpg",
                "a/airfield/00004851.jpg",
                "airfield/00004851.jpg",
                "/mnt/data/places365_standard/train/airfield/00004851.png",
                "data_large_standard/a/airfield/00004851.jpg",
            ],
        ),
        (
            "places",
            "train_station-platform/00000001",
            [
                "train/train_station-platform/00000001.jpg",
                "train/train_station/platform/00000001.jpg",
                "data_256/t/train_station/platform/00000001.jpg",
                "train_station/platform/00000001.jpg",
            ],
        ),
        (
            "places",
            "Places365_val_00003597",
            [
                "val/airfield/Places365_val_00003597.jpg",
                "val_256/Places365_val_00003597.jpg",
                "Places365_val_00003597.jpg",
            ],
        ),
    ],
)
def test_one_image_has_one_key(naming: Naming, key: str, paths: list[str]) -> None:
    assert image_keys(pa.array(paths), naming).to_pylist() == [key] * len(paths)
    assert image_keys(pa.chunked_array([paths[:1], paths[1:]]), naming).to_pylist() == [key] * len(paths)


@pytest.mark.parametrize(
    ("naming", "paths", "classes"),
    [
        ("imagenet", ["n01440764/a.JPEG", "val/n01440764/a.JPEG", "a.JPEG"], ["n01440764", "n01440764", ""]),
        ("inat", ["Plantae/7291/a.jpg", "train_val2018/Aves/13/b.jpg"], ["7291", "13"]),
        (
            "places",
            ["a/airfield/1.jpg", "arena/hockey/1.jpg", "t/train_station/platform/1.jpg", "sky/1.jpg", "1.jpg"],
            ["airfield", "arena-hockey", "train_station-platform", "sky", ""],
        ),
        ("places", ["val_256/Places365_val_00000001.jpg", "val/sky/Places365_val_00000001.jpg"], ["", "sky"]),
    ],
)
def test_the_class_is_that_of_the_folder(naming: Naming, paths: list[str], classes: list[str]) -> None:
    assert folder_classes(pa.array(paths), naming).to_pylist() == classes


def test_lists_may_have_any_prefix() -> None:
    for start in ("", "train/", "data\\", "/mnt/photos/set/"):
        paths = [f"{start}{inner}" for inner in ("airfield/1.jpg", "arena-hockey/2.jpg", "zen_garden/3.jpg")]
        assert list_keys(pa.array(paths), "places").to_pylist() == ["airfield/1", "arena-hockey/2", "zen_garden/3"]
    paths = ["D:\\train\\n01440764\\n01440764_1.JPEG", "n01440764_2.JPEG"]
    assert list_keys(pa.array(paths), "imagenet").to_pylist() == ["n01440764_1", "n01440764_2"]


@pytest.mark.parametrize("kind", ["train", "val", "test"])
def test_both_forms_of_the_real_places_lists_have_the_same_keys(shared: Path, kind: str) -> None:
    text = gzip.decompress((shared / "data" / "places_lt" / f"Places_LT_{kind}.txt.gz").read_bytes()).decode()
    dashed = [line.split()[0] for line in text.splitlines()]
    archive = []
    for path in dashed:
        _, place, file = path.split("/")
        inner = place.replace("-", "/")
        archive.append(f"val_256/{file}" if kind == "test" else f"data_256/{place[0]}/{inner}/{file}")
    keys = list_keys(pa.array(dashed), "places")
    assert keys.equals(list_keys(pa.array(archive), "places"))
    assert len(set(keys.to_pylist())) == len(dashed)
    if kind != "test":
        assert keys[0].as_py() == dashed[0].removeprefix("train/").removesuffix(".jpg")


def test_the_real_lists_name_no_image_twice(shared: Path) -> None:
    for file, naming, lines in (
        ("imagenet_lt/ImageNet_LT_val", "imagenet", 20_000),
        ("imagenet_lt/ImageNet_LT_test", "imagenet", 50_000),
        ("inat18/iNaturalist18_val", "inat", 24_426),
    ):
        text = gzip.decompress((shared / "data" / f"{file}.txt.gz").read_bytes()).decode()
        paths = pa.array([line.split()[0] for line in text.splitlines()])
        assert len(set(list_keys(paths, naming).to_pylist())) == lines  # type: ignore[arg-type]
