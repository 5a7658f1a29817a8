"""What a second stage takes from the first: the options that say which images, and how they are read and grouped."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names
from glmc_zoo.hub import ModelSource, open_model
from glmc_zoo.options.given import Given
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.options.sections import SECOND_STAGE
from glmc_zoo.results import RunResults
from glmc_zoo.scoring.trained_data import HIDDEN_FOLDER, options_with_paths

_DATA = frozenset(field_names(DataOptions))
DEFAULTS = {f.name: f.default for group in (DataOptions, ShotOptions) for f in dataclasses.fields(group)}
# Where images are stored and how many make a step does not change which images they are.
_NO_DIFFERENCE = frozenset({"data_dir", "batch_size"})


def first_stage_options(given: Given) -> dict[str, Any]:
    """Options of the first stage that a second stage takes over, for what was given."""
    model = given.get("model")
    if model is None:
        raise UserError(
            "model= is missing: give the first stage's model, such as runs/NAME/model, hf_hub:ORG/NAME or a published "
            "name."
        )
    first = trained_with(open_model(model, weights=False))
    data = given.get("data")
    if data is not None and not same_data(data, first.get("data")):
        # How those images were thinned and split says nothing about these.
        return {name: value for name, value in first.items() if name not in _DATA}
    if data is None and first.get("data") is None:
        raise UserError(
            f"{model} does not say where the images are that it was trained on: give them by data=, and data_dir= "
            "where it needs it."
        )
    return first


def training_results(source: ModelSource) -> RunResults:
    """The results of the training that a second stage goes on from.

    Raises:
        UserError: The model has no results of a training, or it went through a second stage already.
    """
    results = source.results
    if results is None:
        raise UserError(
            f"{source.name} has no results of a training, so there is no first stage to go on from: give a model that "
            "recipes/train.py or recipes/finetune.py left, or fine-tune its classifier alone with tune='head'."
        )
    if results.second_stage is not None:
        raise UserError(
            f"{source.name} went through a second stage already, and its rows are bounded: give the model that it "
            f"started from, {results.second_stage.source}."
        )
    return results


def trained_with(source: ModelSource) -> dict[str, Any]:
    """The options that a model was trained with, as far as its second stage takes them over.

    A path that is not known is left out; see `options_with_paths`.
    """
    training_results(source)
    return {
        name: value
        for name, value in options_with_paths(source).items()
        if name in SECOND_STAGE.inherited and not str(value).startswith(HIDDEN_FOLDER)
    }


def differing_options(options: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """``name: first stage's -> this stage's`` for each option that selects other images, or groups them otherwise."""
    return [
        f"{name.replace('_', ' ')} {value} -> {options[name]}"
        for name, value in first.items()
        if name not in _NO_DIFFERENCE
        and options[name] != value
        and not (name == "data" and same_data(options["data"], value))
    ]


def same_data(one: str, other: str | None) -> bool:
    """Whether two names may be of one data set: the same folder may be stored elsewhere, or named by another path."""
    return other is not None and Path(one).name == Path(other).name
