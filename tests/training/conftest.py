"""Fixtures of the training tests: a fresh Accelerate, and runs that an exception interrupts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator


@pytest.fixture
def accelerate() -> Iterator[Callable[..., Accelerator]]:
    """``accelerate(...)`` makes an `Accelerator` on the CPU that no other test sees."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    def forget() -> None:
        AcceleratorState._reset_state(True)
        GradientState._reset_state()
        PartialState._reset_state()

    def make(**options: Any) -> Accelerator:
        forget()
        return Accelerator(cpu=True, **options)

    yield make
    forget()


@pytest.fixture
def source(lab: Any, tmp_path: Path) -> Path:
    """An exported ConvNeXt with random weights and four classes of its own."""
    folder: Path = lab.source(tmp_path / "source")
    return folder


@pytest.fixture
def animals(lab: Any, tmp_path: Path) -> Path:
    """A folder of images: 12 ants, 8 bees and 4 cats to train on, 5 of each to test."""
    folder: Path = lab.images(tmp_path / "animals")
    return folder


@pytest.fixture
def finished(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``finished("train", epochs=1, ...)`` calls `glmc_zoo.train` and gives its `TrainingRun`; plots stay empty.

    ``start`` of the run is its classifier as it was at the beginning, and ``results`` what the call returned.
    """
    import glmc_zoo
    from glmc_zoo.training.run import TrainingRun

    def call(command: str, **options: Any) -> Any:
        runs: list[Any] = []
        original = TrainingRun.__init__

        def remember(self: Any, *given: Any) -> None:
            runs.append(self)
            original(self, *given)
            self.start = self.timm_model.get_classifier().weight.detach().clone()

        with monkeypatch.context() as patch:
            patch.setattr(TrainingRun, "__init__", remember)
            lab.leave_plots_empty(patch)
            results = getattr(glmc_zoo, command)(**options)
        runs[0].results = results
        return runs[0]

    return call


class Interrupted(BaseException):
    """Stands for SIGKILL where a test needs the run to stop at a known step of this process."""


@pytest.fixture
def interrupted_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """``with interrupted_at(step):`` the run inside stops once ``step`` batches are done, before anything is saved."""
    from glmc_zoo.training.step import TrainStep

    @contextmanager
    def stop(step: int) -> Iterator[None]:
        calls, original = [0], TrainStep.__call__

        def call(self: TrainStep, inputs: tuple[Any, ...]) -> Any:
            result = original(self, inputs)
            calls[0] += 1
            if calls[0] == step:
                raise Interrupted
            return result

        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(TrainStep, "__call__", call)
            yield

    return stop
