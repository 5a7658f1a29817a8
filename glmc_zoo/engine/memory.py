"""How the C library hands out memory to a training process on a CPU."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

# From <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep the large buffers that a step frees, for the next step.

    By default it maps every buffer above 32 MiB anew and gives it back when it is freed, so that the gradient of a
    large classifier or the activations of a large batch cost a page fault for every 4 KiB in each step. The memory that
    a process holds at its peak stays about the same (benchmarks/README.md, "Many classes").

    Returns:
        Whether it was done; elsewhere than on Linux with glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_THRESHOLD, 2**30) and mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))
