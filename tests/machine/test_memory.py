"""How the C library hands out memory to a training process on a CPU."""

from __future__ import annotations

import platform
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import resource, torch
from glmc_zoo.machine.hardware import keep_freed_memory

def faults(buffers=8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(buffers):
        torch.empty(16 * 2**20).fill_(1.0)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

mapped = faults()
done = keep_freed_memory()
faults(32)  # aligned buffers wander through the heap before they come to rest
print(done, mapped, faults())
"""


@pytest.mark.processes
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_large_buffers_are_handed_out_again_without_page_faults(lab: Any) -> None:
    # A process of its own: the setting holds for the whole process.
    out = subprocess.run(
        [sys.executable, "-c", CODE], env=lab.environment(), capture_output=True, text=True, check=True
    ).stdout.split()
    assert out[0] == "True"
    assert int(out[2]) < int(out[1]) / 4
