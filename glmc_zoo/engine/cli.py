"""From the command line to a resolved configuration, and from an error to one sentence."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from glmc_zoo.engine.config import TrainConfig, resolve
from glmc_zoo.engine.finetune import FinetuneConfig, resolve_finetune
from glmc_zoo.engine.options import ImbalanceType, load_config_file, shown_fields
from glmc_zoo.engine.recipe_files import config_path
from glmc_zoo.engine.second_stage import SecondStageConfig, resolve_second_stage
from glmc_zoo.errors import UserError, did_you_mean

__all__ = [
    "build_parser",
    "parse_config",
    "parse_finetune_config",
    "parse_options",
    "parse_second_stage_config",
    "run_recipe",
]

_C = TypeVar("_C")


def build_parser(config_class: type, *, description: str) -> Any:
    """A jsonargparse parser with one ``--option`` for each field of ``config_class``, and ``--config FILE``."""
    from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

    class OneLine(DefaultHelpFormatter):
        def __init__(self, prog: str) -> None:
            super().__init__(prog, max_help_position=36, width=160)

        def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
            super().add_usage("%(prog)s [--option value ...]", [], [], prefix)

        def _expand_help(self, action: Any) -> str:
            text = action.help or ""
            default = getattr(action, "default", None)
            told = default not in (None, False, "==SUPPRESS==") and action.dest != "help"
            return f"{text} (default: {default})" if told else text

        def _format_action_invocation(self, action: Any) -> str:
            name = action.option_strings[0]
            takes_none = action.nargs == 0 or action.dest in flags
            return name if takes_none else f"{name} {action.dest.rpartition('_')[2].upper()}"  # short: one line each

    types = get_type_hints(config_class)
    flags = {f.name for f in dataclasses.fields(config_class) if types[f.name] in (bool, bool | None)} | {"help"}
    parser = ArgumentParser(
        description=description, formatter_class=OneLine, exit_on_error=False, allow_abbrev=False, default_env=False
    )
    parser.add_argument(
        "--config",
        type=str,
        default=None,
        help="YAML file of options, or the name of one in recipes/configs; the command line overrides it",
    )
    for f in shown_fields(config_class):
        name, help_text = "--" + f.name.replace("_", "-"), f.metadata["help"]
        if f.name in flags:
            action = ActionYesNo(yes_prefix="", no_prefix="no-")
            parser.add_argument(name, action=action, default=f.default, help=help_text)
        elif types[f.name] == list[str] | None:  # one or more values after the option
            parser.add_argument(name, type=str, nargs="+", action="extend", default=f.default, help=help_text)
        else:
            parser.add_argument(name, type=types[f.name], default=f.default, help=help_text)
    return parser


def _read(argv: list[str] | None, config_class: type, description: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command line says, and what the file says that ``--config`` names; nothing that neither said."""
    import argparse

    parser = build_parser(config_class, description=description)
    argv = sys.argv[1:] if argv is None else argv
    try:
        given = parser.parse_args(argv, defaults=False).clone(with_meta=False).as_dict()
        path, filed = given.pop("config", None), {}
        if path is not None:
            # Through the parser as well: YAML reads 1e-3 as text.
            from_file = parser.parse_object(load_config_file(config_path(path), config_class), defaults=False)
            filed = from_file.clone(with_meta=False).as_dict()
    except argparse.ArgumentError as error:
        raise UserError(_sentence(str(error), argv, parser, config_class)) from error
    return given, filed


def parse_options(config_class: type[_C], argv: list[str] | None = None, *, description: str) -> _C:
    """The configuration that the command line and the file that ``--config`` names describe; the command line rules.

    Raises:
        UserError: An option is unknown or has a value that it does not take.
    """
    given, filed = _read(argv, config_class, description)
    return config_class(**filed | given)


def parse_config(argv: list[str] | None = None, *, description: str) -> TrainConfig:
    """Read the command line and the file that ``--config`` names, and resolve the run.

    Raises:
        UserError: An option is unknown or has a value that it does not take.
    """
    return resolve(*_read(argv, TrainConfig, description))


def parse_finetune_config(argv: list[str] | None = None, *, description: str) -> FinetuneConfig:
    """Likewise for a fine-tuning run.

    Raises:
        UserError: An option is unknown or has a value that it does not take, or ``--model`` is missing.
    """
    return resolve_finetune(*_read(argv, FinetuneConfig, description))


def parse_second_stage_config(argv: list[str] | None = None, *, description: str) -> SecondStageConfig:
    """Likewise for a second stage; what neither says is as in the first stage of ``--model``.

    Raises:
        UserError: An option is unknown or has a value that it does not take, or ``--model`` is missing or unreadable.
    """
    return resolve_second_stage(*_read(argv, SecondStageConfig, description))


# What a user may look for in a training recipe, and why it is not there.
_NOT_IN_TRAINING = {
    "--streaming": "--streaming is for recipes/evaluate.py: training shuffles the whole set and draws its images by "
    "class, which a stream cannot give, so leave it out to download the set once."
}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _allowed(kind: Any) -> str:
    parts = [part for part in (get_args(kind) or (kind,)) if part is not type(None)]
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, parts))}" if len(parts) > 1 else str(parts[0])
    return " or ".join(map(_allowed, parts)) if get_args(kind) else _KINDS.get(parts[0], str(parts[0]))


def _sentence(message: str, argv: list[str], parser: Any, config_class: type) -> str:
    """One sentence out of jsonargparse's many lines."""
    text, hints = " ".join(message.split()), get_type_hints(config_class)
    # A switch takes no value, so the message speaks of the value alone; the option had this name before the switch.
    shapes = "|".join(get_args(ImbalanceType))
    earlier = re.search(rf"(?:^| )--profile[ =]({shapes})(?: |$)", " ".join(argv))
    if earlier and "imbalance_type" in hints:
        return f"--profile {earlier[1]} is not accepted: the shape of a long tail is --imbalance-type {earlier[1]}."
    known = [string for action in parser._actions for string in action.option_strings]
    if match := re.search(r"[Uu]nrecognized arguments: (\S+)", text):
        name = match[1].split("=")[0]
        if name in _NOT_IN_TRAINING and issubclass(config_class, TrainConfig):
            return _NOT_IN_TRAINING[name]
        return f"Unknown option {name}; --help lists every option.{did_you_mean(name, known)}"
    key = re.search(r'key "(\w+)"', text)
    value = re.search(r"(?:value: |Got value: )(\S+)$", text)
    if key and value and key[1] in hints:
        return f"--{key[1].replace('_', '-')} {value[1]} is not accepted: it must be {_allowed(hints[key[1]])}."
    return text if text.endswith((".", "?")) else f"{text}; --help lists every option."


def run_recipe(main: Callable[[], None]) -> None:
    """Call a recipe's ``main``; a `UserError` becomes one sentence on standard error and exit status 2.

    Where several processes find the same fault the first of them tells it; what only one of them can meet, it has told
    by itself (see `glmc_zoo.engine.output.own_share`).
    """
    _hide_own_folder()
    try:
        main()
    except UserError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"{Path(sys.argv[0]).name}: error: {error.sentence}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        _leave_process_group()


def _leave_process_group() -> None:
    """Stop the threads of a process group by name: the interpreter's end would now and then abort on them (SIGABRT)."""
    distributed = sys.modules.get("torch.distributed")  # not imported: no process group
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _hide_own_folder() -> None:
    """Take the recipes' folder off the path: Python puts it first, and evaluate.py in it hides the library's name."""
    folder = Path(sys.argv[0]).resolve().parent
    if (folder / "evaluate.py").is_file():
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
