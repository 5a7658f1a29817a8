"""Checkpoints are complete or skipped, and the best epoch is a copy."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.training.checkpoint import Checkpoints, newest_checkpoint
from glmc_zoo.training.progress import Best, Progress


@pytest.fixture
def saved(accelerate: Callable[..., Accelerator], tmp_path: Path) -> tuple[Checkpoints, nn.Linear, Progress]:
    """Checkpoints of steps 1 to 3, whose only weight is the number of the step."""
    accelerator = accelerate()
    model = accelerator.prepare(nn.Linear(1, 1, bias=False))
    progress = Progress()
    checkpoints = Checkpoints(accelerator, tmp_path / "checkpoints", {"model": model, "progress": progress}, keep=2)
    for progress.step in (1, 2, 3):
        model.weight.data.fill_(progress.step)
        checkpoints.save(progress)
    return checkpoints, model, progress


def steps(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_the_newest_are_kept_and_loaded(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, model, progress = saved
    assert steps(checkpoints) == ["step-000000002", "step-000000003"]
    checkpoints.load(checkpoints.folder / "step-000000002")
    assert model.weight.item() == 2 and progress.step == 2


@pytest.mark.parametrize("file", ["model.safetensors", "progress.json", "random_0.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "garbage", "missing", "empty"])
def test_damage_is_skipped_with_a_warning(
    saved: tuple[Checkpoints, nn.Linear, Progress], caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    checkpoints, _, _ = saved
    path = checkpoints.folder / "step-000000003" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"\xff" * len(content), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(checkpoints.folder) == checkpoints.folder / "step-000000002"
    (warning,) = caplog.messages
    assert "step-000000003 is skipped" in warning and file in warning
    with pytest.raises(UserError, match=r"step-000000003' cannot be used: .*; try resume='auto'"):
        checkpoints.load(checkpoints.folder / "step-000000003")


def test_without_a_readable_one_there_is_none(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, _ = saved
    for path in checkpoints.folder.glob("step-*/model.safetensors"):
        path.unlink()
    assert newest_checkpoint(checkpoints.folder) is None


def test_a_damaged_newer_one_does_not_replace_a_good_one(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, progress = saved
    progress.step = 9
    checkpoints.save(progress)
    (checkpoints.folder / "step-000000009" / "model.safetensors").write_bytes(b"")
    for progress.step in (4, 5):
        checkpoints.save(progress)
    assert steps(checkpoints) == ["step-000000004", "step-000000005", "step-000000009"]
    assert newest_checkpoint(checkpoints.folder) == checkpoints.folder / "step-000000005"


def test_going_back_removes_what_is_newer(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, _ = saved
    checkpoints.drop_newer(checkpoints.folder / "step-000000002")
    assert steps(checkpoints) == ["step-000000002"]


def test_half_a_checkpoint_is_never_taken_for_one(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, progress = saved
    (checkpoints.folder / "step-000000003").rename(checkpoints.folder / ".writing-step-000000003")
    assert newest_checkpoint(checkpoints.folder) == checkpoints.folder / "step-000000002"
    progress.step = 4
    checkpoints.save(progress)
    assert steps(checkpoints) == ["step-000000002", "step-000000004"]


def test_another_number_of_processes_is_refused(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, _ = saved
    path = checkpoints.folder / "step-000000003" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "processes": 4}))
    with pytest.raises(UserError, match="written with processes 4 and cannot go on with 1"):
        checkpoints.load(path.parent)


def test_best_keeps_the_first_of_equals_and_a_copy() -> None:
    model, best = nn.Linear(1, 1), Best()
    for epoch, score in enumerate([0.2, 0.5, 0.5, 0.1]):
        model.weight.data.fill_(epoch)
        best.offer(epoch, score, model)
    again = Best()
    again.load_state_dict(best.state_dict())
    assert (again.epoch, again.score) == (1, 0.5)
    assert torch.equal(again.weights["weight"], torch.ones(1, 1))
