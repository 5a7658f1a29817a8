"""Checkpoints are complete or skipped, and the best epoch is a copy."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.training.build import make_optimizer
from glmc_zoo.training.checkpoint import Checkpoints, newest_checkpoint
from glmc_zoo.training.progress import Best, OptimizerState, Progress
from glmc_zoo.training.state_files import read_state, write_state


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
    checkpoints.remove_newer(checkpoints.folder / "step-000000002")
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
    with pytest.raises(
        UserError, match="written with processes 4, and this run has 1: launch as many processes as before"
    ):
        checkpoints.load(path.parent)


def test_best_keeps_the_first_of_equals_and_a_copy() -> None:
    model, best = nn.Linear(1, 1), Best()
    for epoch, score in enumerate([0.2, 0.5, 0.5, 0.1]):
        model.weight.data.fill_(epoch)
        best.update(epoch, score, model)
    again = Best()
    again.load_state_dict(best.state_dict())
    assert (again.epoch, again.score) == (1, 0.5)
    assert torch.equal(again.weights["weight"], torch.ones(1, 1))


# ------------------------------------------------------------------------------------------------ what others wrote
class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def listed(checkpoint: Path) -> None:
    """List the files of a checkpoint anew, as its author can."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    names = [file.name for file in checkpoint.iterdir() if file != path]
    manifest["sha256"] = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in names}
    path.write_text(json.dumps(manifest))


def test_a_checkpoint_has_neither_pickles_nor_torch_files(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, _ = saved
    files = [path for path in checkpoints.folder.rglob("*") if path.is_file()]
    assert files and {path.suffix for path in files} == {".json", ".safetensors"}


@pytest.mark.parametrize(
    "name",
    ["custom_checkpoint_0.pkl", "optimizer.bin", "random_states_0.pkl", "model.safetensors", "progress.json"],
)
def test_a_crafted_pickle_is_not_executed(saved: tuple[Checkpoints, nn.Linear, Progress], name: str) -> None:
    checkpoints, model, _ = saved
    checkpoint = checkpoints.folder / "step-000000003"
    torch.save({"weight": Payload(checkpoints.folder.parent / "executed")}, checkpoint / name)
    listed(checkpoint)
    if name.endswith((".pkl", ".bin")):
        checkpoints.load(checkpoint)  # nothing reads such a file
        assert model.weight.item() == 3
    else:
        with pytest.raises(UserError, match=rf"^File '.*{name}' cannot be used"):
            checkpoints.load(checkpoint)
    assert not (checkpoints.folder.parent / "executed").exists()
    torch.load(io.BytesIO((checkpoint / name).read_bytes()), weights_only=False)
    assert (checkpoints.folder.parent / "executed").exists()  # the payload works


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("progress", {}),
        ("progress", []),
        ("progress", {"epoch": "1", "batch": 0, "step": 0, "seconds": 0.0, "sums": {}}),
        ("progress", {"epoch": 1, "batch": -1, "step": 0, "seconds": 0.0, "sums": {}}),
        ("progress", {"epoch": 1, "batch": 1, "step": 0, "seconds": 0.0, "sums": {"loss": "x"}}),
        ("model", {}),
        ("model", {"weight": torch.ones(2, 2)}),
        ("model", {"weight": "text"}),
        ("accelerate", {"step": 0, "scaler": {"scale": 2.0}}),
        ("accelerate", {"step": None, "scaler": None}),
        ("random_0", {}),
        ("random_0", {"python": (3, (), None), "numpy": None, "torch": None, "device": None}),
    ],
)
def test_state_that_does_not_fit_is_one_sentence(
    saved: tuple[Checkpoints, nn.Linear, Progress], name: str, state: Any
) -> None:
    checkpoints, _, _ = saved
    checkpoint = checkpoints.folder / "step-000000003"
    for path in checkpoint.glob(f"{name}.*"):
        path.unlink()
    write_state(checkpoint, name, state)
    listed(checkpoint)
    beside = rf" or {name}\.safetensors beside it" if (checkpoint / f"{name}.safetensors").exists() else ""
    with pytest.raises(UserError, match=rf"^File '.*{name}\.json'{beside} cannot be used \([^\n]+\): remove that ch"):
        checkpoints.load(checkpoint)


def test_random_state_of_each_kind_is_restored_or_refused(saved: tuple[Checkpoints, nn.Linear, Progress]) -> None:
    checkpoints, _, progress = saved
    progress.step = 4
    checkpoint = checkpoints.save(progress)
    numbers = [random.random(), np.random.normal(), np.random.normal(), torch.rand(1).item()]
    checkpoints.load(checkpoint)
    assert [random.random(), np.random.normal(), np.random.normal(), torch.rand(1).item()] == numbers
    state = read_state(checkpoint, "random_0")
    for change in ({"torch": torch.zeros(3, dtype=torch.uint8)}, {"python": (3, (1, 2), None)}):
        write_state(checkpoint, "random_0", state | change)
        listed(checkpoint)
        with pytest.raises(UserError, match=r"random_0\.json' or random_0\.safetensors beside it cannot be used"):
            checkpoints.load(checkpoint)


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lamb", "lookahead_radam", "nadamw"])
def test_optimisers_go_on_bit_for_bit(accelerate: Callable[..., Accelerator], tmp_path: Path, opt: str) -> None:
    def build() -> tuple[nn.Module, Any, Checkpoints]:
        torch.manual_seed(0)
        accelerator = accelerate()
        model: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
        model = accelerator.prepare(model.to(memory_format=torch.channels_last))
        schedule = ScheduleOptions(lr=0.01, weight_decay=1e-4, epochs=1, batch_size=4, warmup_epochs=0)
        optimizer = accelerator.prepare(make_optimizer(schedule, opt, model))
        return (
            model,
            optimizer,
            Checkpoints(accelerator, tmp_path, {"model": model, "optimizer": OptimizerState(optimizer)}, keep=1),
        )

    def train(model: nn.Module, optimizer: Any, seeds: range) -> None:
        for seed in seeds:
            images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(images).pow(2).mean().backward()
            optimizer.step()

    model, optimizer, checkpoints = build()
    train(model, optimizer, range(3))
    checkpoint = checkpoints.save(Progress(step=3))
    train(model, optimizer, range(3, 6))
    other, again, resumed = build()
    resumed.load(checkpoint)
    train(other, again, range(3, 6))
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), other.parameters(), strict=True))

    state = read_state(checkpoint, "optimizer")
    bad_group = [{**state["param_groups"][0], "lr": "0.1"}]
    bad_shape = {number: {name: torch.ones(7) for name in values} for number, values in state["state"].items()}
    for change in ({"param_groups": bad_group}, {"param_groups": []}, {"state": bad_shape}, {"state": {99: {}}}):
        write_state(checkpoint, "optimizer", state | change)
        listed(checkpoint)
        with pytest.raises(UserError, match=r"^File '.*optimizer\.json' or optimizer\.safetensors beside it cannot be"):
            resumed.load(checkpoint)


def test_the_gradient_scaler_is_restored(accelerate: Callable[..., Accelerator], tmp_path: Path) -> None:
    accelerator = accelerate()
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=512.0, growth_interval=3)
    optimizer = torch.optim.SGD([weight := nn.Parameter(torch.ones(2))], lr=0.1)

    def step(scaler: Any, factor: float) -> None:
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    for factor in (1.0, float("inf"), 1.0, 1.0):  # halves the scale once, then counts two good steps
        step(accelerator.scaler, factor)
    accelerator.step = 5
    checkpoints = Checkpoints(accelerator, tmp_path, {}, keep=1)
    checkpoint = checkpoints.save(Progress(step=1))
    before = accelerator.scaler.state_dict()
    assert before["scale"] == 256 and before["_growth_tracker"] == 2
    accelerator.scaler, accelerator.step = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3), 0
    checkpoints.load(checkpoint)
    assert accelerator.step == 5
    step(accelerator.scaler, 1.0)
    assert accelerator.scaler.get_scale() == 512  # the third good step

    accelerator.scaler = None
    with pytest.raises(UserError, match=r"the checkpoint has a gradient scaler of fp16 and the run has none"):
        checkpoints.load(checkpoint)


def test_a_checkpoint_of_an_earlier_version_is_refused_and_stays(
    saved: tuple[Checkpoints, nn.Linear, Progress],
) -> None:
    checkpoints, _, _ = saved
    for checkpoint in checkpoints.folder.iterdir():
        path = checkpoint / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["format"]
        path.write_text(json.dumps(manifest))
        with pytest.raises(UserError, match="an earlier version of glmc_zoo, whose checkpoints held pickles"):
            checkpoints.load(checkpoint)
    with pytest.raises(UserError, match="finish the run with that version, or begin in another output_dir="):
        newest_checkpoint(checkpoints.folder)
    assert steps(checkpoints) == ["step-000000002", "step-000000003"]


@pytest.mark.parametrize("kind", ["link", "fifo", "outside", "unlisted", "format"])
def test_only_plain_files_that_are_listed_are_read(
    saved: tuple[Checkpoints, nn.Linear, Progress], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, _, _ = saved
    checkpoint = checkpoints.folder / "step-000000003"
    path, model = checkpoint / "manifest.json", checkpoint / "model.safetensors"
    manifest = json.loads(path.read_text())
    if kind == "link":
        model.rename(checkpoints.folder.parent / "elsewhere")
        model.symlink_to(checkpoints.folder.parent / "elsewhere")
    elif kind == "fifo":
        model.unlink()
        os.mkfifo(model)
    elif kind == "outside":
        manifest["sha256"]["/dev/zero"] = ""
    elif kind == "unlisted":
        del manifest["sha256"]["model.safetensors"]
    else:
        manifest["format"] = 3
    path.write_text(json.dumps(manifest))
    assert newest_checkpoint(checkpoints.folder) == checkpoints.folder / "step-000000002"
    reasons = {"unlisted": "is not in manifest.json", "format": "has format 3, and this version reads 2"}
    assert reasons.get(kind, "is not a plain file of the checkpoint") in caplog.text
