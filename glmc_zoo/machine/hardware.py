"""Threads, memory, precision and workers that suit the device."""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping

import torch
from accelerate import Accelerator

from glmc_zoo.machine.processes import local_processes
from glmc_zoo.text import counted

MOST_WORKERS = 16
"""Workers of one process; beyond that the batches queue up for the process that consumes them."""

# From <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1


def own_cores() -> int:
    """Physical cores that this process may run on."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def cpu_threads(asked: int | None, environment: Mapping[str, str], cores: int) -> int | None:
    """Threads of one training process on a CPU; ``None`` leaves them as they are.

    Launchers set ``OMP_NUM_THREADS=1`` where the user sets nothing, which leaves all cores but one idle. So this value
    counts as the user's only without a launcher. The processes of a machine share its cores evenly.
    """
    if asked is not None:
        return asked
    launched = "LOCAL_WORLD_SIZE" in environment or "ACCELERATE_MIXED_PRECISION" in environment
    limit = environment.get("OMP_NUM_THREADS")
    if limit is not None and not (launched and limit == "1"):
        return None
    return max(1, cores // int(environment.get("LOCAL_WORLD_SIZE", "1")))


def use_device(device: torch.device, threads: int | None) -> None:
    """Set threads (``None``: see `cpu_threads`) and what else makes a device faster, for the whole process."""
    if device.type == "cpu":
        keep_freed_memory()
        threads = cpu_threads(threads, os.environ, own_cores())
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all batches of a run have one shape


def keep_freed_memory() -> bool:
    """Let glibc keep the large buffers that a step frees, for the next step.

    By default it maps every buffer above 32 MiB anew and returns it when it is freed, so that the gradient of a large
    classifier or the activations of a large batch cost a page fault for every 4 KiB in each step. The peak memory of
    the process stays about the same (benchmarks/README.md, "Many classes"). Returns whether it was done; on other
    systems than Linux with glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has used so far: GPU memory on CUDA, else main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def leave_cores_to(workers: int, device: torch.device, threads: int | None) -> None:
    """Take fewer threads beside loading workers on a CPU, unless ``threads`` was asked for."""
    if device.type != "cpu" or threads is not None or not workers:
        return
    usual = cpu_threads(None, os.environ, own_cores())
    if usual is not None:
        torch.set_num_threads(max(1, usual - workers))  # more would compete for the cores


def best_precision(environment: Mapping[str, str]) -> str:
    """``bf16`` where the device that Accelerate will take multiplies it in hardware, else ``no``."""
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
    if torch.cuda.is_available() and not on_cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if torch.backends.mps.is_available() and not on_cpu:
        return "no"
    # torch emulates bf16 on other CPUs, slower than single precision.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "no"


def loading_workers(asked: int | None, decoded: bool, device: torch.device) -> int:
    """Processes that load images: ``asked``, or as many as suit this machine (`default_workers`)."""
    if asked is not None:
        return asked
    return default_workers(decoded, device.type, own_cores(), local_processes())


def default_workers(decoded: bool, device_type: str, cores: int, processes: int) -> int:
    """Processes that load images for one process of a run; 0: it loads them itself.

    Decoded images are cropped faster than a batch travels between processes. Files are decoded beside the step: for a
    GPU by all cores but the one that feeds it, on a CPU by a quarter of the cores. On two or three cores the step and
    the decoding take turns: beside a worker, each operation would wait for the thread whose core the worker uses.
    """
    if decoded:
        return 0
    if device_type == "cpu":
        return min(cores // processes // 4, MOST_WORKERS)
    return max(1, min(cores // processes - 1, MOST_WORKERS))


def hardware_text(accelerator: Accelerator, workers: int, *, resident: bool) -> str:
    """Device, threads, workers, precision and where the training images are, in words."""
    device = accelerator.device
    threads = f", {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    loading = f", {counted(workers, 'worker')}" if workers else ""
    precision = "single precision" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    images = "; training images kept on the device" if resident else ""
    return f"{device}{threads}{loading}, {precision}{images}"
