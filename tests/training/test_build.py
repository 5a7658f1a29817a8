"""Optimisers and schedules against what the options ask for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from glmc_zoo.errors import UserError
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.training.build import make_optimizer, make_scheduler


def schedule(**options: Any) -> ScheduleOptions:
    values = {"epochs": 10, "batch_size": 16, "lr": 0.1, "weight_decay": 5e-4, "warmup_epochs": 0, **options}
    return ScheduleOptions(**values)


def rates(options: ScheduleOptions) -> list[float]:
    optimizer = make_optimizer(options, "sgd", nn.Linear(2, 2))
    scheduler = make_scheduler(options, optimizer)
    rates = []
    for epoch in range(options.epochs):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_cosine_without_warm_up() -> None:
    expected = [0.1 / 2 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)]
    assert rates(schedule()) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [1, 4, 10])
def test_warm_up_rises_to_the_full_rate_within_the_epochs(warmup: int) -> None:
    rising = [0.1 * (i + 1) / warmup for i in range(warmup)]
    rest = 10 - (warmup - 1)
    falling = [0.1 / 2 * (1 + math.cos(math.pi * i / rest)) for i in range(rest)]
    assert rates(schedule(warmup_epochs=warmup)) == pytest.approx(rising[:-1] + falling, abs=1e-9)


@pytest.mark.parametrize("warmup", [0, 3])
def test_cosine_ends_at_min_lr(warmup: int) -> None:
    assert 0.01 <= rates(schedule(min_lr=0.01, warmup_epochs=warmup, epochs=200))[-1] < 0.0101


def test_a_schedule_entered_in_the_middle_gives_the_same_rate() -> None:
    options = schedule(warmup_epochs=3)
    optimizer = make_optimizer(options, "sgd", nn.Linear(2, 2))
    make_scheduler(options, optimizer).step(6)
    assert optimizer.param_groups[0]["lr"] == rates(options)[6]


def test_sgd_is_plain_with_decay_on_everything() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(schedule(), "sgd", model)
    velocity = [torch.zeros_like(parameter) for parameter in expected]
    for _ in range(3):
        optimizer.zero_grad()
        for index, parameter in enumerate(model.parameters()):
            parameter.grad = torch.full_like(parameter, 0.3)
            velocity[index] = 0.9 * velocity[index] + (0.3 + 5e-4 * expected[index])
            expected[index] = expected[index] - 0.1 * velocity[index]
        optimizer.step()
    for value, parameter in zip(expected, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_optimisers_of_timm_by_name() -> None:
    optimizer = make_optimizer(schedule(), "adamw", nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["weight_decay"] == 5e-4 for group in optimizer.param_groups)
    with pytest.raises(UserError, match=r"opt='adamv' is unknown: .*Did you mean adam"):
        make_optimizer(schedule(), "adamv", nn.Linear(2, 2))
    assert type(make_optimizer(schedule(), "lookahead_adamw", nn.Linear(2, 2))).__name__ == "Lookahead"
    for name in ("foo_adamw", "nesterov_sgd"):  # timm looks at the last part alone
        with pytest.raises(UserError, match=f"opt='{name}' is unknown: give sgd or a name"):
            make_optimizer(schedule(), name, nn.Linear(2, 2))
    for name in ("adahessian", "lookahead_adahessian"):
        with pytest.raises(UserError, match=f"opt='{name}' needs second derivatives"):
            make_optimizer(schedule(), name, nn.Linear(2, 2))


def test_steps_lie_within_the_training() -> None:
    for epochs in (10, 100):
        values = rates(schedule(sched="step", epochs=epochs))
        assert values == pytest.approx([0.1 * 0.1 ** (10 * epoch // (3 * epochs)) for epoch in range(epochs)])
    values = rates(schedule(sched="multistep", epochs=100))
    assert [values[epoch] for epoch in (0, 28, 31, 58, 61, 88, 91)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4]
    )


def test_poly_is_a_straight_line_to_min_lr() -> None:
    expected = [0.01 + (0.1 - 0.01) * (1 - epoch / 10) for epoch in range(10)]
    assert rates(schedule(sched="poly", min_lr=0.01)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["step", "multistep", "constant"])
def test_a_schedule_without_an_end_has_no_min_lr(name: str) -> None:
    with pytest.raises(UserError, match=f"min_lr=0.001 has no effect with sched='{name}', which does not end at it"):
        rates(schedule(sched=name, min_lr=0.001))


@pytest.mark.parametrize("name", ["nonsense", "plateau"])
def test_schedules_that_do_not_go_by_epoch_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"sched='{name}' (is|cannot be built)"):
        make_scheduler(schedule(sched=name), make_optimizer(schedule(), "sgd", nn.Linear(2, 2)))
