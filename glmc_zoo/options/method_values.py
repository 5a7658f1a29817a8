"""Resolve the method, its switches and the number of epochs from the options that were given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import PRESETS, GLMCSwitches, Preset
from glmc_zoo.options.length import epochs_of
from glmc_zoo.options.model import MethodOptions
from glmc_zoo.options.user_options import UserOptions

_PRESET_SWITCHES = frozenset(PRESETS["official"])
_SWITCHES = frozenset(field_names(GLMCSwitches))
# These change the network rather than the method, so a preset does not set them.
_NETWORK_SWITCHES = frozenset({"projection_dim", "joint_views"})
_MIXING_SWITCHES = {"views", "beta", "correct_lam", "mix_off_epochs", "unmixed_share"}
_ONE_VIEW = ("alternate", "mixup", "cutmix")  # how a baseline mixes its one view
# With these values a switch changes nothing. Any other value chooses GLMC if no method is given.
_NEUTRAL: dict[str, Any] = {
    **{"views": "auto", "sampler": "power", "constant_alpha": None, "projection_dim": None, "joint_views": False},
    **{"correct_lam": False, "mix_off_epochs": 0, "unmixed_share": 0.0},
}
# Switches that need GLMC's two views, unless they have this value.
_TWO_VIEW_SWITCHES: dict[str, Any] = {
    "joint_views": False,
    "projection_dim": None,
    "consistency_weight": 0,
    "reduction": "sum",
}


@dataclass(frozen=True)
class Sources:
    """Where the values of a training come from, besides the options that were given."""

    recipe: dict[str, Any]
    """The options of the data set's recipe."""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """Values of the recipe's schedule that the preset ``tuned`` replaces."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Default values of fine-tuning, which the file overrides."""


def resolve_values(user_options: UserOptions, sources: Sources) -> dict[str, Any]:
    """Resolve the options of a training: the value of each option by its name.

    Each source overrides those before it: preset, recipe, defaults of fine-tuning, options of the file, explicit
    options. There are four exceptions. The method switches of a recipe count only with the preset ``official``. The
    preset ``tuned`` replaces some values of the recipe's schedule. Values of the file or of fine-tuning are dropped if
    they belong to another preset or method than the explicit one. A method other than GLMC does not use the switches
    of the preset.

    Raises:
        UserError: The method is unknown, an explicit option has no effect or contradicts another one, or ``passes`` is
            less than one epoch.
    """
    file, defaults = (
        _without_contradictions(user_options, user_options.file),
        _without_contradictions(user_options, sources.defaults),
    )
    requested = {**file, **user_options.explicit}
    values = {**defaults, **requested}
    recipe = sources.recipe
    published = bool(_PRESET_SWITCHES & recipe.keys())
    preset: Preset = values.get("preset") or ("official" if published else "tuned")
    if preset != "official":
        recipe = {name: value for name, value in recipe.items() if name not in _PRESET_SWITCHES}
    if preset == "tuned":
        recipe = recipe | dict(sources.tuned)
    method = requested_method(requested, preset)
    _refuse_unused_switches(user_options.explicit, {**values, "method": method})
    resolved = PRESETS[preset] | recipe | {"preset": preset} | values | {"method": method}
    if method in ("glmc", "auto"):
        _resolve_glmc(resolved, user_options, requested, preset)
    else:
        _resolve_other_method(resolved, {**_file_values(file, method), **user_options.explicit}, method)
    resolve_epochs(resolved, user_options, _view_count(resolved))
    if "warmup_epochs" not in values:
        resolved["warmup_epochs"] = warmup_epochs(recipe, resolved)
    return resolved


def _without_contradictions(user_options: UserOptions, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without those that belong to another preset or method than the explicit one."""
    explicit = user_options.explicit
    dropped: set[str] = set()
    if "preset" in explicit:
        dropped = {*(_SWITCHES - _NETWORK_SWITCHES), "method"}
    elif "auto" in (explicit.get("method"), explicit.get("views")):
        dropped = {*_SWITCHES, "method"}
    elif "method" in explicit and values.get("method", explicit["method"]) != explicit["method"]:
        dropped = _MIXING_SWITCHES
    return {name: value for name, value in values.items() if name not in dropped}


def requested_method(requested: Mapping[str, Any], preset: Preset) -> str:
    """The method that was asked for.

    Without one it is GLMC. With the preset ``tuned`` and no switch of GLMC it is ``auto``: the length decides.
    """
    method = str(requested.get("method", "auto"))
    if method != "auto":
        return MethodOptions(method=method, preset=preset).method  # refused here if it is unknown
    if preset != "tuned":
        return "glmc"
    if requested.get("views") == "none":
        return "balanced_softmax"
    # ``prior_tau`` does not choose a method: GLMC and balanced softmax both have it.
    switches = (_SWITCHES & requested.keys()) - {"prior_tau"}
    return "glmc" if any(requested[name] != _NEUTRAL.get(name, "") for name in switches) else "auto"


def _resolve_glmc(
    resolved: dict[str, Any], user_options: UserOptions, requested: Mapping[str, Any], preset: Preset
) -> None:
    if resolved["views"] == "auto":
        if preset != "tuned":
            raise UserError(
                f"views='auto' is decided by preset='tuned', and this is preset={preset!r}: leave views= out, or give "
                "preset='tuned'."
            )
        if any(name in requested and requested[name] != neutral for name, neutral in _TWO_VIEW_SWITCHES.items()):
            resolved["views"] = "mixup_cutmix"
    if resolved["views"] != "auto" and resolved.get("mix_off_epochs") is None:
        resolved["mix_off_epochs"] = 0
    if "prior_tau" in user_options.explicit and resolved["rebalanced_loss"] == "reweighted":
        raise UserError(
            f"prior_tau={resolved['prior_tau']} changes balanced softmax and has no effect on the re-weighted branch: "
            "give rebalanced_loss='balanced_softmax' as well, or leave prior_tau= out."
        )


def _file_values(file: Mapping[str, Any], method: str) -> dict[str, Any]:
    """The file's values if the file is for this method; without those of mixing if its images are not mixed."""
    if file.get("method") != method:
        return {}
    unused = set() if file.get("views") in _ONE_VIEW or not _is_loss(method) else _MIXING_SWITCHES
    return {name: value for name, value in file.items() if name not in unused}


def _resolve_other_method(resolved: dict[str, Any], switches: Mapping[str, Any], method: str) -> None:
    """Fill in the switches that a baseline or a plug-in's method reads; the preset has values for GLMC alone."""
    resolved["prior_tau"] = switches.get("prior_tau", 1.0)
    resolved["mix_off_epochs"] = switches.get("mix_off_epochs") or 0
    if not _is_loss(method):
        if resolved["views"] == "auto":
            resolved["views"] = "mixup_cutmix"
        return
    views = switches.get("views", "none")
    mixed = views in _ONE_VIEW
    # CutMix labels an image by the area that was pasted, as in its paper. The preset `official` of GLMC does not.
    unmixed = {"views": "none", "beta": 1.0, "correct_lam": mixed, "mix_off_epochs": 0, "unmixed_share": 0.0}
    resolved |= unmixed | ({name: switches[name] for name in _MIXING_SWITCHES & switches.keys()} if mixed else {})
    resolved["mix_off_epochs"] = resolved["mix_off_epochs"] or 0


def _view_count(resolved: Mapping[str, Any]) -> int:
    """Number of views in a step; one for ``auto``, which the length decides later."""
    method = resolved["method"]
    if method in ("glmc", "auto"):
        return 1 if resolved["views"] in ("auto", "alternate") else 2
    from glmc_zoo.method.registry import get_registered

    return get_registered(method).views


def resolve_epochs(resolved: dict[str, Any], user_options: UserOptions, views: int) -> None:
    """Compute ``epochs`` from ``passes`` if that is given.

    Raises:
        UserError: ``passes`` and ``epochs`` are both given, or ``passes`` is less than one epoch.
    """
    passes = resolved.get("passes")
    if passes is None:
        return
    if "epochs" in user_options.explicit:
        if "passes" in user_options.explicit:
            raise UserError(f"passes={passes} and epochs={resolved['epochs']} both set the length: leave one out.")
        resolved["passes"] = None  # it is the file's, and the explicit ``epochs`` overrides it
        return
    sam_every = None if resolved.get("sam_rho") is None else resolved.get("sam_every", 1)
    resolved["epochs"] = epochs_of(passes, views, sam_every)


def warmup_epochs(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Epochs of warm-up: the recipe's, but at most a tenth of all epochs."""
    epochs: int = values.get("epochs", recipe["epochs"])
    return min(int(recipe["warmup_epochs"]), epochs // 10)


def _refuse_unused_switches(explicit: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse explicit switches that have no effect."""
    method, views = values["method"], values.get("views")
    method_switches = {"preset", *_SWITCHES} if method in ("glmc", "auto") else _switches_of(method)
    if explicit.get("preset") == "tuned":  # it decides the schedule of some data sets, whatever the method
        method_switches = {*method_switches, "preset"}
    for name in explicit:
        if name in {"preset", *_SWITCHES} - method_switches:
            raise UserError(f"{name}= belongs to method='glmc' and has no effect on method={method!r}: leave it out.")
    if _is_loss(method):
        _refuse_unused_mixing(explicit, method, views)
    if method == "glmc" and views == "none":
        raise UserError(
            "views='none' is not possible with method='glmc', which mixes images: give method='balanced_softmax' with "
            "it, or in its place unmixed_share=, which leaves that share of the batches unmixed."
        )
    if method == "glmc" and views == "alternate":
        for name, neutral in _TWO_VIEW_SWITCHES.items():
            if explicit.get(name, neutral) != neutral:
                raise UserError(
                    f"{name}= needs two views of each image, and views='alternate' has one: leave one of them out."
                )
    if explicit.get("correct_lam") and views == "mixup":
        raise UserError("correct_lam=True is about CutMix and has no effect with views='mixup': leave one of them out.")
    if values.get("constant_alpha") is not None and "cumulative_power" in explicit:
        raise UserError(
            f"cumulative_power={explicit['cumulative_power']} has no effect where "
            f"constant_alpha={values['constant_alpha']} fixes the weight of the conventional loss: give one of them."
        )


def _refuse_unused_mixing(explicit: Mapping[str, Any], method: str, views: str | None) -> None:
    if explicit.get("views") == "mixup_cutmix":
        raise UserError(
            f"views='mixup_cutmix' makes the two views of GLMC, and method={method!r} has one: give 'alternate', "
            "'mixup' or 'cutmix'."
        )
    if views in _ONE_VIEW:
        return
    for name in ("beta", "correct_lam", "mix_off_epochs", "unmixed_share"):
        if name in explicit and explicit[name] != _NEUTRAL.get(name, ""):
            raise UserError(
                f"{name}= is for mixed images, and method={method!r} does not mix them: give views='alternate' as "
                f"well, or leave {name}= out."
            )


def _is_loss(method: str) -> bool:
    from glmc_zoo.method.registry import loss_names

    return method in loss_names()


def _switches_of(method: str) -> set[str]:
    """The switches that a method other than GLMC reads."""
    from glmc_zoo.method.registry import loss_switches

    if _is_loss(method):
        # A baseline mixes the images of a batch with one another, without a re-balanced sampler.
        return set(loss_switches(method)) - {"sampler_power"} | _MIXING_SWITCHES
    return {"preset", *_SWITCHES}
