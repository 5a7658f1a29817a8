"""Optimisers, schedules and the accelerator against what they are said to be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from glmc_zoo.engine.build import make_accelerator, make_optimizer, make_scheduler
from glmc_zoo.engine.config import TrainConfig, resolve
from glmc_zoo.errors import UserError


def config(**options: object) -> TrainConfig:
    return resolve({"epochs": 10, "lr": 0.1, "weight_decay": 5e-4, **options})


def rates(options: TrainConfig) -> list[float]:
    optimizer = make_optimizer(options, nn.Linear(2, 2))
    scheduler = make_scheduler(options, optimizer)
    found = []
    assert options.epochs is not None
    for epoch in range(options.epochs):
        scheduler.step(epoch)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_cosine_without_warm_up() -> None:
    expected = [0.1 / 2 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)]
    assert rates(config()) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [1, 4, 10])
def test_warm_up_rises_to_the_full_rate_within_the_epochs(warmup: int) -> None:
    found = rates(config(warmup_epochs=warmup))
    assert found[:warmup] == pytest.approx([0.1 * (i + 1) / warmup for i in range(warmup)])
    rest = 10 - (warmup - 1)
    assert found[warmup - 1 :] == pytest.approx(
        [0.1 / 2 * (1 + math.cos(math.pi * i / rest)) for i in range(rest)], abs=1e-9
    )


@pytest.mark.parametrize("warmup", [0, 3])
def test_min_lr_is_where_the_cosine_ends(warmup: int) -> None:
    found = rates(config(min_lr=0.01, warmup_epochs=warmup, epochs=200))
    assert 0.01 <= found[-1] < 0.0101


def test_a_schedule_is_the_same_when_it_is_entered_in_the_middle() -> None:
    options = config(warmup_epochs=3)
    optimizer = make_optimizer(options, nn.Linear(2, 2))
    make_scheduler(options, optimizer).step(6)
    assert optimizer.param_groups[0]["lr"] == rates(options)[6]


def test_sgd_is_plain_with_decay_on_everything() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(config(), model)
    velocity = [torch.zeros_like(parameter) for parameter in before]
    for _ in range(3):
        optimizer.zero_grad()
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.3)
            velocity[index] = 0.9 * velocity[index] + (0.3 + 5e-4 * before[index])
            before[index] = before[index] - 0.1 * velocity[index]
        optimizer.step()
    for expected, parameter in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), expected)


def test_other_optimisers_by_name() -> None:
    optimizer = make_optimizer(config(opt="adamw"), nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["weight_decay"] == 5e-4 for group in optimizer.param_groups)
    with pytest.raises(UserError, match=r"Unknown optimiser 'adamv'.*Did you mean adam"):
        make_optimizer(config(opt="adamv"), nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["nonsense", "plateau"])
def test_schedules_that_cannot_be_driven_by_epoch(name: str) -> None:
    with pytest.raises(UserError, match=f"--sched {name}"):
        make_scheduler(config(sched=name), make_optimizer(config(), nn.Linear(2, 2)))


def test_trackers_that_are_unknown_or_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"Unknown tracker 'tensorbord'.*Did you mean tensorboard"):
        make_accelerator(config(tracker="tensorbord"))
    monkeypatch.setattr("glmc_zoo.engine.build.get_available_trackers", list)
    with pytest.raises(UserError, match="--tracker wandb needs a package that is not installed"):
        make_accelerator(config(tracker="wandb"))
