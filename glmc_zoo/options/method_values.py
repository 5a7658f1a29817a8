"""Resolve the method, its switches and the number of epochs from the options that were given."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.method.switches import PRESETS, GLMCSwitches, Preset
from glmc_zoo.options.length import epochs_of
from glmc_zoo.options.model import MethodOptions
from glmc_zoo.options.unused import (
    MIXING_SWITCHES,
    ONE_VIEW,
    SWITCHES,
    TWO_VIEW_SWITCHES,
    is_loss,
    method_switches,
    unused_switches,
)
from glmc_zoo.options.user_options import UserOptions

_PRESET_SWITCHES = frozenset(PRESETS["official"])
# These change the network rather than the method, so a preset does not set them.
_NETWORK_SWITCHES = frozenset({"projection_dim", "joint_views"})
# With these values a switch changes nothing. Any other value chooses GLMC if no method is given.
_NEUTRAL: dict[str, Any] = {
    **{"views": "auto", "sampler": "power", "constant_alpha": None, "projection_dim": None, "joint_views": False},
    **{"correct_lam": False, "mix_off_epochs": 0, "unmixed_share": 0.0},
}
_DEFAULTS = {field.name: field.default for field in fields(GLMCSwitches) if field.default is not MISSING}
# Options that can change the views of a step, and so the epochs that ``passes`` comes to.
_VIEW_OPTIONS = SWITCHES | {"method", "preset", "data", "imbalance_factor", "sam_rho", "sam_every"}


@dataclass(frozen=True)
class Sources:
    """Where the values of a training come from, besides the options that were given."""

    recipe: dict[str, Any]
    """The options of the data set's recipe."""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """Values of the recipe's schedule that the preset ``tuned`` replaces."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Default values of fine-tuning, which the file overrides."""


def resolve_values(user_options: UserOptions, sources: Sources) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Resolve the options of a training: the value of each option by its name, and notes for the user.

    Each source overrides those before it: preset, recipe, defaults of fine-tuning, options of the file, explicit
    options. There are four exceptions. The method switches of a recipe count only with the preset ``official``. The
    preset ``tuned`` replaces some values of the recipe's schedule. Values of the file or of fine-tuning are dropped if
    they contradict an explicit option or have no effect; a note names those of the file. A method other than GLMC
    does not use the switches of the preset.

    Raises:
        UserError: The method is unknown, an explicit option has no effect or contradicts another one, ``passes`` is
            less than one epoch, or ``passes`` and ``epochs`` of the file disagree.
    """
    explicit = user_options.explicit
    file, defaults = (
        _without_contradictions(user_options, user_options.file),
        _without_contradictions(user_options, sources.defaults),
    )
    sources = Sources(sources.recipe, sources.tuned, defaults)
    values = _combine(explicit, file, sources)
    unused = unused_switches(values, method_given="method" in {**file, **explicit})
    _refuse_unused(explicit, values, unused)
    # A file may name switches without effect: that of a finished run names them all.
    resolved = _combine(explicit, {name: value for name, value in file.items() if name not in unused}, sources)
    resolve_epochs(resolved, user_options, _view_count(resolved))
    if "warmup_epochs" not in {**defaults, **file, **explicit}:
        resolved["warmup_epochs"] = warmup_epochs(_recipe(resolved["preset"], sources), resolved)
    return resolved, tuple(_dropped_note(user_options, resolved))


def _combine(explicit: Mapping[str, Any], file: Mapping[str, Any], sources: Sources) -> dict[str, Any]:
    """The values of all options but the length."""
    requested = {**file, **explicit}
    values = {**sources.defaults, **requested}
    preset: Preset = values.get("preset") or ("official" if _PRESET_SWITCHES & sources.recipe.keys() else "tuned")
    method = requested_method(requested, preset)
    combined = _DEFAULTS | PRESETS[preset] | _recipe(preset, sources) | {"preset": preset} | values | {"method": method}
    if method in ("glmc", "auto"):
        _resolve_glmc(combined, requested, preset)
    else:
        _resolve_other_method(combined, requested, method)
    return combined


def _recipe(preset: Preset, sources: Sources) -> dict[str, Any]:
    """The recipe of the data set with this preset."""
    recipe = sources.recipe
    if preset != "official":
        recipe = {name: value for name, value in recipe.items() if name not in _PRESET_SWITCHES}
    return recipe | dict(sources.tuned) if preset == "tuned" else recipe


def _without_contradictions(user_options: UserOptions, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without those that contradict explicit options, such as another preset or method."""
    explicit = user_options.explicit
    dropped: set[str] = set()
    if "preset" in explicit:
        dropped = {*(SWITCHES - _NETWORK_SWITCHES), "method"}
    elif "auto" in (explicit.get("method"), explicit.get("views")):
        dropped = {*SWITCHES, "method"}
    elif "method" in explicit and values.get("method", explicit["method"]) != explicit["method"]:
        dropped = {*MIXING_SWITCHES}
    elif is_loss(values.get("method", "auto")) and values.get("views") in ("none", "mixup_cutmix"):
        dropped = {*MIXING_SWITCHES}  # its values of mixing say that it does not mix, and ``views`` may be explicit
    if "cumulative_power" in explicit:  # the other way to weight the losses
        dropped.add("constant_alpha")
    return {name: value for name, value in values.items() if name not in dropped}


def _dropped_note(user_options: UserOptions, resolved: Mapping[str, Any]) -> list[str]:
    """Name the switches of the file that were dropped, unless the user asked for another preset or decision."""
    explicit = user_options.explicit
    if "preset" in explicit or "auto" in (explicit.get("method"), explicit.get("views")):
        return []
    dropped = [
        f"{name}={value!r}"
        for name, value in user_options.file.items()
        if name in SWITCHES - explicit.keys() and value not in (resolved[name], _NEUTRAL.get(name), "none")
    ]
    return dropped and [f"Options of the file that have no effect on this training are left out: {', '.join(dropped)}."]


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
    switches = (SWITCHES & requested.keys()) - {"prior_tau"}
    return "glmc" if any(requested[name] != _NEUTRAL.get(name, "") for name in switches) else "auto"


def _resolve_glmc(resolved: dict[str, Any], requested: Mapping[str, Any], preset: Preset) -> None:
    if resolved["views"] == "auto":
        if preset != "tuned":
            raise UserError(
                f"views='auto' is decided by preset='tuned', and this is preset={preset!r}: leave views= out, or give "
                "preset='tuned'."
            )
        if any(name in requested and requested[name] != neutral for name, neutral in TWO_VIEW_SWITCHES.items()):
            resolved["views"] = "mixup_cutmix"
    if resolved["views"] != "auto" and resolved.get("mix_off_epochs") is None:
        resolved["mix_off_epochs"] = 0


def _resolve_other_method(resolved: dict[str, Any], requested: Mapping[str, Any], method: str) -> None:
    """Fill in the switches that a baseline or a plug-in's method reads; the preset has values for GLMC alone."""
    from glmc_zoo.method.registry import get_registered

    entry, baseline = get_registered(method), is_loss(method)
    views = requested.get("views", "auto")
    if views == "auto":
        mixes = not baseline and "views" in method_switches(method) and (entry.views == 2 or entry.partners)
        views = "mixup_cutmix" if mixes else "none"
    resolved |= {"views": views, "mix_off_epochs": resolved["mix_off_epochs"] or 0}
    if baseline:
        # CutMix labels an image by the area that was pasted, as in its paper. The preset `official` of GLMC does not.
        mixing = {"beta": 1.0, "correct_lam": views in ONE_VIEW, "unmixed_share": 0.0}
        resolved |= {name: requested.get(name, value) for name, value in mixing.items()}


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
        UserError: ``passes`` and ``epochs`` are both given explicitly, or disagree in the file, or ``passes`` is less
            than one epoch.
    """
    passes, explicit, file = resolved.get("passes"), user_options.explicit, user_options.file
    if passes is None:
        return
    if "epochs" in explicit:
        if "passes" in explicit:
            raise UserError(f"passes={passes} and epochs={resolved['epochs']} both set the length: leave one out.")
        resolved["passes"] = None  # it is the file's, and the explicit ``epochs`` overrides it
        return
    sam_every = None if resolved.get("sam_rho") is None else resolved.get("sam_every", 1)
    resolved["epochs"] = epochs_of(passes, views, sam_every)
    # The file of a run has both. An option that changes the views of a step also changes the epochs.
    changed = explicit.keys() & (_VIEW_OPTIONS | {"passes"})
    if "passes" in file and file.get("epochs", resolved["epochs"]) != resolved["epochs"] and not changed:
        raise UserError(
            f"passes={passes} comes to epochs={resolved['epochs']}, and the file also has epochs={file['epochs']}: "
            "remove the passes= or the epochs= from the file."
        )


def warmup_epochs(recipe: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Epochs of warm-up: the recipe's, but at most a tenth of all epochs."""
    epochs: int = values.get("epochs", recipe["epochs"])
    return min(int(recipe["warmup_epochs"]), epochs // 10)


def _refuse_unused(explicit: Mapping[str, Any], values: Mapping[str, Any], unused: Mapping[str, str]) -> None:
    """Refuse explicit switches that have no effect; the preset ``tuned`` has one on the schedule of any method."""
    method, other_preset = values["method"], explicit.get("preset", "tuned") != "tuned"
    if method == "glmc" and values["views"] == "none":
        raise UserError(
            "views='none' is not possible with method='glmc', which mixes images: give method='balanced_softmax' "
            f"{'in place of preset=' if other_preset else 'with it'}, or in place of views= give unmixed_share=, which "
            "leaves that share of the batches unmixed."
        )
    baseline = method not in ("glmc", "auto") and (is_loss(method) or not method_switches(method))
    if baseline and other_preset:
        raise UserError(f"preset= belongs to method='glmc' and has no effect on method={method!r}: leave it out.")
    for name in explicit:
        if name in unused:
            raise UserError(unused[name])
