"""The embedded images of clothes: counts, sizes, checksums, senders, and how the script chose them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import make_clothing_small
import numpy as np
import pytest

import glmc_zoo.data
from glmc_zoo.data import list_data, load_data
from glmc_zoo.errors import UserError

FOLDER = Path(glmc_zoo.data.__file__).parent / "embedded" / "clothing_small"
FILES = {split: FOLDER / "data" / make_clothing_small.file_name(split) for split in ("train", "test")}


@pytest.fixture(scope="module")
def clothes() -> glmc_zoo.data.LongTailData:
    return load_data("clothing_small")


def test_files_are_those_of_the_script_and_small() -> None:
    for split, path in FILES.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == make_clothing_small.SHA256[split]
    assert sum(path.stat().st_size for path in FILES.values()) <= 4_000_000


def test_counts_sizes_and_senders(clothes: glmc_zoo.data.LongTailData) -> None:
    assert len(clothes.train) == sum(clothes.class_counts) <= 1200
    assert sorted(clothes.class_counts, reverse=True) == make_clothing_small.tail_counts(17)
    assert (max(clothes.class_counts), min(clothes.class_counts)) == (200, 5)
    assert min(clothes.test.class_counts) >= 5 and max(clothes.test.class_counts) == 30
    for split in (clothes.train, clothes.test):
        assert {min(image.size) for image in split.images(range(len(split)))} == {128}
    assert clothes.class_names[14] == "T-Shirt" and clothes.class_counts[14] == 200
    assert (clothes.image_size, clothes.augment, clothes.facts.license) == (128, "large", "cc0-1.0")
    assert clothes.notes == []


def test_no_sender_is_in_two_splits() -> None:
    import pyarrow.parquet

    senders = [set(pyarrow.parquet.read_table(path)["sender"].to_pylist()) for path in FILES.values()]
    assert not senders[0] & senders[1]
    held_out = load_data("clothing_small", val_fraction=0.2)
    assert held_out.val is not None and held_out.groups is not None
    assert held_out.facts.inventory is not None and held_out.facts.inventory.grouped_by == "sender"
    assert not {int(group) for group in held_out.groups} & senders[1]
    assert len(set(held_out.groups)) < len(senders[0])  # some senders are held out as a whole


def test_readme_has_the_counts_and_checksums(clothes: glmc_zoo.data.LongTailData) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    rows = {name: (int(train), int(test)) for name, train, test in lines}
    counts = zip(clothes.class_counts, clothes.test.class_counts, strict=True)
    assert rows == dict(zip(clothes.class_names, counts, strict=True))
    for split, path in FILES.items():
        assert f"| data/{path.name} | {path.stat().st_size} | {make_clothing_small.SHA256[split]} |" in text
    assert "CC0 1.0" in text and "alexeygrigorev/clothing-dataset" in text


def test_other_folders_are_refused() -> None:
    assert list_data()["clothing_small"].embedded
    with pytest.raises(UserError, match=r"^data_dir='x' has no effect: clothing_small comes with the package; "):
        load_data("clothing_small", data_dir="x")


def test_senders_take_turns() -> None:
    senders = [7, 7, 7, 8, 9, 9]
    digests = ["c", "a", "b", "e", "f", "d"]
    assert make_clothing_small.take_turns(list(range(6)), senders, digests, 3) == [1, 3, 5]
    assert make_clothing_small.take_turns(list(range(6)), senders, digests, 4) == [1, 2, 3, 5]
    assert make_clothing_small.take_turns([0, 4], senders, digests, 9) == [0, 4]
    assert make_clothing_small.tail_counts(2) == [200, 5]


def test_the_choice_is_that_of_the_full_set(shared: Path) -> None:
    """The chosen images are those of the script, whatever version of Pillow scales them."""
    import pyarrow.parquet

    for path in FILES.values():
        full = pyarrow.parquet.read_table(shared / "data" / "clothing" / "data" / path.name)
        small = pyarrow.parquet.read_table(path)
        labels, senders = (np.array(full[name].to_pylist()) for name in ("label", "sender"))
        digests = [hashlib.sha256(image["bytes"]).hexdigest() for image in full["image"].to_pylist()]
        counts = np.bincount(small["label"].to_pylist())
        rows = sorted(
            row
            for label, count in enumerate(counts)
            for row in make_clothing_small.take_turns(
                np.flatnonzero(labels == label).tolist(), senders.tolist(), digests, int(count)
            )
        )
        assert labels[rows].tolist() == small["label"].to_pylist()
        assert senders[rows].tolist() == small["sender"].to_pylist()
