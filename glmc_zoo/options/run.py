"""The resolved options of a run: what every run has, and what its stage adds."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, values_of
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.head import LOOP_OPTIONS
from glmc_zoo.options.images import ImageOptions, ShotOptions
from glmc_zoo.options.machine import MachineOptions, OutputOptions, PushOptions
from glmc_zoo.options.model import (
    FEATURE_OPTIONS,
    HEAD_OPTIONS,
    BackboneOptions,
    MethodOptions,
    PluginOptions,
    SecondStageOptions,
    TuneOptions,
)
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions
from glmc_zoo.options.search import SEARCHED

RUN_GROUPS = (DataOptions, ScheduleOptions, ImageOptions, ShotOptions, MachineOptions, OutputOptions)
"""The groups of options that every run has."""
CALIBRATION_FRACTION = 0.1
"""Share of each training class that ``calibrate="always"`` holds out where nothing else does."""


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """A backbone is trained, from scratch or from timm's weights."""

    model: BackboneOptions
    method: MethodOptions
    switches: GLMCSwitches
    optimizer: OptimizerOptions


@dataclass(frozen=True, kw_only=True)
class FinetuneStage:
    """A trained model is fine-tuned."""

    model: TuneOptions
    method: MethodOptions
    switches: GLMCSwitches
    optimizer: OptimizerOptions
    defaults: tuple[str, ...] = ()
    """Options whose value is that of the recipe of fine-tuning."""
    decided_by_network: tuple[str, ...] = ()
    """Options that the kind of network decides. Until the network is known they have the recipe's values."""
    searched: bool = False
    """Whether the search that ``search_minutes`` asks for has decided its options."""


@dataclass(frozen=True, kw_only=True)
class HeadStage:
    """The classifier of a trained model is trained on features that are computed once."""

    model: TuneOptions
    plugin: PluginOptions


@dataclass(frozen=True, kw_only=True)
class SecondStage:
    """The classifier of a trained model is trained again."""

    model: SecondStageOptions
    plugin: PluginOptions
    inherited: tuple[str, ...] = ()
    """Options whose value is that of the first stage."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Every option of a training, fine-tuning or second stage, as resolved."""

    data: DataOptions
    stage: TrainingStage | FinetuneStage | HeadStage | SecondStage
    schedule: ScheduleOptions
    images: ImageOptions
    shots: ShotOptions
    machine: MachineOptions
    output: OutputOptions
    push: PushOptions
    command: str = ""
    """The command, or the Python call, that was given."""
    notes: tuple[str, ...] = ()
    """What the user should know of these options, such as values of the file that are left out."""

    def with_values(self, **values: Any) -> "RunOptions":
        """The same options with other values, by option name, in the groups ``images``, ``shots`` and ``machine``."""
        changed: dict[str, Any] = {}
        for name in ("images", "shots", "machine"):
            group = getattr(self, name)
            replacements = {key: value for key, value in values.items() if key in values_of(group)}
            changed[name] = dataclasses.replace(group, **replacements)
        return dataclasses.replace(self, **changed)


def calibration_holdout(values: Mapping[str, Any], stage: Any) -> dict[str, float]:
    """The ``val_fraction`` that ``calibrate="always"`` sets if nothing else holds images out, as a dict of options.

    Raises:
        UserError: The first stage of a `SecondStage` was trained on these images.
    """
    if values.get("calibrate") != "always" or values.get("val_fraction") or values.get("official_val"):
        return {}
    if isinstance(stage, HeadStage):  # it holds out each fold of the training images in turn
        return {}
    if isinstance(stage, SecondStage):
        raise UserError(
            "calibrate='always' would hold out images that the first stage was trained on: train the first stage with "
            "val_fraction=, or leave calibrate= out."
        )
    return {"val_fraction": CALIBRATION_FRACTION}


def option_groups(options: Any) -> Iterator[OptionGroup]:
    """The groups of resolved options in order, including those of the stage."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, OptionGroup):
            yield value
        elif dataclasses.is_dataclass(value):
            yield from option_groups(value)


def option_defaults() -> dict[str, Any]:
    """The defaults of all options of a run that have one, by name."""
    groups = {*RUN_GROUPS, MethodOptions, BackboneOptions, TuneOptions, GLMCSwitches, OptimizerOptions}
    fields = [field for group in groups for field in dataclasses.fields(group)]
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    defaults |= {field.name: make() for field in fields if (make := field.default_factory) is not dataclasses.MISSING}
    return defaults | {"head_init": "fresh"}  # as before the option existed; its default depends on the method


def flatten_options(options: Any) -> dict[str, Any]:
    """The options of all groups by name."""
    return {name: value for group in option_groups(options) for name, value in values_of(group).items()}


def saved_options(options: RunOptions) -> dict[str, Any]:
    """The options that ``config.yaml`` and the results hold: all but run folder, resumption, dry run and push.

    A run that is repeated from that file must not push to the first run's repository, nor accept new data.
    """
    excluded = {"output_dir", "resume", "dry_run", "accept_new_data", *values_of(options.push)}
    if isinstance(options.stage, HeadStage):
        excluded |= LOOP_OPTIONS
    elif isinstance(options.stage, FinetuneStage):
        tune = options.stage.model
        if tune.search_minutes is not None and not options.stage.searched:
            excluded |= SEARCHED
        unused = HEAD_OPTIONS if tune.tune == "head" else FEATURE_OPTIONS if tune.head_init == "fresh" else ()
        excluded |= {"head_loss", *unused}
    return {name: value for name, value in flatten_options(options).items() if name not in excluded}
