"""Shared by the measurements: options, clock, memory, floating-point operations, busy time of a GPU, the report.

This module imports nothing heavy at its top, because index.py measures the memory of a process that imports it.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

    from glmc_zoo.options.run import RunOptions

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


def run_options(**values: Any) -> RunOptions:
    """Resolve the options of a training as ``glmc_zoo.train`` does; ``None`` stands for an option's default."""
    from glmc_zoo.options.resolve import training_options
    from glmc_zoo.options.sections import TRAIN
    from glmc_zoo.options.user_options import parse_options

    return training_options(parse_options(TRAIN, values, ""))


def alternate(measures: Mapping[_K, Callable[[], _T]], rounds: int) -> dict[_K, list[_T]]:
    """Call every function once in each round, and return its results over the rounds.

    The functions alternate, so that a slow moment of the machine affects all of them.
    """
    results: dict[_K, list[_T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            results[name].append(measure())
    return results


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range over the rounds, for a report."""
    return {"median": median(values), "range": [min(values), max(values)]}


def ratios(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Median and range of ``first`` divided by ``second``, computed in each round."""
    return spread([left / right for left, right in zip(first, second, strict=True)])


def with_range(value: Mapping[str, Any], digits: int) -> str:
    """What `spread` returned as text, ``1.5 (1.2 to 1.9)``."""
    low, high = value["range"]
    return f"{value['median']:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor_seconds() -> float:
    """Processor time so far of this process and its children, with the children that have ended."""
    import psutil

    process = psutil.Process()
    times = process.cpu_times()
    # `process_time` has the finest resolution.
    total: float = time.process_time() + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            spent = child.cpu_times()
            total += spent.user + spent.system
    return total


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB; Linux only.

    ``ru_maxrss`` would be wrong: a process inherits it from the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def children_mib() -> float:
    """Memory of the children of this process, in MiB, without what they share with another process."""
    import psutil

    used = 0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used += child.memory_full_info().uss
    return used / 2**20


class Meter:
    """Wall and processor time of steps after a warm-up. The clock starts and stops when the device has no work left.

    Args:
        device: Where the steps run.
        warmup: Steps that are not timed.
    """

    def __init__(self, device: torch.device, warmup: int) -> None:
        self.device, self.warmup = device, warmup
        self.samples = 0
        self._begun: list[float] = []
        self._start = self._processor = 0.0

    def begin(self) -> None:
        """Begin the next step. Call this before the batch is fetched."""
        if len(self._begun) == self.warmup:
            wait(self.device)
            self._processor = processor_seconds()
            self._start = time.perf_counter()
        self._begun.append(time.perf_counter())

    def count(self, samples: int) -> None:
        """Add the number of samples in the batch of this step."""
        if len(self._begun) > self.warmup:
            self.samples += samples

    def stop(self) -> dict[str, Any]:
        """End the last step, and return the measurements."""
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
            # Time of the Python process, which may be ahead of a GPU.
            "median_step_seconds": median(b - a for a, b in pairwise(timed)),
        }


def time_matmul(size: int, dtype: torch.dtype, device: torch.device, repeats: int) -> dict[str, Any]:
    """Speed of a product of two square matrices in GFLOP/s: a practical upper limit of the device."""
    import torch

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    meter = Meter(device, 2)
    for _ in range(repeats + 2):
        meter.begin()
        torch.mm(left, right)
    measured = meter.stop()
    # The median on a CPU, because a product is so short that one slow moment would change the mean.
    seconds = measured["seconds"] / repeats if device.type == "cuda" else measured["median_step_seconds"]
    return {"gflops": 2 * size**3 / seconds / 1e9}


def count_flops(step: Callable[[], Any]) -> int:
    """Count floating-point operations of matrix products and convolutions; a multiplication and an addition are two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def busy_seconds(events: Iterable[dict[str, Any]]) -> float:
    """Seconds in which at least one kernel ran, from the events of a Chrome trace, which are in microseconds."""
    kernels = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("ph") == "X" and e.get("cat") == "kernel")
    total, reached = 0.0, float("-inf")
    for start, end in kernels:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6


def kernel_seconds(work: Callable[[], Any]) -> float:
    """Seconds in which the GPU computes while ``work`` runs. Profiling slows the process down, but not the kernels."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder:
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            work()
            torch.cuda.synchronize()
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        return busy_seconds(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])


def write_report(path: Path | None, rows: list[dict[str, Any]], *, device: str = "cpu", **extra: Any) -> None:
    """Write ``rows`` as JSON to ``path`` with command, machine and versions; ``None`` as path writes nothing."""
    if path is None:
        return
    import torch

    from glmc_zoo.machine.command import shorten_path
    from glmc_zoo.machine.provenance import package_versions, source_commit

    cuda = device.startswith("cuda")
    report = {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(shorten_path, sys.argv[1:])]),
        "machine": {
            "device": torch.cuda.get_device_name() if cuda else platform.machine(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "versions": package_versions(),
        "commit": source_commit(),
        **extra,
        "results": rows,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
