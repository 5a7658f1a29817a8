"""The recipe files: their facts against the published table, their options against the catalogue, and a short run."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from glmc_zoo import GLMCModel
from glmc_zoo.engine.cli import parse_config, parse_finetune_config, parse_second_stage_config
from glmc_zoo.engine.config import TrainConfig, with_scaled_lr
from glmc_zoo.engine.recipe_files import config_path
from glmc_zoo.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "configs"

# Top-1 of GLMC, with MaxNorm, and with SAM; then of GLMC run again by others.
CIFAR: dict[tuple[str, int], tuple[float, float, float | None, float]] = {
    ("cifar10_lt", 100): (88.50, 89.58, 89.18, 88.24),
    ("cifar10_lt", 50): (91.04, 92.04, 91.56, 90.89),
    ("cifar10_lt", 10): (94.87, 95.00, None, 95.12),
    ("cifar100_lt", 100): (57.97, 58.41, 59.01, 57.20),
    ("cifar100_lt", 50): (63.78, 64.57, 65.28, 62.99),
    ("cifar100_lt", 10): (73.40, 74.28, None, 74.08),
}
# Top-1, many, medium, few, and run again by others.
LARGE: dict[str, tuple[float, float, float, float, list[float]]] = {
    "imagenet_lt": (56.3, 70.1, 52.4, 30.4, [54.95, 55.31]),
    "imagenet_lt_maxnorm": (56.7, 60.8, 55.9, 45.5, []),
    "imagenet_lt_balanced_softmax": (57.2, 64.8, 55.7, 42.2, []),
    "inat18": (72.2, 64.6, 73.2, 73.0, []),
}
# q, k, gamma.
SWITCHES = {
    "cifar10_lt_if100": (0.0, 1.2, 1.0),
    "cifar10_lt_if50": (0.0, 1.2, 1.0),
    "cifar10_lt_if10": (0.2, 1.0, 2.0),
    "cifar100_lt_if100": (0.0, 1.2, 4.0),
    "cifar100_lt_if50": (0.2, 1.2, 6.0),
    "cifar100_lt_if10": (0.2, 1.2, 4.0),
    "imagenet_lt": (0.2, 1.0, 10.0),
    "inat18": (0.2, 1.0, 10.0),
}
# Backbone, its parameters in millions with the classifier of the set, learning rate, batch, epochs, weight decay,
# warm-up, width of projection and prediction.
SCHEDULE = {
    "cifar10_lt": ("resnet32x4_cifar", 7.4, 0.01, 64, 200, 5e-3, 0, 128),
    "cifar100_lt": ("resnet32x4_cifar", 7.4, 0.01, 64, 200, 5e-3, 0, 128),
    "imagenet_lt": ("resnext50_32x4d", 25.0, 0.1, 120, 135, 2e-4, 10, 256),
    "inat18": ("resnext50_32x4d", 39.7, 0.1, 128, 120, 1e-4, 10, 256),
}
CLASSES = {"cifar10_lt": 10, "cifar100_lt": 100, "imagenet_lt": 1000, "inat18": 8142}
IMAGES = {"imagenet_lt": 115_846, "inat18": 437_513}
PLAIN = sorted(SWITCHES)
# Trained in one stage, and not the first stage of another file; and those of two stages.
ALONE = sorted([f"{name}_sam" for name in PLAIN if "cifar" in name] + ["imagenet_lt_balanced_softmax", "inat18"])
CHAINS = sorted(f"{name}_maxnorm" for name in PLAIN if name != "inat18")
NAMES = sorted([*PLAIN, *CHAINS, *(name for name in ALONE if name != "inat18")])


def about(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["about"]


def options(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in loaded.items() if key != "about"}


def base_of(name: str) -> str:
    """The plain GLMC file of a variant's."""
    for suffix in ("_maxnorm", "_sam", "_balanced_softmax"):
        name = name.removesuffix(suffix)
    return name


def parsed(*words: str) -> TrainConfig:
    return parse_config(list(words), description="")


def training_images(name: str) -> int:
    """Size of the training part: by the official list, or by the formula for class c of C."""
    data, _, factor = base_of(name).rpartition("_if")
    if not data:
        return IMAGES[base_of(name)]
    classes = CLASSES[data]
    largest = {10: 5000, 100: 500}[classes]
    return sum(int(largest * int(factor) ** (-c / (classes - 1))) for c in range(classes))


# ------------------------------------------------------------------------------------------------ facts
def test_one_file_for_each_published_row() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.yaml" for name in NAMES}
    assert len(NAMES) == 6 * 3 + 4


@pytest.mark.parametrize(("row", "scores"), CIFAR.items(), ids=lambda part: "-".join(map(str, part)))
def test_published_scores_of_cifar(row: tuple[str, int], scores: tuple[float, float, float | None, float]) -> None:
    name = f"{row[0]}_if{row[1]}"
    plain, maxnorm, sam, again = scores
    for file, top1 in ((name, plain), (f"{name}_maxnorm", maxnorm)):
        published = about(file)["published"]
        assert published["top1"] == top1
        assert published["many"] is published["medium"] is published["few"] is None
        assert "best epoch, chosen on the test set" in published["how"] and "last epoch" in published["how"]
        assert "sampling without replacement" in published["source"]
    assert [other["top1"] for other in about(name)["others"]] == [again]
    published = about(f"{name}_sam")["published"]
    if sam is None:
        assert published is None
    else:
        assert published["top1"] == sam
        assert "ResNet-34" in published["how"] and "single run" in published["how"]


@pytest.mark.parametrize("name", LARGE)
def test_published_scores_of_large_sets(name: str) -> None:
    published = about(name)["published"]
    *scores, again = LARGE[name]
    assert [published[key] for key in ("top1", "many", "medium", "few")] == scores
    assert [other["top1"] for other in about(name)["others"]] == again
    assert "last epoch" in published["how"]


@pytest.mark.parametrize("name", NAMES)
def test_the_header_is_complete_and_says_what_the_data_say(name: str) -> None:
    said = about(name)
    assert set(said) - {"first_stage"} == {"title", "commands", "published", "others", "measured", "time"}
    assert isinstance(said["title"], str) and len(said["title"]) > 10
    assert said.get("first_stage") == (base_of(name) if name.endswith("_maxnorm") else None)
    assert all(isinstance(command, str) for command in said["commands"])
    for other in said["others"]:
        assert set(other) == {"top1", "what", "source"} and isinstance(other["top1"], float)
    # A measurement is a folder of benchmarks/results, with its hardware; a time is not guessed.
    if said["measured"] is not None:
        assert (ROOT / said["measured"]).exists()
    assert set(said["time"]) == {"seconds", "hardware", "forwarded_images", "formula", "training_images"}
    assert (said["time"]["seconds"] is None) == (said["time"]["hardware"] is None)
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = "\n".join(line for line in lines if line.startswith("#"))
    assert lines.index("about:") == comment.count("\n") + 1
    assert f"--config recipes/configs/{name}.yaml" in comment.splitlines()[0]
    published = said["published"]
    assert ("No published score" in comment) == (published is None)
    if published is not None:
        assert set(published) == {"top1", "many", "medium", "few", "source", "how"}
        digits = 1 if name in LARGE else 2
        assert f"{published['top1']:.{digits}f} % top-1" in comment


@pytest.mark.parametrize("name", NAMES)
def test_the_work_is_what_the_options_come_to(name: str) -> None:
    time, images, epochs = about(name)["time"], training_images(name), options(name)["epochs"]
    assert time["training_images"] == images
    # GLMC sees two mixed views of each image, SAM both of them twice; the second stage one image as it is.
    passes = 1 if name.endswith("_maxnorm") else 4 if name.endswith("_sam") else 2
    assert time["forwarded_images"] == epochs * images * passes
    assert f"epochs x training images{'' if passes == 1 else ' x 2 views'}" in time["formula"]


def test_the_table_in_the_docs_is_that_of_the_files() -> None:
    table: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            file, *cells = (cell.strip(" `") for cell in line.strip("|").split("|"))
            table[file] = cells
    scores: dict[str, list[float | None]] = {}
    for name in table:
        columns = [name] if name in LARGE else [name, f"{name}_maxnorm", f"{name}_sam"]
        rows = [about(column)["published"] or {"top1": None} for column in columns]
        scores[name] = (
            [rows[0][key] for key in ("many", "medium", "few", "top1")] if name in LARGE else [r["top1"] for r in rows]
        )
    assert {name: [None if cell == "-" else float(cell) for cell in cells] for name, cells in table.items()} == scores
    assert set(table) == set(LARGE) | {name for name in PLAIN if "cifar" in name}


# ------------------------------------------------------------------------------------------------ options
@pytest.mark.parametrize("name", PLAIN)
def test_the_data_set_alone_picks_the_same_recipe(name: str) -> None:
    data, _, factor = name.rpartition("_if")
    words = ["--data", data, "--imbalance-factor", factor] if data else ["--data", name]
    config = parsed("--config", name)
    assert parsed(*words) == config
    backbone, _, lr, batch, epochs, decay, warmup, _ = SCHEDULE[data or name]
    assert (config.backbone, config.lr, config.batch_size, config.epochs) == (backbone, lr, batch, epochs)
    assert (config.weight_decay, config.warmup_epochs, config.preset) == (decay, warmup, "official")
    assert (config.sampler_power, config.class_weight_power, config.consistency_weight) == SWITCHES[name]
    assert (config.opt, config.momentum, config.sched, config.min_lr) == ("sgd", 0.9, "cosine", 0.0)
    assert (config.beta, config.reduction, config.rebalanced_loss) == (1.0, "sum", "reweighted")
    assert (config.correct_lam, config.cumulative_power, config.select) == (False, 2.0, "last")
    # Nothing that the recipe is made of is left to a default.
    said = set(options(name))
    assert said >= {"data", "backbone", "image_size", "method", "preset", "epochs", "batch_size", "lr", "weight_decay"}
    assert said >= {"beta", "correct_lam", "sampler_power", "class_weight_power", "cumulative_power", "reduction"}
    assert said >= {"consistency_weight", "rebalanced_loss", "opt", "momentum", "sched", "warmup_epochs", "min_lr"}
    assert ("imbalance_factor" in said) == bool(data)


def test_the_command_of_the_readme_is_the_published_one_apart_from_the_backbone() -> None:
    ours = dataclasses.asdict(parsed("--backbone", "resnet50", "--data", "imagenet_lt"))
    published = dataclasses.asdict(parsed("--config", "imagenet_lt"))
    assert {key for key in published if published[key] != ours[key]} == {"backbone"}


@pytest.mark.parametrize("name", [name for name in ALONE if name != "inat18"])
def test_a_variant_differs_from_the_plain_file_in_one_option(name: str) -> None:
    plain, variant = options(base_of(name)), options(name)
    changed = {"sam_rho": 0.05} if name.endswith("_sam") else {"rebalanced_loss": "balanced_softmax"}
    assert variant == plain | changed


@pytest.mark.parametrize("name", CHAINS)
def test_the_second_stage_is_that_of_its_authors(name: str) -> None:
    stage, first = options(name), options(base_of(name))
    assert (stage["epochs"], stage["lr"], stage["momentum"], stage["weight_decay"]) == (10, 0.01, 0.9, 0.1)
    assert (stage["sched"], stage["min_lr"], stage["warmup_epochs"]) == ("cosine", 0, 0)
    assert (stage["maxnorm_threshold"], stage["class_balanced_beta"]) == (0.1, 0.9999)
    for shared in ("data", "imbalance_factor", "image_size", "batch_size"):
        assert stage.get(shared) == first.get(shared)


@pytest.mark.parametrize("name", sorted({*PLAIN, *ALONE}))
def test_the_command_means_the_file(name: str) -> None:
    (command,) = about(name)["commands"]
    words = shlex.split(command)
    assert words[:4] == ["accelerate", "launch", "recipes/train.py", "--config"]
    given = parsed(*(str(ROOT / word) if word.startswith("recipes/configs/") else word for word in words[3:]))
    assert (given.data_dir, given.output_dir) == ("DATA", f"runs/{name}")
    # Scaled to the batch of one process, the rate of one process is the published one.
    as_launched = dataclasses.replace(with_scaled_lr(given, 1), data_dir=None, output_dir=None)
    assert as_launched == parsed("--config", name)


@pytest.mark.parametrize(
    "name", [*PLAIN[:1], *(n for n in PLAIN if n in ("cifar100_lt_if100", "imagenet_lt", "inat18"))]
)
def test_the_model_is_the_published_one(name: str) -> None:
    """With every class of the real set, at the width of its heads."""
    data = options(name)["data"]
    backbone, millions, *_, width = SCHEDULE[data]
    model = GLMCModel(options(name)["backbone"], CLASSES[data], image_size=options(name)["image_size"])
    network: Any = model.timm_model
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)
    assert network.get_classifier().out_features == CLASSES[data]
    assert network.default_cfg["architecture"] == backbone
    heads = model.training_heads()
    assert {len(value) for key, value in heads.items() if "project" in key} == {width}


# ------------------------------------------------------------------------------------------------ by name
def test_a_name_finds_the_file_and_the_command_line_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        assert config_path(name) == FOLDER / f"{name}.yaml"
    assert parsed("--config", "cifar10_lt_if50", "--epochs", "7").epochs == 7
    assert parsed("--config", str(FOLDER / "cifar10_lt_if50.yaml")) == parsed("--config", "cifar10_lt_if50")
    # A data folder of that name is no file of options; a file is one, and goes first.
    (tmp_path / "imagenet_lt").mkdir()
    assert parsed("--config", "imagenet_lt").epochs == 135
    (tmp_path / "inat18").write_text("epochs: 3\n")
    assert parsed("--config", "inat18").epochs == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cifar10_lt_if5", "--config 'cifar10_lt_if5' is neither a file nor one of the recipe files"),
        ("imagnet_lt", "Did you mean imagenet_lt"),
        ("configs/imagenet_lt", "Config file 'configs/imagenet_lt' cannot be read"),
        ("cifar10_lt_if10_maxnorm", "has the unknown key"),
    ],
)
def test_one_sentence_about_a_name(name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        parsed("--config", name)
    assert says in caught.value.sentence and "\n" not in str(caught.value)


def test_a_file_of_one_recipe_is_refused_by_another() -> None:
    with pytest.raises(UserError, match="unknown key"):
        parse_finetune_config(["--config", "inat18", "--model", "resnet18"], description="")
    with pytest.raises(UserError, match="unknown key"):
        parse_second_stage_config(["--config", "inat18", "--model", "resnet18"], description="")


# ------------------------------------------------------------------------------------------------ two steps
class FirstSteps:
    """The first two batches of each epoch of a prepared loader."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.loader), 2)

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)


def small(name: str, command: str, words: Callable[[str], list[str]], place: Path) -> list[str]:
    """The words of a file's command after the script, for the miniature of its set, with small pictures and batches."""
    data = options(name)["data"]
    given = shlex.split(command)
    start = next(i for i, word in enumerate(given) if word.endswith(".py")) + 1
    rest = [
        str(ROOT / word) if word.startswith("recipes/") else str(place / word) if word.startswith("runs/") else word
        for word in given[start : given.index("--data-dir")]
    ]
    factor = options(name).get("imbalance_factor")
    tail = [] if factor is None else ["--max-count", str(factor)]  # down to one image of the last class
    return [*rest, *words(data), *tail, "--image-size", "8" if "cifar" in data else "32", "--batch-size", "4"]


def two_steps(run: Any) -> dict[str, float]:
    """Train the run's first epoch through two steps, and check that they were steps."""
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.loader = FirstSteps(run.loader)
    next(iter(run.epochs()))
    losses: dict[str, float] = run.train_epoch()
    assert run.progress.step == run.progress.batch == 2
    assert all(torch.isfinite(torch.tensor(value)) for value in losses.values())
    after = run.model.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    return losses


def check_run(run: Any, name: str) -> None:
    """Network and thinning are those of the file."""
    data, factor = options(name)["data"], options(name).get("imbalance_factor")
    backbone, *_ = SCHEDULE[data]
    assert run.timm_model.default_cfg["architecture"] == backbone
    if factor is None:
        assert run.data.class_counts == [9, 30, 2, 14, 5]
    else:
        steps = CLASSES[data] - 1
        assert run.data.class_counts == [int(factor * factor ** (-c / steps)) for c in range(steps + 1)]


@pytest.mark.parametrize("name", ALONE)
def test_two_steps(name: str, data_words: Callable[[str], list[str]], tmp_path: Path) -> None:
    from glmc_zoo.engine.run import TrainingRun

    (command,) = about(name)["commands"]
    run = TrainingRun(parsed(*small(name, command, data_words, tmp_path)))
    losses = two_steps(run)
    assert set(losses) >= {"loss", "conventional", "rebalanced", "consistency"}
    assert (run.sam is not None) == name.endswith("_sam")
    check_run(run, name)


@pytest.mark.parametrize("name", CHAINS)
def test_two_steps_of_both_stages(
    name: str, data_words: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    from glmc_zoo.engine.run import TrainingRun
    from glmc_zoo.engine.second_stage_run import SecondStageRun

    # Drawing takes longer than the training.
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())
    first_command, second_command = about(name)["commands"]
    assert first_command == about(base_of(name))["commands"][0]
    first = TrainingRun(parsed(*small(base_of(name), first_command, data_words, tmp_path)))
    first.finish_epoch(two_steps(first))
    first.finish()
    check_run(first, base_of(name))

    words = small(name, second_command, data_words, tmp_path)
    second = SecondStageRun(parse_second_stage_config(words, description=""))
    # It says the same data and schedule that it would have taken over, or made, by itself.
    alone = [word for word in words if word not in ("--config", str(FOLDER / f"{name}.yaml"))]
    assert dataclasses.replace(parse_second_stage_config(alone, description=""), inherited=()) == dataclasses.replace(
        parse_second_stage_config(words, description=""), inherited=()
    )
    encoder = first.timm_model.state_dict()
    two_steps(second)
    check_run(second, name)
    changed = {key for key, value in second.timm_model.state_dict().items() if not torch.equal(value, encoder[key])}
    assert {key.partition(".")[0] for key in changed} == {"fc"}
    rows = second.timm_model.get_classifier().weight.detach().norm(dim=1)
    assert second.ball is not None and float(rows.max()) <= second.ball.limit * (1 + 1e-5)
