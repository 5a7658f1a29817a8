"""How a result came about: command, versions, hardware; without a word of where things lie on this machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

__all__ = ["command_line", "hardware", "package_versions", "slug", "source_commit", "without_place"]

_PACKAGES = ("glmc_zoo", "torch", "torchvision", "timm", "accelerate", "datasets", "huggingface_hub", "numpy")


def package_versions() -> dict[str, str]:
    """Version of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            from glmc_zoo import __version__

            found[name] = f"{__version__} (not installed)" if name == "glmc_zoo" else "not installed"
    return found


def source_commit() -> str | None:
    """The package's commit, with ``-dirty`` behind it where files were changed since; ``None`` where nobody knows.

    Of a checkout git says it, of ``pip install git+...`` the installation's record.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() or None
    try:
        record = importlib.metadata.distribution("glmc_zoo").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id")
    return commit if isinstance(commit, str) else None


def hardware(accelerator: Accelerator) -> str:
    """The device in words."""
    if accelerator.device.type == "cuda":
        return f"{torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} threads a process"


def command_line() -> str:
    """The command as it was given, by the mark that each launcher leaves in the environment."""
    here = os.environ
    launcher = ["python"]
    if "ACCELERATE_MIXED_PRECISION" in here:
        launcher = ["accelerate", "launch", "--num_processes", here.get("WORLD_SIZE", "1")]
    elif "TORCHELASTIC_RUN_ID" in here:
        nodes = int(here["WORLD_SIZE"]) // int(here["LOCAL_WORLD_SIZE"])
        place = ["--standalone"] if nodes == 1 else ["--nnodes", str(nodes)]
        launcher = ["torchrun", "--nproc_per_node", here["LOCAL_WORLD_SIZE"], *place]
    if sys.argv[0].startswith("glmc-zoo "):
        name = sys.argv[0].removeprefix("glmc-zoo ")
        called = ["glmc-zoo", name] if launcher == ["python"] else [*launcher, "-m", "glmc_zoo", name]
    else:
        called = [*launcher, "recipes/" + Path(sys.argv[0]).name]
    return shlex.join([*called, *map(without_place, sys.argv[1:])])


def without_place(argument: str) -> str:
    """An argument as other people may see it: of an absolute path its last part alone, not where it lies here."""
    mark = re.match(r"(?:--[\w-]+=)?(?:local-dir:)?", argument)
    before = mark[0] if mark else ""
    path = Path(argument.removeprefix(before))
    return f"{before}path/to/{path.name}" if path.is_absolute() else argument


def slug(name: str) -> str:
    """The name of a data set as a part of a model's name."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(name).name.lower()).strip("_") or "data"
