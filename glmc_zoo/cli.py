"""The command ``glmc-zoo``, and what every recipe does around its own steps: options in, one sentence for an error."""

import atexit
import importlib.util
import io
import os
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from glmc_zoo.disk import disk_error
from glmc_zoo.errors import UserError, as_command_line, did_you_mean, on_command_line
from glmc_zoo.files import percent, text_table
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.sections import COMMANDS, Command, option_names
from glmc_zoo.options.user_options import UserOptions, recipes_folder
from glmc_zoo.screen import PIPE_STATUS, ReaderGone, Verbosity, complain, end_with_reader, say, verbosity
from glmc_zoo.text import printable

_LIST_HELP = "list the published models with their scores, and the data sets of the catalogue"
_COMPLETION_HELP = "print the completion script of a shell: bash, zsh or tcsh"


def read_options(command: Command, description: str, argv: Sequence[str] | None = None) -> UserOptions:
    """What the command line of a recipe gives; the first line of its docstring heads ``--help``."""
    from glmc_zoo.machine.command import command_line

    user_options = read_command_line(command, description.splitlines()[0], command_line(), argv)
    _print_start()
    return user_options


def run_recipe(main: Callable[[], None]) -> None:
    """Call a recipe's ``main``; a `UserError` becomes one sentence on standard error and exit status 2.

    If several processes raise the same error, the first one (rank 0) reports it. An error with ``in_one_process`` is
    reported by the process that raised it. When the reader of the output has ended, as in ``| head``, the recipe ends
    without a message, with `PIPE_STATUS`.
    """
    _hide_recipes_folder()
    _escape_unencodable()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    try:
        with end_with_reader():
            status = _status_of(main)
    except ReaderGone:
        status = PIPE_STATUS
    if several:
        _end_process(status)
    if status:
        raise SystemExit(status)


def _status_of(main: Callable[[], None]) -> int:
    """Call ``main``, report its error, and return the exit status."""
    from glmc_zoo.machine.signals import raise_on_sigterm

    try:
        with on_command_line(option_names()), raise_on_sigterm():
            main()
    except UserError as error:
        _report(error)
        return 2
    except Exception as error:
        if (machine_error := _machine_error(error)) is None:
            raise
        _report(machine_error)
        return 2
    except KeyboardInterrupt as stop:
        if str(stop) and int(os.environ.get("RANK", "0")) == 0:
            complain(f"{Path(sys.argv[0]).name}: {printable(str(stop))}")
        return int(getattr(stop, "status", 130))
    return 0


def _machine_error(error: Exception) -> UserError | None:
    """A sentence for an error of the machine: a loader process that was killed, or a full disk; ``None`` for others."""
    from glmc_zoo.machine.processes import worker_error

    user_error = worker_error(error) if isinstance(error, RuntimeError) else None
    user_error = disk_error(error) if user_error is None else user_error
    if user_error is not None:
        user_error.in_one_process = True
    return user_error


def _report(error: UserError) -> None:
    if int(os.environ.get("RANK", "0")) == 0 or error.in_one_process:
        sentence = as_command_line(error.sentence, option_names())
        if verbosity() is Verbosity.VERBOSE:
            traceback.print_exception(error)
        complain(f"{Path(sys.argv[0]).name}: error: {sentence}")


def _print_start() -> None:
    """Say on a terminal that the command runs, before PyTorch takes its seconds to load; with ``-v`` the versions."""
    if int(os.environ.get("RANK", "0")) or verbosity() is Verbosity.QUIET:
        return
    if verbosity() is Verbosity.VERBOSE:
        names = ("glmc_zoo", "torch", "timm", "accelerate", "datasets", "evaluate", "huggingface_hub")
        say(", ".join(f"{name} {version(name)}" for name in names) + f"; Python {platform.python_version()}")
    elif sys.stderr.isatty():
        print("loading PyTorch and timm", file=sys.stderr, flush=True)


def _escape_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks, so that a file or class name cannot end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_process(status: int) -> None:
    """End one process of several without taking the interpreter apart.

    The threads of a process group live on in native code. One that still releases a tensor while the interpreter is
    taken apart aborts the process (SIGABRT, "terminate called without an active exception"), after all work is done.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _hide_recipes_folder() -> None:
    """Take the recipes' folder off the path: Python puts it first, and evaluate.py in it hides the library's name."""
    folder = Path(sys.argv[0]).resolve().parent
    if (folder / "evaluate.py").is_file():
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]


def recipes() -> dict[str, Path]:
    """The scripts by name: those installed with the package, or the checkout's."""
    folder = recipes_folder()
    scripts = {name: folder / f"{command.script or name}.py" for name, command in COMMANDS.items()}
    return {name: path for name, path in scripts.items() if path.is_file()}


def main(argv: list[str] | None = None) -> None:
    """Run the recipe that the first argument names, with the rest as its command line.

    ``accelerate launch -m glmc_zoo train ...`` does the same on several processes.
    """
    try:
        with end_with_reader():
            _run_command((sys.argv[1:] if argv is None else argv) or ["--help"])
    except ReaderGone:
        raise SystemExit(PIPE_STATUS) from None


def _run_command(argv: list[str]) -> None:
    name, *arguments = argv
    if name.replace("-", "_") in recipes():  # as options are spelled
        name = name.replace("-", "_")
    if name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        from glmc_zoo import __version__

        print(f"glmc-zoo {__version__}")
    elif name in recipes():
        # The recipe reads its command line from here, and records in its results how it was called.
        sys.argv = [f"glmc-zoo {name}", *arguments]
        run_recipe(_load(recipes()[name]).main)
    else:
        sys.argv = ["glmc-zoo"]
        built_in = {"list": _list, "completion": _completion}
        run_recipe(lambda: built_in[name](arguments) if name in built_in else _unknown(name))


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"glmc_zoo_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _usage() -> str:
    lines = [
        "usage: glmc-zoo COMMAND [--option value ...]",
        "",
        "commands (glmc-zoo COMMAND --help lists the options):",
    ]
    return "\n".join([*lines, *(f"  {name:<12} {summary}" for name, summary in _summaries().items())])


def _summaries() -> dict[str, str]:
    """One line for each command: the first of its recipe's docstring."""
    docstrings = {name: path.read_text(encoding="utf-8").split('"""')[1] for name, path in recipes().items()}
    built_in = {"list": _LIST_HELP, "completion": _COMPLETION_HELP}
    return {name: text.splitlines()[0] for name, text in docstrings.items()} | {
        name: f"{text[0].upper()}{text[1:]}." for name, text in built_in.items()
    }


def _unknown(name: str) -> None:
    commands = [*recipes(), "list", "completion"]
    raise UserError(f"Unknown command {name!r}: give one of {', '.join(commands)}.{did_you_mean(name, commands)}")


def _completion(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(f"usage: glmc-zoo completion SHELL\n\n{_COMPLETION_HELP}")
        return
    from glmc_zoo.completion import completion_script

    print(completion_script(arguments[0], _summaries()))


def _list(arguments: list[str]) -> None:
    if arguments in (["-h"], ["--help"]):
        print(f"usage: glmc-zoo list\n\n{_LIST_HELP}")
        return
    if arguments:
        raise UserError(f"glmc-zoo list takes no arguments: leave {arguments[0]!r} out.")
    from glmc_zoo.data import list_data
    from glmc_zoo.hub import list_models

    models: list[tuple[str, ...]] = [("model", "parameters", "top-1", "balanced", "many", "medium", "few")]
    for model in list_models():
        scores = [percent(model.scores.get(name)) for name in ("top1", "balanced_accuracy", "many", "medium", "few")]
        models.append((model.name, f"{model.parameters / 1e6:.2f} M", *scores))
    data = [("data", "classes", "images from", "what")]
    for entry in list_data().values():
        source = entry.hub_id or ("a folder" if entry.official else "embedded")
        data.append((entry.name, str(entry.num_classes), source, entry.description))
    print(text_table(models))
    print(
        '\nTest scores in %. glmc_zoo.create_model("NAME") loads one; glmc-zoo finetune --model NAME starts from it.\n'
    )
    print(text_table(data, left=range(4)))
