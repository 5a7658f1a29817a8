"""Labels to check on the page: which are shown in what order, with image, classes and probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
from reports import evaluation, parsed

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.page.render import render_report
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.scoring.page.suspects import Suspect, SuspectFile, shown_suspects

SOURCE = "data:image/png;base64,AAAA"


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return evaluation(tmp_path / "model", classes=5, images=60)


def suspect(given: int, suggested: int, name: str, source: str | None = SOURCE) -> Suspect:
    return Suspect(
        given=given, suggested=suggested, self_confidence=0.02, suggested_probability=0.9, position=3, name=name,
        source=source,
    )  # fmt: skip


def test_a_page_shows_them_by_label(subject: Subject) -> None:
    images = [suspect(4, 0, "<b>.png"), suspect(4, 1, "x.png", None), suspect(0, 2, "y.png")]
    SuspectFile(total=7, held_out=300, images=images).save(subject.folder / "label_suspects.json")
    page = parsed(render_report(subject))
    (link,) = page.all("a", href="#labels")
    classes = page.all("details", class_="suspects")
    assert link.text == "Labels to check" and [one.attributes["id"] for one in classes] == ["label-4", "label-0"]
    assert classes[0].all("summary")[0].text == "labelled class 4 3 training images, 2 shown"
    (image,) = classes[0].all("img")
    assert image.attributes["src"] == SOURCE and image.attributes["alt"] == (
        "Label to check: <b>.png, labelled class 4, which has a probability of 2\N{NO-BREAK SPACE}%; class 0 has "
        "90\N{NO-BREAK SPACE}%"
    )
    assert [one.text for one in classes[0].all("span", class_="file")] == ["<b>.png", "x.png"]
    assert (
        "7 of 300 training images fit another class better than their label" in page.text and "3 are shown" in page.text
    )


def test_a_run_that_looked_for_none_has_no_section_and_one_without_suspects_says_so(subject: Subject) -> None:
    assert "Labels to check" not in render_report(subject)
    SuspectFile(total=0, held_out=300).save(subject.folder / "label_suspects.json")
    assert "None of 300 training images fits another class better than its label" in parsed(render_report(subject)).text
    SuspectFile(total=1, held_out=300, images=[suspect(4, 0, "x.png")]).save(subject.folder / "label_suspects.json")
    assert "1 of 300 training images fits another class better than its label" in parsed(render_report(subject)).text


def test_rare_classes_come_first_and_each_has_a_few() -> None:
    given = [0] * 20 + [2] + [0] + [2]
    assert shown_suspects(given, [2, 1, 0]) == [20, 22, *range(12)]
    many = [label for _ in range(3) for label in range(150)]
    shown = shown_suspects(many, list(range(150)))
    assert len(shown) == 200 and [many[row] for row in shown[:4]] == [0, 0, 1, 1]


@pytest.mark.parametrize("image", [suspect(5, 0, "x.png"), suspect(0, 1, "x.png", "https://example.org/x.png")])
def test_a_file_that_cannot_be_right_is_a_warning(image: Suspect, subject: Subject) -> None:
    path = subject.folder / "label_suspects.json"
    SuspectFile(total=1, held_out=2, images=[image]).save(path)
    with pytest.raises(UserError, match=r"label_suspects\.json (is of other classes|holds an image)"):
        SuspectFile.load(path, 5)
    page = parsed(render_report(subject))
    (warning,) = page.all("p", class_="warning")
    assert "label_suspects.json" in warning.text and not page.all("details", class_="suspects")
