"""What the measurements share: the peak of a process, and the report with command, machine and versions."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB; Linux alone.

    Not ``ru_maxrss``: a process begins with the one of the process that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def write_report(path: Path | None, rows: list[dict[str, Any]], *, device: str = "cpu", **more: Any) -> None:
    """Write ``rows`` as JSON to ``path``, where there is one, with what is needed to read and repeat them."""
    if path is None:
        return
    import torch

    from glmc_zoo.engine.provenance import package_versions, source_commit, without_place

    cuda = device.startswith("cuda")
    report = {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(without_place, sys.argv[1:])]),
        "machine": {
            "device": torch.cuda.get_device_name() if cuda else platform.machine(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "versions": package_versions(),
        "commit": source_commit(),
        **more,
        "results": rows,
    }
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
