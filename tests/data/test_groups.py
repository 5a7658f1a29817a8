from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from glmc_zoo.data.groups import choose_groups, read_groups
from glmc_zoo.data.load import load_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.images import ArrayImages, FileImages
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.errors import UserError


def sample(seed: int, classes: int, groups: int, images: int) -> tuple[Any, Any]:
    """Groups of very different sizes, each with a few classes; classes form a long tail."""
    rng = np.random.RandomState(seed)
    group = rng.choice(groups, images, p=rng.dirichlet(np.full(groups, 0.5)))
    tail = 0.6 ** np.arange(classes)
    preferred = rng.choice(classes, groups, p=tail / tail.sum())
    label = np.where(rng.rand(images) < 0.6, preferred[group], rng.choice(classes, images, p=tail / tail.sum()))
    label[:classes] = np.arange(classes)
    return np.asarray([f"g{index}" for index in group]), label


def shares(labels: Any, held: Any) -> Any:
    images = np.bincount(labels)
    return np.bincount(labels[held], minlength=len(images)) / images


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 8),
    groups=st.integers(1, 40),
    images=st.integers(8, 300),
    fraction=st.sampled_from([0.05, 0.1, 0.2, 0.5, 0.9]),
)
def test_groups_never_cross_and_every_class_is_trainable(
    seed: int, classes: int, groups: int, images: int, fraction: float
) -> None:
    names, labels = sample(seed, classes, groups, images)
    held = choose_groups(names, labels, fraction, "test")
    assert not set(names[held]) & set(names[~held])
    assert set(labels[~held]) == set(labels)
    shuffled = np.random.RandomState(seed).permutation(images)
    assert (choose_groups(names[shuffled], labels[shuffled], fraction, "test") == held[shuffled]).all()


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize(("classes", "groups", "images"), [(5, 30, 600), (10, 60, 1000), (17, 344, 5000)])
def test_balance_against_the_folds_of_scikit_learn(classes: int, groups: int, images: int) -> None:
    """The best of five folds is rarely nearer to a fifth of every class, and a fold on average never is."""
    better = []
    for seed in range(10):
        names, labels = sample(seed, classes, groups, images)
        ours = ((shares(labels, choose_groups(names, labels, 0.2, "test")) - 0.2) ** 2).sum()
        folds = [shares(labels, test) for _, test in StratifiedGroupKFold(5).split(labels, labels, names)]
        distances = [((fold - 0.2) ** 2).sum() for fold in folds]
        trainable = [distance for distance, fold in zip(distances, folds, strict=True) if fold.max() < 1]
        better.append(not trainable or ours <= min(trainable))
        assert ours < np.mean(distances)
    assert sum(better) >= 8


def test_another_salt_holds_out_other_groups() -> None:
    names, labels = sample(0, 4, 60, 2000)
    chosen = [choose_groups(names, labels, 0.2, salt).tolist() for salt in ("test", "validation 0", "validation 1")]
    assert len(set(map(tuple, chosen))) == 3


def test_many_groups_take_seconds_at_most() -> None:
    labels = np.random.RandomState(0).randint(0, 300, 50_000)
    held = choose_groups(np.arange(50_000).astype(np.str_), labels, 0.2, "test")
    assert abs(shares(labels, held) - 0.2).max() < 0.05


def raw_data(train: RawSplit, test: RawSplit | None = None) -> RawData:
    return RawData(["a", "b"], train, test)


def files(names: list[str], labels: list[int]) -> RawSplit:
    return RawSplit(FileImages(Path("/no/such"), names, "training"), np.asarray(labels), np.arange(len(names)))


def test_a_pattern_on_the_path() -> None:
    names = ["a/cam1_1.png", "a/cam1_2.png", "b/cam2_1.png", "b/other.png", "b/other2.png"]
    raw = raw_data(files(names, [0, 0, 1, 1, 1]))
    facts = read_groups(raw, r"path:(cam\d+)_")
    assert facts is not None and (facts.groups, facts.alone, facts.shared) == (2, 2, 0)
    assert raw.train.groups is not None
    assert raw.train.groups[:3].tolist() == ["cam1", "cam1", "cam2"]
    assert len(set(raw.train.groups.tolist())) == 4
    assert raw.notes == [r"2 images have no group by split_by='path:(cam\\d+)_': each is a group of its own."]
    whole = raw_data(files(names, [0, 0, 1, 1, 1]))
    read_groups(whole, r"path:cam\d+|other")
    assert whole.train.groups is not None
    assert whole.train.groups.tolist() == ["cam1", "cam1", "cam2", "other", "other"]


def test_groups_in_both_of_the_users_splits_are_counted() -> None:
    raw = raw_data(files(["a/s1_1", "a/s2_1", "b/s3_1"], [0, 0, 1]), files(["a/s2_9", "b/s3_9"], [0, 1]))
    facts = read_groups(raw, r"path:(s\d)_")
    assert facts is not None and (facts.groups, facts.shared) == (3, 2)
    assert raw.notes == ["2 groups have images in more than one split of the data set."]


def test_groups_that_the_data_give_need_no_option() -> None:
    raw = raw_data(files(["a/1", "a/2", "b/3"], [0, 0, 1]))
    raw.train.groups = np.asarray([4, 4, 9])
    facts = read_groups(raw, None)
    assert facts is not None and facts.groups == 2
    assert read_groups(raw_data(files(["a/1", "b/3"], [0, 1])), None) is None


@pytest.mark.parametrize(
    ("split_by", "message"),
    [
        ("camera", r"^split_by='camera' is not a column of this data set"),
        ("path:(", r"^split_by='path:\(' is not a regular expression"),
        ("path:", "has no pattern"),
        ("path:xyz", "matches no path, for instance not 'a/1.png': change the pattern"),
        (r"path:\.png", r"puts every image in one group, '\.png'"),
    ],
)
def test_what_cannot_group(split_by: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_groups(raw_data(files(["a/1.png", "b/2.png"], [0, 1])), split_by)
    pixels = RawSplit(ArrayImages(np.zeros((2, 2, 2, 3), np.uint8), "training"), np.asarray([0, 1]), np.arange(2))
    with pytest.raises(UserError, match="needs images with a path" if split_by == "path:xyz" else "split_by="):
        read_groups(raw_data(pixels), split_by)


@pytest.mark.usefixtures("own_cache")
def test_a_column_of_a_table(make_table: Any, tmp_path: Path) -> None:
    labels = [0, 1] * 60
    senders = [index // 3 for index in range(120)]
    table = make_table(labels).add_column("sender", senders)
    (tmp_path / "set").mkdir()
    table.to_parquet(str(tmp_path / "set" / "train-0.parquet"))
    data = load_data(tmp_path / "set", split_by="sender", val_fraction=0.2, duplicates="off")
    assert data.val is not None
    column = np.asarray(senders)
    splits = [set(column[split.rows]) for split in (data.train, data.test, data.val)]
    assert not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])
    assert len(splits[0] | splits[1] | splits[2]) == 40
    assert 16 <= len(data.test) <= 32
    with pytest.raises(UserError, match=r"^split_by='camera' is not a column: give one of image, label, sender, "):
        load_data(tmp_path / "set", split_by="camera")


@pytest.mark.usefixtures("own_cache")
def test_empty_cells_are_groups_of_their_own(make_table: Any, tmp_path: Path) -> None:
    table = make_table([0, 1] * 20)
    table = table.add_column("who", [None if index % 4 else f"p{index % 3}" for index in range(40)])
    datasets.DatasetDict(train=table).save_to_disk(str(tmp_path / "set"))
    data = load_data(tmp_path / "set", split_by="who")
    assert "30 images have no group by split_by='who'" in " ".join(data.notes)


def test_digits_have_neither_columns_nor_paths() -> None:
    for split_by in ("camera", "path:x"):
        with pytest.raises(UserError, match=r"^split_by="):
            load_data("digits_lt", split_by=split_by)


@pytest.mark.parametrize("split_by", ["path:(", "path:"])
def test_a_pattern_is_checked_before_anything_is_read(split_by: str) -> None:
    with pytest.raises(UserError, match=r"^split_by='path:"):
        DataOptions(data="nowhere", split_by=split_by)
