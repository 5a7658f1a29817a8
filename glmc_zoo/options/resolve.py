"""Resolve the options that a command uses from those that were given.

Later sources override earlier ones: the defaults of the groups, the preset, the recipe of the data set or stage, the
file, and last the command line or the keywords.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, field_names, type_hints
from glmc_zoo.hub.push.target import PushTarget
from glmc_zoo.options.commands import (
    SEARCH_FRACTION,
    ConvertOptions,
    EvaluateOptions,
    EvaluationOptions,
    ExportOptions,
    InspectOptions,
    PredictOptions,
    ReportOptions,
    check_streaming,
)
from glmc_zoo.options.defaults import (
    FINETUNE_DEFAULTS,
    FINETUNE_RECIPE,
    GENERIC_RECIPE,
    HEAD_RECIPE,
    SECOND_STAGE_RECIPE,
)
from glmc_zoo.options.demo import DemoOptions
from glmc_zoo.options.head import refuse_head_options, refuse_loop_options
from glmc_zoo.options.images import THRESHOLDS
from glmc_zoo.options.method_values import Sources, requested_method, resolve_epochs, resolve_values, warmup_epochs
from glmc_zoo.options.push import PushRequest, PushSource, SpaceOptions
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, SecondStage, TrainingStage, calibration_holdout
from glmc_zoo.options.search import SEARCHED, resolve_search
from glmc_zoo.options.user_options import UserOptions

_T = TypeVar("_T")
_G = TypeVar("_G", bound=OptionGroup)


def training_options(user_options: UserOptions) -> RunOptions:
    """The options of a training from scratch, or from timm's weights.

    The method switches of a published recipe apply to the preset ``official`` alone. Its schedule applies to every
    preset; the preset ``tuned`` replaces some of its values.
    """
    _refuse_idle_thresholds(user_options)
    entry, imbalance = _long_tail(user_options.values)
    recipe = GENERIC_RECIPE | ({} if entry is None else entry.recipe(imbalance.get("imbalance_factor")))
    values, notes = resolve_values(user_options, Sources(recipe, {} if entry is None else entry.tuned))
    values |= imbalance
    return _run_options(values, compose(TrainingStage, values), user_options.command, notes)


def finetuning_options(user_options: UserOptions) -> RunOptions:
    """The options of a fine-tuning; published recipes are for training from scratch and are not used.

    ``tune="head"`` trains the classifier on features, unless a method is given: a method needs the training loop.
    """
    _refuse_idle_thresholds(user_options)
    if (
        user_options.get("tune") == "head"
        and requested_method(user_options.values, user_options.get("preset") or "tuned") == "auto"
    ):
        refuse_loop_options(user_options.values)
        values = HEAD_RECIPE | user_options.values | _long_tail(user_options.values)[1]
        if values.get("head_init", "auto") == "auto":
            values["head_init"] = "mean"
        return _run_options(values, compose(HeadStage, values), user_options.command)
    refuse_head_options(user_options.values)
    user_options = resolve_search(user_options)
    values, notes = resolve_values(user_options, Sources(FINETUNE_RECIPE, defaults=FINETUNE_DEFAULTS))
    values |= _long_tail(user_options.values)[1]
    resolved = {"epochs"} if values.get("passes") is not None else set()
    if values.get("search_minutes") is not None:
        resolved |= SEARCHED
    defaults = tuple(name for name in FINETUNE_RECIPE if name not in user_options and name not in resolved)
    stage = compose(
        FinetuneStage, values, defaults=defaults, decided_by_network=_decided_by_network(user_options, values, resolved)
    )
    return _run_options(values, stage, user_options.command, notes)


def _decided_by_network(user_options: UserOptions, values: Mapping[str, Any], resolved: set[str]) -> tuple[str, ...]:
    """The options that the kind of network decides: none if ``lr`` is given, which suits one optimiser alone."""
    if "lr" in user_options:
        return ()
    layer_decay = ("layer_decay",) if values.get("tune", "full") in ("full", "blocks") else ()
    candidates = ("opt", "lr", "weight_decay", *layer_decay)
    return tuple(name for name in candidates if name not in user_options and name not in resolved)


def second_stage_options(user_options: UserOptions, first_stage: Mapping[str, Any]) -> RunOptions:
    """The options of a second stage; options that were not given are those of the first stage (``first_stage``)."""
    inherited = {name: value for name, value in first_stage.items() if value is not None and name not in user_options}
    if user_options.get("maxnorm") is False and "maxnorm_threshold" in user_options.explicit:
        raise UserError("maxnorm_threshold= has no effect with maxnorm=False: leave one of them out.")
    _refuse_idle_thresholds(user_options, inherited.get("groups"))
    values: dict[str, Any] = inherited | user_options.values
    resolve_epochs(values, user_options, views=1)
    warmup = {"warmup_epochs": warmup_epochs(SECOND_STAGE_RECIPE, values)}
    values = SECOND_STAGE_RECIPE | warmup | values | _long_tail(values)[1]
    stage = compose(SecondStage, values, inherited=tuple(inherited))
    return _run_options(values, stage, user_options.command)


def evaluation_options(user_options: UserOptions) -> EvaluateOptions:
    """The options of an evaluation."""
    _refuse_idle_thresholds(user_options)
    values = user_options.values
    evaluation = fill(EvaluationOptions, values)
    data = fill(DataOptions, values)
    if data.no_test:
        raise UserError(
            "no_test=True is for a training without a test split, and an evaluation needs one: leave it out."
        )
    if evaluation.streaming:
        check_streaming(evaluation, data)
    has_holdout = bool(data.val_fraction or data.official_val)
    if evaluation.split == "validation" and not has_holdout:
        raise UserError(
            "split='validation' needs held-out images: give val_fraction=, e.g. 0.1, or official_val=True for a data "
            "set with an official validation split."
        )
    implied_holdout = evaluation.searches and not has_holdout
    if implied_holdout:
        data = dataclasses.replace(data, val_fraction=SEARCH_FRACTION)
    return compose(EvaluateOptions, values, data=data, implied_holdout=implied_holdout, command=user_options.command)


def inspection_options(user_options: UserOptions) -> InspectOptions:
    """The options of an inspection."""
    _refuse_idle_thresholds(user_options)
    return compose(InspectOptions, user_options.values)


def prediction_options(user_options: UserOptions) -> PredictOptions:
    """The options of a prediction."""
    return fill(PredictOptions, user_options.values)


def demo_options(user_options: UserOptions) -> DemoOptions:
    """The options of a demo."""
    return fill(DemoOptions, user_options.values)


def export_options(user_options: UserOptions) -> ExportOptions:
    """The options of an export."""
    return fill(ExportOptions, user_options.values)


def conversion_options(user_options: UserOptions) -> ConvertOptions:
    """The options of a conversion."""
    return fill(ConvertOptions, user_options.values)


def report_options(user_options: UserOptions) -> ReportOptions:
    """The options of a report."""
    return fill(ReportOptions, user_options.values)


def push_options(user_options: UserOptions) -> PushRequest:
    """The model that is pushed, and where to; the repository may be missing where there is a Space."""
    source, space = fill(PushSource, user_options.values), fill(SpaceOptions, user_options.values)
    if not space.is_requested:
        return PushRequest(source=source, target=fill(PushTarget, user_options.values), space=space, space_target=None)
    shared_settings = {
        name: user_options.get(name) for name in ("private", "overwrite", "message") if name in user_options
    }
    space_target = None
    if space.space is not None and space.space_folder is None:
        space_target = PushTarget(**{"message": "Upload demo", **shared_settings, "repo": space.space})
    if "repo" in user_options:
        return PushRequest(
            source=source, target=fill(PushTarget, user_options.values), space=space, space_target=space_target
        )
    for name in field_names(PushTarget):
        if name in user_options and (space_target is None or name not in shared_settings):
            raise UserError(f"{name}= has no effect without repo=: give repo=ORG/NAME as well, or leave it out.")
    return PushRequest(source=source, target=None, space=space, space_target=space_target)


def fill(group: type[_G], values: Mapping[str, Any]) -> _G:
    """A group of options with ``values``, and its defaults for the rest.

    Raises:
        UserError: A required value is missing, or a value is not allowed.
    """
    for field in dataclasses.fields(group):  # type: ignore[arg-type]  # groups are dataclasses
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise UserError(f"{field.name}= is missing: give {field.metadata['example']}.")
    return group(**{name: values[name] for name in field_names(group) if name in values})


def compose(options_class: Callable[..., _T], values: Mapping[str, Any], **fields: Any) -> _T:
    """A dataclass of option groups: ``fields`` are set as they are, other groups are filled from ``values``."""
    hints = type_hints(options_class)
    groups = [name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, OptionGroup)]
    return options_class(**{name: fill(hints[name], values) for name in groups if name not in fields}, **fields)


def _run_options(values: Mapping[str, Any], stage: Any, command: str, notes: tuple[str, ...] = ()) -> RunOptions:
    holdout = calibration_holdout(values, stage)
    options = compose(RunOptions, {**values, **holdout}, stage=stage, command=command, notes=notes)
    if options.output.select == "best" and not (options.data.val_fraction or options.data.official_val):
        raise UserError(
            "select='best' chooses an epoch on held-out images, and there are none: give val_fraction=, e.g. 0.1, or "
            "official_val=True for a data set with an official validation split."
        )
    unmixed_epochs = getattr(getattr(stage, "switches", None), "mix_off_epochs", None) or 0
    if unmixed_epochs > options.schedule.epochs:
        raise UserError(f"mix_off_epochs={unmixed_epochs} must not exceed epochs={options.schedule.epochs}: lower it.")
    return options


def _refuse_idle_thresholds(user_options: UserOptions, inherited_groups: str | None = None) -> None:
    """Refuse a threshold with terciles, which replace it; ``inherited_groups`` are those of the first stage.

    The file of a run holds the thresholds that the terciles made, and must load again. It has all three options.
    """
    given, file = user_options.explicit, user_options.file
    if "groups" not in given and not {*THRESHOLDS, "groups"} <= file.keys():
        given = file | given
    name = next((name for name in THRESHOLDS if name in given), None)
    groups = user_options.get("groups")
    if name is None or "terciles" not in (groups, None if groups else inherited_groups):
        return
    sentence = f"{name}={given[name]} has no effect with groups='terciles', which makes its own thresholds"
    if groups is None:
        raise UserError(
            f"{sentence} and is that of the first stage: give groups='thresholds' as well, or leave {name}= out."
        )
    raise UserError(f"{sentence}: leave one of them out.")


def _long_tail(values: Mapping[str, Any]) -> tuple[DataEntry | None, dict[str, Any]]:
    """The data set's entry in the catalogue, if any, and its imbalance factor: the given one, else the entry's."""
    entry = list_data().get(values.get("data", DataOptions.data))
    factor = values.get("imbalance_factor")
    if entry is not None and factor is None:
        factor = entry.default_imbalance_factor
    return entry, {} if factor is None else {"imbalance_factor": factor}
