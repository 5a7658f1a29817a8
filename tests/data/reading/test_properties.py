"""Random trees of folders: every file is in one split or counted, whatever reads them, and files move no others."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import list_images
from glmc_zoo.data.reading.label_files import list_csv
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.tables import raw_from_tables
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError
from glmc_zoo.text import escaped

CLASSES = [b"ant", b"Ant", b"None", b"007", "caf\u00e9".encode(), "cafe\u0301".encode(), b"caf\xe9", b"images", b"x y"]
SPLITS = [b"train", b"test", b"Training", b"test_set", b"val", b"seg_train", b"eval"]
INNER = [b"2020", b"cam1", b"deep", b"test tube"]
OTHERS = [b"@eaDir", b".hidden", b"__MACOSX", b"docs", b"data", b"\xff"]
NAMES = [b"1.png", b"2.jpg", b"3.PNG", b"photo", b"a.txt", b".4.png", b"\xff.png", b"Thumbs.db", "e\u0301.png".encode()]


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2, 2), (9, 8, 7)).save(file, kind)
    return file.getvalue()


CONTENTS = [encoded("PNG"), encoded("PNG"), encoded("JPEG"), b"text", b""]
LINKS = ["file", "folder", "up", "out", "broken", "loop"]


@dataclass(frozen=True)
class Tree:
    files: dict[bytes, bytes]
    links: dict[bytes, str]

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """The tree in a folder of its own."""
        top = Path(tempfile.mkdtemp())
        root = os.fsencode(top / "set")
        try:
            (top / "outside.png").write_bytes(CONTENTS[0])
            os.mkdir(root)
            for path, content in self.files.items():
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "wb") as file:
                    file.write(content)
            first = next(iter(self.files))
            for path, kind in self.links.items():
                above = os.path.join(root, os.path.dirname(path))
                link = os.path.join(root, path)
                if os.path.lexists(link) or not os.path.isdir(above):
                    continue
                targets = {
                    "file": os.path.join(root, first),
                    "folder": os.path.dirname(os.path.join(root, first)),
                    "up": b"..",
                    "out": os.fsencode(top / "outside.png"),
                    "broken": b"nothing",
                    "loop": os.path.basename(path),
                }
                os.symlink(targets[kind], link)
            yield top / "set"
        finally:
            shutil.rmtree(top)


@st.composite
def trees(draw: st.DrawFn, plain: bool = False) -> Tree:
    """A tree of class folders, with or without splits; unless ``plain``, with other things in it."""
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    splits = draw(
        st.sampled_from([[b""], [b""], [b"train", b"test"], [b"Training", b"test_set"], [b"a/train", b"a/val"]])
    )
    names = NAMES[:1] + NAMES[-1:] if plain else NAMES
    files: dict[bytes, bytes] = {}
    for split in splits:
        for label in classes:
            inner = draw(st.sampled_from([b"", b"", b"2020", b"cam1/deep"]))
            path = b"/".join(part for part in (split, label, inner) if part)
            files[path + b"/0.png"] = CONTENTS[0]
            for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
                files[path + b"/" + name] = CONTENTS[0] if plain else draw(st.sampled_from(CONTENTS))
    if plain:
        return Tree(files, {})
    folder = st.lists(st.sampled_from(SPLITS + CLASSES + INNER + OTHERS), max_size=3).map(b"/".join)
    for _ in range(draw(st.integers(0, 2))):
        path = b"/".join(filter(None, [draw(folder), draw(st.sampled_from(NAMES))]))
        if not any(other.startswith(path + b"/") or path.startswith(other + b"/") for other in files):
            files[path] = draw(st.sampled_from(CONTENTS))
    links = {
        os.path.dirname(draw(st.sampled_from(sorted(files)))) + b"/link%d" % index + suffix: draw(
            st.sampled_from(LINKS)
        )
        for index, suffix in enumerate(draw(st.lists(st.sampled_from([b"", b".png"]), max_size=2)))
    }
    return Tree(files, {path.lstrip(b"/"): kind for path, kind in links.items()})


def read(root: Path) -> FileListing | None:
    """What is read; ``None`` for a tree that is refused in one sentence."""
    try:
        return list_images(walk_images(root), DataOptions())
    except UserError as error:
        assert str(error) == error.sentence and "\n" not in str(error)
        str(error).encode()  # it can be printed
        return None


def splits(listing: FileListing) -> dict[str, tuple[str, str]]:
    """Split and class of each file."""
    found: dict[str, tuple[str, str]] = {}
    for name, rows in listing.splits.items():
        for path, label in zip(rows.paths, rows.labels, strict=True):
            assert path not in found
            found[path] = (name, label)
    return found


def entries(root: Path) -> int:
    """Files and links below a folder, by a walk of its own."""
    count = 0
    for folder, folders, files in os.walk(os.fsencode(root)):
        count += len(files) + sum(os.path.islink(os.path.join(folder, name)) for name in folders)
    return count


bounded = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def test_every_file_is_in_one_split_or_left_out() -> None:
    outcomes = Counter[bool]()

    @bounded
    @given(trees())
    def check(tree: Tree) -> None:
        with tree.on_disk() as root:
            listing = read(root)
            outcomes[listing is not None] += 1
            event("read" if listing else "refused")
            if listing is None:
                return
            found = splits(listing)
            assert len(found) + listing.left_out.files == entries(root)
            for path in found:
                assert os.path.isfile(root / path)
            for facts in listing.left_out.facts():
                assert facts.files > 0 and facts.examples
                "".join([facts.reason, *facts.examples]).encode()

    check()
    assert outcomes[True] >= outcomes[False], outcomes


def test_classes_do_not_depend_on_the_reader() -> None:
    outcomes = Counter[bool]()

    @bounded
    @given(trees(plain=True))
    def check(tree: Tree) -> None:
        with tree.on_disk() as root:
            listing = read(root)
            found = None if listing is None else splits(listing)
            listable = found is not None and all(escaped(path) == path for path in found)
            outcomes[listable] += 1
            if listing is None or found is None or not listable:
                return
            lines = "".join(f'"{path}","{label}"\n' for path, (_, label) in found.items())
            table = root / "list.csv"
            table.write_text(f"file_name,label\n{lines}", encoding="utf-8")
            assert splits(list_csv(table, DataOptions())) == found
            table.rename(root / "metadata.csv")
            assert splits(list_images(walk_images(root), DataOptions())) == found
            (root / "metadata.csv").unlink()
            folders = {name: os.path.commonpath([os.path.dirname(path) for path in rows.paths] or [""])
                       for name, rows in listing.splits.items()}  # fmt: skip
            if not listing.unsplit:
                card = "".join(f"  - split: {name}\n    path: {folder}/**\n" for name, folder in folders.items())
                (root / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{card}---\n")
                assert splits(list_images(walk_images(root), DataOptions())) == found

    check()
    assert outcomes[True] >= outcomes[False], outcomes


@settings(bounded, max_examples=15)
@given(trees(plain=True))
def test_tables_have_the_classes_of_folders(tree: Tree) -> None:
    import datasets

    with tree.on_disk() as root:
        listing = read(root)
        if listing is None:
            return
        tables = {}
        for name, rows in listing.splits.items():
            files = [{"bytes": (root / path).read_bytes(), "path": None} for path in rows.paths]
            labels = [unicodedata.normalize("NFD", label) for label in rows.labels]
            tables[name] = datasets.Dataset.from_dict(
                {"image": files, "label": labels},
                features=datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")}),
            )
        raw = raw_from_tables(tables, DataOptions())
        for split, rows in zip(raw.splits, (listing.splits[one.source] for one in raw.sources), strict=True):
            assert [raw.class_names[label] for label in split.labels] == rows.labels


@settings(bounded)
@given(trees(), st.sampled_from([b"new", b"new.png", b"new.txt", b".new.png"]), st.integers(0, 50))
def test_one_more_file_moves_no_other(tree: Tree, name: bytes, position: int) -> None:
    with tree.on_disk() as root:
        before = read(root)
        if before is None:
            return
        files = [path for rows in before.splits.values() for path in rows.paths]
        beside = os.path.dirname(os.path.join(os.fsencode(root), os.fsencode(files[position % len(files)])))
        with open(os.path.join(beside, name), "wb") as file:
            file.write(CONTENTS[0])
        after = read(root)
        event("read" if after else "refused")
        if after is not None:
            found = splits(after)
            assert {path: found[path] for path in splits(before)} == splits(before)


@pytest.mark.parametrize("name", [os.fsdecode(one) for one in SPLITS])
def test_names_of_splits_are_read(name: str) -> None:
    files = {os.fsencode(f"{split}/{label}/1.png"): CONTENTS[0] for split in ("train", name) for label in ("a", "b")}
    with Tree(files, {}).on_disk() as root:
        listing = read(root)
        assert listing is not None or name in ("Training", "seg_train")
