"""The `Accelerator` of a run: what is asked for counts, also after an earlier run in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import DistributedType

from glmc_zoo.errors import UserError
from glmc_zoo.machine import accelerator as module
from glmc_zoo.machine.accelerator import make_accelerator


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test leaves Accelerate without any state, and the number of threads as it is."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(module, "configure_device", lambda device, threads: None)
    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def test_each_call_has_its_own_precision_and_accumulation() -> None:
    seen = []
    for precision, accumulated in (("no", 1), ("bf16", 4), (None, 2)):
        accelerator = make_accelerator(mixed_precision=precision, grad_accum_steps=accumulated)
        assert accelerator.device == torch.device("cpu")
        seen.append((accelerator.mixed_precision, accelerator.gradient_accumulation_steps))
    assert seen == [("no", 1), ("bf16", 4), ("no", 2)]


def test_what_accelerate_was_configured_with_counts_unless_something_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert make_accelerator().mixed_precision == "bf16"
    assert make_accelerator(mixed_precision="no").mixed_precision == "no"


def test_auto_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("bf16", "no"):
        monkeypatch.setattr(module, "best_precision", lambda environment, precision=precision: precision)
        assert make_accelerator(mixed_precision="auto").mixed_precision == precision


def test_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(module, "configure_device", lambda *given: calls.append(given))
    make_accelerator(threads=3)
    assert calls == [(torch.device("cpu"), 3)]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mixed_precision": "fp16"}, "mixed_precision='fp16' needs a GPU: give 'bf16' or 'no' on a CPU."),
        ({"tracker": "tensorbord"}, "tracker='tensorbord' is unknown: choose one of .*tensorboard.* Did you mean tens"),
    ],
)
def test_one_sentence_about_what_does_not_fit(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{sentence}"):
        make_accelerator(**options)


def test_a_tracker_that_is_not_installed_is_not_left_out_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "get_available_trackers", list)
    with pytest.raises(UserError, match=r"^tracker='wandb' needs a package that is not installed: pip install wandb"):
        make_accelerator(tracker="wandb")


def test_a_way_to_split_the_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(UserError, match=r"^The distributed type FSDP of `accelerate config` is not supported"):
        make_accelerator()
