"""The length of a training: epochs computed from passes, and how the preset ``tuned`` mixes images by the length.

A pass sends as many images through the network as the training set has. An epoch has one pass for each view of a step,
and SAM doubles them. Equal passes take about equal time; equal epochs do not, as GLMC's two views take twice the time
of a baseline's one view.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from glmc_zoo.errors import UserError
from glmc_zoo.options.run import FinetuneStage, HeadStage, RunOptions, SecondStage
from glmc_zoo.text import counted

MIXING_PASSES = 40
"""Mixing is chosen from this number of passes on."""
MIXING_IMAGES = 300_000
"""Mixing is chosen from this number of images through the network on, counted over all passes."""
UNMIXED_END = 0.25
"""Share of the epochs, at the end, that train on unmixed images."""


class Decision(NamedTuple):
    """What `resolve_method` decided."""

    options: RunOptions
    sentence: str | None
    """What was decided and why, for the screen; ``None`` if there was nothing to decide."""


def passes_of_epoch(views: int, sam_every: int | None) -> float:
    """How often the network passes over the training set in an epoch; ``sam_every`` is ``None`` without SAM."""
    return views * (1.0 if sam_every is None else 1.0 + 1.0 / sam_every)


def epochs_of(passes: int, views: int, sam_every: int | None) -> int:
    """The largest number of epochs that takes at most ``passes`` passes.

    Raises:
        UserError: ``passes`` is less than one epoch.
    """
    # In whole numbers: 33 passes with SAM every 10th step are 30 epochs, and 29 in floating-point numbers.
    epochs = passes // views if sam_every is None else passes * sam_every // (views * (sam_every + 1))
    if epochs < 1:
        epoch = passes_of_epoch(views, sam_every)
        fewest = views if sam_every is None else -(-views * (sam_every + 1) // sam_every)
        raise UserError(f"passes={passes} is less than one epoch, which takes {epoch:g}: give passes={fewest} or more.")
    return epochs


def mixing_pays(passes: float, images: int) -> bool:
    """Whether mixing improves a training from scratch on ``images`` images with so many passes, one view a step.

    Both limits are rough. docs/length.md has the figure of the passes, which were measured on held-out images.
    """
    return passes >= MIXING_PASSES and passes * images >= MIXING_IMAGES


def resolve_method(options: RunOptions, images: int, resumed: Mapping[str, Any] | None = None) -> Decision:
    """Decide method and mixing if they are ``auto``, for a training set of ``images`` images.

    A training that is too short for mixing gets balanced softmax on unmixed images. A longer one gets GLMC with one
    view a step, and its last epochs are unmixed; so does a short one with ``method='glmc'``. ``resumed`` holds
    the options of a run that is resumed: its decision stays, even if images were added since.
    """
    stage, schedule = options.stage, options.schedule
    if isinstance(stage, HeadStage | SecondStage) or "auto" not in (stage.method.method, stage.switches.views):
        return Decision(options, None)
    if resumed and "auto" not in (resumed.get("method", "auto"), resumed.get("views", "auto")):
        choice = f"{resumed['method']} with views {resumed['views']}, as decided when the run began"
        resolved = _with_method(options, resumed["method"], resumed["views"], resumed.get("mix_off_epochs") or 0)
        return Decision(resolved, _describe(choice))
    long_enough = mixing_pays(schedule.epochs, images)
    if isinstance(stage, FinetuneStage) or stage.model.pretrained:
        long_enough, reason = False, "the network is pretrained"
    else:
        length = f"{counted(schedule.epochs, 'epoch')} of {counted(images, 'image')}"
        reason = f"a training of {length} is {'long enough' if long_enough else 'too short'} for mixing to pay"
    if stage.method.method == "auto" and not long_enough:
        choice = f"balanced softmax on unmixed images, because {reason}"
        return Decision(_with_method(options, "balanced_softmax", "none", 0), _describe(choice))
    unmixed_epochs = stage.switches.mix_off_epochs
    unmixed_epochs = round(UNMIXED_END * schedule.epochs) if unmixed_epochs is None else unmixed_epochs
    ending = f", the last {unmixed_epochs} of {schedule.epochs} epochs unmixed" if unmixed_epochs else ""
    cause = f"because {reason}" if long_enough else "because GLMC or a switch of it was asked for"
    choice = f"GLMC with one mixed view a step{ending}, {cause}"
    if not long_enough:
        choice += f" (else balanced softmax on unmixed images: {reason})"
    return Decision(_with_method(options, "glmc", "alternate", unmixed_epochs), _describe(choice))


def _describe(choice: str) -> str:
    return f"The preset tuned trains {choice}. method= and views= override this."


def _with_method(options: RunOptions, method: str, views: Any, mix_off_epochs: int) -> RunOptions:
    stage: Any = options.stage
    switches = dataclasses.replace(stage.switches, views=views, mix_off_epochs=mix_off_epochs)
    stage = dataclasses.replace(stage, method=dataclasses.replace(stage.method, method=method), switches=switches)
    return dataclasses.replace(options, stage=stage)
