"""Lists: every way of writing them, what is refused, and the official ones against their READMEs."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from glmc_zoo.data.catalogue import list_data
from glmc_zoo.data.official.facts import IMAGENET_LT, INAT18, PLACES_LT, ListFacts, counts_digest
from glmc_zoo.data.official.lists import differences, read_list
from glmc_zoo.errors import UserError

PLAIN = b"train/a/1.jpg 0\ntrain/b c/2 3.jpg 7\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        PLAIN.rstrip(),
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        b"\n" + PLAIN.replace(b"\n", b"\n \t\n"),
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.replace(b" 0", b"\t0"),
        gzip.compress(PLAIN, mtime=0),
    ],
    ids=["plain", "no last newline", "crlf", "cr", "blank lines", "byte order mark", "tab", "packed"],
)
def test_every_way_of_writing_a_list(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / ("list.txt.gz" if data[:2] == b"\x1f\x8b" else "list.txt")
    path.write_bytes(data)
    listed = read_list(path)
    assert listed.paths.to_pylist() == ["train/a/1.jpg", "train/b c/2 3.jpg"]
    assert listed.labels.tolist() == [0, 7]
    assert listed.labels.dtype == np.int64
    assert listed.file == "list.txt"
    assert listed.sha256 == hashlib.sha256(PLAIN if path.suffix == ".gz" else data).hexdigest()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a.jpg 0\n\nb.jpg\n", "Line 3 of the list list.txt is 'b.jpg': each line must be a path and a class number"),
        (b"a.jpg 0\nb.jpg cat\n", "Line 2 of the list list.txt is 'b.jpg cat'"),
        (b"a.jpg -1\n", "Line 1 of the list list.txt is 'a.jpg -1'"),
        (b"a.jpg 1.5\n", "Line 1 of the list list.txt is 'a.jpg 1.5'"),
        (b"a.jpg 1234567890123\n", "Line 1 of the list list.txt is 'a.jpg 1234567890123'"),
        (b"7\n", "Line 1 of the list list.txt is '7'"),
        (b" \r\n\n", "The list list.txt names no image"),
        (b"", "The list list.txt names no image"),
        (b"\xff\xfe\x00", "cannot be read: it is not text in UTF-8 or is damaged"),
        (gzip.compress(PLAIN, mtime=0)[:-12], "cannot be read: it is not text in UTF-8 or is damaged"),
        (b'{"images": [], "annotations": []}', "names no image"),
        (b'{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}', "is JSON but not an annotation file"),
        (b'{"images": 3}', "is JSON but not an annotation file"),
        (b'{"images": ', "is JSON but not an annotation file"),
    ],
)
def test_what_is_no_list(data: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_list(tmp_path / "list.txt")
    assert sentence in str(caught.value)
    assert str(caught.value) == caught.value.sentence


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_list(tmp_path / "none.txt")


def test_annotations_go_with_their_images(tmp_path: Path) -> None:
    images = [{"id": 30 + i, "file_name": f"train_val2018/Aves/{i}/{i}.jpg"} for i in range(3)]
    annotations = [{"id": 9 - i, "image_id": 30 + i, "category_id": 5 * i} for i in (2, 0, 1)]
    path = tmp_path / "train2018.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    listed = read_list(path)
    assert listed.paths.to_pylist() == [image["file_name"] for image in images]
    assert listed.labels.tolist() == [0, 5, 10]
    assert listed.line(1) == "train2018.json"


@pytest.mark.parametrize(
    ("file", "facts"),
    [
        ("imagenet_lt/ImageNet_LT_val", IMAGENET_LT.val),
        ("imagenet_lt/ImageNet_LT_test", IMAGENET_LT.test),
        ("inat18/iNaturalist18_val", INAT18.test),
        ("places_lt/Places_LT_train", PLACES_LT.train),
        ("places_lt/Places_LT_val", PLACES_LT.val),
        ("places_lt/Places_LT_test", PLACES_LT.test),
    ],
)
def test_the_official_lists_are_known(shared: Path, file: str, facts: ListFacts, tmp_path: Path) -> None:
    path = shared / "data" / f"{file}.txt.gz"
    listed = read_list(path)
    assert differences(listed, facts) == []
    counts = np.bincount(listed.labels)
    groups = ((counts > 100).sum(), ((counts >= 20) & (counts <= 100)).sum(), (counts < 20).sum())
    assert (len(listed.labels), counts.max(), counts.min()) == (facts.lines, facts.largest, facts.smallest)
    assert (groups, listed.sha256, listed.file) == (facts.groups, facts.sha256, facts.file)
    readme = (shared / "data" / file.split("/")[0] / "README.md").read_text()
    assert listed.sha256 in readme
    assert f"{facts.lines:,}" in readme
    # The same images under another prefix are official, and said to be written otherwise; one image less is not.
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    other = tmp_path / "other.txt"
    other.write_text("\n".join(f"elsewhere/{line}" for line in lines))
    (note,) = differences(read_list(other), facts)
    assert f"differs from the official file (SHA-256 {read_list(other).sha256[:12]}" in note
    assert str(facts.sha256)[:12] in note
    other.write_text("\n".join(lines[1:]))
    (note,) = differences(read_list(other), facts)
    assert f"not the official list: it has {facts.lines - 1:,} images" in note
    assert f"the official one has {facts.lines:,} images" in note


@pytest.mark.parametrize("name", ["imagenet_lt", "inat18"])
def test_the_published_class_counts_have_the_known_digest(shared: Path, name: str) -> None:
    path = shared / "data" / name / "train_class_counts.txt"
    counts = np.loadtxt(path, dtype=int)
    entry = list_data()[name]
    assert entry.official is not None
    facts = entry.official.train
    assert counts_digest(counts.tolist()) == facts.counts_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (counts.sum(), counts.max(), counts.min(), len(counts)) == (
        *(facts.lines, facts.largest, facts.smallest),
        entry.num_classes,
    )
    assert ((counts > 100).sum(), ((counts >= 20) & (counts <= 100)).sum(), (counts < 20).sum()) == facts.groups


@pytest.mark.parametrize("name", ["imagenet_lt", "inat18"])
def test_a_list_with_the_published_counts_is_official_by_its_counts(shared: Path, name: str, tmp_path: Path) -> None:
    counts = np.loadtxt(shared / "data" / name / "train_class_counts.txt", dtype=int)
    official = list_data()[name].official
    assert official is not None
    labels = np.repeat(np.arange(len(counts)), counts)
    path = tmp_path / official.train.file
    path.write_text("".join(f"{number}.jpg {label}\n" for number, label in enumerate(labels)))
    notes = differences(read_list(path), official.train)
    # The text of iNaturalist's training list is not known, so there is nothing to compare.
    assert len(notes) == (name == "imagenet_lt")
    labels[:2] = 1  # as many images and classes, and other counts
    path.write_text("".join(f"{number}.jpg {label}\n" for number, label in enumerate(labels)))
    assert "is not the official list" in differences(read_list(path), official.train)[0]


def test_facts_of_the_catalogue_belong_together() -> None:
    for entry in list_data().values():
        if entry.official is None:
            # A set without a list is thinned, unless its images are long-tailed and come with the package.
            assert (entry.default_imbalance_factor is None) == (entry.name == "clothing_small")
            continue
        official = entry.official
        assert entry.default_imbalance_factor is None
        assert (official.train.largest, entry.imbalance_type) == (entry.max_count, "pareto")
        assert official.train.largest / official.train.smallest == pytest.approx(official.imbalance_factor)
        assert f"{official.train.lines:,}" in entry.description
        for facts in filter(None, (official.train, official.val, official.test)):
            assert sum(facts.groups) == entry.num_classes
            if facts.largest == facts.smallest:
                assert facts.lines == entry.num_classes * facts.largest
                assert facts.counts_sha256 == counts_digest([facts.largest] * entry.num_classes)
