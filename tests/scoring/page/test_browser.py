"""The report in Chromium: it opens without an error, sorts, filters, and shows its images, also where it is large."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import needs_chromium, open_page
from reports import evaluation

from glmc_zoo.scoring.page.render import write_report
from glmc_zoo.scoring.page.subject import Subject

ROOT = Path(__file__).resolve().parents[3]
pytestmark = [needs_chromium, pytest.mark.processes]

# ``shown`` gives the class names of the rows that are shown, from above, and ``click`` does after a click on a head.
NAMES = """
const table = document.getElementById("class-table");
const rows = () => Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
const shown = () => rows().map((row) => row.cells[0].textContent);
const click = (column) => { table.tHead.rows[0].cells[column].querySelector("button").click(); return shown(); };
const order = () => Array.from(table.tHead.rows[0].cells, (cell) => cell.getAttribute("aria-sort"));
const type = (id, text) => {
  const field = document.getElementById(id);
  field.value = text;
  field.dispatchEvent(new Event("input"));
};
"""


@pytest.fixture
def page(tmp_path: Path) -> tuple[Path, Subject, Subject]:
    """A report of five classes, one of which has no test image, beside a baseline."""
    recalls: list[Any] = [0.9, 0.25, None, 0.5, 0.75]
    subject = evaluation(tmp_path / "model", 5, 60, class_recalls=recalls)
    baseline = evaluation(tmp_path / "other", 5, 60, seed=1, name="other", class_recalls=[0.95, 0.05, 0.5, 0.5, None])
    write_report(tmp_path / "report.html", subject, [baseline])
    return tmp_path / "report.html", subject, baseline


def test_it_opens_without_a_word_on_the_console(page: Any, tmp_path: Path) -> None:
    seen = open_page(page[0])
    assert seen.console == [] and 'data-ready="yes"' in seen.dom  # the policy lets its script run
    refused = page[0].read_text(encoding="utf-8").replace("</body>", "<script>document.title='x'</script></body>")
    (tmp_path / "other.html").write_text(refused, encoding="utf-8")
    assert any("Content Security Policy" in line for line in open_page(tmp_path / "other.html").console)


def test_it_sorts(page: Any) -> None:
    counts = page[1].results.class_counts
    script = """return { first: shown(), again: order(), down: click(1), marked: order(), up: click(1),
        name: click(0), count: click(2), change: click(3),
        focus: (() => { const button = table.querySelector("th button"); button.focus();
        return document.activeElement === button; })() };"""
    seen = open_page(page[0], NAMES + script).result
    names = [f"class {label}" for label in range(5)]
    assert seen["first"] == [names[i] for i in (1, 3, 4, 0, 2)]  # the lowest recall first
    assert seen["again"] == [None, "ascending", None, None, None, None, None]
    assert seen["down"] == [names[i] for i in (0, 4, 3, 1, 2)]  # by recall; the class without one is last
    assert seen["marked"] == [None, "descending", None, None, None, None, None]
    assert seen["up"] == [names[i] for i in (1, 3, 4, 0, 2)]
    assert seen["name"] == names
    assert seen["count"] == [f"class {label}" for label in sorted(range(5), key=lambda i: -counts[i])]
    assert seen["change"][:3] == [names[i] for i in (1, 3, 0)] and seen["focus"]


def test_it_filters_and_leads_to_the_images_of_a_class(page: Any) -> None:
    script = """
    const groups = Array.from(table.tBodies[0].rows, (row) => row.dataset.text);
    type("class-filter", " CLASS 3 "); const one = shown();
    const status = document.getElementById("class-status").textContent;
    type("class-filter", "few"); const few = shown();
    type("class-filter", "nothing of this name"); const none = shown();
    type("class-filter", ""); const all = shown();
    const figures = () =>
        Array.from(document.querySelectorAll("#gallery figure")).filter((one) => one.checkVisibility());
    for (const one of document.querySelectorAll("details")) one.open = true;
    const every = figures().length;
    type("image-kind", "mistake"); const mistakes = figures().every((one) => one.classList.contains("mistake"));
    const some = figures().length;
    type("image-filter", "class 1"); const classes = new Set(figures().map((one) => one.closest("details").id));
    type("image-filter", ""); type("image-kind", "all");
    document.getElementById("class-0").open = false;
    location.hash = "#class-0";
    for (let wait = 0; wait < 3000 && !document.getElementById("class-0").open; wait++)
        await new Promise((done) => setTimeout(done, 10));
    return { groups, one, status, few, none, all, every, mistakes, some, classes: [...classes],
        open: document.getElementById("class-0").open };"""
    seen = open_page(page[0], NAMES + script).result
    assert seen["one"] == ["class 3"] and seen["status"] == "1 of 5 classes" and seen["none"] == []
    assert len(seen["few"]) == sum(text.endswith(" few") for text in seen["groups"]) > 0 and len(seen["all"]) == 5
    assert seen["every"] == len(page[1].answers.images)
    assert seen["mistakes"] and seen["some"] == sum(not one.is_correct for one in page[1].answers.images)
    assert seen["classes"] == ["class-1"] and seen["open"]


def test_200_classes_and_5000_images_stay_under_15_megabytes(tmp_path: Path) -> None:
    """With images of noise, which JPEG makes larger than any photo."""
    subject = evaluation(tmp_path / "model", 200, 5000, side=112)
    write_report(tmp_path / "report.html", subject)
    assert subject.answers is not None and len(subject.answers.images) <= 1000
    assert (tmp_path / "report.html").stat().st_size < 15e6
    script = """
    for (const one of document.querySelectorAll("details")) one.open = true;
    const images = Array.from(document.images);
    for (const image of images) image.loading = "eager";
    await Promise.all(images.map((image) => image.decode()));
    return { images: images.length, loaded: images.filter((image) => image.naturalWidth === 112).length,
        rows: shown().length, sorted: click(1).length };"""
    seen = open_page(tmp_path / "report.html", NAMES + script)
    assert seen.console == []
    shown = sum(one.source is not None for one in subject.answers.images)
    assert seen.result == {"images": shown, "loaded": shown, "rows": 200, "sorted": 200} and shown > 600


def test_screenshots_are_of_the_asked_size_and_colours(page: Any) -> None:
    figure = runpy.run_path(str(ROOT / "docs" / "screenshots.py"))
    with figure["chromium"]() as browser:
        shots = [
            figure["screenshot"](browser, page[0].as_uri(), figure["Screen"](390, 600, "classes", dark=dark), 0.5)
            for dark in (False, True)
        ]
    assert [shot.size for shot in shots] == [(195, 300)] * 2
    brightness = [float(np.asarray(shot.convert("L")).mean()) for shot in shots]
    assert brightness[0] > 180 and brightness[1] < 90
    row = figure["side_by_side"](shots)
    assert row.size == (2 * 195 + 3 * figure["GAP"], 300 + 2 * figure["GAP"])
