"""The options of the second stage: what is taken over from the first stage, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from glmc_zoo.engine.cli import build_parser, parse_options, parse_second_stage_config
from glmc_zoo.engine.second_stage import SecondStageConfig, differing_options, trained_with
from glmc_zoo.hub import open_model

Stage = Callable[..., Any]

SURFACE = """
augment batch-size checkpoint-every checkpoint-steps class-balanced-beta clip-grad compile config data data-config
data-dir data-seed epochs eval-every export-encoder export-half few-threshold grad-accum-steps groups
image-column image-size imbalance-factor imbalance-type keep-checkpoints label-column license lr lr-base-size
many-threshold max-count maxnorm maxnorm-threshold min-lr mixed-precision model momentum output-dir profile
push-collection push-overwrite push-private push-pull-request push-revision push-tag push-to-hub resume sam-rho sched
seed select selection skip-bad-images test-split tracker train-split val-fraction warmup-epochs weight-decay workers
"""


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def loaded(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def changed(folder: Path, source: Path) -> set[str]:
    """Names of the tensors, parameters and statistics, that are not the source's to the bit."""
    after, before = loaded(folder).state_dict(), loaded(source).state_dict()
    assert after.keys() == before.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def longest_row(folder: Path) -> float:
    return float(loaded(folder).fc.weight.detach().double().norm(dim=1).max())


def radius(folder: Path, threshold: float = 0.1) -> float:
    norms = np.linalg.norm(loaded(folder).fc.weight.detach().double().numpy(), axis=1)
    return float(norms.min() + threshold * (norms.max() - norms.min()))


def test_the_surface_is_held() -> None:
    parser = build_parser(SecondStageConfig, description="")
    found = {text for action in parser._actions for text in action.option_strings if text.startswith("--")}
    names = {f"--{name}" for name in SURFACE.split()} | {"--help"}
    assert found >= names
    # No default of training that is none here.
    helped = " ".join(parser.format_help().split())
    assert "digits_lt" not in helped and "(default: 100)" not in helped and "(default: ldam)" not in helped
    # Of the options that data and training share, more may come; none that has no effect in this stage.
    assert not found & {f"--{name}" for name in ("backbone", "pretrained", "method", "preset", "beta", "tune", "opt")}
    assert not found & {
        f"--{name}" for name in ("sampler-power", "drop-rate", "drop-path-rate", "lora-rank", "ema-decay")
    }


def test_what_is_said_goes_before_what_the_first_stage_had(first: Path) -> None:
    def parsed(*args: str) -> SecondStageConfig:
        return parse_second_stage_config(["--model", str(first), *args], description="")

    plain = parsed()
    assert (plain.data, plain.max_count, plain.data_seed, plain.batch_size) == ("digits_lt", 10, 3, 16)
    assert (plain.augment, plain.image_size, plain.maxnorm_threshold) == ("shift", 16, 0.1)
    assert (plain.epochs, plain.lr, plain.momentum, plain.weight_decay) == (10, 0.01, 0.9, 0.1)
    assert (plain.warmup_epochs, plain.min_lr, plain.sched, plain.opt) == (0, 0.0, "cosine", "sgd")
    other = parsed("--data-seed", "4", "--batch-size", "8", "--maxnorm-threshold", "0.5")
    assert (other.max_count, other.data_seed, other.batch_size, other.maxnorm_threshold) == (10, 4, 8, 0.5)
    # Another set is not thinned as the first stage's was.
    own = parsed("--data", "my_images")
    assert (own.max_count, own.imbalance_factor, own.data_seed, own.augment) == (None, None, 0, "shift")


def test_options_alone_are_read_without_the_model() -> None:
    config = parse_options(SecondStageConfig, ["--model", "runs/none/model", "--epochs", "5"], description="")
    assert (config.epochs, config.data, config.selection, config.groups) == (5, "digits_lt", "ldam", "thresholds")
    assert (config.many_threshold, config.few_threshold) == (100, 20)


def test_a_published_model_is_enough() -> None:
    config = parse_second_stage_config(["--model", "resnet20_cifar.glmc_digits_lt"], description="")
    published = open_model("resnet20_cifar.glmc_digits_lt", weights=False).results or {}
    for name in ("data", "imbalance_factor", "data_seed", "selection", "augment", "image_size", "batch_size"):
        assert getattr(config, name) == published["config"][name]
    assert config.data_dir is None


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({"profile": "step"}, "step"),  # of before the option had its name
        ({"profile": None}, None),
        ({"profile": True, "imbalance_type": "pareto"}, "pareto"),
    ],
)
def test_the_shape_of_the_first_stage_s_tail_by_either_name(
    first: Path, tmp_path: Path, saved: dict[str, Any], expected: str | None
) -> None:
    source = Path(shutil.copytree(first, tmp_path / "source"))
    results = json.loads((source / "results.json").read_text())
    del results["config"]["imbalance_type"], results["config"]["profile"]
    results["config"] |= saved
    (source / "results.json").write_text(json.dumps(results))
    config = parse_second_stage_config(["--model", str(source)], description="")
    assert (config.imbalance_type, config.profile, config.max_count) == (expected, False, 10)
    assert differing_options(config, trained_with(open_model(str(source), weights=False))) == []


def test_where_images_lie_is_known_beside_the_run_alone(train: Stage, stage: Stage, lab: Any, tmp_path: Path) -> None:
    images = lab.images(tmp_path / "animals")
    options = ["--backbone", "resnet20_cifar", "--epochs", 1, "--batch-size", 8, "--method", "ce", "--image-size", 32]
    assert train("--data", images, *options, "--output-dir", tmp_path / "first").status == 0
    model = tmp_path / "first" / "model"
    outcome = stage("--model", model, "--epochs", 1, "--output-dir", tmp_path / "second")
    assert outcome.status == 0, outcome.err
    found = lab.results(tmp_path / "second")
    assert (found["method"], found["model"]["tag"]) == ("ce", "ce_animals_maxnorm")
    assert not (tmp_path / "second" / "model" / "glmc_heads.safetensors").exists()
    # Elsewhere the model's own results do not say it.
    away = Path(shutil.copytree(model, tmp_path / "away"))
    assert "does not say where the images lie" in stage("--model", away).sentence
    moved = Path(shutil.copytree(images, tmp_path / "moved" / "animals"))
    outcome = stage("--model", away, "--data", moved, "--epochs", 1, "--output-dir", tmp_path / "third")
    assert outcome.status == 0 and "This is not what the first stage" not in outcome.out, outcome.err
    assert lab.same_weights(lab.weights(tmp_path / "second"), lab.weights(tmp_path / "third"))


def test_the_licence_and_the_start_are_those_of_the_first_stage(
    stage: Stage, lab: Any, first: Path, tmp_path: Path
) -> None:
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


def test_from_the_hub_and_back_to_it(hub: Any, hub_python: Stage, lab: Any, first: Path, tmp_path: Path) -> None:
    hub.repo("org/first", files={path.name: path.read_bytes() for path in first.iterdir() if path.is_file()})
    words = ["--model", "hf_hub:org/first", "--epochs", 1, "--output-dir", tmp_path / "run"]
    done = hub_python("recipes/second_stage.py", *words, "--push-to-hub", "org/second", token=hub.token())
    assert done.returncode == 0, done.stderr
    found = lab.results(tmp_path / "run")
    assert found["class_counts"] == lab.results(first.parent)["class_counts"]
    assert found["second_stage"]["source"] == "hf_hub:org/first"
    assert found["second_stage"]["source_commit"] == hub.find("org/first").head.oid
    pushed = hub.find("org/second").head.files
    assert pushed["model.safetensors"] == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert "\nbase_model: org/first\n" in pushed["README.md"].decode()
    assert changed(tmp_path / "run" / "model", first) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], ["--model is missing", "runs/NAME/model"]),
        (["--model", "nosuch"], ["Unknown model 'nosuch'"]),
        (["--model", "resnet50"], ["resnet50 has no results of a training", "--tune head"]),
        (["--model", "FIRST", "--method", "ce"], ["Unknown option --method"]),
        (["--model", "FIRST", "--maxnorm-threshold", 2], ["--maxnorm-threshold 2", "0 to 1"]),
        (["--model", "FIRST", "--no-maxnorm", "--maxnorm-threshold", 0.2], ["has no effect with --no-maxnorm"]),
        (["--model", "FIRST", "--class-balanced-beta", 1], ["--class-balanced-beta 1", "1 excluded"]),
        (["--model", "FIRST", "--epochs", 0], ["--epochs 0 is too small"]),
        (["--model", "FIRST", "--data", "ANIMALS"], ["has 10 classes and the data 3", "recipes/finetune.py"]),
        (["--model", "FIRST", "--data", "TURNED"], ["has the classes of the data in another order"]),
        (["--model", "UNNAMED"], ["names no classes"]),
    ],
)
def test_one_sentence(
    stage: Stage,
    lab: Any,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[Any],
    says: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places: dict[Any, Path] = {"FIRST": first}
    if "ANIMALS" in args:
        places["ANIMALS"] = lab.images(tmp_path / "animals")
    if "TURNED" in args:  # names sort in another order than that of the first stage's classes
        names = [str(digit) for digit in range(10)]
        places["FIRST"] = Path(shutil.copytree(first, tmp_path / "turned"))
        described = json.loads((places["FIRST"] / "config.json").read_text())
        described["label_names"] = names[::-1]
        (places["FIRST"] / "config.json").write_text(json.dumps(described))
        places["TURNED"] = lab.images(tmp_path / "digits", dict.fromkeys(names, 3), test=1)
    if "UNNAMED" in args:
        places["UNNAMED"] = Path(shutil.copytree(first, tmp_path / "unnamed"))
        described = json.loads((places["UNNAMED"] / "config.json").read_text())
        del described["label_names"]
        (places["UNNAMED"] / "config.json").write_text(json.dumps(described))
    sentence = stage(*(places.get(arg, arg) for arg in args)).sentence
    for part in says:
        assert part in sentence
    assert not (tmp_path / "runs").exists()
