"""The options of a command as keywords of a Python function: its signature and its docstring, for ``help()``."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin

from glmc_zoo.fields import type_hints
from glmc_zoo.options.parser import CONFIG_HELP, choices_of, option_help
from glmc_zoo.options.sections import Command, option_names

_F = TypeVar("_F", bound=Callable[..., Any])
_WORD = re.compile(r"--(no-)?([a-z][a-z-]*[a-z])(?: ([a-z_]+)\b)?")


def options_of(command: Command, defaults: Mapping[str, str] | None = None) -> Callable[[_F], _F]:
    """Decorator that lists the options of ``command`` in signature and docstring of a function with ``**options``.

    Both are made from the fields that ``--help`` is made from. The function itself is not wrapped.

    Args:
        command: The command with the options.
        defaults: Defaults that differ from those on the command line, in words; the keyword is then ``None``.
    """

    def decorator(function: _F) -> _F:
        sections = _sections(command, defaults or {})
        returns = function.__annotations__.get("return", inspect.Signature.empty)
        parameters = [parameter for options in sections.values() for parameter, _ in options]
        cast(Any, function).__signature__ = inspect.Signature(parameters, return_annotation=returns)
        name = command.name.replace("_", "-")
        lines = [
            inspect.cleandoc(function.__doc__ or ""),
            f"The keywords are the options of ``glmc-zoo {name} --help``. ``None`` stands for one that is not given.",
        ]
        for title, options in sections.items():
            lines.append("\n".join([f"{title}:", *(_entry(parameter.name, text) for parameter, text in options)]))
        function.__doc__ = "\n\n".join(lines) + "\n"
        return function

    return decorator


def _entry(name: str, text: str) -> str:
    return textwrap.fill(
        f"{name}: {text}", 100, initial_indent="    ", subsequent_indent=" " * 8, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _sections(command: Command, defaults: Mapping[str, str]) -> dict[str, list[tuple[inspect.Parameter, str]]]:
    """The keywords of a command with their help, by section."""
    choices = {
        field.name: choices_of(field, command.types[field.name])
        for group in command.groups
        for field in dataclasses.fields(group)  # type: ignore[arg-type]  # groups are dataclasses
    }
    config = inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=str | None)
    config_help = CONFIG_HELP.replace("the command line", "a keyword")
    sections = {"general": [(config, f"{config_help} (default: None)")]}
    for title, groups in command.sections.items():
        sections[title] = []
        for group in groups:
            for field in dataclasses.fields(group):  # type: ignore[arg-type]
                decided_by = defaults.get(field.name, command.default_text(field.name))
                hint = type_hints(group)[field.name]
                text = option_help(field, hint, decided_by, show=repr)
                keyword = _parameter(field, hint, decided=decided_by is not None)
                sections[title].append((keyword, _as_python(text, choices)))
    return sections


def _parameter(field: dataclasses.Field[Any], hint: Any, *, decided: bool) -> inspect.Parameter:
    """The keyword of an option; its default is ``None`` where a text says who decides it.

    A required option has no default, although it may also be in the file that ``config`` names.
    """
    if get_origin(hint) is list:
        hint = hint | str  # one value needs no list
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    elif decided or (default is dataclasses.MISSING and field.metadata["decided_by"] is not None):
        default = None
    if default is None and NoneType not in get_args(hint):
        hint = hint | None
    empty = inspect.Parameter.empty if default is dataclasses.MISSING else default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=hint)


def _as_python(text: str, choices: Mapping[str, list[str]]) -> str:
    """The help of an option with other options spelled as keywords: ``--tune head`` becomes ``tune='head'``."""

    def spell(match: re.Match[str]) -> str:
        name, word = match[2].replace("-", "_"), match[3]
        if name not in option_names():
            return match[0]
        value = "False" if match[1] else repr(word) if word in choices.get(name, []) else ""
        following = "" if word is None or value == repr(word) else f" {word}"
        return f"{name}={value}{following}"

    return _WORD.sub(spell, text)
