"""The recipe files: their facts against the published table, their options against the catalogue."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from published import (
    ALONE,
    CHAINS,
    CIFAR,
    CLASSES,
    FOLDER,
    LARGE,
    NAMES,
    PLAIN,
    SCHEDULE,
    SWITCHES,
    about,
    base_of,
    options,
    training_images,
)

from glmc_zoo import GLMCModel
from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names, values_of
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.options.sections import FINETUNE, SECOND_STAGE, TRAIN

ROOT = Path(__file__).resolve().parents[2]


def parsed(*words: str) -> dict[str, Any]:
    """The options of a training by name, as resolved."""
    return flatten_options(training_options(read_command_line(TRAIN, "", "", words)))


def values(options: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(options[name] for name in names)


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
        assert published["network"] == "ResNet-34"  # the file's is the wide ResNet-32


@pytest.mark.parametrize("name", LARGE)
def test_published_scores_of_large_sets(name: str) -> None:
    published = about(name)["published"]
    *scores, again = LARGE[name]
    assert [published[key] for key in ("top1", "many", "medium", "few")] == scores
    assert [other["top1"] for other in about(name)["others"]] == again
    assert "last epoch" in published["how"]


@pytest.mark.parametrize("name", NAMES)
def test_the_header_is_complete_and_agrees_with_the_facts(name: str) -> None:
    facts = about(name)
    assert set(facts) - {"first_stage"} == {"title", "commands", "published", "others", "measured", "time"}
    assert isinstance(facts["title"], str) and len(facts["title"]) > 10
    assert facts.get("first_stage") == (base_of(name) if name.endswith("_maxnorm") else None)
    assert all(isinstance(command, str) for command in facts["commands"])
    for other in facts["others"]:
        assert set(other) == {"top1", "what", "source"} and isinstance(other["top1"], float)
    # A measurement is a folder of benchmarks/results, with its hardware; a time is not guessed.
    if facts["measured"] is not None:
        assert (ROOT / facts["measured"]).exists()
    assert set(facts["time"]) == {"seconds", "hardware", "forwarded_images", "formula", "training_images"}
    assert (facts["time"]["seconds"] is None) == (facts["time"]["hardware"] is None)
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = "\n".join(line for line in lines if line.startswith("#"))
    assert lines.index("about:") == comment.count("\n") + 1
    assert f"--config recipes/configs/{name}.yaml" in comment.splitlines()[0]
    published = facts["published"]
    assert ("No published score" in comment) == (published is None)
    if published is not None:
        assert set(published) - {"network"} == {"top1", "many", "medium", "few", "source", "how"}
        assert ("network" in published) == ("another network" in published["how"])
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
    scores = {name: [about(name)["published"][key] for key in ("many", "medium", "few", "top1")] for name in LARGE}
    assert {name: [float(cell) for cell in cells] for name, cells in table.items()} == scores


# ------------------------------------------------------------------------------------------------ options
@pytest.mark.parametrize("name", PLAIN)
def test_the_data_set_alone_picks_the_same_recipe(name: str) -> None:
    data, _, factor = name.rpartition("_if")
    words = ["--data", data, "--imbalance-factor", factor] if data else ["--data", name]
    config = parsed("--config", name)
    # Without a file, `accelerate config` decides the precision.
    assert parsed(*words) == config | {"mixed_precision": None}
    backbone, _, lr, batch, epochs, decay, warmup, _ = SCHEDULE[data or name]
    assert values(config, "backbone", "lr", "batch_size", "epochs") == (backbone, lr, batch, epochs)
    assert values(config, "weight_decay", "warmup_epochs", "preset") == (decay, warmup, "official")
    assert values(config, "sampler_power", "class_weight_power", "consistency_weight") == SWITCHES[name]
    assert values(config, "opt", "momentum", "sched", "min_lr") == ("sgd", 0.9, "cosine", 0.0)
    assert values(config, "beta", "reduction", "rebalanced_loss") == (1.0, "sum", "reweighted")
    assert values(config, "correct_lam", "cumulative_power", "select") == (False, 2.0, "last")
    # Nothing that the recipe is made of is left to a default.
    given = set(options(name))
    assert given >= {"data", "backbone", "image_size", "method", "preset", "epochs", "batch_size", "lr", "weight_decay"}
    assert given >= {"beta", "correct_lam", "sampler_power", "class_weight_power", "cumulative_power", "reduction"}
    assert given >= {"consistency_weight", "rebalanced_loss", "opt", "momentum", "sched", "warmup_epochs", "min_lr"}
    assert ("imbalance_factor" in given) == bool(data)


def test_the_command_of_the_readme_is_the_published_one_apart_from_the_backbone() -> None:
    ours = parsed("--backbone", "resnet50", "--data", "imagenet_lt")
    published = parsed("--config", "imagenet_lt")
    assert {key for key in published if published[key] != ours[key]} == {"backbone", "mixed_precision"}


@pytest.mark.parametrize("name", [name for name in ALONE if name != "inat18"])
def test_a_variant_differs_from_the_plain_file_in_one_option(name: str) -> None:
    plain, variant = options(base_of(name)), options(name)
    changed = {"sam_rho": 0.05} if name.endswith("_sam") else {"rebalanced_loss": "balanced_softmax"}
    assert variant == plain | changed


@pytest.mark.parametrize("name", NAMES)
def test_the_precision_is_part_of_the_file(name: str) -> None:
    assert options(name)["mixed_precision"] == "no"  # in quotes: plain no is false in YAML


def test_the_command_line_overrides_the_precision() -> None:
    for precision in ("bf16", "auto"):
        assert parsed("--config", "inat18", "--mixed-precision", precision)["mixed_precision"] == precision


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
    assert values(given, "data_dir", "output_dir") == ("DATA", f"runs/{name}")
    # Scaled to the batch of one process, the rate of one process is the published one.
    schedule = ScheduleOptions(**{field: given[field] for field in field_names(ScheduleOptions)})
    as_launched = given | values_of(schedule.scale_rates(1)) | {"data_dir": None, "output_dir": None}
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
    assert parsed("--config", "cifar10_lt_if50", "--epochs", "7")["epochs"] == 7
    assert parsed("--config", str(FOLDER / "cifar10_lt_if50.yaml")) == parsed("--config", "cifar10_lt_if50")
    # A data folder of that name does not hold options; a file does, and comes first.
    (tmp_path / "imagenet_lt").mkdir()
    assert parsed("--config", "imagenet_lt")["epochs"] == 135
    (tmp_path / "inat18").write_text("epochs: 3\n")
    assert parsed("--config", "inat18")["epochs"] == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar10_lt_if5", "config='cifar10_lt_if5' is neither a file nor one of the recipe files"),
        ("imagnet_lt", "Did you mean imagenet_lt"),
        ("configs/imagenet_lt", "config='configs/imagenet_lt' cannot be read"),
        ("cifar10_lt_if10_maxnorm", "The key class_balanced_beta= is unknown."),
    ],
)
def test_one_sentence_about_a_name(name: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        parsed("--config", name)
    assert sentence in caught.value.sentence and "\n" not in str(caught.value)


@pytest.mark.parametrize("command", [FINETUNE, SECOND_STAGE], ids=lambda command: command.name)
def test_a_file_of_one_recipe_is_refused_by_another(command: Any) -> None:
    with pytest.raises(UserError, match="The key backbone= is unknown"):
        read_command_line(command, "", "", ["--config", "inat18", "--model", "resnet18"])
