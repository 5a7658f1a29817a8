"""The options that a second stage takes over from the first: which images, how they are read, and the shot groups."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.options.sections import SECOND_STAGE
from glmc_zoo.options.user_options import UserOptions
from glmc_zoo.results import RunResults
from glmc_zoo.scoring.trained_data import HIDDEN_FOLDER, options_with_paths

_DATA = frozenset(field_names(DataOptions))
DEFAULTS = {
    option_field.name: option_field.default
    for group in (DataOptions, ShotOptions)
    for option_field in dataclasses.fields(group)
}
# Where images are stored and how many make a step does not change which images they are.
_NO_DIFFERENCE = frozenset({"data_dir", "batch_size"})


def first_stage_options(user_options: UserOptions) -> dict[str, Any]:
    """The options that a second stage takes over from the first stage, by name.

    Raises:
        UserError: ``model=`` is missing, cannot be read or has no training to go on from, or nothing names the data.
    """
    model = user_options.get("model")
    if model is None:
        raise UserError(
            "model= is missing: give the first stage's model, such as runs/NAME/model, hf-hub:ORG/NAME or a published "
            "name."
        )
    first_options = inherited_options(open_model(model, weights=False))
    data = user_options.get("data")
    if data is not None and not same_data(data, first_options.get("data")):
        # This is another data set, so the options that thinned and split the first one do not apply.
        return {name: value for name, value in first_options.items() if name not in _DATA}
    if data is None and first_options.get("data") is None:
        raise UserError(
            f"{model} does not say where its training images are: give data=, and data_dir= for a data set of the "
            "catalogue."
        )
    return first_options


def training_results(source: ModelSource) -> RunResults:
    """The results of the training that a second stage goes on from.

    Raises:
        UserError: The model has no results of a training, already went through a second stage, or was corrected.
    """
    results = source.results
    if results is None:
        raise UserError(
            f"{source.name} has no results of a training, so there is no first stage to go on from: give a model that "
            "recipes/train.py or recipes/finetune.py exported, or use recipes/finetune.py with tune='head'."
        )
    if results.second_stage is not None:
        raise UserError(
            f"{source.name} already went through a second stage: give the model that it started from, "
            f"{results.second_stage.source}."
        )
    source.check_uncorrected("A second stage")
    return results


def inherited_options(source: ModelSource) -> dict[str, Any]:
    """The options of a model's training that a second stage takes over; see `options_with_paths`.

    Raises:
        UserError: The model has no training to go on from, or ``config.yaml`` cannot be read.
    """
    training_results(source)
    return {
        name: value
        for name, value in options_with_paths(source).items()
        if name in SECOND_STAGE.inherited and not str(value).startswith(HIDDEN_FOLDER)
    }


def differing_options(options: Mapping[str, Any], first_options: Mapping[str, Any]) -> list[str]:
    """``name FIRST -> SECOND``, with the values of both stages, for each option that selects or groups other images."""
    return [
        f"{name.replace('_', ' ')} {value} -> {options[name]}"
        for name, value in first_options.items()
        if name not in _NO_DIFFERENCE
        and options[name] != value
        and not (name == "data" and same_data(options["data"], value))
    ]


def same_data(data: str, other: str | None) -> bool:
    """Whether two names may mean the same data set: only the last parts of paths count, as a folder may have moved."""
    return other is not None and Path(data).name == Path(other).name
