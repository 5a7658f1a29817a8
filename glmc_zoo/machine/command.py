"""The command of this run, and values without local paths for published files. Imports nothing heavy."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command_line() -> str:
    """Return the command that started this process, with absolute paths reduced by `shorten_path`."""
    return shlex.join([*_launch_command("recipes/" + Path(sys.argv[0]).name), *map(shorten_path, sys.argv[1:])])


def _launch_command(script: str) -> list[str]:
    """Return the words of the launcher and the script. Environment variables tell the launchers apart."""
    environment = os.environ
    launcher = ["python"]
    if "ACCELERATE_MIXED_PRECISION" in environment:
        launcher = ["accelerate", "launch", "--num_processes", environment.get("WORLD_SIZE", "1")]
    elif "TORCHELASTIC_RUN_ID" in environment:
        nodes = int(environment["WORLD_SIZE"]) // int(environment["LOCAL_WORLD_SIZE"])
        machines = ["--standalone"] if nodes == 1 else ["--nnodes", str(nodes)]
        launcher = ["torchrun", "--nproc_per_node", environment["LOCAL_WORLD_SIZE"], *machines]
    if sys.argv[0].startswith("glmc-zoo "):
        name = sys.argv[0].removeprefix("glmc-zoo ")
        return ["glmc-zoo", name] if launcher == ["python"] else [*launcher, "-m", "glmc_zoo", name]
    return [*launcher, script]


def resume_command(folder: Path, call: str) -> str:
    """Return the command that resumes a run: the command of this process with ``--output-dir`` and ``--resume auto``.

    It is for the terminal of the user, so it holds local paths.

    Args:
        folder: Run folder.
        call: Command or Python call that started the run, as in its results. A Python call is answered in words.
    """
    if call.startswith("glmc_zoo."):
        return f"the same call with output_dir={str(folder)!r}, resume='auto'"
    launcher, arguments, other_arguments = (
        _launcher_command() or _launch_command(sys.argv[0]),
        sys.argv[1:],
        list[str](),
    )
    while arguments:
        argument = arguments.pop(0)
        if argument in ("--output-dir", "--resume"):
            arguments[:1] = []
        elif not argument.startswith(("--output-dir=", "--resume=")):
            other_arguments.append(argument)
    return shlex.join([*launcher, *other_arguments, "--output-dir", str(folder), "--resume", "auto"])


def _launcher_command() -> list[str] | None:
    """Return the command line of the launcher up to the script; ``None`` if no launcher started this process."""
    import psutil

    if not {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & set(os.environ):
        return None
    try:
        parent = psutil.Process().parent()
        words: list[str] = [] if parent is None else parent.cmdline()
    except psutil.Error:
        return None
    begin = len(words) - len(sys.argv) + 1
    return words[:begin] if begin > 1 and words[begin:] == sys.argv[1:] else None


def python_call(name: str, options: Mapping[str, Any]) -> str:
    """Format a call of the Python API, such as ``glmc_zoo.train(epochs=2)``, without local paths."""
    arguments = (f"{key}={without_local_paths(value)!r}" for key, value in options.items())
    return f"glmc_zoo.{name}({', '.join(arguments)})"


def without_local_paths(value: Any) -> Any:
    """Apply `shorten_path` to all strings and paths in a value, a list of values, or options by name."""
    if isinstance(value, dict):
        return {name: without_local_paths(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_local_paths(item) for item in value]
    return shorten_path(os.fspath(value)) if isinstance(value, str | os.PathLike) else value


def shorten_path(argument: str) -> str:
    r"""Reduce an absolute path in an argument to its last part: ``--data=/home/me/cats`` to ``--data=path/to/cats``.

    Cards and results are UTF-8. A byte of a file name that is not UTF-8 is written as an escape such as ``\udce9``.
    """
    argument = argument.encode("utf-8", "backslashreplace").decode()
    match = re.match(r"(?:--[\w-]+=)?(?:local-dir:)?", argument)
    prefix = match[0] if match else ""
    path = Path(argument.removeprefix(prefix))
    return f"{prefix}path/to/{path.name}" if path.is_absolute() else argument


def slug(name: str) -> str:
    """Turn the name of a data set into a part of a model name: lower-case ASCII letters, digits and underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(name).name.lower()).strip("_") or "data"
