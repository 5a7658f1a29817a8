"""Where the time of a run goes, by stage, and a trace of a few of its steps (``--profile``)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch

from glmc_zoo.engine.output import write_json

__all__ = ["STAGES", "StageClock"]

_T = TypeVar("_T")

STAGES = ("input", "transfer", "augment and mix", "forward", "backward", "optimiser", "evaluation")

_WAIT, _WARM_UP, _TRACED = 2, 1, 4  # steps: of the first the caches are cold, and a long trace is unreadable


class StageClock:
    """Adds up wall time by stage; without a folder it does nothing.

    On a GPU every stage waits for the device, or its time would be found in a later stage: the run is slower for it,
    and copies no longer overlap.

    Args:
        device: Of the run.
        folder: Where the trace and the times go; ``None`` for no clock.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        self.device, self.folder = device, folder
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.steps = 0
        self._start = time.perf_counter()
        self._profiler: Any = None

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """Count what runs inside as ``name``."""
        return nullcontext() if self.folder is None else self._timed(name)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            with torch.profiler.record_function(f"glmc_zoo: {name}"):
                yield
                self._wait()
        finally:
            self.seconds[name] += time.perf_counter() - start

    def batches(self, loader: Iterable[_T]) -> Iterator[_T]:
        """The batches of a loader; the wait for each counts as input."""
        iterator, end = iter(loader), object()
        while True:
            with self.stage("input"):
                batch: Any = next(iterator, end)
            if batch is end:
                return
            yield batch

    def step_done(self) -> None:
        """A training step is through; the trace begins and ends between two of them."""
        if self.folder is None:
            return
        self.steps += 1
        if self.steps == _WAIT:
            self._begin_trace()
        elif self._profiler is not None:
            self._profiler.step()

    def _begin_trace(self) -> None:
        # Its C++ part would tell a user without a GPU that there is an error.
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")
        from torch.profiler import ProfilerActivity, profile, schedule

        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        plan = schedule(wait=0, warmup=_WARM_UP, active=_TRACED, repeat=1)
        self._profiler = profile(activities=kinds, schedule=plan, on_trace_ready=self._write_trace)
        self._profiler.start()

    def _write_trace(self, profiler: Any) -> None:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self.folder / "trace.json"))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def times(self) -> dict[str, Any]:
        """Seconds so far, in all and by stage, those of no stage as ``other``, and the number of training steps."""
        total = time.perf_counter() - self._start
        stages = {**self.seconds, "other": max(total - sum(self.seconds.values()), 0.0)}
        return {"total_s": total, "steps": self.steps, "seconds": stages}

    def report(self) -> str:
        """Close the trace, write the times beside it as ``stages.json``, and give them as a table."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None
        found = self.times()
        write_json(self.folder / "stages.json", found)
        lines = [f"{'stage':<16} {'seconds':>9} {'share':>7} {'ms a step':>10}"]
        for name, seconds in found["seconds"].items():
            each = f"{1000 * seconds / max(self.steps, 1):10.2f}" if name in STAGES[:-1] else f"{'-':>10}"
            lines.append(f"{name:<16} {seconds:9.2f} {seconds / found['total_s']:7.1%} {each}")
        trace = self.folder / "trace.json"
        if trace.exists():  # not of a run of a step or two
            lines.append(f"trace   {trace} (of {_TRACED} steps; open it in ui.perfetto.dev)")
        return "\n".join(lines)
