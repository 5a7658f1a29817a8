"""The one walk: which files are images, which links are followed, and what is counted as left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from glmc_zoo.data.reading.walk import (
    BROKEN,
    HELPER,
    HIDDEN,
    NOT_AN_IMAGE,
    OUTSIDE,
    READ_ALREADY,
    SPECIAL,
    TO_HIDDEN,
    walk_images,
)
from glmc_zoo.errors import UserError


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (1, 2, 3)).save(path, "PNG")
    return path


def left_out(root: Path, **options: bool) -> dict[str, int]:
    return {one.reason: one.files for one in walk_images(root, **options).left_out.facts()}


def test_images_by_suffix_and_by_content(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "deep/er/c.webp", "no_suffix", "photo.dat"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "bare").mkdir()
    walk = walk_images(tmp_path)
    assert walk.folders == {".": ["a.JPG", "b.png", "no_suffix", "photo.dat"], "deep/er": ["c.webp"]}
    assert (walk.images, walk.bare) == (5, ["bare"])
    assert left_out(tmp_path) == {NOT_AN_IMAGE: 2}


def test_tables_are_remembered_and_counted(tmp_path: Path) -> None:
    image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "list.CSV").write_text("x")
    (tmp_path / "list.jsonl").write_text("x")
    walk = walk_images(tmp_path)
    assert sorted(walk.tables) == ["a/list.CSV", "list.jsonl"]
    assert walk.left_out.count(NOT_AN_IMAGE) == 2


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_that_programs_make(tmp_path: Path, name: str) -> None:
    image(tmp_path / "ant" / "1.png")
    for index in range(3):
        image(tmp_path / "ant" / name / "deep" / f"{index}.png")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    walk = walk_images(tmp_path)
    assert walk.folders == {"ant": ["1.png"]}
    assert left_out(tmp_path) == {HELPER: 4}
    assert walk.left_out.facts()[0].examples == ["Thumbs.db", f"ant/{name}/"]


def test_hidden_files_and_folders(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    image(tmp_path / ".ipynb_checkpoints" / "1-checkpoint.png")
    image(tmp_path / "._1.png")
    (tmp_path / ".nothing").mkdir()
    assert walk_images(tmp_path).images == 1
    assert left_out(tmp_path) == {HIDDEN: 2}
    # The folder that the user names may be hidden.
    assert walk_images(tmp_path / ".ipynb_checkpoints").images == 1


def test_links_to_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    outside = image(tmp_path / "other.png")
    image(data / "ant" / "1.png")
    (data / "ant" / "inside.png").symlink_to("1.png")
    (data / "ant" / "out.png").symlink_to(outside)
    (data / "ant" / "gone.png").symlink_to("nothing.png")
    (data / "ant" / "loop.png").symlink_to("loop.png")
    walk = walk_images(data)
    assert walk.folders == {"ant": ["1.png", "inside.png"]}
    assert left_out(data) == {BROKEN: 2, OUTSIDE: 1}
    walk = walk_images(data, follow_links=True)
    assert walk.folders == {"ant": ["1.png", "inside.png", "out.png"]}


def test_links_to_folders(tmp_path: Path) -> None:
    data = tmp_path / "data"
    image(tmp_path / "other" / "2.png")
    image(data / "ant" / "1.png")
    image(data / ".store" / "3.png")
    (data / "ant" / "up").symlink_to("..")
    (data / "ant" / "here").symlink_to(".")
    (data / "again").symlink_to("ant")
    (data / "twice").symlink_to("again")
    (data / "out").symlink_to(tmp_path / "other")
    (data / "out_too").symlink_to(tmp_path / "other")
    (data / "stored").symlink_to(".store")
    walk = walk_images(data)
    assert walk.folders == {"ant": ["1.png"]}
    assert left_out(data) == {READ_ALREADY: 4, OUTSIDE: 2, HIDDEN: 1, TO_HIDDEN: 1}
    walk = walk_images(data, follow_links=True)
    assert walk.folders == {"ant": ["1.png"], "out": ["2.png"], "stored": ["3.png"]}
    assert walk.left_out.count(READ_ALREADY) == 5


def test_a_link_to_a_sibling_with_a_longer_name_leads_out(tmp_path: Path) -> None:
    image(tmp_path / "data" / "1.png")
    image(tmp_path / "data2" / "2.png")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "data2" / "2.png")
    assert left_out(tmp_path / "data") == {OUTSIDE: 1}


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("pipe.png")
    assert walk_images(tmp_path).images == 1
    assert left_out(tmp_path) == {SPECIAL: 2}


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    image(tmp_path / "1.png")
    shutil.copy(tmp_path / "1.png", folder + b"/\xff.png")
    with open(folder + b"/\xfe.txt", "wb"):
        pass
    walk = walk_images(tmp_path)
    assert walk.folders == {".": ["1.png"], "caf\udce9": ["\udcff.png"]}
    assert walk.left_out.facts()[0].examples == ["caf\\xe9/\\xfe.txt"]


WALK = """
import sys
from pathlib import Path
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError
try:
    print(walk_images(Path(sys.argv[1])).images)
except UserError as error:
    print(error.sentence)
"""


@pytest.mark.processes
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Without the right to read it, and without the right to enter it; root may do both, so another user asks."""
    image(tmp_path / "data" / "ant" / "1.png")
    image(tmp_path / "data" / "bee" / "1.png")
    (tmp_path / "data" / "ant").chmod(mode)
    words = [sys.executable, "-c", WALK, str(tmp_path / "data")]
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv to give up the rights of root")
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    (tmp_path / "data" / "ant").chmod(0o755)
    assert done.stdout.strip() == (
        f"The folder {tmp_path}/data/ant cannot be read (Permission denied): change its permissions, or move it out "
        "of the data."
    ), done.stderr


def test_a_broken_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image(tmp_path / "ant" / "1.png")
    scandir = os.scandir

    def broken(path: str) -> object:
        if str(path).endswith("ant"):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(UserError, match=r"ant cannot be read \(Input/output error\): change its permissions"):
        walk_images(tmp_path)


def test_links_to_images_of_the_folder_are_remembered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    image(tmp_path / "other.png")
    image(data / "ant" / "1.png")
    (data / "ant" / "2.png").symlink_to("1.png")
    (data / "3.png").symlink_to("ant/2.png")
    (data / "4.png").symlink_to("../other.png")
    assert walk_images(data, follow_links=True).links == {"ant/2.png": "ant/1.png", "3.png": "ant/1.png"}
