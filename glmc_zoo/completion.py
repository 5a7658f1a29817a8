"""Shell completion of ``glmc-zoo``: its commands, their options, and the values of options that have few."""

import argparse
import dataclasses

from glmc_zoo.errors import UserError
from glmc_zoo.options.parser import build_parser, choices_of
from glmc_zoo.options.sections import COMMANDS, Command

SHELLS = ("bash", "zsh", "tcsh")
_FOLDERS = ("output_dir", "data_dir", "save")
_FILES = ("config", "data", "images", "model", "models", "output", "run", "teacher", "split_file", "source")


def completion_script(shell: str, summaries: dict[str, str]) -> str:
    """The script that a shell reads once, so that it completes the words of ``glmc-zoo``.

    Args:
        shell: One of `SHELLS`.
        summaries: One line for each command, shown beside its name.

    Raises:
        UserError: The shell is unknown.
    """
    if shell not in SHELLS:
        raise UserError(f"Completion for {shell!r} is not known: give one of {', '.join(SHELLS)}.")
    import shtab

    parser = argparse.ArgumentParser(prog="glmc-zoo")
    commands = parser.add_subparsers(dest="command")
    for name, summary in summaries.items():
        parents = [_completion_parser(COMMANDS[name])] if name in COMMANDS else []
        commands.add_parser(name, parents=parents, add_help=False, help=summary)
    script: str = shtab.complete(parser, shell=shell)
    return script


def _completion_parser(command: Command) -> argparse.ArgumentParser:
    """The parser of a command, whose options know what can follow them."""
    import shtab

    parser = build_parser(command, "")
    fields = {field.name: field for group in command.groups for field in dataclasses.fields(group)}  # type: ignore[arg-type]
    for action in parser._actions:
        if action.dest in fields and (choices := choices_of(fields[action.dest], command.types[action.dest])):
            action.choices = choices
        elif action.dest in _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # where shtab looks
        elif action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser
