"""The Python functions: they do the same as the recipes, several times in one process, with typed results."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.results import EvaluationResults, RunResults

TINY: dict[str, Any] = {"max_count": 10, "imbalance_factor": 2, "batch_size": 16, "epochs": 1}


@pytest.fixture(autouse=True)
def no_drawing(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave plots empty, because drawing takes longer than the training."""
    lab.leave_plots_empty(monkeypatch)


def words(options: dict[str, Any]) -> list[str]:
    """The options as words of a command line."""
    return [
        word
        for name, value in options.items()
        for word in ([f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}", str(value)])
    ]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def comparable(folder: Path) -> dict[str, Any]:
    """The results without what differs from call to call."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    head = {name: value for name, value in (results["head"] or {}).items() if not name.endswith("_seconds")}
    return {name: value for name, value in results.items() if name not in ("command", "wall_time_s")} | {"head": head}


@pytest.mark.parametrize(
    "options",
    [
        {**TINY, "epochs": 2, "seed": 5},
        {**TINY, "method": "ce", "ema_decay": 0.9, "export_half": True, "val_fraction": 0.2, "select": "best"},
    ],
    ids=["glmc", "ce"],
)
def test_a_training_is_that_of_the_recipe_bit_for_bit(
    recipe: Callable[..., Any], lab: Any, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "python", tmp_path / "recipe"
    capsys.readouterr()
    results = glmc_zoo.train(**options, output_dir=ours)
    printed = capsys.readouterr().out
    outcome = recipe("train", *words(options), "--output-dir", theirs)
    assert outcome.status == 0, outcome.err

    assert lab.same_weights(lab.weights(ours), lab.weights(theirs))
    assert files(ours) == files(theirs) >= {"config.yaml", "metrics.jsonl", "results.json", "model/model.safetensors"}
    assert (ours / "config.yaml").read_text() == (theirs / "config.yaml").read_text()
    assert comparable(ours) == comparable(theirs)
    # The same lines are printed, apart from folders.
    assert len(printed.splitlines()) == len(outcome.out.splitlines()) > 5

    assert isinstance(results, RunResults) and results == RunResults.load(ours / "results.json")
    command = str(results.origin.command)
    assert command.startswith("glmc_zoo.train(max_count=10, ") and command.endswith("output_dir='path/to/python')")


def test_a_second_run_in_a_process_has_options_of_its_own(lab: Any, tmp_path: Path) -> None:
    """Accelerate remembers precision and accumulation of the first run. They do not affect the second one."""
    runs = (
        {"mixed_precision": "bf16", "grad_accum_steps": 2},
        {},
        {"mixed_precision": "no", "grad_accum_steps": 3, "data_seed": 1},
        {},
    )
    results = [
        glmc_zoo.train(**TINY, **options, output_dir=tmp_path / str(i))
        for i, options in enumerate(runs)  # type: ignore[arg-type]
    ]
    seen = [(r.origin.precision, r.schedule.images_per_step if r.schedule else None) for r in results]
    assert seen == [("bf16", 32), ("no", 16), ("no", 48), ("no", 16)]
    weights = [lab.weights(tmp_path / str(i)) for i in range(4)]
    assert lab.same_weights(weights[1], weights[3])
    assert not any(lab.same_weights(weights[i], weights[1]) for i in (0, 2))


def test_evaluation_and_prediction(first: Path, lab: Any, tmp_path: Path) -> None:
    run = RunResults.load(first.parent / "results.json")
    tail = {"max_count": 10, "imbalance_factor": 2, "data_seed": 3}
    (plain,) = glmc_zoo.evaluate(model=first, output_dir=tmp_path / "one", **tail)
    assert isinstance(plain, EvaluationResults) and plain == EvaluationResults.load(tmp_path / "one" / "results.json")
    assert plain.class_counts == run.class_counts and plain.test is not None and run.test is not None
    assert plain.scores.top1 == pytest.approx(run.test.top1) and plain.plain_scores is None
    both = glmc_zoo.evaluate(model=[first, str(first)], output_dir=tmp_path / "two", logit_adjustment=0.5, **tail)
    assert len(both) == 2 and both[0].test == both[1].test
    assert both[0].plain_scores == plain.test and both[0].posthoc is not None
    assert (tmp_path / "two" / "comparison.csv").is_file()
    assert str(tmp_path) not in str(both[0].origin.command) + str(plain.origin.command)

    lab.images(tmp_path / "images", {"a": 2, "b": 1}, test=1, size=16)
    predictions = glmc_zoo.predict(
        model=first, images=[tmp_path / "images" / "train"], top=3, output=tmp_path / "labels.csv"
    )
    assert [Path(p.file).name for p in predictions] == ["000.png", "001.png", "000.png"]
    for prediction in predictions:
        assert len(prediction.labels) == 3 and set(prediction.labels) <= set(run.class_names)
        assert prediction.probabilities == sorted(prediction.probabilities, reverse=True)
        assert 0 < sum(prediction.probabilities) <= 1 + 1e-6
    with (tmp_path / "labels.csv").open() as file:
        lines = list(csv.reader(file))
    assert len(lines) == 4 and predictions[0].labels[0] in lines[1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("finetune", {**TINY, "tune": "head", "method": "ce", "data_seed": 3}),
        ("finetune", {"tune": "head", "data_seed": 3, "feature_views": 2, "threads": 1}),
        ("second_stage", {"epochs": 1, "maxnorm_threshold": 0.2}),
    ],
)
def test_training_goes_on_as_in_the_recipe(
    recipe: Callable[..., Any], lab: Any, first: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    ours, theirs = tmp_path / "python", tmp_path / "recipe"
    results = getattr(glmc_zoo, name)(model=first, **options, output_dir=ours)
    outcome = recipe(name, "--model", first, *words(options), "--output-dir", theirs)
    assert outcome.status == 0, outcome.err
    assert lab.same_weights(lab.weights(ours), lab.weights(theirs))
    assert files(ours) == files(theirs) and comparable(ours) == comparable(theirs)
    assert (ours / "config.yaml").read_text() == (theirs / "config.yaml").read_text()
    facts = results.finetune if name == "finetune" else results.second_stage
    assert facts is not None and str(results.origin.command).startswith(f"glmc_zoo.{name}(model='path/to/model'")


def test_a_file_of_options_repeats_a_run(first: Path, lab: Any, tmp_path: Path) -> None:
    glmc_zoo.train(config=first.parent / "config.yaml", output_dir=tmp_path / "again")
    assert lab.same_weights(lab.weights(first.parent), lab.weights(tmp_path / "again"))
    results = glmc_zoo.train(config=first.parent / "config.yaml", epochs=1, opt=None, output_dir=tmp_path / "short")
    assert results.config["epochs"] == 1 and results.config["opt"] == "sgd"


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "ldam"}, "method='ldam' is not accepted: it must be one of auto, glmc, ce, balanced_softmax"),
        ({"rebalanced_loss": "ldam"}, "rebalanced_loss='ldam' is not accepted: it must be one of reweighted, ce, "),
        ({"sampler": "x"}, "sampler='x' is not accepted: it must be one of power"),
        ({"preset": "x"}, "preset='x' is not accepted: it must be one of official, paper, tuned."),
        ({"augment": "x"}, "augment='x' is not accepted: it must be one of crop_flip, shift, large."),
        ({"imbalance_type": "x"}, "imbalance_type='x' is not accepted: it must be one of exp, step, pareto."),
        ({"selection": "glmc"}, "selection='glmc' is not accepted: it must be one of ldam, first."),
        ({"mixed_precision": "x"}, "mixed_precision='x' is not accepted: it must be one of no, fp16, bf16, auto."),
        ({"select": "x"}, "select='x' is not accepted: it must be one of last, best."),
        ({"lr": "fast"}, "lr='fast' is not accepted: it must be a number."),
        ({"lr": -1}, "lr=-1.0 must be above 0."),
        ({"epochs": 0}, "epochs=0 is too small: it must be at least 1."),
        ({"method": "ce", "beta": 0.5}, "beta= is for mixed images, and method='ce' does not mix them"),
    ],
)
def test_python_command_line_and_file_refuse_a_value_in_the_same_way(
    values: dict[str, Any], sentence: str, train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        glmc_zoo.train(**values)
    assert str(caught.value).startswith(sentence)
    printed = train(*words(values)).sentence
    assert "='" not in printed and f"--{next(iter(values)).replace('_', '-')}" in printed
    # The same sentence, apart from the spelling of the options.
    assert printed.split(": ")[-1].split(" has ")[0] == spelled(str(caught.value)).split(": ")[-1].split(" has ")[0]
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(values))
    if "beta" not in values:  # a file may have switches of another method
        with pytest.raises(UserError) as in_file:
            glmc_zoo.train(config="options.yaml")
        assert sentence in str(in_file.value)
    assert [path.name for path in tmp_path.iterdir()] == ["options.yaml"]


def spelled(sentence: str) -> str:
    from glmc_zoo.errors import as_command_line
    from glmc_zoo.options.sections import option_names

    return as_command_line(sentence, option_names())


@pytest.mark.parametrize(
    ("function", "values", "sentence"),
    [
        ("train", {"epoch": 3}, "The option epoch= is unknown. Did you mean epochs"),
        ("train", {"images_in_memory": True}, "images_in_memory= was removed"),
        ("train", {"streaming": True}, "streaming= is for an evaluation"),
        ("train", {"model": "resnet18"}, "The option model= is unknown."),
        ("train", {"compile": "yes"}, "compile='yes' is not accepted: it must be true or false."),
        ("train", {"epochs": 2.5}, "epochs=2.5 is not accepted: it must be a whole number."),
        ("train", {"epochs": True}, "epochs=True is not accepted: it must be a whole number."),
        ("train", {"data": 3}, "data=3 is not accepted: it must be text."),
        ("train", {"data": ["a"]}, "data=['a'] is not accepted: it must be text."),
        ("train", {"plugin": 3}, "plugin=3 is not accepted: it must be text, once or several times."),
        ("train", {"plugin": "nowhere.py"}, "plugin='nowhere.py' "),
        ("train", {"config": "nowhere.yaml"}, "config='nowhere.yaml' cannot be read"),
        (
            "finetune",
            {"model": "y", "data": "x"},
            "data='x' is neither an existing folder or file nor a data set of the catalogue (digits_lt, ",
        ),
        ("finetune", {"model": "x", "backbone": "y"}, "The option backbone= is unknown."),
        ("second_stage", {}, "model= is missing: give the first stage's model"),
        ("second_stage", {"model": "x", "preset": "tuned"}, "The option preset= is unknown."),
        ("evaluate", {}, "model= is missing: give what to evaluate"),
        ("evaluate", {"model": "x", "epochs": 3}, "The option epochs= is unknown."),
        ("predict", {"model": "x"}, "images= is missing"),
        ("predict", {"model": ["x"], "images": "y"}, "model=['x'] is not accepted: it must be text."),
    ],
)
def test_one_sentence_about_a_wrong_argument(function: str, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        getattr(glmc_zoo, function)(**values)
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_options_are_keywords_alone() -> None:
    with pytest.raises(TypeError):
        glmc_zoo.train("digits_lt")  # type: ignore[call-arg,misc]
