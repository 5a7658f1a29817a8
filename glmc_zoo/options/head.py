"""Which options have no effect on a classifier that is trained on features (``tune="head"``), and the reverse."""

from collections.abc import Mapping
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.fields import field_names
from glmc_zoo.method.switches import GLMCSwitches
from glmc_zoo.options.model import HEAD_OPTIONS
from glmc_zoo.options.schedule import OptimizerOptions, ScheduleOptions

LOOP_OPTIONS = frozenset(
    {
        *(name for name in field_names(ScheduleOptions, OptimizerOptions) if name not in ("batch_size", "seed")),
        *("augment", "auto_augment", "random_erasing", "cutout", "compile", "compile_mode", "resident", "profile"),
        *("checkpoint_every", "checkpoint_steps", "checkpoint_minutes", "keep_checkpoints"),
        *("eval_every", "select", "tracker"),
        *field_names(GLMCSwitches),
        *("preset", "accept_new_data"),
    }
)
"""Options of the training loop, which have no effect where the classifier is trained on features."""


def refuse_loop_options(values: Mapping[str, Any]) -> None:
    """Refuse options of the training loop for a classifier that is trained on features.

    Args:
        values: The options that the user gave, by name.

    Raises:
        UserError: ``values`` has an option of the training loop, or a plug-in without a backbone.
    """
    from glmc_zoo.method.registry import load_plugin

    unused = [name for name in values if name in LOOP_OPTIONS]
    if unused:
        raise UserError(
            f"{unused[0]}= belongs to the training loop and has no effect with tune='head', which trains the "
            "classifier on features that are computed once: leave it out, or give method= too, which trains the "
            "classifier in the training loop."
        )
    for path in values.get("plugin", []):
        if not any(name.startswith("backbone ") for name in load_plugin(path).registered):
            raise UserError(
                f"plugin={path!r} registers no backbone, which is all that tune='head' uses of a plug-in: leave it "
                "out, or give method= too, which trains the classifier in the training loop."
            )


def refuse_head_options(values: Mapping[str, Any]) -> None:
    """Refuse options of a classifier on features where ``tune="head"`` needs the training loop.

    Raises:
        UserError: One of them is in ``values``.
    """
    unused = [name for name in values if name in HEAD_OPTIONS]
    if values.get("tune") == "head" and unused:
        raise UserError(
            f"{unused[0]}= is for a classifier that is trained on features, and a method, a preset or a switch of GLMC "
            f"needs the training loop: leave {unused[0]}= out, or leave these out."
        )
