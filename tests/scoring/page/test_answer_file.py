"""``answers.json``: what is written is read again, what cannot be right is refused, and its size has a limit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from reports import evaluation

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.page import answer_file
from glmc_zoo.scoring.page.answer_file import AnswerFile, lowest_recall_first, rarest_first
from glmc_zoo.scoring.page.gallery import gallery
from glmc_zoo.scoring.page.subject import Subject


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    return evaluation(tmp_path / "model", classes=5, images=60)


def test_what_is_written_is_read_again(subject: Subject, tmp_path: Path) -> None:
    answers = subject.answers
    assert answers is not None
    answers.save(tmp_path / "answers.json")
    assert AnswerFile.load(tmp_path / "answers.json", num_classes=5) == answers
    assert subject.scored_images == [12] * 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema": 2}, "holds no answers that this version reads: evaluate the model again for another."),
        ({"pairs": [[0, 5, 1]]}, "is of other classes than the results beside it: evaluate the model again"),
        ({"pairs": [[0, 1]]}, "is of other classes than the results beside it: evaluate the model again"),
        ({"pairs": [[0, -1, 1]]}, "is -1 and must be a whole number of 0 or more"),
        (
            {"source": "https://example.org/a.jpg"},
            "is neither JPEG nor PNG: evaluate the model again",
        ),
        ({"source": "data:image/svg+xml;base64,AAAA"}, "holds an image that is neither JPEG nor PNG"),
        ({"source": 'data:image/png;base64,AAAA" onload="'}, "holds an image that is neither JPEG nor PNG"),
        ({"label": 5}, "is of other classes than the results beside it"),
        ({"probability": None}, "which has the wrong type"),
    ],
)
def test_what_cannot_be_right_is_refused(subject: Subject, change: dict[str, Any], sentence: str) -> None:
    path = subject.folder / "answers.json"
    values = json.loads(path.read_text())
    for key, value in change.items():
        (values if key in values else values["images"][0])[key] = value
    path.write_text(json.dumps(values))
    with pytest.raises(UserError) as error:
        AnswerFile.load(path, num_classes=5)
    assert sentence in str(error.value)
    assert sentence.split(":")[0] in (Subject.load(subject.folder).warning or "")


def test_the_classes_with_the_lowest_recalls_have_images_where_not_all_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_file, "MAX_IMAGES", 20)
    monkeypatch.setattr(answer_file, "MAX_BYTES", 8000)
    evaluated = evaluation(tmp_path / "model", classes=5, images=60)
    answers = evaluated.answers
    assert answers is not None and len(answers.images) == 20 and answers.left_out > 0
    labels = [image.label for image in answers.images]
    order = lowest_recall_first(evaluated.recalls, [300, 94, 30, 9, 3])
    assert list(dict.fromkeys(labels)) == order[: len(set(labels))]
    shown = [image.source is not None for image in answers.images]
    assert shown == sorted(shown, reverse=True) and 0 < sum(shown) < 20
    assert sum(len(image.source or "") for image in answers.images) <= 8000


def test_an_older_evaluation_has_its_pairs_from_the_predictions(subject: Subject) -> None:
    import numpy as np
    import pyarrow
    from pyarrow import parquet

    (subject.folder / "answers.json").unlink()
    columns = {"label": [0, 0, 1, 0], "prediction": [0, 2, 1, 2], "probability": np.full(4, 0.5)}
    parquet.write_table(pyarrow.table(columns), subject.folder / "predictions.parquet")
    answers = Subject.load(subject.folder).answers
    assert answers is not None and answers.pairs == [[0, 0, 1], [0, 2, 2], [1, 1, 1]] and answers.images == []


def test_the_order_of_classes() -> None:
    assert rarest_first(4, [5, 1, 9, 1]) == [1, 3, 0, 2] and rarest_first(3, None) == [0, 1, 2]
    # Recalls of 0 and 98 %, then two of 100 %, the rarest first, and a class without test images.
    for untested in (None, float("nan")):
        recalls = [0.98, untested, 0.0, 1.0, 1.0]
        assert lowest_recall_first(recalls, [5, 1, 9, 8, 3]) == [2, 0, 4, 3, 1]
        assert lowest_recall_first(recalls, None) == [2, 0, 3, 4, 1]


def test_the_page_of_an_older_file_has_the_class_with_the_lowest_recall_first(subject: Subject) -> None:
    assert subject.answers is not None
    older = sorted(subject.answers.images, key=lambda image: -image.label)  # the rarest class first
    answers = dataclasses.replace(subject.answers, images=older)
    blocks = gallery(subject, [], answers)
    recalls = [block["right"] / block["tested"] for block in blocks]
    assert recalls == sorted(recalls) and recalls[0] < recalls[-1]


def test_recalls_follow_from_the_answers_where_the_results_have_none(subject: Subject) -> None:
    assert subject.answers is not None
    without = dataclasses.replace(subject.results, class_recalls=[])
    recalls = dataclasses.replace(subject, results=without).recalls
    assert recalls == pytest.approx(subject.recalls)
    assert gallery(dataclasses.replace(subject, results=without), [], subject.answers) == gallery(
        subject, [], subject.answers
    )
