"""Which images a prediction takes: files, folders, CSV files and patterns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.image_paths import FoundImages, find_images

Find = Callable[..., FoundImages]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths below are relative to ``tmp_path``."""
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(*given: str, **options: bool) -> list[str]:
    return [path.as_posix() for path in find_images(given, **options).files]


def refusal(*given: str) -> str:
    with pytest.raises(UserError) as caught:
        find_images(given)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ files and folders
def test_files_and_folders(tmp_path: Path) -> None:
    touch("in/b.JPG", "in/sub/deep/a.tiff", "in/sub/c.webp", "in/sub/notes.txt", "in/.hidden/d.png", "in/sub/._e.png")
    touch("in/f.weird", "in/@eaDir/b.JPG/thumb.jpg")
    os.symlink(tmp_path / "in" / "sub", tmp_path / "in" / "zlink")
    images = find_images(["in/f.weird", "in", "in/b.JPG", "./in/../in/b.JPG", str(tmp_path / "in" / "b.JPG")])
    # The link leads to a folder that is read already; a file that was named is taken whatever it is, and each once.
    assert [path.as_posix() for path in images.files] == [
        "in/f.weird",
        "in/b.JPG",
        "in/sub/c.webp",
        "in/sub/deep/a.tiff",
    ]
    assert images.left_out_line() == (
        "left out: 2 hidden (in/.hidden/, in/sub/._e.png); 2 not an image (in/f.weird, in/sub/notes.txt); "
        "1 linking to a folder that is read under its own name (in/zlink); "
        "1 made by a program for itself (in/@eaDir/)"
    )


def test_an_image_is_known_by_its_content_too() -> None:
    touch("in/a.txt")
    Image.new("RGB", (4, 4)).save("in/camera.jfif", "JPEG")
    Image.new("RGB", (4, 4)).save("in/no_suffix", "PNG")
    assert found("in") == ["in/camera.jfif", "in/no_suffix"]


def test_links_out_of_a_folder_are_followed_when_asked() -> None:
    touch("elsewhere/a.png", "in/b.png")
    os.symlink(Path("elsewhere").absolute(), "in/link")
    assert found("in") == ["in/b.png"]
    assert found("in", follow_links=True) == ["in/b.png", "in/link/a.png"]
    assert found("in/link") == ["in/link/a.png"]  # named by the user


def test_two_links_to_one_image_are_two_images() -> None:
    touch("in/a.png")
    os.symlink("a.png", "in/b.png")
    assert found("in") == ["in/a.png", "in/b.png"]


def test_names_that_are_not_utf8() -> None:
    name = os.fsdecode(b"in/caf\xe9.png")
    touch(name)
    assert [os.fsencode(path) for path in find_images(["in"]).files] == [b"in/caf\xe9.png"]
    assert found(os.fsdecode(b"in/caf\xe9*")) == found("in") == found(name)
    assert "images='caf\\\\xe9' does not exist" in refusal(os.fsdecode(b"caf\xe9"))


def test_nothing_is_found() -> None:
    touch("in/a.txt", "in/.b.png")
    assert "images='nowhere' does not exist: give image files" in refusal("nowhere")
    assert "does not exist: give image files" in refusal("x" * 5000)
    message = refusal("in")
    assert message.startswith(
        "No image was found in in (left out: 1 hidden (in/.b.png); 1 not an image (in/a.txt)): give"
    )


# ------------------------------------------------------------------------------------------------ patterns
@pytest.fixture
def tree() -> None:
    touch("p/a1.png", "p/a2.png", "p/b.png", "p/n.txt", "p/.h.png", "p/s/a3.png", "p/s/t/a4.png", "p/u/a5.png")
    touch("p/@eaDir/a1.png", "p/[x].png", "p/x.png", "p/y.csv")
    os.symlink(".", "p/u/loop")


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/a*.png", ["p/a1.png", "p/a2.png"]),
        ("p/a?.png", ["p/a1.png", "p/a2.png"]),
        ("p/a[2-9].png", ["p/a2.png"]),
        (
            "p/*",
            ["p/[x].png", "p/a1.png", "p/a2.png", "p/b.png", "p/s/a3.png", "p/s/t/a4.png", "p/u/a5.png", "p/x.png"],
        ),
        ("p/s*", ["p/s/a3.png", "p/s/t/a4.png"]),
        ("p/*/a*.png", ["p/s/a3.png", "p/u/a5.png"]),
        ("p/@eaDir/*.png", ["p/@eaDir/a1.png"]),  # named by the user
        ("p/.*.png", ["p/.h.png"]),
        ("p/**/a*.png", ["p/a1.png", "p/a2.png", "p/s/a3.png", "p/s/t/a4.png", "p/u/a5.png"]),
        ("**/a4.png", ["p/s/t/a4.png"]),
        ("p/**/t", ["p/s/t/a4.png"]),
        (
            "p/**",
            ["p/[x].png", "p/a1.png", "p/a2.png", "p/b.png", "p/s/a3.png", "p/s/t/a4.png", "p/u/a5.png", "p/x.png"],
        ),
        ("?/**/s/*.png", ["p/s/a3.png"]),
        ("p/[x].png", ["p/[x].png"]),  # a file of that name comes first
    ],
)
def test_a_pattern(pattern: str, expected: list[str]) -> None:
    assert found(pattern) == expected


@pytest.mark.usefixtures("tree")
def test_a_pattern_says_what_it_leaves_out() -> None:
    os.symlink("nothing", "p/broken.png")
    os.mkfifo("p/pipe.png")
    assert find_images(["p/*"]).left_out_line() == (
        "left out: 2 not an image (p/n.txt, p/y.csv); 1 linking to a folder that is read under its own name "
        "(p/u/loop); 1 linking to nothing (p/broken.png); 1 made by a program for itself (p/@eaDir); "
        "1 not a regular file (p/pipe.png)"
    )
    assert "images='p/z*.png' matches no image: check the pattern" in refusal("p/z*.png")
    assert "images='p/**/z*.png' matches no image" in refusal("p/a1.png", "p/**/z*.png")


def test_links_in_circles_end() -> None:
    touch("c/a/1.png", "c/b/2.png")
    for folder in ("a", "b"):
        os.symlink("../a", f"c/{folder}/to_a")
        os.symlink("../b", f"c/{folder}/to_b")
    assert found("c/**/*.png") == found("c") == ["c/a/1.png", "c/b/2.png"]


# ------------------------------------------------------------------------------------------------ lists
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label,path\n1,None.png\n2,NA\n3,007\n", ["None.png", "NA", "007"]),
        ("File,Label\na.png,x\na.png,y\n", ["a.png"]),
        ('id;filename\n1;"a,b.png"\n', ["a,b.png"]),
        ("whatever,other\nsub/a,1\n", ["sub/a"]),  # the first column, below a head
        ("a.png\n b.png \n\n", ["a.png", "b.png "]),  # no head
        ("\ufefffile_name\r\nä.png\r\n", ["ä.png"]),
        ('path\n"two\nlines.png"\n', ["two\nlines.png"]),
        ("id\timage\n1\ta b.png\n", ["a b.png"]),
        ("path\nsub\\a.png\n", ["sub/a.png"]),  # written on Windows
        ("\nsep=;\nid;File Name\n1; here \n", ["here"]),  # written by Excel
    ],
)
def test_a_csv_file_lists_images(text: str, expected: list[str]) -> None:
    touch("lists/here")
    Path("lists/list.csv").write_text(text, encoding="utf-8", newline="")
    assert found("lists/list.csv") == [f"lists/{name}" for name in expected]
    assert found("lists/*.csv") == [f"lists/{name}" for name in expected]


def test_a_row_without_a_path_is_counted(tmp_path: Path) -> None:
    absolute = tmp_path / "elsewhere" / "b.png"
    Path("list.csv").write_text(f"label,path\nx,a.png\nx,\nx\nx,{absolute}\n")
    images = find_images(["list.csv"])
    assert images.files == [Path("a.png"), absolute]
    assert images.left_out_line() == "left out: 2 without a path (list.csv row 3, list.csv row 4)"
    assert images.left_out.facts()[0].examples == ["list.csv row 3", "list.csv row 4"]


def test_bytes_of_a_list_that_are_not_utf8() -> None:
    Path("list.csv").write_bytes(b"path\ncaf\xe9.png\n")
    assert [os.fsencode(path) for path in find_images(["list.csv"]).files] == [b"caf\xe9.png"]


def test_lists_that_cannot_be_read() -> None:
    Path("empty.csv").touch()
    assert "images='empty.csv' is empty: give a CSV file" in refusal("empty.csv")
    Path("long.csv").write_text("path\n" + "x" * 200_000)
    assert len(found("long.csv")) == 1  # its row says that it does not exist
    Path("quote.csv").write_text('path\n"a.png\nb.png\n')
    assert refusal("quote.csv") == "The row in line 2 of quote.csv cannot be read as CSV: a quote is not closed."
    Path("name.csv").write_text("x" * 5000 + "\n")
    assert "No image was found in name.csv" in refusal("name.csv")  # a head and nothing else
    Path("head.csv").write_text("path,label\n")
    assert "No image was found in head.csv" in refusal("head.csv")


def test_names_in_the_other_unicode_form() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    touch(f"{decomposed}/{decomposed}.png", "x.png")
    assert found(composed) == found(f"{composed}/{composed}.png") == [f"{decomposed}/{decomposed}.png"]
    Path("list.csv").write_text(f"path\n{composed}/{composed}.png\n{composed}/{composed}\n x.png \n", encoding="utf-8")
    assert found("list.csv") == [f"{decomposed}/{decomposed}.png", "x.png"]
