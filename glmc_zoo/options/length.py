"""What the length of a training decides: epochs from passes, and how much the preset ``tuned`` mixes.

The network passes over the training set once an epoch for each view of a step, and SAM passes over the views once more.
Equal passes take about equal time, equal epochs do not: GLMC's two views take twice the time of a baseline.
"""

import dataclasses
from typing import NamedTuple

from glmc_zoo.options.run import FinetuneStage, RunOptions, SecondStage

MIXING_PASSES = 40
"""Fewest passes with which mixing is chosen."""
MIXING_IMAGES = 300_000
"""Fewest images that go through the network with which mixing is chosen."""
UNMIXED_END = 0.25
"""Share of the epochs, at the end, that train on unmixed images."""


class Decision(NamedTuple):
    """What `settle_length` decided."""

    options: RunOptions
    sentence: str | None
    """What was decided and why; ``None`` where there was nothing to decide."""


def passes_of_epoch(views: int, sam_every: int | None) -> float:
    """How often the network passes over the training set in an epoch; ``sam_every`` is ``None`` without SAM."""
    return views * (1.0 if sam_every is None else 1.0 + 1.0 / sam_every)


def mixing_pays(passes: float, images: int) -> bool:
    """Whether a training from scratch of so many passes over so many images gains by mixing them.

    Measured on held-out images of CIFAR-10-LT, CIFAR-100-LT and smaller sets; the page of results has the figure.
    """
    return passes >= MIXING_PASSES and passes * images >= MIXING_IMAGES


def settle_length(options: RunOptions, images: int) -> Decision:
    """Decide method and mixing where they are ``auto``, for a training set of ``images`` images.

    A training that is too short gets balanced softmax on unmixed images, or with ``method='glmc'`` the cheapest mixing;
    a longer one gets GLMC with one view a step and an unmixed end.
    """
    stage, schedule = options.stage, options.schedule
    if isinstance(stage, SecondStage) or "auto" not in (stage.method.method, stage.switches.views):
        return Decision(options, None)
    pretrained = isinstance(stage, FinetuneStage) or stage.model.pretrained
    passes = schedule.epochs * passes_of_epoch(1, None if schedule.sam_rho is None else schedule.sam_every)
    length = f"{passes:g} passes over {images:,} images"
    if pretrained:
        mixing, reason = False, "the network is pretrained"
    else:
        mixing = mixing_pays(passes, images)
        reason = f"{length} are {'enough' if mixing else 'too few'} for mixing to pay"
    method, switches = stage.method, stage.switches
    if method.method == "auto" and not mixing:
        method = dataclasses.replace(method, method="balanced_softmax")
        switches = dataclasses.replace(switches, views="none")
        chosen = "balanced softmax on unmixed images"
    else:
        method = dataclasses.replace(method, method="glmc")
        off = switches.mix_off_epochs or round(UNMIXED_END * schedule.epochs)
        switches = dataclasses.replace(switches, views="alternate", mix_off_epochs=off)
        chosen = f"GLMC with one mixed view a step, the last {off} of {schedule.epochs} epochs unmixed"
    sentence = f"preset tuned: {chosen}, because {reason}; method= and views= override this"
    stage = dataclasses.replace(stage, method=method, switches=switches)
    return Decision(dataclasses.replace(options, stage=stage), sentence)
