"""From the options that were given to those that a run uses.

Values are filled in one order everywhere: the preset, the data set's or the stage's recipe, the file, and last what
was given on the command line or as keywords. Defaults of the groups fill the rest.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.options import DataOptions
from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, field_names, type_hints
from glmc_zoo.hub.push.target import PushTarget
from glmc_zoo.method.switches import PRESETS, GLMCSwitches, Preset
from glmc_zoo.options.commands import (
    SEARCH_FRACTION,
    ConvertOptions,
    EvaluateOptions,
    EvaluationOptions,
    InspectOptions,
    PredictOptions,
    PushSource,
    check_streaming,
)
from glmc_zoo.options.given import Given
from glmc_zoo.options.length import passes_of_epoch
from glmc_zoo.options.model import MethodOptions
from glmc_zoo.options.run import FinetuneStage, RunOptions, SecondStage, TrainingStage

_T = TypeVar("_T")
_G = TypeVar("_G", bound=OptionGroup)

# For data sets without a recipe: the usual schedule for large images from scratch, at a modest length.
GENERIC_RECIPE: dict[str, Any] = {
    "backbone": "resnet50",
    "epochs": 100,
    "batch_size": 64,
    "lr": 0.05,
    "weight_decay": 5e-4,
    "warmup_epochs": 5,
}

# Chosen on held-out images of small training sets, see benchmarks/README.md.
FINETUNE_RECIPE: dict[str, Any] = {
    "epochs": 40,
    "batch_size": 32,
    "lr": 0.01,
    "weight_decay": 5e-4,
    "warmup_epochs": 1,
}

# Overrides the preset `tuned`. With pretrained features a few epochs suffice, so rare classes can be sampled more often
# than when training from scratch.
_FINETUNE_DEFAULTS: dict[str, Any] = {"preset": "tuned", "sampler_power": 1.5}

# The recipe of Alshammari et al., CVPR 2022; the batch size is the first stage's where it is known.
SECOND_STAGE_RECIPE: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.01,
    "weight_decay": 0.1,
    "warmup_epochs": 0,
}

_PRESET_SWITCHES = frozenset(PRESETS["official"])
_SWITCHES = frozenset(field_names(GLMCSwitches))
# These shape the network rather than the method, so that a preset leaves them alone.
_STRUCTURE = frozenset({"projection_dim", "joint_views"})
_TWO_VIEWS = frozenset({"consistency_weight", "joint_views", "projection_dim", "reduction"})
_MIXING = {"views", "beta", "correct_lam", "mix_off_epochs", "unmixed_share"}


def training_options(given: Given) -> RunOptions:
    """The options of a training from scratch, or from timm's weights.

    A published recipe's own method switches count for the preset ``official`` only; its schedule always does, but for
    what the preset ``tuned`` has in its place.
    """
    entry, tail = _long_tail(given.values)
    recipe = GENERIC_RECIPE | ({} if entry is None else entry.recipe(tail.get("imbalance_factor")))
    values = _with_method(given, recipe, tuned={} if entry is None else entry.tuned) | tail
    return _run_options(values, compose(TrainingStage, values), given.command)


def finetuning_options(given: Given) -> RunOptions:
    """The options of a fine-tuning; a published recipe is for training from scratch and does not count."""
    values = _with_method(given, FINETUNE_RECIPE, _FINETUNE_DEFAULTS) | _long_tail(given.values)[1]
    defaults = tuple(name for name in FINETUNE_RECIPE if name not in given)
    stage = compose(FinetuneStage, values, defaults=defaults)
    return _run_options(values, stage, given.command)


def second_stage_options(given: Given, first: Mapping[str, Any]) -> RunOptions:
    """The options of a second stage; those of the first stage (``first``) count unless they were given."""
    inherited = {name: value for name, value in first.items() if value is not None and name not in given}
    if given.get("maxnorm") is False and "maxnorm_threshold" in given.explicit:
        raise UserError("maxnorm_threshold= has no effect with maxnorm=False; leave one of them out.")
    values: dict[str, Any] = inherited | given.values
    _fill_epochs(values, given, views=1)
    values = _with_short_warmup(SECOND_STAGE_RECIPE, values) | values | _long_tail(values)[1]
    stage = compose(SecondStage, values, inherited=tuple(inherited))
    return _run_options(values, stage, given.command)


def evaluation_options(given: Given) -> EvaluateOptions:
    """The options of an evaluation."""
    values = given.values
    evaluation = fill(EvaluationOptions, values)
    data = fill(DataOptions, values)
    if data.no_test:
        raise UserError(
            "no_test=True trains without a test split, and an evaluation needs images to score: leave it out."
        )
    if evaluation.streaming:
        check_streaming(evaluation, data)
    held_out = bool(data.val_fraction or data.official_val)
    if evaluation.split == "validation" and not held_out:
        raise UserError("split='validation' needs held-out images: give val_fraction=, e.g. 0.1.")
    implied = evaluation.searches and not held_out
    if implied:
        data = dataclasses.replace(data, val_fraction=SEARCH_FRACTION)
    return compose(EvaluateOptions, values, data=data, implied_holdout=implied, command=given.command)


def inspection_options(given: Given) -> InspectOptions:
    """The options of an inspection."""
    return compose(InspectOptions, given.values)


def prediction_options(given: Given) -> PredictOptions:
    """The options of a prediction."""
    return fill(PredictOptions, given.values)


def conversion_options(given: Given) -> ConvertOptions:
    """The options of a conversion."""
    return fill(ConvertOptions, given.values)


def push_options(given: Given) -> tuple[str, PushTarget]:
    """The folder that is pushed, and where to."""
    return fill(PushSource, given.values).model, fill(PushTarget, given.values)


def fill(group: type[_G], values: Mapping[str, Any]) -> _G:
    """A group of options out of ``values``; its defaults fill the rest.

    Raises:
        UserError: A value that has no default is missing, or one is not allowed.
    """
    for field in dataclasses.fields(group):  # type: ignore[arg-type]  # groups are dataclasses
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in values:
            raise UserError(f"{field.name}= is missing: give {field.metadata['example']}.")
    return group(**{name: values[name] for name in field_names(group) if name in values})


def compose(kind: Callable[..., _T], values: Mapping[str, Any], **more: Any) -> _T:
    """A dataclass of option groups: those in ``more`` as they are, the others filled from ``values``."""
    hints = type_hints(kind)
    groups = [name for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, OptionGroup)]
    return kind(**{name: fill(hints[name], values) for name in groups if name not in more}, **more)


def _run_options(values: Mapping[str, Any], stage: Any, command: str) -> RunOptions:
    options = compose(RunOptions, values, stage=stage, command=command)
    if options.output.select == "best" and not (options.data.val_fraction or options.data.official_val):
        raise UserError(
            "select='best' needs images to choose on that are not test images: give val_fraction=, e.g. 0.1, or "
            "official_val=True where the set has a list of its own."
        )
    off = getattr(getattr(stage, "switches", None), "mix_off_epochs", 0)
    if off > options.schedule.epochs:
        raise UserError(f"mix_off_epochs={off} must not exceed epochs={options.schedule.epochs}: lower it.")
    return options


def _with_method(
    given: Given,
    recipe: dict[str, Any],
    defaults: Mapping[str, Any] | None = None,
    tuned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Every value of a training by name: preset, recipe, the stage's defaults, file, and what was given explicitly.

    ``tuned`` are values of the recipe's schedule that the preset of this name replaces.
    """
    file, defaults = given.file, defaults or {}
    if "preset" in given.explicit:
        # A preset that is asked for overrides the switches in the file, which belong to the file's preset.
        file, defaults = (
            {name: value for name, value in source.items() if name not in _SWITCHES - _STRUCTURE}
            for source in (file, defaults)
        )
    if file.get("method") not in (None, given.explicit.get("method", file.get("method"))):
        file = {name: value for name, value in file.items() if name not in _MIXING}  # of the file's method
    asked = file | given.explicit
    values = {**defaults, **asked}
    published = bool(_PRESET_SWITCHES & recipe.keys())
    preset: Preset = values.get("preset") or ("official" if published else "tuned")
    if preset != "official":
        recipe = {name: value for name, value in recipe.items() if name not in _PRESET_SWITCHES}
    if preset == "tuned":
        recipe = recipe | dict(tuned or {})
    method = _method(asked, preset)
    _refuse_idle(given.explicit, {**values, "method": method})
    filled = PRESETS[preset] | recipe | {"preset": preset} | values | {"method": method}
    if filled["views"] == "auto" and _TWO_VIEWS & asked.keys():
        filled["views"] = "mixup_cutmix"  # what shapes two views asks for them
    if method not in ("glmc", "auto"):
        _fill_other_method(filled, given, method)
    elif "prior_tau" in given.explicit and filled["rebalanced_loss"] == "reweighted":
        raise UserError(
            f"prior_tau={filled['prior_tau']} shapes balanced softmax and has no effect on the re-weighted branch: "
            "give rebalanced_loss='balanced_softmax' as well, or leave it out."
        )
    _fill_epochs(filled, given, _views_of(filled))
    if "warmup_epochs" not in values:
        filled |= {"warmup_epochs": _with_short_warmup(recipe, filled)["warmup_epochs"]}
    return filled


def _method(asked: Mapping[str, Any], preset: Preset) -> str:
    """The method that was asked for; without one GLMC, or where the preset leaves it to the length ``auto``."""
    method = str(asked.get("method", MethodOptions.method))
    if method != "auto":
        return MethodOptions(method=method, preset=preset).method  # refused here if it is unknown
    if asked.get("views") == "none":
        return "balanced_softmax"
    of_glmc = (_SWITCHES & asked.keys()) - {"prior_tau"}
    if preset != "tuned" or {name for name in of_glmc if asked[name] != "auto"}:
        return "glmc"
    return "auto"


def _fill_other_method(filled: dict[str, Any], given: Given, method: str) -> None:
    """Give a baseline, or a method of a plug-in, the switches that it reads."""
    # The preset, or the file of another method, has values for GLMC.
    same = given.file.get("method") == method
    asked = (given.file if same else {}) | given.explicit
    filled["prior_tau"] = asked.get("prior_tau", 1.0)
    if not _is_loss(method):
        if filled["views"] == "auto":
            filled["views"] = "mixup_cutmix"
        return
    filled["views"] = asked.get("views", "none")
    if filled["views"] == "auto":
        filled["views"] = "none"
    # As in the papers of CutMix and MixUp, and not as in GLMC's published numbers.
    filled["correct_lam"] = asked.get("correct_lam", filled["views"] != "none")


def _views_of(filled: Mapping[str, Any]) -> int:
    """Views of a step, as far as they are known; the length may decide them later, and then there is one."""
    method = filled["method"]
    if method in ("glmc", "auto"):
        return 1 if filled["views"] in ("auto", "alternate") else 2
    from glmc_zoo.method.registry import get_registered

    return get_registered(method).views


def _fill_epochs(filled: dict[str, Any], given: Given, views: int) -> None:
    """The epochs that ``passes`` asks for, where it is given."""
    if filled.get("passes") is None:
        return
    if "epochs" in given.explicit:
        if "passes" in given.explicit:
            raise UserError(
                f"passes={filled['passes']} and epochs={filled['epochs']} both set the length: leave one out."
            )
        filled["passes"] = None  # it is the file's
        return
    every = filled.get("sam_every", 1)
    cost = passes_of_epoch(views, None if filled.get("sam_rho") is None else every)
    filled["epochs"] = max(int(filled["passes"] / cost), 1)


def _long_tail(values: Mapping[str, Any]) -> tuple[DataEntry | None, dict[str, Any]]:
    """The catalogue's entry of the data set, if any, and the imbalance factor: the one given, else the entry's."""
    entry = list_data().get(values.get("data", DataOptions.data))
    factor = values.get("imbalance_factor")
    if entry is not None and factor is None:
        factor = entry.default_imbalance_factor
    return entry, {} if factor is None else {"imbalance_factor": factor}


def _with_short_warmup(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe with a warm-up of at most a tenth of the epochs."""
    epochs = values.get("epochs", recipe["epochs"])
    return {**recipe, "warmup_epochs": min(recipe["warmup_epochs"], max(epochs // 10, 0))}


def _refuse_idle(explicit: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse switches that were asked for and have no effect."""
    method, views = values["method"], values.get("views")
    switches = [name for name in explicit if name in _SWITCHES or name == "preset"]
    used = {"preset", *_SWITCHES} if method in ("glmc", "auto") else _switches_of(method)
    for name in switches:
        if name not in used:
            raise UserError(f"{name}= belongs to method='glmc' and has no effect on method={method!r}; leave it out.")
    if _is_loss(method) and views == "mixup_cutmix" and "views" in explicit:
        raise UserError(
            f"views='mixup_cutmix' are the two views of GLMC, and method={method!r} has one: give 'alternate', 'mixup' "
            "or 'cutmix'."
        )
    if _is_loss(method) and views in (None, "none", "auto", "mixup_cutmix"):
        idle = [name for name in ("beta", "correct_lam", "mix_off_epochs", "unmixed_share") if name in explicit]
        if idle:
            raise UserError(
                f"{idle[0]}= shapes mixed images, and method={method!r} has unmixed ones: give views='alternate' as "
                "well, or leave it out."
            )
    if method == "glmc" and views == "none":
        raise UserError(
            "views='none' leaves nothing of method='glmc', which mixes: give method='balanced_softmax', or mix a part "
            "of the batches by unmixed_share=."
        )
    if method == "glmc" and views == "alternate" and _TWO_VIEWS & explicit.keys():
        name = min(_TWO_VIEWS & explicit.keys())
        raise UserError(
            f"{name}= shapes two views and has no effect with the one of views='alternate': leave one of them out."
        )
    if explicit.get("correct_lam") and views == "mixup":
        raise UserError("correct_lam=True is about CutMix and has no effect with views='mixup': leave one of them out.")
    if values.get("constant_alpha") is not None and "cumulative_power" in explicit:
        raise UserError(
            f"cumulative_power={explicit['cumulative_power']} has no effect where "
            f"constant_alpha={values['constant_alpha']} holds the share of the conventional loss: give one of them."
        )


def _is_loss(method: str) -> bool:
    from glmc_zoo.method.registry import loss_names

    return method in loss_names()


def _switches_of(method: str) -> set[str]:
    """The switches that another method than GLMC reads."""
    from glmc_zoo.method.registry import loss_switches

    if _is_loss(method):
        # A baseline mixes the images of a batch with one another, without a re-balanced sampler.
        return set(loss_switches(method)) - {"sampler_power"} | _MIXING
    return {"preset", *_SWITCHES}
