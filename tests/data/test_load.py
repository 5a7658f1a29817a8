from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from glmc_zoo.data.feeding.transforms import train_transform
from glmc_zoo.data.load import load_data
from glmc_zoo.data.longtail import longtail_indices
from glmc_zoo.errors import UserError
from glmc_zoo.results import DataFacts

Write = Callable[..., Path]
Make = Callable[..., Any]


def test_digits_by_default() -> None:
    data = load_data("digits_lt")
    assert data.class_counts == [100, 71, 51, 36, 26, 18, 13, 9, 6, 5]
    assert (len(data.train), len(data.test), data.val) == (335, 600, None)
    assert np.bincount(data.train.labels).tolist() == data.class_counts
    assert data.class_names == [str(digit) for digit in range(10)]
    assert (data.num_classes, data.image_size, data.augment) == (10, 16, "shift")
    assert data.train.pixels is not None
    assert data.train.pixels.shape == (335, 8, 8, 3)
    assert DataFacts(**json.loads(json.dumps(asdict(data.facts)))) == data.facts
    assert data.facts.effective_imbalance_factor == 20
    assert data.facts.train_images == 335


def test_test_part_of_the_digits_is_the_same_with_every_option() -> None:
    test = load_data("digits_lt").test
    other = load_data("digits_lt", imbalance_factor=5, data_seed=3, val_fraction=0.2, selection="first", max_count=40)
    assert (other.test.pixels == test.pixels).all()
    assert other.class_counts[0] < 40
    assert other.facts.val_images == len(other.val or []) > 0


def test_training_and_held_out_part_are_the_thinned_set() -> None:
    whole = load_data("digits_lt", data_seed=1)
    data = load_data("digits_lt", data_seed=1, val_fraction=0.1)
    assert data.val is not None
    assert sorted([*data.train.rows, *data.val.rows]) == sorted(whole.train.rows)
    assert not set(data.test.rows) & {*data.train.rows, *data.val.rows}
    assert min(data.class_counts) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "total", "side"), [("cifar10", 12406, 32), ("cifar100", 10847, 32)])
def test_cifar_from_a_local_copy(shared: Path, name: str, total: int, side: int) -> None:
    data = load_data(f"{name}_lt", data_dir=shared / "data" / name)
    golden = np.load(shared / "reference" / "glmc_step.npz")[f"counts_{name}_if100"]
    assert data.class_counts == golden.tolist()
    assert (len(data.train), len(data.test)) == (total, 10_000)
    assert data.train.pixels is not None
    assert data.train.pixels.shape == (total, side, side, 3)
    assert data.facts.hub_id == f"uoft-cs/{name}"
    assert data.notes == []


def test_cifar_pixels_are_those_of_the_rows(shared: Path) -> None:
    folder = shared / "data" / "cifar10"
    data = load_data("cifar10_lt", data_dir=folder, cache_bytes=0)
    table = datasets.load_dataset(str(folder), "plain_text", split="train")
    labels = table.with_format("numpy")["label"][:]
    expected = longtail_indices(labels, data.class_counts)
    assert (data.train.rows == expected).all()
    assert data.train.pixels is None
    for position in (0, 6000, 12405):
        original = table[int(expected[position])]
        assert (np.asarray(data.train.images([position])[0]) == np.asarray(original["img"])).all()
        assert data.train.labels[position] == original["label"]


def test_thinned_cifar100_copy_is_too_small_for_factor_5(shared: Path) -> None:
    with pytest.raises(UserError, match=r"^Class 'aquarium_fish' has \d+ images .* give a larger imbalance_factor="):
        load_data("cifar100_lt", data_dir=shared / "data" / "cifar100", imbalance_factor=5)


def test_folder_of_every_kind_of_image(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pets" / "train", [3, 4])
    write_images(tmp_path / "pets" / "test", [1, 1])
    Image.new("L", (40, 30), 100).save(folder / "class_0" / "grey.png")
    Image.new("CMYK", (40, 30), (0, 0, 0, 0)).save(folder / "class_0" / "print.jpg")
    Image.fromarray(np.full((30, 40), 32768, np.uint16)).save(folder / "class_0" / "deep.png")
    Image.new("P", (40, 30)).save(folder / "class_0" / "palette.gif")
    Image.new("RGBA", (40, 30), (9, 9, 9, 0)).save(folder / "class_0" / "glass.png")
    data = load_data(tmp_path / "pets")
    assert data.class_counts == [8, 4]
    assert (data.name, data.facts.hub_id, data.image_size, data.augment) == ("pets", None, None, "large")
    assert str(tmp_path) not in json.dumps(asdict(data.facts))
    images = data.train.images(range(12))
    assert {image.mode for image in images} == {"RGB"}
    colours = {image.getpixel((0, 0)) for image in images if image.size == (40, 30)}
    assert {(100,) * 3, (255,) * 3, (128,) * 3} <= colours
    train = train_transform(data.augment, 32)
    assert train(images, list(range(12)), 2).images[0].shape == (12, 3, 32, 32)


def test_naturally_imbalanced_and_thinned(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", [25, 10, 30])
    natural = load_data(folder)
    assert (np.asarray(natural.class_counts) + np.bincount(natural.test.labels)).tolist() == [25, 10, 30]
    assert 5 <= len(natural.test) <= 21
    assert natural.facts.imbalance_type is None
    assert natural.facts.imbalance_factor is None
    assert natural.facts.effective_imbalance_factor == max(natural.class_counts) / min(natural.class_counts)
    assert "no test split" in natural.notes[0]
    assert natural.train.pixels is not None
    assert (natural.image_size, natural.augment) == (16, "crop_flip")
    thinned = load_data(folder, imbalance_factor=4, max_count=20)
    assert thinned.class_counts == [min(pair) for pair in zip(natural.class_counts, [20, 10, 5], strict=True)]
    assert "2 classes have fewer images" in thinned.notes[2]
    assert (thinned.test.rows == natural.test.rows).all()


def test_every_kind_of_folder_gives_the_same_images(make_table: Make, tmp_path: Path) -> None:
    tables = datasets.DatasetDict(train=make_table([0, 1, 1, 0, 1]), test=make_table([1, 0]))
    tables.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet").mkdir()
    for split, table in tables.items():
        table.to_parquet(str(tmp_path / "parquet" / f"{split}-0.parquet"))
        for index, row in enumerate(table):
            place = tmp_path / "images" / split / "ab"[row["label"]]
            place.mkdir(parents=True, exist_ok=True)
            row["image"].save(place / f"{index}.png")
    sets = [load_data(tmp_path / kind) for kind in ("saved", "parquet", "images")]
    for data in sets:
        assert data.class_names == ["a", "b"]
        assert data.class_counts == [2, 3]
        assert data.train.pixels is not None
        got = sorted(
            (label, pixels.tobytes()) for label, pixels in zip(data.train.labels, data.train.pixels, strict=True)
        )
        expected = sorted((row["label"], np.asarray(row["image"]).tobytes()) for row in tables["train"])
        assert got == expected


def test_a_catalogue_set_from_class_folders(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "copy" / "train", [8] * 10)
    write_images(tmp_path / "copy" / "test", [1] * 10)
    data = load_data("cifar10_lt", data_dir=tmp_path / "copy", imbalance_factor=4, max_count=8)
    assert data.class_counts == [8, 6, 5, 5, 4, 3, 3, 2, 2, 2]
    (folder / "eleventh").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "eleventh" / "x.png")
    with pytest.raises(UserError, match=r"cifar10_lt has 10 classes but .* has 11"):
        load_data("cifar10_lt", data_dir=tmp_path / "copy", imbalance_factor=4, max_count=8)


def test_a_bad_image_is_named_or_left_out(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set" / "train", [4, 3])
    write_images(tmp_path / "set" / "test", [1, 1])
    (folder / "class_1" / "001.png").write_bytes(b"not a image")
    with pytest.raises(UserError) as caught:
        load_data(tmp_path / "set")
    assert "Image 5 of the training split (train/class_1/001.png) cannot be read: not an image" in str(caught.value)
    data = load_data(tmp_path / "set", skip_bad_images=True)
    assert data.class_counts == [4, 2]
    assert data.facts.skipped_images == 1
    (folder / "class_0" / "big.png").write_bytes((folder / "class_0" / "000.png").read_bytes()[:60])
    assert load_data(tmp_path / "set", skip_bad_images=True).facts.skipped_images == 2
    for path in (tmp_path / "set" / "test").rglob("*.png"):  # no score could be given
        path.write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"^No image of the test split can be read: check that the files are images"):
        load_data(tmp_path / "set", skip_bad_images=True)
    assert load_data(tmp_path / "set", skip_bad_images=True, no_test=True).class_counts == [4, 2]


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        (
            "cifar10lt",
            {},
            [
                "data='cifar10lt' is neither an existing folder or file nor a data set of the catalogue",
                "Hub id",
                "Did you mean cifar10_lt",
            ],
        ),
        ("zzz", {}, ["'zzz'", "Hub id (org/name)"]),
        ("./no/such/folder", {}, ["./no/such/folder", "does not exist"]),
        ("/no/such/folder", {}, ["/no/such/folder", "does not exist"]),
        ("nobody/nothing", {}, ["nobody/nothing", "Hugging Face Hub", "network"]),
        ("cifar10_lt", {"data_dir": "no_such_folder"}, ["no_such_folder", "does not exist", "plain_text/*.parquet"]),
        ("digits_lt", {"data_dir": "."}, ["comes with the package", "data_dir='.'"]),
        ("nobody/nothing", {"data_dir": "."}, ["data_dir='.' is for the data sets of glmc-zoo list"]),
        ("digits_lt", {"val_fraction": 1.0}, ["val_fraction=1.0", "below 1"]),
        ("digits_lt", {"imbalance_factor": 0.1}, ["imbalance_factor=0.1"]),
        ("digits_lt", {"max_count": 150}, ["'0'", "118", "150", "max_count="]),
        ("digits_lt", {"imbalance_type": "flat"}, ["'flat'"]),
        ("digits_lt", {"selection": "best"}, ["'best'"]),
        ("digits_lt", {"data_config": "big"}, ["data_config='big'", "digits_lt", "leave"]),
        ("nobody/nothing", {"max_count": 9}, ["max_count=9", "nobody/nothing", "imbalance_factor="]),
        ("digits_lt", {"imbalance_facter": 10}, ["imbalance_facter=", "Did you mean imbalance_factor"]),
        ("digits_lt", {"data": "cifar10_lt"}, ["data= is not an option"]),
        (
            "nobody/nothing",
            {"imbalance_type": "step"},
            ["imbalance_type='step'", "nobody/nothing", "imbalance_factor="],
        ),
    ],
)
def test_bad_requests(
    name: str, options: dict, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_data(name, **options)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert str(caught.value) == caught.value.sentence


def test_options_without_effect_on_a_folder(write_images: Write, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "set", [8, 4])
    assert load_data(folder, imbalance_type="exp").class_counts == load_data(folder).class_counts
    with pytest.raises(UserError, match=r"^max_count=4 shapes a long tail, .* or leave max_count= out\.$"):
        load_data(folder, max_count=4)
    with pytest.raises(
        UserError, match=r"^imbalance_type='step' shapes a long tail, .* or leave imbalance_type= out\.$"
    ):
        load_data(folder, imbalance_type="step")
    with pytest.raises(
        UserError, match=r"^data_config='big' is not known: .*set has no configurations, so leave it out\.$"
    ):
        load_data(folder, data_config="big")


def test_sets_that_cannot_be_used(write_images: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"only one class \(class_0\)"):
        load_data(write_images(tmp_path / "one", [5]))
    write_images(tmp_path / "half" / "train", [3, 0])
    write_images(tmp_path / "half" / "test", [2, 2])
    with pytest.raises(UserError, match="'class_1' has no training image"):
        load_data(tmp_path / "half")
    with pytest.raises(UserError, match=r"^label_column='kind' is for tables, and .*half has class folders"):
        load_data(tmp_path / "half", label_column="kind")


def test_a_class_that_no_test_image_shows_is_trained(write_images: Write, tmp_path: Path) -> None:
    write_images(tmp_path / "rare" / "train", [5, 4, 2])
    write_images(tmp_path / "rare" / "test", [2, 2, 0])
    data = load_data(tmp_path / "rare")
    assert data.class_counts == [5, 4, 2] and data.test.class_counts == [2, 2, 0]
    assert "1 class has no test image (class_2): its recall is not known, and no mean includes it." in data.notes


def test_without_a_test_split_all_other_images_train(write_images: Write, tmp_path: Path) -> None:
    flat = load_data(write_images(tmp_path / "flat", [5, 1]), no_test=True)  # a single image may train
    assert (len(flat.test), flat.class_counts, flat.notes) == (0, [5, 1], [])
    assert (flat.facts.test_images, flat.facts.no_test, flat.facts.train_images) == (None, True, 6)
    write_images(tmp_path / "split" / "train", [5, 4])
    write_images(tmp_path / "split" / "test", [2, 3])
    data = load_data(tmp_path / "split", no_test=True, val_fraction=0.5)
    assert (len(data.test), len(data.train) + len(data.val or []), data.val is None) == (0, 9, False)
    assert data.notes[0] == "The test split of 5 images is not used, as no_test=True asks for."
    assert [note.partition(" (")[0] for note in data.notes[1:]] == [
        "1 class has no validation image", "1 class has only 1 validation image",
    ]  # fmt: skip
    assert data.facts.inventory is not None and data.facts.inventory.files_left_out == 5
    assert [split.name for split in data.facts.inventory.splits] == ["train", "validation"]
    digits = load_data("digits_lt", no_test=True)
    assert digits.test.pixels is not None and len(digits.test) == 0 and len(digits.train) == 335


def test_advice_for_a_class_that_is_too_small_can_be_followed() -> None:
    with pytest.raises(UserError, match=r"from 130 needs 130: give a smaller max_count=\.$"):
        load_data("digits_lt", max_count=130)
    assert load_data("digits_lt", max_count=100).class_counts[0] == 100


def test_data_dir_that_is_a_file_is_named_so(tmp_path: Path) -> None:
    file = tmp_path / "cifar.parquet"
    file.touch()
    with pytest.raises(UserError, match=r"^data_dir='.*cifar\.parquet' is not a folder: for cifar10_lt give "):
        load_data("cifar10_lt", data_dir=str(file))
    with pytest.raises(UserError, match=r"^data_dir='.*none' does not exist: for cifar10_lt give "):
        load_data("cifar10_lt", data_dir=str(tmp_path / "none"))
