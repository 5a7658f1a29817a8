"""The report taken apart: what it says agrees with the results, text of others stays text, and it loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from reports import Element, evaluation, parsed

from glmc_zoo.errors import UserError
from glmc_zoo.facts import Inventory, LeftOutFacts
from glmc_zoo.results import DataFacts
from glmc_zoo.scoring.page.answer_file import ANSWERS_FILE, lowest_recall_first
from glmc_zoo.scoring.page.render import render_report, write_report
from glmc_zoo.scoring.page.subject import Subject

NASTY = "<script>alert(1)</script>\x1b[31m\u202e & \"x\" 'y' {{ 7*7 }}"


def rows_of(page: Element, table: str) -> list[list[str]]:
    """The cells of the body of a table, as text."""
    (element,) = page.all("table", id=table)
    (body,) = element.all("tbody")
    return [[cell.text for cell in row.children if isinstance(cell, Element)] for row in body.all("tr")]


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return evaluation(tmp_path / "model", classes=5, images=60)


def test_scores_say_what_they_rest_on(subject: Subject, tmp_path: Path) -> None:
    baseline = evaluation(tmp_path / "other", classes=5, images=60, seed=1, name="other")
    page = parsed(render_report(subject, [baseline]))
    (table,) = page.all("table", class_="scores")
    texts = {row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in table.all("tr")[1:]}
    first, other = subject.scores, baseline.scores
    assert first is not None and other is not None
    low, high = subject.intervals["top1"]
    change = f"{100 * (first.top1 - other.top1):+.1f}".replace("-", "\N{MINUS SIGN}")
    cells = texts["top-1 60 images"]
    assert cells[0] == f"{100 * first.top1:.1f} {100 * low:.1f} to {100 * high:.1f}"
    assert cells[1].endswith(f"here {change} points") and cells[1].startswith(f"{100 * other.top1:.1f} ")
    few = subject.results.group_support["few"]
    assert f"few-shot classes {few.classes} classes, {few.images} images" in texts
    assert "bootstrap over the images of each class" in page.text and "Wilson interval" in page.text
    assert "Calibration error is the mean difference" in page.text


def test_an_interval_without_a_width_is_not_shown(tmp_path: Path) -> None:
    subject = evaluation(tmp_path / "model", 5, 60, intervals={"test": {"top1": [0.9, 1.0], "worst": [1.0, 1.0]}})
    (table,) = parsed(render_report(subject)).all("table", class_="scores")
    assert "90.0 to 100.0" in table.text and "100.0 to 100.0" not in table.text


def test_the_class_table_has_every_class_the_lowest_recall_first(subject: Subject, tmp_path: Path) -> None:
    baseline = evaluation(tmp_path / "other", classes=5, images=60, seed=1, name="other")
    page = parsed(render_report(subject, [baseline]))
    rows = rows_of(page, "class-table")
    recalls = [-1.0 if recall is None else recall for recall in subject.recalls]
    order = sorted((4, 3, 2, 1, 0), key=lambda label: recalls[label])
    assert len(set(recalls)) > 2 and order != [4, 3, 2, 1, 0]
    assert [row[0] for row in rows] == [f"class {label}" for label in order]
    for row, label in zip(rows, order, strict=True):
        recall, before = subject.recalls[label], baseline.recalls[label]
        assert recall is not None and before is not None
        assert row[1] == f"{100 * recall:.1f}"
        assert row[2] == str((subject.results.class_counts or [])[label]) and row[4] == "12"
        assert row[3] == f"{100 * (recall - before):+.1f}".replace("-", "\N{MINUS SIGN}")
    (table,) = page.all("table", id="class-table")
    assert all(head.all("button") for head in table.all("thead")[0].all("th"))
    assert [head.text for head in table.all("th", **{"aria-sort": "ascending"})] == ["recall, %"]


def test_confused_pairs_and_the_matrix_add_up(subject: Subject) -> None:
    assert subject.answers is not None
    page = parsed(render_report(subject))
    wrong = {(pair[0], pair[1]): pair[2] for pair in subject.answers.pairs if pair[0] != pair[1]}
    rows = rows_of(page, "pair-table")
    assert len(rows) == len(wrong)
    for true, given, images, share in rows:
        number = wrong[int(true.split()[1]), int(given.split()[1])]
        assert images == f"{number} of 12" and share == f"{100 * number / 12:.0f} %"
    (matrix,) = page.all("table", class_="matrix")
    counts = [[int(cell.text) for cell in row.all("td")] for row in matrix.all("tbody")[0].all("tr")]
    assert [sum(row) for row in counts] == [12] * 5 and sum(map(sum, counts)) == 60
    recalls = [recall for recall in subject.recalls if recall is not None]
    assert [counts[i][i] / 12 for i in range(5)] == pytest.approx(recalls)
    (block,) = page.all("table", class_="blocks")
    cells = [int(cell.all("small")[0].text) for cell in block.all("td") if cell.all("small")]
    assert cells == [n for row in subject.results.group_confusion or [] for n in row]


def test_many_classes_have_a_list_of_pairs_and_no_matrix(tmp_path: Path) -> None:
    subject = evaluation(tmp_path / "model", classes=1000, images=3000, side=4)
    text = render_report(subject)
    page = parsed(text)
    assert not page.all("table", class_="matrix") and len(rows_of(page, "class-table")) == 1000
    assert 20 <= len(rows_of(page, "pair-table")) <= 40
    assert len(page.all("rect", class_="many")) + len(page.all("rect", class_="few")) <= 400
    (gallery,) = page.all("div", id="gallery")
    assert len(gallery.all("figure")) <= 1000 and "There are too many classes to show all" in gallery.text
    right = [int(block.text.partition(" of 3 test images right")[0].split()[-1]) for block in gallery.all("summary")]
    assert right == sorted(right) and right[0] < 3
    assert len(text.encode()) < 4e6


def test_images_are_those_of_the_answers(subject: Subject) -> None:
    assert subject.answers is not None
    page = parsed(render_report(subject))
    (gallery,) = page.all("div", id="gallery")
    figures = gallery.all("figure")
    order = lowest_recall_first(subject.recalls, subject.results.class_counts)
    assert order != [4, 3, 2, 1, 0]
    assert [one.all("strong")[0].text for one in gallery.all("details")] == [f"class {i}" for i in order]
    for figure, image in zip(figures, subject.answers.images, strict=True):
        (shown,) = figure.all("img")
        encoded = re.fullmatch(r"data:image/(?:png|jpeg);base64,(.*)", shown.attributes["src"])
        assert encoded is not None
        with Image.open(io.BytesIO(base64.b64decode(encoded[1]))) as decoded:
            assert decoded.size == (16, 16)
        kind = "Right, but unsure" if image.is_correct else "Mistake"
        alt = shown.attributes["alt"]
        assert alt.startswith(
            f"{kind}: image {image.position} of the test split, true class class {image.label}, given"
        )
        assert f"class {image.prediction} with probability" in alt
        assert figure.all("span", class_="file")[0].text == f"image {image.position} of the test split"


def test_what_baselines_answered_on_the_same_images_stands_beside(subject: Subject, tmp_path: Path) -> None:
    baseline = evaluation(tmp_path / "other", classes=5, images=60, seed=1, name="other")
    labels = np.arange(60) % 5
    columns = {"label": labels, "prediction": np.full(60, 2), "probability": np.full(60, 0.997)}
    parquet.write_table(pyarrow.table(columns), baseline.folder / "predictions.parquet")
    (gallery,) = parsed(render_report(subject, [baseline])).all("div", id="gallery")
    for figure, image in zip(gallery.all("figure"), subject.answers.images if subject.answers else (), strict=True):
        (other,) = figure.all("span", class_="other")
        assert other.text == f"other {'✓' if image.label == 2 else '✗'} class 2 > 99 %"
    columns["label"] = labels[::-1]
    parquet.write_table(pyarrow.table(columns), baseline.folder / "predictions.parquet")
    assert not parsed(render_report(subject, [baseline])).all("span", class_="other")  # other images


def test_text_of_others_stays_text_and_nothing_is_loaded(tmp_path: Path) -> None:
    left_out = Inventory(layout="x", left_out=[LeftOutFacts(reason="not an image", files=2, examples=[NASTY])])
    names = [NASTY, *(f"class {label}" for label in range(1, 5))]
    data = DataFacts(name=NASTY, description=NASTY, train_images=9, test_images=60, inventory=left_out, notes=[NASTY])
    subject = evaluation(tmp_path / "model", 5, 60, data=data, class_names=names, warnings=[NASTY], name=NASTY)
    text = render_report(subject)
    page = parsed(text)
    (script,) = page.all("script")
    assert "alert" not in script.text and text.count("<script") == 1
    assert "\x1b" not in text and "\u202e" not in text and "49" not in page.all("h1")[0].text
    assert page.all("h1")[0].text == "Report of <script>alert(1)</script>\\x1b[31m\\u202e & \"x\" 'y' {{ 7*7 }}"
    assert page.text.count("<script>alert(1)</script>") >= 8
    assert not re.search(r"https?:|url\(|@import", text) and set(re.findall(r'href="(.)', text)) == {"d", "#"}
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    (code,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;") and f"script-src 'sha256-{digest}'" in policy
    assert all(one.attributes["src"].startswith("data:image/") for one in page.all("img"))


def test_every_drawing_has_a_text_and_every_control_a_label(subject: Subject) -> None:
    rows = [{"epoch": i, "loss": 2.0 / (i + 1), "test": {"top1": 0.1 * i, "few": 0.05 * i}} for i in range(4)]
    page = parsed(render_report(subject, epochs=rows))
    assert all(one.attributes.get("aria-label") or one.attributes.get("aria-hidden") for one in page.all("svg"))
    assert all(one.attributes["alt"] for one in page.all("img"))
    labelled = {one.attributes["for"] for one in page.all("label")}
    assert {one.attributes["id"] for one in (*page.all("input"), *page.all("select"))} == labelled
    (html,) = page.all("html")
    assert html.attributes["lang"] == "en" and page.all("meta", name="viewport")
    texts = [one.attributes["aria-label"] for one in page.all("svg", class_="panel")]
    assert texts[0] == "Loss of the training: total goes from 2 in epoch 1 to 0.5 in epoch 4."
    ids = re.findall(r' id="([^"]+)"', render_report(subject, epochs=rows))
    assert len(set(ids)) == len(ids)
    links = [one.attributes["href"].removeprefix("#") for one in page.all("a")]
    assert links and set(links) <= set(ids)


def test_what_was_left_out_and_the_command(tmp_path: Path) -> None:
    inventory = Inventory(
        layout="class folders", left_out=[LeftOutFacts(reason="not an image", files=1200, examples=["a.txt", "b.txt"])],
        duplicates=3, duplicates_by="pixels", duplicate_examples=["train/1.png = test/2.png"],
    )  # fmt: skip
    data = DataFacts(name="noise", test_images=60, inventory=inventory, skipped_images=4, notes=["A class is alone."])
    text = parsed(render_report(evaluation(tmp_path / "model", 5, 60, data=data, notes=["A class is alone."]))).text
    assert "1,200 not an image a.txt , b.txt , …" in text and "4 images that cannot be read were skipped." in text
    assert "3 training images are the same as a test image by their pixels: train/1.png = test/2.png" in text
    assert text.count("A class is alone.") == 1 and "glmc-zoo evaluate --model m" in text


def test_one_of_a_kind_is_in_the_singular(tmp_path: Path) -> None:
    inventory = Inventory(layout="x", duplicates=1, duplicates_by="bytes", duplicate_examples=["a.png = b.png"])
    data = DataFacts(name="noise", test_images=5, inventory=inventory, skipped_images=1)
    counts = {"class_counts": [300, 94, 30, 9, 1]}
    subject = evaluation(tmp_path / "model", 5, 5, data=data, class_recalls=[], **counts)
    assert subject.answers is not None
    page = parsed(render_report(dataclasses.replace(subject, answers=dataclasses.replace(subject.answers, left_out=1))))
    for part in (
        "1 image that cannot be read was skipped.",
        "1 training image is the same as a test image by its bytes: a.png = b.png .",
        "1 image is left out.",
        "of 1 test image right",
        "class 4 1 training image ,",
        "many 1 image",
    ):
        assert part in page.text, part


def test_without_answers_counts_or_images_the_page_says_so(subject: Subject, tmp_path: Path) -> None:
    (subject.folder / ANSWERS_FILE).unlink()
    page = parsed(render_report(Subject.load(subject.folder)))
    assert "No answers for single images are kept here" in page.text and not page.all("table", class_="matrix")
    assert len(rows_of(page, "class-table")) == 5
    nothing: dict[str, Any] = {"class_counts": None, "thresholds": None, "groups": None, "group_support": {}}
    bare = evaluation(tmp_path / "bare", 5, 60, **nothing, group_confusion=[])
    page = parsed(render_report(bare))
    assert len(rows_of(page, "class-table")) == 5 and len(rows_of(page, "class-table")[0]) == 4
    assert "60 images" in page.all("table", class_="scores")[0].text


def test_damaged_answers_are_a_warning_on_the_page(subject: Subject) -> None:
    (subject.folder / ANSWERS_FILE).write_text("{")
    page = parsed(render_report(Subject.load(subject.folder)))
    (warning,) = page.all("p", class_="warning")
    assert "answers.json cannot be read" in warning.text


def test_baselines_of_other_classes_are_refused_and_other_images_noted(subject: Subject, tmp_path: Path) -> None:
    other = evaluation(tmp_path / "other", classes=4, images=60, name="other")
    with pytest.raises(UserError, match=r"^run='.*other' has 4 classes that are not the 5 of '.*model': give runs on"):
        render_report(subject, [other])
    fewer = evaluation(tmp_path / "fewer", classes=5, images=40, name="fewer")
    text = parsed(render_report(subject, [fewer])).text
    assert "fewer was scored on 40 test images and model on 60 test images" in text
    same = dataclasses.replace(subject, folder=fewer.folder)
    assert f"against {fewer.folder}" in parsed(render_report(subject, [same])).text  # one name for two


def test_the_page_is_whole_or_absent(subject: Subject, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", subject)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(subject)
    with pytest.raises(OSError, match="nowhere"):
        write_report(tmp_path / "nowhere" / "report.html", subject)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "model"}
