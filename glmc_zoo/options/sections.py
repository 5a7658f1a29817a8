"""The commands, and their options in the sections that ``--help`` shows, most used first."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.fields import OptionGroup, field_names, type_hints
from glmc_zoo.hub.push.target import PushTarget
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.commands import (
    ConvertOptions,
    EvaluationOptions,
    ExportOptions,
    InspectionOptions,
    PredictOptions,
    ReportOptions,
)
from glmc_zoo.options.defaults import FINETUNE_TEXTS, SECOND_STAGE_TEXTS
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.options.images import EvaluationShotOptions, ImageOptions, InferenceOptions, ShotOptions
from glmc_zoo.options.machine import MachineOptions, OutputOptions, PushOptions
from glmc_zoo.options.model import BackboneOptions, MethodOptions, PluginOptions, SecondStageOptions, TuneOptions
from glmc_zoo.options.push import PushSource, SpaceOptions
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions

_STREAMING = (
    "streaming= is for an evaluation. Training shuffles the whole set and samples images by class, which a stream "
    "does not allow: leave it out, and the data set is downloaded once."
)
_MISSING_OPTIONS = {
    "streaming": _STREAMING,
    "images_in_memory": "images_in_memory= was removed because it gained too little: leave it out; resident=True "
    "keeps small images on the device.",
}


@dataclass(frozen=True)
class Command:
    """One command: its name, and its options by section."""

    name: str
    sections: dict[str, tuple[type[OptionGroup], ...]]
    """Groups of options under each heading."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Options that a user may expect but that do not exist here, with an error sentence that says what to use."""
    inherited: frozenset[str] = frozenset()
    """Options whose default is the value of the first stage."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Defaults of this command, in the words of ``--help``, where they are not those of the option's group."""
    script: str = ""
    """File name of its script in ``recipes/`` without the suffix, if that is not the command's name."""
    positional: str = ""
    """The option that gets the first argument if that has no option name."""

    @cached_property
    def groups(self) -> list[type[OptionGroup]]:
        """The groups of all sections."""
        return [group for groups in self.sections.values() for group in groups]

    def default_text(self, name: str) -> str | None:
        """The default of this option in words, where its group does not say it."""
        return "the first stage" if name in self.inherited else self.defaults.get(name)

    @cached_property
    def types(self) -> dict[str, Any]:
        """Type of each option."""
        return {name: type_hints(group)[name] for group in self.groups for name in field_names(group)}


_RUN_SECTIONS: dict[str, tuple[type[OptionGroup], ...]] = {
    "schedule": (ScheduleOptions,),
    "images": (ImageOptions,),
    "machine": (MachineOptions,),
    "output": (OutputOptions,),
    "push to the Hub": (PushOptions,),
    "shot groups": (ShotOptions,),
}
_METHOD_SECTIONS: dict[str, tuple[type[OptionGroup], ...]] = {
    "optimiser": (OptimizerOptions,),
    "switches of GLMC": (GLMCSwitches,),
}

_AUGMENTATION = ("augment", "auto_augment", "random_erasing", "cutout")

TRAIN = Command(
    "train",
    {"model and method": (BackboneOptions, MethodOptions), "data": (DataOptions,), **_RUN_SECTIONS, **_METHOD_SECTIONS},
    _MISSING_OPTIONS,
)
FINETUNE = Command(
    "finetune",
    {"model and method": (TuneOptions, MethodOptions), "data": (DataOptions,), **_RUN_SECTIONS, **_METHOD_SECTIONS},
    _MISSING_OPTIONS,
    defaults=FINETUNE_TEXTS,
)
SECOND_STAGE = Command(
    "second_stage",
    {"model and classifier": (SecondStageOptions, PluginOptions), "data": (DataOptions,), **_RUN_SECTIONS},
    _MISSING_OPTIONS,
    # The second stage uses the same images, read, augmented, batched and grouped in the same way.
    frozenset({*field_names(DataOptions, ShotOptions), *_AUGMENTATION, "image_size", "batch_size"}),
    SECOND_STAGE_TEXTS,
)
EVALUATE = Command(
    "evaluate",
    {
        "models and corrections": (EvaluationOptions,),
        "data": (DataOptions,),
        "inference": (InferenceOptions,),
        "shot groups": (EvaluationShotOptions,),
    },
)
INSPECT = Command(
    "inspect",
    {"inspection": (InspectionOptions,), "data": (DataOptions,), "shot groups": (ShotOptions,)},
    # A script called inspect.py would hide the standard library's module from every script beside it.
    script="inspect_data",
    positional="data",
)
PREDICT = Command("predict", {"prediction": (PredictOptions,)})
PUSH = Command(
    "push",
    {"push": (PushSource, PushTarget), "demo in a Space": (SpaceOptions,)},
    defaults={"repo": "none; required unless --space or --space-folder is given"},
)
EXPORT = Command("export", {"export": (ExportOptions,)})
DEMO = Command("demo", {"demo": (DemoOptions,)})
CONVERT = Command("convert", {"conversion": (ConvertOptions,)})
REPORT = Command("report", {"report": (ReportOptions,)}, positional="run")

_ALL = (TRAIN, FINETUNE, SECOND_STAGE, EVALUATE, INSPECT, PREDICT, REPORT, DEMO, PUSH, EXPORT, CONVERT)
COMMANDS = {command.name: command for command in _ALL}


def option_names() -> set[str]:
    """Names of the options of all commands, including removed ones; needed to spell errors as on the command line."""
    return {"config", *(name for command in COMMANDS.values() for name in (*command.types, *command.refusals))}
