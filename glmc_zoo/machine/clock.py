"""Wall time of a run by stage, and a trace of a few of its steps (the option ``profile``)."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import ProfileKwargs

from glmc_zoo.files import write_json

_T = TypeVar("_T")

STAGES = ("input", "transfer", "augment and mix", "forward", "backward", "optimiser", "evaluation")

_TRACED_STEPS = 4  # a longer trace is hard to read
_SCHEDULE = {"wait": 2, "warmup": 1, "active": _TRACED_STEPS, "repeat": 1}  # the first steps are slower than the others


class StageClock:
    """Adds up wall time by stage, and traces a few steps. Without a folder it does nothing.

    On a GPU every stage ends with a wait for the device, because its time would otherwise count for a later stage. This
    makes the run slower, and copies no longer overlap with computation.

    Args:
        accelerator: Accelerator of the run.
        folder: Where ``stages.json`` and ``trace.json`` are written; ``None`` to measure nothing.
    """

    def __init__(self, accelerator: Accelerator, folder: Path | None = None) -> None:
        self.accelerator, self.folder = accelerator, folder
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self.steps = 0
        self._start = time.perf_counter()
        self._profiler: Any = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside the block for the stage ``name``, one of `STAGES`."""
        if self.folder is None:
            yield
            return
        start = time.perf_counter()
        try:
            with torch.profiler.record_function(f"glmc_zoo: {name}"):
                yield
                if self.accelerator.device.type == "cuda":
                    torch.cuda.synchronize(self.accelerator.device)
        finally:
            self.seconds[name] += time.perf_counter() - start

    def batches(self, loader: Iterable[_T]) -> Iterator[_T]:
        """Yield the batches of a loader, and count the wait for each as input. Steps of the first epoch are traced."""
        iterator, sentinel = iter(loader), object()
        with self._trace() as self._profiler:
            while True:
                with self.stage("input"):
                    batch: Any = next(iterator, sentinel)
                if batch is sentinel:
                    break
                yield batch
        self._profiler = None

    def step_done(self) -> None:
        """Count one finished training step."""
        if self.folder is not None:
            self.steps += 1
            if self._profiler is not None:
                self._profiler.step()

    def _trace(self) -> AbstractContextManager[Any]:
        if self.folder is None or self.steps:
            return nullcontext()
        # Without this, Kineto prints an error on machines without a GPU.
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = str(self.folder / "trace.json")
        handler = ProfileKwargs(
            schedule_option=dict(_SCHEDULE), on_trace_ready=lambda profiler: profiler.export_chrome_trace(path)
        )
        trace: AbstractContextManager[Any] = self.accelerator.profile(handler)
        return trace

    def times(self) -> dict[str, Any]:
        """Return the total seconds, the seconds of each stage (``other`` for the rest), and the number of steps."""
        total = time.perf_counter() - self._start
        stages = {**self.seconds, "other": max(total - sum(self.seconds.values()), 0.0)}
        return {"total_s": total, "steps": self.steps, "seconds": stages}

    def report(self) -> str:
        """Write the times to ``stages.json`` and return them as a text table, which is empty without a folder."""
        if self.folder is None:
            return ""
        self.folder.mkdir(parents=True, exist_ok=True)
        times = self.times()
        write_json(self.folder / "stages.json", times)
        lines = [f"{'stage':<16} {'seconds':>9} {'share':>7} {'ms a step':>10}"]
        for name, seconds in times["seconds"].items():
            per_step = f"{1000 * seconds / max(self.steps, 1):10.2f}" if name in STAGES[:-1] else f"{'-':>10}"
            lines.append(f"{name:<16} {seconds:9.2f} {seconds / times['total_s']:7.1%} {per_step}")
        trace = self.folder / "trace.json"
        if trace.exists():  # a run of a few steps leaves no trace
            lines.append(f"trace   {trace} (of {_TRACED_STEPS} steps; open it in ui.perfetto.dev)")
        return "\n".join(lines)
