"""The origin of a result: command, versions and hardware, without local paths."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path

import torch
from accelerate import Accelerator

from glmc_zoo.results import Origin

_PACKAGES = ("glmc_zoo", "torch", "torchvision", "timm", "accelerate", "datasets", "huggingface_hub", "numpy")


def collect_origin(accelerator: Accelerator, command: str) -> Origin:
    """Collect command, versions, commit, hardware and precision of a run."""
    hardware = f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} threads a process"
    if accelerator.device.type == "cuda":
        hardware = str(torch.cuda.get_device_name())
    return Origin(
        command=command,
        versions=package_versions(),
        commit=source_commit(),
        hardware=hardware,
        precision=accelerator.mixed_precision,
        processes=accelerator.num_processes,
    )


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            from glmc_zoo import __version__

            versions[name] = f"{__version__} (not installed)" if name == "glmc_zoo" else "not installed"
    return versions


def source_commit() -> str | None:
    """Return the commit of the package, with ``-dirty`` appended if files differ from it; ``None`` if it is unknown.

    In a checkout git tells the commit. After ``pip install git+...`` it is in the metadata of the installation.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return None
        return completed.stdout.strip() or None
    try:
        record = importlib.metadata.distribution("glmc_zoo").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id")
    return commit if isinstance(commit, str) else None
