"""The commands of the recipe files as they are, on their sets in miniature, through two steps of the real network."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from published import ALONE, CHAINS, CLASSES, FOLDER, SCHEDULE, about, base_of, options

from glmc_zoo.cli import read_options
from glmc_zoo.options.resolve import second_stage_options, training_options
from glmc_zoo.options.run import RunOptions, flatten_options
from glmc_zoo.options.sections import SECOND_STAGE, TRAIN
from glmc_zoo.training.first_stage import first_stage_options
from glmc_zoo.training.run import TrainingRun

ROOT = Path(__file__).resolve().parents[2]


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


def parsed(words: list[str]) -> RunOptions:
    return training_options(read_options(TRAIN, "Train.", words))


def parsed_second_stage(words: list[str]) -> RunOptions:
    given = read_options(SECOND_STAGE, "Train again.", words)
    return second_stage_options(given, first_stage_options(given))


def small(name: str, command: str, words: Callable[[str], list[str]], base: Path) -> list[str]:
    """The words of a file's command after the script, for the miniature of its set, with small images and batches."""
    data = options(name)["data"]
    given = shlex.split(command)
    start = next(i for i, word in enumerate(given) if word.endswith(".py")) + 1
    rest = [
        str(ROOT / word) if word.startswith("recipes/") else str(base / word) if word.startswith("runs/") else word
        for word in given[start : given.index("--data-dir")]
    ]
    factor = options(name).get("imbalance_factor")
    tail = [] if factor is None else ["--max-count", str(factor)]  # down to one image of the last class
    return [*rest, *words(data), *tail, "--image-size", "8" if "cifar" in data else "32", "--batch-size", "4"]


def two_steps(run: Any) -> dict[str, float]:
    """Train the run's first epoch through two steps, and check that they were steps."""
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    run.loader = run.trainer.loader = FirstSteps(run.loader)
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_two_steps(name: str, data_words: Callable[[str], list[str]], tmp_path: Path) -> None:
    (command,) = about(name)["commands"]
    run = TrainingRun(parsed(small(name, command, data_words, tmp_path)))
    losses = two_steps(run)
    assert set(losses) >= {"loss", "conventional", "rebalanced", "consistency"}
    assert (run.trainer.step.sam is not None) == name.endswith("_sam")
    check_run(run, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_two_steps_of_both_stages(
    name: str, data_words: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    # Drawing takes longer than the training.
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **kwargs: Path(path).touch())
    first_command, second_command = about(name)["commands"]
    assert first_command == about(base_of(name))["commands"][0]
    first = TrainingRun(parsed(small(base_of(name), first_command, data_words, tmp_path)))
    first.finish_epoch(two_steps(first))
    first.finish()
    check_run(first, base_of(name))

    words = small(name, second_command, data_words, tmp_path)
    second_options = parsed_second_stage(words)
    second = TrainingRun(second_options)
    # It says the same data and schedule that it would have taken over, or made, by itself; the precision it adds.
    alone = [word for word in words if word not in ("--config", str(FOLDER / f"{name}.yaml"))]
    assert flatten_options(parsed_second_stage(alone)) == flatten_options(second_options) | {"mixed_precision": None}
    encoder = first.timm_model.state_dict()
    two_steps(second)
    check_run(second, name)
    changed = {key for key, value in second.timm_model.state_dict().items() if not torch.equal(value, encoder[key])}
    assert {key.partition(".")[0] for key in changed} == {"fc"}
    rows = second.timm_model.get_classifier().weight.detach().norm(dim=1)
    assert second.stage.ball is not None
    assert float(rows.max()) <= second.stage.ball.limit * (1 + 1e-5)
