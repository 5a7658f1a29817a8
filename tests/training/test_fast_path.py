"""What makes a run fast changes nothing that it computes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from glmc_zoo.data import load_data, train_loader, train_transform
from glmc_zoo.method import sampling_weights
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.run import flatten_options
from glmc_zoo.options.sections import TRAIN
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.training.loop import step_generator
from glmc_zoo.training.run import TrainingRun
from glmc_zoo.training.step import TrainStep

STEPS = 12


def fast_losses(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Loss terms of every step of the run's first epoch, as the run computes them."""
    losses: list[dict[str, float]] = []
    step = TrainStep.__call__

    def recorded(self: TrainStep, inputs: Any) -> dict[str, torch.Tensor]:
        result = step(self, inputs)
        losses.append({name: float(value.detach()) for name, value in result.items() if name != "output"})
        return result

    monkeypatch.setattr(TrainStep, "__call__", recorded)
    next(iter(run.epochs()))
    run.train_epoch()
    return losses


def make_smooth(module: nn.Module) -> None:
    """Replace every ReLU by SiLU: a rounding error near zero then stays one, and turns no gradient on or off."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.SiLU())
        make_smooth(child)


@pytest.mark.parametrize("joint", [False, True])
def test_the_losses_of_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, joint: bool) -> None:
    given = {"data": "digits_lt", "batch_size": 16, "lr": 0.01, "threads": 1, "views": "mixup_cutmix"}
    given |= {"joint_views": joint, "seed": 3}
    options = training_options(parse_options(TRAIN, {**given, "output_dir": str(tmp_path / "run")}, ""))
    config = flatten_options(options)
    run = TrainingRun(options)
    assert run.placement.resident_on is not None
    # A weight in another layout rounds differently, and ReLU, where that changes a sign, amplifies it without bound.
    make_smooth(run.task)
    # From here on a plain loop: images from the loader, NCHW, an optimiser that goes from parameter to parameter.
    task: Any = copy.deepcopy(run.task).to(memory_format=torch.contiguous_format)
    losses = fast_losses(run, monkeypatch)[:STEPS]
    lr = run.optimizer.param_groups[0]["lr"]  # of the first epoch, within the warm-up

    data = load_data("digits_lt")
    weights = sampling_weights(data.train.labels.tolist(), data.class_counts, config["sampler_power"])
    transform = train_transform(run.spec.augment, run.spec.size, interpolation=run.spec.interpolation)
    loader = train_loader(data.train, transform, batch_size=16, second_weights=weights, seed=3)
    optimizer = torch.optim.SGD(
        task.parameters(), lr=lr, momentum=0.9, weight_decay=config["weight_decay"], foreach=False
    )
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (run.spec.mean, run.spec.std))
    task.train()
    expected = []
    for index, batch in zip(range(STEPS), loader, strict=False):
        first, second = (
            tuple(((view.float() / 255 - mean) / std).contiguous() for view in views)
            for views in (batch.first, batch.second)
        )
        mixed = task.mix(first, second, batch.first_targets, batch.second_targets, step_generator(3, 0, index, 0))
        terms = task(mixed)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        expected.append({name: float(value.detach()) for name, value in terms.items() if name != "output"})
    assert len(losses) == len(expected) == STEPS
    for one, other in zip(losses, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
    assert expected[0]["loss"] != pytest.approx(expected[-1]["loss"], rel=0.05)  # it learned: steps did something


def test_resident_images_give_the_same_weights(train: Any, lab: Any, tmp_path: Path) -> None:
    weights, resident = [], []
    for name in ("--resident", "--no-resident"):
        outcome = train(*lab.tiny, "--epochs", 2, "--threads", 1, name, "--output-dir", tmp_path / name.lstrip("-"))
        assert outcome.status == 0, outcome.err
        resident.append("kept on the device" in outcome.out)
        weights.append(lab.weights(tmp_path / name.lstrip("-")))
    assert resident == [True, False]
    assert lab.same_weights(*weights)
