"""The options that a recipe resolves from a command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glmc_zoo.options import resolve
from glmc_zoo.options.parser import read_command_line
from glmc_zoo.options.sections import COMMANDS


def resolved(script: str, words: Sequence[str]) -> Any:
    """The options that a recipe, such as ``train.py``, resolves from the words of a command line."""
    name = script.removesuffix(".py")
    given = read_command_line(COMMANDS[name], "", "", words)
    if name == "second_stage":
        from glmc_zoo.training.first_stage import first_stage_options

        return resolve.second_stage_options(given, first_stage_options(given))
    resolvers = {
        "train": resolve.training_options,
        "finetune": resolve.finetuning_options,
        "evaluate": resolve.evaluation_options,
    }
    return resolvers[name](given)
