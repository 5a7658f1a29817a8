"""``glmc-zoo inspect``: what it prints, the page that it writes, and what it refuses."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import glmc_zoo
from glmc_zoo.cli import main
from glmc_zoo.errors import UserError

ODD = ["<script>alert(1)", "\"quoted\" & 'single'", "{{ 7 * 7 }}", "&lt;b&gt;", "猫", "red \x1b[31m"]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, and the text; every tag is closed in its order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture
def odd(tmp_path: Path, lab: Any) -> Path:
    """Classes of odd names, an image of an odd name, and what is left out."""
    folder: Path = lab.images(tmp_path / "odd", {name: 12 - index for index, name in enumerate(ODD)}, test=2)
    Image.new("L", (40, 7), 90).save(folder / "train" / ODD[0] / "0 <img src=x onerror=alert(2)>.png")
    (folder / "<i>notes</i>.txt".replace("/", "_")).write_text("x")
    return folder


def test_odd_names_are_text(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    inspection = glmc_zoo.inspect(data=odd, output=page, examples=20)
    shown = capsys.readouterr().out
    parsed = Page(page)
    assert not parsed.named("script") and not parsed.named("i") and "49" not in parsed.text
    printed = [name.replace("\x1b", "\\x1b") for name in ODD]
    assert set(printed) <= set(parsed.text) and "\x1b" not in shown + page.read_text(encoding="utf-8")
    assert all(any(line.startswith(f"{name} ") for line in shown.splitlines()) for name in printed)
    assert "<i>notes<_i>.txt" in parsed.text and "1 not an image: <i>notes<_i>.txt" in shown
    # No attribute but those of the template, whatever a file is called.
    images = parsed.named("img")
    assert {name for image in images for name in image} == {"src", "alt", "title", "loading"}
    assert f"train/{ODD[0]}/0 <img src=x onerror=alert(2)>.png" in [image["alt"] for image in images]
    assert inspection.class_names == sorted(ODD)


def test_a_file_name_that_is_not_utf_8(tmp_path: Path, lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lab.images(tmp_path / "data")
    try:
        Image.new("RGB", (9, 9)).save(os.fsencode(folder / "train" / "ant") + b"/caf\xe9.png", "PNG")
        (Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt"))).write_text("x")
    except OSError:
        pytest.skip("file names are UTF-8 here")
    glmc_zoo.inspect(data=folder, output=tmp_path / "page.html", examples=50)
    parsed = Page(tmp_path / "page.html")
    assert "train/ant/caf\\xe9.png" in [image["alt"] for image in parsed.named("img")]
    assert "\\xff.txt" in parsed.text and "\\xff.txt" in capsys.readouterr().out


def test_the_page_is_one_file(odd: Path, tmp_path: Path) -> None:
    glmc_zoo.inspect(data=odd, output=tmp_path / "page.html", examples=2)
    parsed = Page(tmp_path / "page.html")
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "link", "iframe", "object", "a", "form"})
    sources = [str(image["src"]) for image in parsed.named("img")]
    assert len(sources) == 2 * len(ODD)
    for source in sources:
        kind, _, data = source.partition(";base64,")
        assert kind in ("data:image/jpeg", "data:image/png") and base64.b64decode(data, validate=True)
    assert "url(" not in "".join(parsed.text) and "@import" not in "".join(parsed.text)
    assert parsed.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.named("meta")
    bars = parsed.named("rect")
    heights = [float(str(bar["height"])) for bar in bars]
    assert len(bars) == len(ODD) and heights == sorted(heights, reverse=True) and heights[0] == 240


def test_what_is_shown_is_what_was_counted(tmp_path: Path, lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lab.images(tmp_path / "data", {"ant": 30, "bee": 21, "cat": 3}, test=4)
    (folder / "train" / "ant" / "copy.png").write_bytes((folder / "test" / "ant" / "000.png").read_bytes())
    page = tmp_path / "pages" / "of" / "it"
    inspection = glmc_zoo.inspect(data=folder, output=page, many_threshold=25, few_threshold=10)
    assert inspection.page == page / "inspection.html" and inspection.page.is_file()
    assert inspection.class_counts == {"train": [30, 21, 3], "test": [4, 4, 4]}
    assert inspection.groups == ["many", "medium", "few"] and inspection.order == [0, 1, 2]
    assert (inspection.inventory.duplicates, inspection.refusal, inspection.near_duplicates) == (1, None, None)
    assert inspection.images.widths == inspection.images.heights == (32, 32, 32)
    shown = capsys.readouterr().out
    table = [line.split() for line in shown.splitlines() if line.split()[:1] in (["ant"], ["bee"], ["cat"])]
    assert table == [["ant", "30", "4", "many"], ["bee", "21", "4", "medium"], ["cat", "3", "4", "few"]]
    text = " ".join(Page(inspection.page).text)
    for part in ("66 PNG", "66 RGB", "train/ant/copy.png = test/ant/000.png", "more than 25 training images"):
        assert part in text and (part in shown or part.startswith("more")), part


def test_near_duplicates(tmp_path: Path, lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imagehash")
    folder = lab.images(tmp_path / "data")
    scene = Image.radial_gradient("L").rotate(30).crop((10, 60, 210, 250)).convert("RGB")
    scene.save(folder / "test" / "bee" / "001.png")
    scene.resize((64, 64)).save(folder / "train" / "bee" / "larger.png")
    inspection = glmc_zoo.inspect(data=folder, output=tmp_path / "page.html", near_duplicates=2)
    assert inspection.near_duplicates == 1
    assert not any("near-duplicates" in note for note in inspection.notes)
    (example,) = inspection.near_duplicate_examples
    assert re.fullmatch(r"train/bee/larger\.png = test/bee/001\.png \([012] bits? differs?\)", example)
    assert f"1 pair of images looks alike: {example}" in capsys.readouterr().out
    assert example in " ".join(Page(tmp_path / "page.html").text)
    bad = next((folder / "train").rglob("*.png"))
    bad.write_bytes(bad.read_bytes()[:60])
    again = glmc_zoo.inspect(data=folder, output=tmp_path / "again.html", near_duplicates=2)
    assert "The search for near-duplicates leaves out 1 image that cannot be read." in again.notes


def test_damaged_images_and_the_option_that_leaves_them_out(
    tmp_path: Path, lab: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lab.images(tmp_path / "data")
    (folder / "train" / "bee" / "000.png").write_bytes(b"")
    images = sum(map(sum, glmc_zoo.inspect(data=folder).class_counts.values()))
    sentence = (
        f"1 of {images} images cannot be read, and a training stops at them unless it has {{}}: train/bee/000.png"
    )
    assert sentence.format("skip_bad_images=True") in capsys.readouterr().out
    main(["inspect", "--data", str(folder), "--output", str(tmp_path / "page.html")])
    assert sentence.format("--skip-bad-images") in capsys.readouterr().out
    assert sentence.format("--skip-bad-images") in " ".join(Page(tmp_path / "page.html").text)


def test_what_training_refuses_is_shown(tmp_path: Path, lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lab.images(tmp_path / "data", {"ant": 5}, test=2)
    inspection = glmc_zoo.inspect(data=folder, output=tmp_path / "page.html")
    assert inspection.refusal is not None and "only one class (ant)" in inspection.refusal
    assert inspection.class_counts == {"train": [5], "test": [2]}
    assert f"training would refuse this data set: {inspection.refusal}" in capsys.readouterr().out
    assert inspection.refusal in Page(tmp_path / "page.html").text


def test_without_a_training_split_there_are_no_shot_groups(tmp_path: Path, lab: Any) -> None:
    lab.images(tmp_path / "all", {"ant": 1, "bee": 1}, test=1)
    (tmp_path / "all" / "test").rename(tmp_path / "test")
    (tmp_path / "data").mkdir()
    (tmp_path / "test").rename(tmp_path / "data" / "test")
    inspection = glmc_zoo.inspect(data=tmp_path / "data", output=tmp_path / "page.html")
    assert inspection.groups is None and inspection.class_counts == {"test": [1, 1]}
    assert "shot group" not in Page(tmp_path / "page.html").text


def test_a_page_is_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["inspect"])
    assert capsys.readouterr().out.splitlines()[-1] == "page     inspection.html"
    before = (tmp_path / "inspection.html").read_bytes()
    main(["inspect", "--examples", "0"])
    assert capsys.readouterr().out.splitlines()[-1] == "page     inspection-2.html"
    with pytest.raises(SystemExit) as stop:
        main(["inspect", "--examples", "0", "--output", "inspection.html"])
    assert stop.value.code == 2 and (tmp_path / "inspection.html").read_bytes() == before
    error = capsys.readouterr().err
    assert error == (
        "glmc-zoo inspect: error: --output inspection.html exists already: give another --output, or --overwrite.\n"
    )
    main(["inspect", "--examples", "0", "--overwrite"])
    assert len((tmp_path / "inspection.html").read_bytes()) < len(before)


def test_python_writes_a_page_only_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inspection = glmc_zoo.inspect()
    assert inspection.page is None and list(tmp_path.iterdir()) == [] and "page  " not in capsys.readouterr().out
    named = glmc_zoo.inspect(output="page.html", examples=0)
    assert named.page == Path("page.html") and [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert named.class_counts == inspection.class_counts
    for option in ({"overwrite": True}, {"examples": 2}):
        with pytest.raises(UserError, match=r"has no effect without output=: give output= as well, or leave"):
            glmc_zoo.inspect(**option)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"data": "no/such/folder"}, "^The data folder no/such/folder does not exist"),
        ({"examples": -1}, "^examples=-1 is too small"),
        ({"near_duplicates": 65}, "^near_duplicates=65 must be at most 64"),
        ({"epochs": 3}, "^The option epochs= is unknown"),
        ({"many_threshold": 5}, r"^few_threshold=20 \(the default\) must not exceed many_threshold=5: lower"),
        ({"groups": "terciles", "many_threshold": 30}, "^many_threshold=30 has no effect with groups='terciles'"),
    ],
)
def test_what_an_inspection_refuses(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        glmc_zoo.inspect(output=tmp_path / "page.html", **values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything is allowed here")
def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        glmc_zoo.inspect(output=tmp_path / "closed" / "page.html")


def test_the_recipe_runs_beside_the_others(recipe: Callable[..., Any], tmp_path: Path) -> None:
    outcome = recipe("inspect_data", "--output", tmp_path / "page.html")
    assert outcome.status == 0, outcome.err
    assert "digits_lt: data set of the catalogue, 10 classes" in outcome.out
