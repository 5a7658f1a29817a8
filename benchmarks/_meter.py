"""The clock of the speed measurements, and counts of arithmetic and of a GPU's busy time."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor_seconds() -> float:
    """Processor time so far of this process, of its children, and of those that have ended."""
    import psutil

    own = psutil.Process()
    ended = own.cpu_times()
    total = time.process_time() + ended.children_user + ended.children_system  # the first counts finer than the others
    for child in own.children(recursive=True):
        try:
            spent = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return total


def children_mib() -> float:
    """Memory that the children of this process have to themselves, in MiB."""
    import psutil

    return sum(child.memory_full_info().uss for child in psutil.Process().children(recursive=True)) / 2**20


class Meter:
    """Wall and processor time of steps, those of the warm-up left out; the device is waited for at both ends alone.

    Args:
        device: where the steps run.
        warmup: steps that are not timed.
    """

    def __init__(self, device: torch.device, warmup: int) -> None:
        self.device, self.warmup = device, warmup
        self.samples = 0
        self._begun: list[float] = []
        self._start = self._processor = 0.0

    def begin(self) -> None:
        """The next step begins: call this before its batch is fetched."""
        if len(self._begun) == self.warmup:
            wait(self.device)
            self._processor = processor_seconds()
            self._start = time.perf_counter()
        self._begun.append(time.perf_counter())

    def count(self, samples: int) -> None:
        """The batch of this step has so many samples."""
        if len(self._begun) > self.warmup:
            self.samples += samples

    def stop(self) -> dict[str, Any]:
        """The last step is through."""
        wait(self.device)
        end, processor = time.perf_counter(), processor_seconds()
        timed = [*self._begun[self.warmup :], end]
        return {
            "seconds": end - self._start,
            "processor_seconds": processor - self._processor,
            "warmup_seconds": self._start - self._begun[0],
            "steps": len(timed) - 1,
            "samples": self.samples,
            "workers_mib": children_mib(),
            # Of steps as the process sees them: on a GPU it may be ahead of the device.
            "median_step_seconds": median(b - a for a, b in pairwise(timed)),
        }


def time_matmul(size: int, dtype: torch.dtype, device: torch.device, repeats: int) -> dict[str, Any]:
    """Arithmetic of ``repeats`` products of two square matrices: what the device can do at its best."""
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    meter = Meter(device, 2)
    for _ in range(repeats + 2):
        meter.begin()
        torch.mm(one, other)
    # Not by the total: a product is short, and one slow moment would count for many.
    done = meter.stop()
    seconds = done["seconds"] / repeats if device.type == "cuda" else done["median_step_seconds"]
    return {"gflops": 2 * size**3 / seconds / 1e9}


def count_flops(step: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products and convolutions; a multiplication with its addition is two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def busy_seconds(events: Iterable[dict[str, Any]]) -> float:
    """Time during which at least one kernel ran, of the events of a chrome trace, whose unit is the microsecond."""
    kernels = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("ph") == "X" and e.get("cat") == "kernel")
    total, reached = 0.0, float("-inf")
    for start, end in kernels:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6


def kernel_seconds(work: Callable[[], Any]) -> float:
    """Time during which the GPU computes while ``work`` is done; being traced slows the process, not the kernels."""
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder:
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            work()
            torch.cuda.synchronize()
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        return busy_seconds(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])
