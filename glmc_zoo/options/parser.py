"""The command line: one option for each field of a command's groups, shown in sections."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

from glmc_zoo.errors import UserError
from glmc_zoo.fields import type_hints
from glmc_zoo.options.other_names import similar_options
from glmc_zoo.options.sections import Command
from glmc_zoo.options.user_options import UserOptions, parse_options
from glmc_zoo.screen import set_verbosity

CONFIG_HELP = "YAML file of options, or the name of one in recipes/configs; the command line overrides it"

_LEVELS = (
    ("q", "quiet", "show only results, warnings and errors"),
    ("v", "verbose", "also show versions, and the traceback of an error"),
)


class _OneLineFormatter(argparse.HelpFormatter):
    """Prints each option on one line, whatever the width of the terminal.

    Args:
        prog: The command.
        first_argument: The argument without an option name, as the line ``usage`` shows it.
    """

    def __init__(self, prog: str, first_argument: str) -> None:
        super().__init__(prog, max_help_position=36, width=250)
        self._first_argument = first_argument

    def _format_action_invocation(self, action: argparse.Action) -> str:
        name = action.option_strings[0]
        return name if action.nargs == 0 else f"{name} {action.metavar}"

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        return f"usage: {self._prog}{self._first_argument} [--option value ...]\n\n"


class _Parser(argparse.ArgumentParser):
    """Raises `UserError` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}; --help lists every option.")


class _Switch(argparse.BooleanOptionalAction):
    """``--name`` and ``--no-name``; argparse's own class is wrong for a name that begins with "no"."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


def build_parser(command: Command, description: str) -> argparse.ArgumentParser:
    """A parser with one ``--option`` for each field of the command's groups, and ``--config FILE``.

    Its namespace holds only the options that were given, as text; `parse_options` converts and checks them.
    """
    first_argument = ""
    if name := command.positional:
        first_argument = f" [{name.upper()}{' ...' if get_origin(command.types[name]) is list else ''}]"
    formatter_class = partial(_OneLineFormatter, first_argument=first_argument)
    parser = _Parser(description=description, formatter_class=formatter_class, allow_abbrev=False, add_help=False)
    general = parser.add_argument_group("general")
    general.add_argument("--help", "-h", action="help", help="show this help", default=argparse.SUPPRESS)
    general.add_argument("--config", metavar="FILE", help=CONFIG_HELP, default=argparse.SUPPRESS)
    for short, level, help_text in _LEVELS:
        general.add_argument(
            f"--{level}", f"-{short}", dest="verbosity", action="store_const", const=level, help=help_text,
            default=argparse.SUPPRESS,
        )  # fmt: skip
    for title, groups in command.sections.items():
        section = parser.add_argument_group(title)
        for group in groups:
            hints = type_hints(group)
            for field in dataclasses.fields(group):  # type: ignore[arg-type]  # groups are dataclasses
                _add(section, field, hints[field.name], command.default_text(field.name))
    return parser


def _add(section: Any, field: dataclasses.Field[Any], hint: Any, decided_by: str | None) -> None:
    name = "--" + field.name.replace("_", "-")
    settings = {"help": option_help(field, hint, decided_by).replace("%", "%%"), "default": argparse.SUPPRESS}
    types = [member for member in (get_args(hint) or (hint,)) if member is not NoneType]
    if bool in types:
        section.add_argument(name, action=_Switch, **settings)
    elif get_origin(hint) is list:
        section.add_argument(name, nargs="+", action="extend", metavar=_metavar(field.name, types), **settings)
    else:
        section.add_argument(name, metavar=_metavar(field.name, types), **settings)


def _metavar(name: str, types: Sequence[Any]) -> str:
    if types == [int]:
        return "N"
    if float in types:
        return "X"
    return name.rpartition("_")[2].upper()


def _shown_default(default: Any) -> str:
    if default is None or default == []:
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def option_help(
    field: dataclasses.Field[Any], hint: Any, decided_by: str | None, *, show: Callable[[Any], str] = _shown_default
) -> str:
    """The help of one option: its description, its choices, and its default or who decides it.

    Args:
        field: The field of the option.
        hint: Its type.
        decided_by: The default in words, where the command differs from the field.
        show: Gives the text of a default value.
    """
    choices = choices_of(field, hint)
    text = field.metadata["help"] + (f" [{' | '.join(choices)}]" if choices else "")
    decided_by = decided_by or field.metadata["decided_by"]
    if decided_by is not None:
        return f"{text} (default: {decided_by})"
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return f"{text} (required)"
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return f"{text} (default: {show(default)})"


def choices_of(field: dataclasses.Field[Any], hint: Any) -> list[str]:
    """The names that an option accepts; empty if it has no list of names."""
    if field.metadata["choices"] is not None:
        return list(field.metadata["choices"]())
    literals = [literal for literal in (hint, *get_args(hint)) if get_origin(literal) is Literal]
    return [str(value) for literal in literals for value in get_args(literal)]


def read_command_line(command: Command, description: str, call: str, argv: Sequence[str] | None) -> UserOptions:
    """The options on the command line, converted and checked; ``call`` is the whole command, for the results.

    Raises:
        UserError: An option is unknown, or its value is not allowed.
    """
    parser = build_parser(command, description)
    words = list(sys.argv[1:] if argv is None else argv)
    if command.positional and words and not words[0].startswith("-"):
        words.insert(0, f"--{command.positional.replace('_', '-')}")
    namespace, unknown = parser.parse_known_args(words)
    if unknown:
        name = unknown[0].split("=")[0]
        key = name.lstrip("-").replace("-", "_")
        if key in command.refusals:
            raise UserError(command.refusals[key])
        kind = "option" if name.startswith("-") else "argument"
        hint = similar_options(key, command.types, prefix="--", separator="-")
        raise UserError(f"Unknown {kind} {name}; --help lists every option.{hint}")
    values = vars(namespace)
    set_verbosity(values.pop("verbosity", "normal"))
    return parse_options(command, values, call)
