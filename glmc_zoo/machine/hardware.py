"""Threads, memory settings, precision and loader workers that suit the device."""

import ctypes
import os
import platform
import sys
from collections.abc import Mapping

import torch
from accelerate import Accelerator

from glmc_zoo.machine.processes import local_processes
from glmc_zoo.text import counted

MAX_WORKERS = 16
"""Most loader workers of one process; more would produce batches faster than the process consumes them."""

# From <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1


def available_cores() -> int:
    """Count the physical cores that this process may use, at least 1."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def cpu_threads(requested: int | None, environment: Mapping[str, str], cores: int) -> int | None:
    """Choose the number of threads of one training process on a CPU; ``None`` leaves torch's setting unchanged.

    Launchers set ``OMP_NUM_THREADS=1`` if the user does not set it, which leaves all cores but one idle. With a
    launcher a value of 1 is therefore ignored. The processes of a machine share its cores evenly.

    Args:
        requested: Number of threads that the user gave.
        environment: Environment variables.
        cores: Physical cores of the machine.
    """
    if requested is not None:
        return requested
    has_launcher = "LOCAL_WORLD_SIZE" in environment or "ACCELERATE_MIXED_PRECISION" in environment
    limit = environment.get("OMP_NUM_THREADS")
    if limit is not None and not (has_launcher and limit == "1"):
        return None
    return max(1, cores // int(environment.get("LOCAL_WORLD_SIZE", "1")))


def configure_device(device: torch.device, threads: int | None) -> None:
    """Set threads and performance options of the device for the whole process; ``None``: see `cpu_threads`."""
    if device.type == "cpu":
        keep_freed_memory()
        threads = cpu_threads(threads, os.environ, available_cores())
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all batches of a run have one shape


def keep_freed_memory() -> bool:
    """Make glibc keep the large buffers that a step frees, so that the next step can use them.

    By default glibc maps every buffer above 32 MiB anew and unmaps it when it is freed. The gradient of a large
    classifier or the activations of a large batch then cost a page fault for every 4 KiB in each step. The peak memory
    of the process stays about the same (docs/speed.md).

    Returns:
        Whether the setting was made. Without glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process in bytes: GPU memory on CUDA, else main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reserve_worker_cores(workers: int, device: torch.device, threads: int | None) -> None:
    """Reduce the threads of this process by the number of loader workers on a CPU, unless ``threads`` is given."""
    if device.type != "cpu" or threads is not None or not workers:
        return
    default = cpu_threads(None, os.environ, available_cores())
    if default is not None:
        torch.set_num_threads(max(1, default - workers))  # more threads would compete with the workers


def best_precision(environment: Mapping[str, str]) -> str:
    """Return ``bf16`` if the device that Accelerate will use multiplies it in hardware, else ``no``."""
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes", "y", "t", "on")
    if torch.cuda.is_available() and not on_cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    if torch.backends.mps.is_available() and not on_cpu:
        return "no"
    # On other CPUs torch emulates bf16, which is slower than single precision.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "no"


def loading_workers(requested: int | None, decoded: bool, device: torch.device) -> int:
    """Return the number of loader workers: ``requested``, or `default_workers` if that is ``None``."""
    if requested is not None:
        return requested
    return default_workers(decoded, device.type, available_cores(), local_processes())


def default_workers(decoded: bool, device_type: str, cores: int, processes: int) -> int:
    """Choose the number of loader workers of one process; with 0 the process loads its images itself.

    Images that are decoded already need no worker: cropping them is faster than sending a batch between processes.
    Files are decoded while the step runs: for a GPU on all cores but one, on a CPU on a quarter of them. On two or
    three cores there are no workers, because every operation of the step would wait for the thread that shares its core
    with a worker.

    Args:
        decoded: Whether the images are in memory as pixels.
        device_type: ``cpu``, ``cuda`` or another type of torch device.
        cores: Physical cores of this machine.
        processes: Processes of the run on this machine.
    """
    if decoded:
        return 0
    if device_type == "cpu":
        return min(cores // processes // 4, MAX_WORKERS)
    return max(1, min(cores // processes - 1, MAX_WORKERS))


def hardware_text(accelerator: Accelerator, workers: int, *, resident: bool) -> str:
    """Describe device, threads, workers and precision; ``resident``: the training images are on the device."""
    device = accelerator.device
    threads = f", {counted(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    loading = f", {counted(workers, 'worker')}" if workers else ""
    precision = "single precision" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    images = "; training images kept on the device" if resident else ""
    return f"{device}{threads}{loading}, {precision}{images}"
