"""Results as files: they are read as they were written, and other content is refused in one sentence."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from card_results import CONVERTED, MINIMAL, MORE, RESULTS, minimal_results, scores
from PIL import Image

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import longtail_scores
from glmc_zoo.results import (
    SCHEMA,
    DataFacts,
    EvaluatedModel,
    EvaluationResults,
    Origin,
    RunResults,
    Scores,
    Thresholds,
    write_json,
)

SCORES = Scores(top1=0.5, balanced_accuracy=0.4, hmean=0.1, gmean=0.2, worst=0.0, macro_f1=0.3)
EVALUATION = EvaluationResults(
    model=EvaluatedModel(
        name="resnet18", given_as="resnet18", source="timm", parameters=5, classes=2, input_size=[3, 32, 32],
        mean=[0.5] * 3, std=[0.2] * 3, interpolation="bicubic", crop_pct=0.95, crop_mode="center",
    ),
    data=DataFacts(name="mine"),
    split="validation",
    class_names=["a", "b"],
    class_counts=[3, 1],
    thresholds=Thresholds(many=100, few=20),
    groups={"many": 0, "medium": 0, "few": 2},
    batch_size=8,
    validation=SCORES,
    posthoc={"logit_adjustment": 1.0},
    wall_time_s=1.5,
    origin=Origin(command="glmc_zoo.evaluate(model='resnet18')"),
)  # fmt: skip


@pytest.mark.parametrize("results", [RESULTS, MORE, CONVERTED, MINIMAL], ids=["run", "more", "converted", "minimal"])
def test_results_are_read_as_they_were_written(results: RunResults, tmp_path: Path) -> None:
    results.save(tmp_path / "results.json")
    assert RunResults.load(tmp_path / "results.json") == results
    written = json.loads((tmp_path / "results.json").read_text())
    assert next(iter(written)) == "schema" and written["schema"] == SCHEMA == 1
    # Fields of `origin` are at the top level of the file.
    assert written["command"] == results.origin.command and "origin" not in written
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_an_evaluation_is_read_back_and_knows_its_scores(tmp_path: Path) -> None:
    EVALUATION.save(tmp_path / "results.json")
    assert EvaluationResults.load(tmp_path / "results.json") == EVALUATION
    assert EVALUATION.scores is SCORES and EVALUATION.plain_scores is None
    corrected = dataclasses.replace(EVALUATION, split="test", test=SCORES, test_plain=SCORES)
    assert corrected.scores is corrected.plain_scores is SCORES


def test_scores_are_those_of_the_metric() -> None:
    computed = longtail_scores([0, 1, 0], [0, 1, 1], class_counts=[9, 1], many=5, few=2)
    plain = {name: value for name, value in dataclasses.asdict(Scores.from_dict(computed)).items() if name in computed}
    assert plain == computed and computed["few"] == 0.5


def test_keys_of_a_later_version_are_left_out() -> None:
    values = RESULTS.to_dict()
    values["later"] = 1
    values["model"]["later"] = 2
    assert RunResults.from_dict(values) == RESULTS


def edited(**changes: Any) -> dict[str, Any]:
    """The results as a dictionary with changes; ``None`` removes a key."""
    values: dict[str, Any] = json.loads(json.dumps(RESULTS.to_dict())) | changes
    return {key: value for key, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([1], "x.json holds no results of glmc_zoo"),
        ({"model": {}}, "x.json holds no results of glmc_zoo"),
        (edited(schema="1"), "x.json holds no results of glmc_zoo"),
        (edited(schema=2), "x.json has schema 2, and this version reads 1: update glmc_zoo."),
        (edited(schema=0), "x.json has schema 0, and this version reads 1: export the run again."),
        (edited(method=None), "x.json lacks method: give the results of a finished run."),
        (edited(method=3), "x.json: method is '3', which has the wrong type"),
        (edited(wall_time_s=True), "x.json: wall_time_s is 'True', which has the wrong type"),
        (edited(class_names="ab"), "x.json: class_names is 'ab', which has the wrong type"),
        (edited(class_counts=[1, 2.5]), "x.json: class_counts is '2.5', which has the wrong type"),
        (edited(class_counts=[1, True]), "x.json: class_counts is 'True', which has the wrong type"),
        (edited(model=[1]), "x.json: model is '[1]' and must be an object"),
        (edited(data={}), "x.json: data lacks name"),
        (edited(thresholds={"many": 3}), "x.json: thresholds lacks few"),
        (edited(hardware=3), "x.json: origin: hardware is '3'"),
    ],
)
def test_one_sentence_about_other_content(values: Any, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        RunResults.from_dict(values, "x.json")
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_one_sentence_about_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"schema": 1,')
    for name in ("half.json", "nowhere.json"):
        with pytest.raises(UserError, match=rf"{name} cannot be read: "):
            RunResults.load(tmp_path / name)


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_results_of_the_other_kind_are_named() -> None:
    values = {"schema": SCHEMA, "method": "ce"}
    with pytest.raises(UserError, match=r"^x.json holds results of another kind: read them with RunResults.load.$"):
        EvaluationResults.from_dict(values, "x.json")
    with pytest.raises(
        UserError, match=r"^x.json holds results of another kind: read them with EvaluationResults.load.$"
    ):
        RunResults.from_dict({"schema": SCHEMA, "split": "test"}, "x.json")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": True}, "holds no results of glmc_zoo"),
        ({"schema": "1"}, "holds no results of glmc_zoo"),
        ({"class_counts": [-1]}, "class_counts is -1 and must be a whole number"),
        ({"class_counts": [3]}, r"names \d+ classes, and its class_counts has the length 1"),
        ({"class_names": "ab"}, "class_names is 'ab', which has the wrong type"),
        ({"wall_time_s": "3"}, "wall_time_s is '3', which has the wrong type"),
        ({"wall_time_s": float("inf")}, "wall_time_s is 'inf', which has the wrong type"),
        ({"groups": {"many": 1}}, "its groups are not many, medium and few"),
        ({"intervals": {"test": {"top1": [0.1]}}}, "an interval of its scores is not two numbers"),
    ],
)
def test_impossible_results_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        RunResults.from_dict({**minimal_results().to_dict(), **change}, "x.json")
    assert str(caught.value).startswith("x.json") and "\n" not in str(caught.value)


def test_impossible_parts_of_results_are_refused() -> None:
    values = minimal_results().to_dict()
    parts: list[tuple[str, Any, str]] = [
        ("model", {**values["model"], "mean": [0.5]}, "input_size, mean and std of its model"),
        ("model", {**values["model"], "parameters": True}, "parameters is 'True'"),
        ("test", {**vars(scores()), "top1": 1.5}, "its test score top1 is 1.5"),
        ("class_counts", [0] * len(values["class_names"]), "its class_counts hold no image"),
        ("calibration", {"images": 3, "temperature": 0.0}, "its temperature 0.0 is not positive"),
        ("calibration", {"images": 3, "thresholds": {"0.95": [0.5]}}, "thresholds for precision 0.95 has the length 1"),
        ("second_stage", {"kind": "maxnorm", "beta": 1.0, "source": "x"}, "its class-balanced beta 1.0"),
    ]
    for name, value, reason in parts:
        with pytest.raises(UserError, match=reason):
            RunResults.from_dict({**values, name: value}, "x.json")


# ------------------------------------------------------------------------------------------------ in a notebook
class _Cells(HTMLParser):
    """The cells of all tables, row by row, and the attributes of the images."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._open = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self._open:
            self.rows[-1].append("")
        elif tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.rows[-1][-1] += data


def test_a_notebook_shows_scores_and_figures(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "figure.png")
    (tmp_path / "plots").mkdir()
    (tmp_path / "figure.png").rename(tmp_path / "plots" / "class_accuracy.png")
    results = dataclasses.replace(
        EVALUATION, data=DataFacts(name="<script>"), intervals={"validation": {"top1": [0.4, 0.6]}}, warnings=["a<b"]
    )
    results.save(tmp_path / "results.json")
    html = EvaluationResults.load(tmp_path / "results.json")._repr_html_()
    page = _Cells(html)
    assert page.rows == [
        ["", "top-1", "balanced", "many (0 cl.)", "medium (0 cl.)", "few (2 cl.)", "worst class", "ECE"],
        ["validation", "50.0 [40.0, 60.0]", "40.0", "-", "-", "-", "0.0", "-"],
    ]
    (figure,) = page.images
    assert figure["alt"] == "Figure: class accuracy"
    data = base64.b64decode(str(figure["src"]).removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (3, 2)
    assert "script" not in page.tags and "a&lt;b" in html
    assert "No images were scored." in dataclasses.replace(EVALUATION, validation=None)._repr_html_()
    assert results == EvaluationResults.load(tmp_path / "results.json")  # which folder they are from does not count
