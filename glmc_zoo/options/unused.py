"""Which switches have no effect on a training, and the sentences that refuse them."""

from collections.abc import Mapping
from typing import Any

from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import GLMCSwitches

SWITCHES = frozenset(field_names(GLMCSwitches))
ONE_VIEW = ("alternate", "mixup", "cutmix")  # how a baseline mixes its one view
MIXING_SWITCHES = frozenset({"views", "beta", "correct_lam", "mix_off_epochs", "unmixed_share"})
# Switches that need GLMC's two views, unless they have this value.
TWO_VIEW_SWITCHES: dict[str, Any] = {
    "joint_views": False,
    "projection_dim": None,
    "consistency_weight": 0,
    "reduction": "sum",
}
# With these values a switch of mixing changes nothing where no images are mixed.
_UNMIXED: dict[str, Any] = {"correct_lam": False, "mix_off_epochs": 0, "unmixed_share": 0.0}
# The switches that a re-balanced loss may take, with the loss that the error advises.
_ADVISED_LOSSES = {"prior_tau": "balanced_softmax", "class_weight_power": "reweighted"}


def unused_switches(values: Mapping[str, Any], *, method_given: bool) -> dict[str, str]:
    """The switches without effect, each with the sentence that refuses it.

    A switch that turns off what has no effect anyway (``joint_views=False`` with one view) is not among them.

    Args:
        values: All options of the training by name, as given or resolved.
        method_given: Whether the user named the method; else ``views="none"`` may have chosen it.
    """
    method = values["method"]
    if method in ("glmc", "auto"):
        unused = _unused_by_glmc(values)
    elif is_loss(method):
        unused = _unused_by_baseline(values, method_given=method_given)
    else:
        unused = {
            name: f"{name}= belongs to method='glmc' and has no effect on method={method!r}, which does not read it: "
            f"leave it out, or name it in switches= where the method is registered."
            for name in SWITCHES - method_switches(method)
            if (name, values[name]) != ("views", "none")
        }
    if values["views"] == "mixup" and values["correct_lam"]:
        unused.setdefault(
            "correct_lam",
            "correct_lam=True is about CutMix and has no effect with views='mixup': leave one of them out.",
        )
    return unused


def _unused_by_glmc(values: Mapping[str, Any]) -> dict[str, str]:
    from glmc_zoo.method.registry import sampler_names, sampler_takes_power

    loss, sampler, alpha = values["rebalanced_loss"], values["sampler"], values["constant_alpha"]
    taken = _switches_of_loss(loss)
    unused = {
        name: f"{name}={values[name]} has no effect with rebalanced_loss={loss!r}, which does not take it: give "
        f"rebalanced_loss={advised!r}, or leave {name}= out."
        for name, advised in _ADVISED_LOSSES.items()
        if name not in taken
    }
    if sampler in sampler_names() and not sampler_takes_power(sampler) and "sampler_power" not in taken:
        unused["sampler_power"] = (
            f"sampler_power={values['sampler_power']} has no effect with sampler={sampler!r}, which does not take it: "
            "leave one of them out."
        )
    if values["views"] == "alternate":
        unused |= {
            name: f"{name}= needs two views of each image, and views='alternate' has one: leave one of them out."
            for name, neutral in TWO_VIEW_SWITCHES.items()
            if values[name] != neutral
        }
    if alpha is not None:
        unused["cumulative_power"] = (
            f"cumulative_power={values['cumulative_power']} has no effect where constant_alpha={alpha} fixes the "
            "weight of the conventional loss: give one of them."
        )
    return unused


def _unused_by_baseline(values: Mapping[str, Any], *, method_given: bool) -> dict[str, str]:
    method, views = values["method"], values["views"]
    # A baseline mixes the images of a batch with one another, without a re-balanced sampler.
    used = _switches_of_loss(method) - {"sampler_power"} | MIXING_SWITCHES
    effect, fix = f"has no effect on method={method!r}", "leave it out"
    if not method_given:
        effect, fix = f"has no effect with views='none', which chooses method={method!r}", "leave one of them out"
    unused = {name: f"{name}= belongs to method='glmc' and {effect}: {fix}." for name in SWITCHES - used}
    if "prior_tau" in unused:
        unused["prior_tau"] = f"prior_tau= belongs to method='glmc' or 'balanced_softmax' and {effect}: {fix}."
    if views in ONE_VIEW:
        return unused
    if views == "mixup_cutmix":
        unused["views"] = (
            f"views='mixup_cutmix' makes the two views of GLMC, and method={method!r} has one: give 'alternate', "
            "'mixup' or 'cutmix'."
        )
    for name in sorted(MIXING_SWITCHES - {"views"}):
        if values[name] is not None and values[name] != _UNMIXED.get(name):
            unused[name] = f"{name}= is for mixed images, and " + (
                f"method={method!r} does not mix them: give views='alternate' as well, or leave {name}= out."
                if method_given
                else "views='none' leaves them as they are: leave one of them out."
            )
    return unused


def is_loss(method: str) -> bool:
    """Whether the method is a baseline, a registered loss."""
    from glmc_zoo.method.registry import loss_names

    return method in loss_names()


def method_switches(method: str) -> frozenset[str]:
    """The switches that a method of a plug-in reads."""
    from glmc_zoo.method.registry import get_registered

    entry = get_registered(method)
    if entry.switches is None:
        return SWITCHES
    return frozenset(entry.switches) | ({"sampler", "sampler_power"} if entry.partners else set())


def _switches_of_loss(loss: str) -> set[str]:
    from glmc_zoo.method.registry import loss_switches

    if loss == "reweighted":
        return {"class_weight_power"}
    return set(loss_switches(loss)) if is_loss(loss) else set(_ADVISED_LOSSES)  # an unknown loss is refused elsewhere
