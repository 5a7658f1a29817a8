"""Each large set in miniature, in each of its layouts and with its lists in each place, through ``load_data``."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import miniature
import numpy as np
import pytest
from hub_server import HubServer
from miniature import FULL, LISTED, VAL, Miniature, check_images
from PIL import Image

from glmc_zoo.data import splits
from glmc_zoo.data.load import load_data
from glmc_zoo.errors import UserError
from glmc_zoo.results import DataFacts

Make = Callable[[Path], Miniature]

LAYOUTS: dict[str, Make] = {
    "imagenet": miniature.imagenet,
    "imagenet flat val": lambda folder: miniature.imagenet(folder, flat_val=True),
    "imagenet cls-loc": lambda folder: miniature.imagenet(folder, cls_loc=True, flat_val=True),
    "imagenet hub": miniature.imagenet_hub,
    "inat18": miniature.inat18,
    "places train": miniature.places_lt,
    "places nested": lambda folder: miniature.places_lt(folder, nested=True),
    "places data_256": lambda folder: miniature.places_lt(folder, prefix="data_256"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_listed_images_and_no_others(layout: str, tmp_path: Path) -> None:
    mini = LAYOUTS[layout](tmp_path / "set")
    lists = mini.write_lists(tmp_path / "lists")
    data = load_data(mini.name, data_dir=mini.folder, split_file=lists)
    per_class = len(mini.lists["test"]) // len(LISTED)
    assert data.class_counts == list(LISTED) == np.bincount(data.train.labels).tolist()
    assert np.bincount(data.test.labels).tolist() == [per_class] * len(LISTED)
    assert data.class_names == mini.class_names
    assert (data.image_size, data.augment) == (224, "large")
    check_images(data)
    for split, kind in ((data.train, "train"), (data.test, "test")):
        listed = [Path(path).stem for path, _ in mini.lists[kind]]
        paths = split.paths()
        assert paths is not None
        found = [Path(path or "").stem for path in paths]
        assert all(name.startswith(stem) for name, stem in zip(found, listed, strict=True))  # the Hub adds the class
    # Of the lists that are not the official ones it is said what they have; the json files are not taken.
    assert data.facts.official_split is False
    assert data.facts.split_file["name"] in data.notes[0]
    assert "it has 60 images of 5 classes, 30 to 2 of each, many/medium/few 0/1/4; the official one" in data.notes[0]
    assert f"it has {5 * per_class} images of 5 classes, {per_class} of each; the official one has" in data.notes[1]
    other_notes = [note for note in data.notes[2:] if "classes have only 1 to 4 test images" not in note]
    assert other_notes == (["The split test is not used."] if layout == "imagenet hub" else [])  # it has no labels
    assert DataFacts(**json.loads(json.dumps(asdict(data.facts)))) == data.facts
    assert str(tmp_path) not in json.dumps(asdict(data.facts))
    assert (data.facts.imbalance_factor, data.facts.imbalance_type) == (None, None)
    assert data.facts.effective_imbalance_factor == 15


@pytest.mark.parametrize("place", ["file", "packed file", "beside", "packed beside", "parent", "named", "data_txt"])
def test_where_lists_are_found(place: str, tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "top" / "set", flat_val=True)
    packed = "packed" in place
    inner = {"parent": "..", "named": "ImageNet_LT", "data_txt": "../data_txt"}.get(place, ".")
    lists = mini.write_lists(tmp_path / "own" if "file" in place else mini.folder / inner, gz=packed)
    given = lists / f"ImageNet_LT_train.txt{'.gz' if packed else ''}" if "file" in place else None
    data = load_data("imagenet_lt", data_dir=mini.folder, split_file=given)
    assert data.class_counts == list(LISTED)
    assert data.facts.split_file["name"] == "ImageNet_LT_train.txt"
    check_images(data)


def test_the_user_s_list_comes_before_the_one_beside_the_data(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    mini.write_lists(mini.folder)
    (tmp_path / "mine.txt").write_text("".join(f"{path} {label}\n" for path, label in mini.lists["val"]))
    data = load_data("imagenet_lt", data_dir=mini.folder, split_file=tmp_path / "mine.txt")
    assert data.class_counts == [VAL] * 5
    assert data.facts.split_file["name"] == "mine.txt"
    # There is no test list beside it: all validation images, which here are the same.
    assert len(data.test) == 5 * VAL
    assert "There is no ImageNet_LT_test.txt: the test split is the 10 validation images." in data.notes
    assert data.notes[-1].startswith("5 classes have only 1 to 4 test images (")
    check_images(data)


@pytest.mark.parametrize("layout", ["imagenet", "imagenet hub", "places data_256"])
def test_the_official_validation_list_is_held_out(layout: str, tmp_path: Path) -> None:
    mini = LAYOUTS[layout](tmp_path / "set")
    mini.write_lists(mini.folder)
    data = load_data(mini.name, data_dir=mini.folder, official_val=True)
    assert data.val is not None
    assert np.bincount(data.val.labels).tolist() == [VAL] * 5
    assert (data.facts.val_images, data.class_counts) == (5 * VAL, list(LISTED))
    assert not set(data.val.rows) & set(data.train.rows)
    assert any("_LT_val.txt is not the official list: it has 10 images" in note for note in data.notes)
    check_images(data)


@pytest.mark.parametrize("prefix", ["train", "data_256"])
def test_places_lists_fit_either_form_of_the_images(prefix: str, tmp_path: Path) -> None:
    mini = miniature.places_lt(tmp_path / "set", prefix=prefix)
    other = miniature.places_lt(tmp_path / "other", prefix="train" if prefix == "data_256" else "data_256")
    data = load_data("places_lt", data_dir=mini.folder, split_file=other.write_lists(tmp_path / "lists"))
    assert data.class_counts == list(LISTED)
    assert data.class_names == mini.class_names
    check_images(data)


@pytest.mark.parametrize("given", ["both json", "txt", "train alone", "test alone", "train json alone"])
def test_inaturalist_s_training_and_validation_images_are_told_apart(given: str, tmp_path: Path) -> None:
    mini = miniature.inat18(tmp_path / "set", json_files="json" in given)
    if given == "train json alone":
        (mini.folder / "val2018.json").unlink()
    elif "json" not in given:
        which = {"txt": ("train", "test"), "train alone": ("train",), "test alone": ("test",)}[given]
        mini.write_lists(mini.folder, which=which)
    data = load_data("inat18", data_dir=mini.folder)
    assert data.class_counts == list(LISTED)
    assert np.bincount(data.test.labels).tolist() == [3] * 5
    assert data.class_names == ["13", "673", "3184", "7228", "7291"]
    assert not set(data.train.rows) & set(data.test.rows)
    assert any("every image that" in note for note in data.notes) == ("alone" in given)
    check_images(data)


def test_inaturalist_without_any_list(tmp_path: Path) -> None:
    mini = miniature.inat18(tmp_path / "set", json_files=False)
    with pytest.raises(
        UserError, match=r"lie in the same folders, .* iNaturalist18_train.txt or train2018.json beside"
    ):
        load_data("inat18", data_dir=mini.folder)


def test_inaturalist_thinned_keeps_its_training_split(tmp_path: Path) -> None:
    mini = miniature.inat18(tmp_path / "set")
    data = load_data("inat18", data_dir=mini.folder, imbalance_factor=3, max_count=6, imbalance_type="exp")
    assert data.class_counts == [6, 4, 2, 2, 2]
    assert (len(data.test), data.facts.official_split, data.facts.imbalance_type) == (15, False, "exp")
    assert any("thinned as asked for: it is not the official split" in note for note in data.notes)
    check_images(data)


@pytest.mark.parametrize("layout", ["imagenet", "imagenet hub", "places nested"])
def test_without_a_list_a_pareto_curve_stands_in(layout: str, tmp_path: Path) -> None:
    mini = LAYOUTS[layout](tmp_path / "top" / "set")
    data = load_data(mini.name, data_dir=mini.folder)
    assert data.class_counts[0] == FULL == max(data.class_counts)  # the curve wants more than there is
    assert min(data.class_counts) == 5
    assert (data.facts.official_split, data.facts.split_file, data.facts.imbalance_type) == (False, None, "pareto")
    assert "The Hub data set glmc-zoo/long-tailed-lists did not give" in data.notes[0]
    assert "HF_HUB_OFFLINE" in data.notes[0]
    assert "thinned to a Pareto curve instead, which is not the official split" in data.notes[1]
    assert len(data.test) == 5 * VAL
    check_images(data)


def test_options_that_shape_the_tail_come_before_a_list(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set", flat_val=True)
    mini.write_lists(mini.folder)
    data = load_data("imagenet_lt", data_dir=mini.folder, imbalance_factor=15, max_count=30)
    # n * (1 + (IF ** (1/6) - 1) * x) ** -6, written out.
    stretch = 15 ** (1 / 6) - 1
    assert data.class_counts == [int(30 * (1 + stretch * c / 4) ** -6 + 1e-9) for c in range(5)]
    assert (data.facts.official_split, data.facts.split_file, data.facts.imbalance_factor) == (False, None, 15)
    assert any("thinned as asked for: it is not the official split" in note for note in data.notes)
    check_images(data)
    for name, options in (
        ("split_file=.*", {"split_file": mini.folder}),
        ("official_val=True", {"official_val": True}),
    ):
        with pytest.raises(
            UserError, match=rf"^{name} uses the official list of imagenet_lt, .* imbalance_type= thin "
        ):
            load_data("imagenet_lt", data_dir=mini.folder, imbalance_type="exp", **options)


def test_classes_of_flat_validation_images_without_the_training_list_s_images(tmp_path: Path) -> None:
    mini = miniature.places_lt(tmp_path / "set", prefix="data_256")
    mini.write_lists(mini.folder, which=["test"])
    options = {"data_dir": mini.folder, "imbalance_factor": 15, "max_count": 30}
    with pytest.raises(
        UserError, match=r"Places_LT_test.txt names no folder, and so no class .* Places_LT_train.txt beside"
    ):
        load_data("places_lt", **options)
    mini.write_lists(mini.folder)
    data = load_data("places_lt", **options)
    assert (max(data.class_counts), len(data.test)) == (30, 10)
    check_images(data)
    (mini.folder / "Places_LT_train.txt").unlink()
    (mini.folder / "Places_LT_test.txt").write_text("val/pond/" + Path(mini.lists["test"][0][0]).name + " 0\n")
    with pytest.raises(UserError, match=r"Places_LT_test.txt names the folder 'pond', which is not a class"):
        load_data("places_lt", **options)


@pytest.fixture(scope="module")
def real_places(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A tree with every image that the real lists of Places-LT name: one file a class, under all its names."""
    folder, first = tmp_path_factory.mktemp("places"), {}
    Image.new("RGB", (70, 70)).save(folder / "grey.jpg")
    for kind in ("train", "val", "test"):
        name = f"Places_LT_{kind}.txt.gz"
        shutil.copy(shared / "data" / "places_lt" / name, folder)
        for line in gzip.decompress((folder / name).read_bytes()).decode().splitlines():
            path, label = line.split()
            part, place, file = path.split("/")
            inside = folder / part / place
            if label not in first or not inside.is_dir():
                inside.mkdir(parents=True, exist_ok=True)
            if label not in first:
                first[label] = shutil.copy(folder / "grey.jpg", inside / file)
            else:
                os.link(first[label], inside / file)
    return folder


@pytest.mark.slow
def test_the_real_places_lists_make_the_official_split(real_places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data("places_lt", data_dir=real_places)
    assert (len(data.train), len(data.test), data.num_classes) == (62_500, 36_500, 365)
    assert (max(data.class_counts), min(data.class_counts)) == (4980, 5)
    counts = np.asarray(data.class_counts)
    assert ((counts > 100).sum(), ((counts >= 20) & (counts <= 100)).sum(), (counts < 20).sum()) == (131, 163, 71)
    assert data.class_names[:2] == ["airfield", "airplane_cabin"]
    assert (data.facts.official_split, data.notes) == (True, [])
    assert data.facts.split_file == {
        "name": "Places_LT_train.txt",
        "sha256": "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
    }
    with_val = load_data("places_lt", data_dir=real_places, official_val=True)
    assert (with_val.facts.official_split, len(with_val.val or []), with_val.notes) == (True, 7300, [])
    # The files of a class are one: as if each image had a content of its own.
    monkeypatch.setattr(splits, "content_digests", lambda _, rows: [int(row).to_bytes(8, "little") for row in rows])
    held_out = load_data("places_lt", data_dir=real_places, val_fraction=0.1)
    assert held_out.facts.official_split is False
    assert "what is left is not the official split" in held_out.notes[0]
    assert held_out.facts.train_images + held_out.facts.val_images == 62_500


HUB = """
import json, sys
from dataclasses import asdict
sys.path.insert(0, {support!r})
from miniature import class_of
from glmc_zoo import load_data
from glmc_zoo.errors import UserError
for options in ({{}}, {{"split_file": "org/lists", "official_val": True}}, {{"split_file": "org/none"}}):
    try:
        data = load_data("imagenet_lt", **options)
    except UserError as error:
        print(json.dumps(str(error)))
        continue
    for split in filter(None, (data.train, data.test, data.val)):
        assert [class_of(image) for image in split.images(range(len(split)))] == split.labels.tolist()
    print(json.dumps([data.class_names, data.class_counts, len(data.test), len(data.val or []), asdict(data.facts)]))
"""


@pytest.mark.slow
def test_images_and_lists_from_the_hub(
    hub: HubServer, hub_python: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    mini = miniature.imagenet_hub(tmp_path / "set")

    def files(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    hub.repo("ILSVRC/imagenet-1k", repo_type="dataset", files=files(mini.folder))
    published = mini.write_lists(tmp_path / "published" / "imagenet_lt")
    hub.repo("glmc-zoo/long-tailed-lists", repo_type="dataset", files=files(published.parent))
    hub.repo("org/lists", repo_type="dataset", files=files(mini.write_lists(tmp_path / "lists", gz=True)))
    support = str(Path(miniature.__file__).parent)
    done = hub_python("-c", HUB.format(support=support))
    assert done.returncode == 0, done.stderr
    default, own, none = [json.loads(line) for line in done.stdout.splitlines()]
    assert default[:4] == [mini.class_names, list(LISTED), 5 * VAL, 0]
    assert own[:4] == [mini.class_names, list(LISTED), 5 * VAL, 5 * VAL]
    assert default[4]["split_file"] == own[4]["split_file"]
    assert default[4]["hub_id"] == "ILSVRC/imagenet-1k"
    assert not any("did not give" in note for note in default[4]["notes"])
    assert "split_file='org/none' is neither a file nor a Hub data set that gives ImageNet_LT_train.txt" in none
    assert "it does not exist, or is private" in none


def test_what_a_user_is_told_of_the_layout(tmp_path: Path) -> None:
    mini = miniature.imagenet(tmp_path / "set")
    shutil.rmtree(mini.folder / "val")
    with pytest.raises(
        UserError, match=r"does not have a layout of imagenet_lt: give train/n01440764/\*\.JPEG and val/"
    ):
        load_data("imagenet_lt", data_dir=mini.folder)
    (mini.folder / "val").mkdir()
    with pytest.raises(UserError, match=r"set/val has no images: complete the copy"):
        load_data("imagenet_lt", data_dir=mini.folder)
    mini = miniature.imagenet(tmp_path / "other")
    stray: Any = next((mini.folder / "train").rglob("*.JPEG"))
    stray.rename(mini.folder / "train" / stray.name)
    with pytest.raises(UserError, match=rf"The image {stray.name} lies in .*other/train itself and so has no class"):
        load_data("imagenet_lt", data_dir=mini.folder)
