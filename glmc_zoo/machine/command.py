"""The command that was given, and names and paths as other people may see them. Imports nothing heavy."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def command_line() -> str:
    """The command as it was given, without folders of this machine."""
    return shlex.join([*_called("recipes/" + Path(sys.argv[0]).name), *map(without_folder, sys.argv[1:])])


def _called(script: str) -> list[str]:
    """Launcher and script; each launcher leaves its mark in the environment."""
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


def resuming(folder: Path, call: str) -> str:
    """How a run goes on: the command that was given, with the options that say so; for the terminal of its user.

    Args:
        folder: Run folder.
        call: The command or the Python call that began the run, as results have it.
    """
    if call.startswith("glmc_zoo."):
        return f"the same call with output_dir={str(folder)!r}, resume='auto'"
    begin, given, rest = _launched_by() or _called(sys.argv[0]), sys.argv[1:], list[str]()
    while given:
        word = given.pop(0)
        if word in ("--output-dir", "--resume"):
            given[:1] = []
        elif not word.startswith(("--output-dir=", "--resume=")):
            rest.append(word)
    return shlex.join([*begin, *rest, "--output-dir", str(folder), "--resume", "auto"])


def _launched_by() -> list[str] | None:
    """The command of the launcher that started this process, up to the script; ``None`` without a launcher."""
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
    """The call of a function of the front door, such as ``glmc_zoo.train(epochs=2)``."""
    shown = (f"{key}={public(value)!r}" for key, value in options.items())
    return f"glmc_zoo.{name}({', '.join(shown)})"


def public(value: Any) -> Any:
    """An option's value, or options by name, as other people may see them; see `without_folder`."""
    if isinstance(value, dict):
        return {name: public(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [public(item) for item in value]
    return without_folder(os.fspath(value)) if isinstance(value, str | os.PathLike) else value


def without_folder(argument: str) -> str:
    r"""An argument as other people may see it: an absolute path is reduced to its last part.

    What UTF-8 cannot hold, a byte of a name of another encoding, becomes ``\udce9``: cards and results are UTF-8.
    """
    argument = argument.encode("utf-8", "backslashreplace").decode()
    mark = re.match(r"(?:--[\w-]+=)?(?:local-dir:)?", argument)
    before = mark[0] if mark else ""
    path = Path(argument.removeprefix(before))
    return f"{before}path/to/{path.name}" if path.is_absolute() else argument


def slug(name: str) -> str:
    """The name of a data set as a component of a model's name."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(name).name.lower()).strip("_") or "data"
