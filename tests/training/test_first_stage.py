"""What a second stage takes over from the first, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from glmc_zoo.hub import open_model
from glmc_zoo.options.resolve import second_stage_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import SECOND_STAGE
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.training.first_stage import differing_options, first_stage_options, inherited_options, same_data

Stage = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("own_cache")


def changed(folder: Path, source: Path) -> set[str]:
    """Names of the tensors, parameters and statistics, that are not equal to the source's bit for bit."""
    after, before = (timm.create_model(f"local-dir:{path}", pretrained=True).state_dict() for path in (folder, source))
    assert after.keys() == before.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def resolved(**options: Any) -> dict[str, Any]:
    """Every option of the second stage for what is given, by name."""
    given = parse_options(SECOND_STAGE, options, "")
    return flatten_options(second_stage_options(given, first_stage_options(given)))


def test_given_options_override_those_of_the_first_stage(first: Path) -> None:
    expected: dict[str, Any] = {
        **{"data": "digits_lt", "max_count": 10, "imbalance_factor": 2, "data_seed": 3, "batch_size": 16},
        **{"augment": "shift", "image_size": 16, "maxnorm": True, "maxnorm_threshold": 0.1},
        **{"class_balanced_beta": 0.9999, "many_threshold": 100, "few_threshold": 20, "groups": "thresholds"},
        **{"epochs": 10, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.1, "warmup_epochs": 0, "min_lr": 0.0},
        **{"sched": "cosine", "profile": False},
    }
    values = resolved(model=str(first))
    assert {name: values[name] for name in expected} == expected
    given = {"data_seed": 4, "batch_size": 8, "maxnorm_threshold": 0.5}
    values = resolved(model=str(first), **given)
    assert {name: values[name] for name in expected} == expected | given


def test_other_data_are_not_thinned_as_the_first_stage_s_were(first: Path) -> None:
    values = resolved(model=str(first), data="my_images")
    assert (values["max_count"], values["imbalance_factor"], values["data_seed"]) == (None, None, 0)
    assert (values["augment"], values["batch_size"]) == ("shift", 16)


def test_nothing_that_has_no_effect_here_is_taken_over(first: Path) -> None:
    options = inherited_options(open_model(str(first), weights=False))
    assert not {"method", "preset", "beta", "backbone", "epochs", "lr", "ema_decay", "seed", "plugin"} & options.keys()
    assert differing_options(resolved(model=str(first)), options) == []
    others = resolved(model=str(first), data_seed=4, batch_size=8)
    assert differing_options(others, options) == ["data seed 3 -> 4"]


def test_a_published_model_is_enough() -> None:
    name = "resnet20_cifar.glmc_digits_lt"
    results = open_model(name, weights=False).results
    assert results is not None
    values = resolved(model=name)
    for option in ("data", "imbalance_factor", "data_seed", "selection", "augment", "image_size", "batch_size"):
        assert values[option] == results.config[option], option
    assert values["data_dir"] is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("digits_lt", "digits_lt", True),
        ("/here/animals", "there/animals", True),
        ("animals", "plants", False),
        ("animals", None, False),
    ],
)
def test_data_sets_of_one_name_may_be_the_same(one: str, other: str | None, same: bool) -> None:
    assert same_data(one, other) is same


def test_the_folder_of_images_is_known_beside_the_run(train: Stage, stage: Stage, lab: Any, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "animals")
    options = ["--backbone", "resnet20_cifar", "--epochs", 1, "--batch-size", 8, "--method", "ce", "--image-size", 32]
    assert train("--data", images, *options, "--output-dir", tmp_path / "first").status == 0
    model = tmp_path / "first" / "model"
    outcome = stage("--model", model, "--epochs", 1, "--output-dir", tmp_path / "second")
    assert outcome.status == 0, outcome.err
    results = lab.results(tmp_path / "second")
    assert (results["method"], results["model"]["tag"]) == ("ce", "ce_animals_maxnorm")
    assert not (tmp_path / "second" / "model" / "glmc_heads.safetensors").exists()
    # Without the run, its published results do not hold the folder.
    away = Path(shutil.copytree(model, tmp_path / "away"))
    assert "does not say where its training images are" in stage("--model", away).sentence
    # The advice for a config.yaml that cannot be read works: moved away, its paths are given as options.
    config = tmp_path / "first" / "config.yaml"
    config.write_text("{")
    assert "move it away and give --data and other paths" in stage("--model", model).sentence
    config.rename(tmp_path / "config.yaml")
    moved = Path(shutil.copytree(images, tmp_path / "moved" / "animals"))
    assert stage("--model", model, "--data", moved, "--dry-run").status == 0
    outcome = stage("--model", away, "--data", moved, "--epochs", 1, "--output-dir", tmp_path / "third")
    assert outcome.status == 0 and "The first stage was trained with other options" not in outcome.out, outcome.err
    assert lab.same_weights(lab.weights(tmp_path / "second"), lab.weights(tmp_path / "third"))


def test_the_licence_and_the_start_are_those_of_the_first_stage(stage: Stage, first: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(first, tmp_path / "source"))
    described = json.loads((source / "config.json").read_text())
    described["pretrained_cfg"]["license"] = "cc-by-nc-4.0"
    (source / "config.json").write_text(json.dumps(described))
    results = json.loads((source / "results.json").read_text())
    results["model"]["pretrained_from"] = "resnet50.a1_in1k"
    (source / "results.json").write_text(json.dumps(results))
    outcome = stage("--model", source, "--epochs", 1, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "license: cc-by-nc-4.0\n" in card and "base_model: timm/resnet50.a1_in1k\n" in card


@pytest.mark.processes
def test_from_the_hub_and_back_to_it(hub: Any, hub_python: Stage, lab: Any, first: Path, tmp_path: Path) -> None:
    hub.repo("org/first", files={path.name: path.read_bytes() for path in first.iterdir() if path.is_file()})
    words = ["--model", "hf_hub:org/first", "--epochs", 1, "--output-dir", tmp_path / "run"]
    done = hub_python("recipes/second_stage.py", *words, "--push-to-hub", "org/second", token=hub.token())
    assert done.returncode == 0, done.stderr
    results = lab.results(tmp_path / "run")
    assert results["class_counts"] == lab.results(first.parent)["class_counts"]
    assert results["second_stage"]["source"] == "hf_hub:org/first"
    assert results["second_stage"]["source_commit"] == hub.find("org/first").head.oid
    pushed = hub.find("org/second").head.files
    assert pushed["model.safetensors"] == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert "\nbase_model: org/first\n" in pushed["README.md"].decode()
    assert changed(tmp_path / "run" / "model", first) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([], ["--model is missing", "runs/NAME/model"]),
        (["--model", "nosuch"], ["Unknown model 'nosuch'"]),
        (["--model", "resnet50"], ["resnet50 has no results of a training", "--tune head"]),
        (["--model", "FIRST", "--method", "ce"], ["Unknown option --method"]),
        (["--model", "FIRST", "--maxnorm-threshold", 2], ["--maxnorm-threshold 2", "between 0 and 1"]),
        (["--model", "FIRST", "--no-maxnorm", "--maxnorm-threshold", 0.2], ["has no effect with --no-maxnorm"]),
        (["--model", "FIRST", "--class-balanced-beta", 1], ["--class-balanced-beta 1.0 must be below 1"]),
        (["--model", "FIRST", "--epochs", 0], ["--epochs 0 is too small"]),
        (["--model", "FIRST", "--data", "ANIMALS"], ["has 10 classes and the data has 3", "glmc-zoo finetune"]),
        (["--model", "FIRST", "--data", "TURNED"], ["has the classes of the data in another order"]),
        (["--model", "UNNAMED"], ["does not name its classes"]),
    ],
)
def test_one_sentence(
    stage: Stage,
    lab: Any,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[Any],
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    paths: dict[Any, Path] = {"FIRST": first}
    if "ANIMALS" in args:
        paths["ANIMALS"] = lab.images(tmp_path / "animals")
    if "TURNED" in args:  # names sort in another order than that of the first stage's classes
        names = [str(digit) for digit in range(10)]
        paths["FIRST"] = Path(shutil.copytree(first, tmp_path / "turned"))
        described = json.loads((paths["FIRST"] / "config.json").read_text())
        described["label_names"] = names[::-1]
        (paths["FIRST"] / "config.json").write_text(json.dumps(described))
        paths["TURNED"] = lab.images(tmp_path / "digits", dict.fromkeys(names, 3), test=1)
    if "UNNAMED" in args:
        paths["UNNAMED"] = Path(shutil.copytree(first, tmp_path / "unnamed"))
        described = json.loads((paths["UNNAMED"] / "config.json").read_text())
        del described["label_names"]
        (paths["UNNAMED"] / "config.json").write_text(json.dumps(described))
    sentence = stage(*(paths.get(arg, arg) for arg in args)).sentence
    for part in parts:
        assert part in sentence
    assert not (tmp_path / "runs").exists()
