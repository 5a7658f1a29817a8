"""Post-hoc corrections in an evaluation: applied batch by batch, and searched on images held out of the training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.data import LongTailData
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.inference import ClassMatch, InferenceModel, logit_batches
from glmc_zoo.errors import UserError
from glmc_zoo.method import check_backbone
from glmc_zoo.method.posthoc import adjust_logits, tau_norm_logits

__all__ = ["GRIDS", "PostHoc", "SearchOutcome", "make_posthoc", "search_posthoc", "was_held_out"]

GRIDS: dict[str, tuple[float, ...]] = {
    "logit_adjustment": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "tau_norm": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}
"""Values that a search tries: around the 1 of Menon et al. (2021), and the 0 to 1 of Kang et al. (2020)."""


@dataclass(frozen=True)
class PostHoc:
    """The corrections of one model on one data set; tau-normalisation comes first."""

    class_counts: Tensor
    """Training images of each class, (C,)."""
    logit_adjustment: float | None = None
    tau_norm: float | None = None
    weight: Tensor | None = None
    """Of the classifier, the rows of the data's classes; there when ``tau_norm`` is wanted."""
    bias: Tensor | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Corrected logits (B, C)."""
        if self.tau_norm is not None:
            assert self.weight is not None
            logits = tau_norm_logits(logits, self.weight, self.bias, tau=self.tau_norm)
        if self.logit_adjustment is not None:
            logits = adjust_logits(logits, self.class_counts, self.logit_adjustment)
        return logits


def make_posthoc(
    config: EvaluateConfig, model: InferenceModel, match: ClassMatch, class_counts: list[int]
) -> PostHoc | None:
    """The corrections that were asked for, with those to be searched at the start of their grid; ``None`` for none.

    Raises:
        UserError: ``--tau-norm`` for a model whose logits are not one linear layer on its features.
    """
    chosen = {name: value for name in GRIDS if (value := getattr(config, name)) is not None}
    if not chosen:
        return None
    start = {name: GRIDS[name][0] if value == "search" else float(value) for name, value in chosen.items()}
    posthoc = PostHoc(torch.tensor(class_counts), start.get("logit_adjustment"), start.get("tau_norm"))
    if config.tau_norm is None:
        return posthoc
    try:
        check_backbone(model.model, model.data_config["input_size"][-1])
    except UserError as error:
        raise UserError(
            f"--tau-norm needs logits that are one linear layer on the features, which those of {model.source.name} "
            "are not: leave it out, or use --logit-adjustment."
        ) from error
    classifier: Any = model.model.get_classifier()  # type: ignore[operator]
    rows = slice(None) if match.columns is None else match.columns
    weight, bias = classifier.weight.detach()[rows], classifier.bias
    return replace(posthoc, weight=weight, bias=None if bias is None else bias.detach()[rows])


@dataclass(frozen=True)
class SearchOutcome:
    """What a search found."""

    posthoc: PostHoc
    """With the values chosen."""
    grids: dict[str, list[float]]
    """Values tried of ``logit_adjustment`` and ``tau_norm``; one where it was given, none where it is not wanted."""
    scores: NDArray[np.float64]
    """Balanced accuracy on the held-out images, (logit adjustments, tau-norms), at least one of each."""

    def describe(self, name: str) -> dict[str, Any]:
        """Grid of one correction, and the best score at each of its values whatever the other one is."""
        return {"grid": self.grids[name], "scores": self.scores.max(axis=1 - list(GRIDS).index(name)).tolist()}


@torch.inference_mode()
def search_posthoc(
    config: EvaluateConfig,
    posthoc: PostHoc,
    model: InferenceModel,
    match: ClassMatch,
    loader: Iterable[tuple[Tensor, Any, Any]],
    accelerator: Accelerator,
) -> SearchOutcome:
    """Try every pair of values in one pass over the images, and take the best balanced accuracy.

    Among equals the smallest logit adjustment wins, then the smallest tau (which at 0 still drops the bias).

    Args:
        config: says which corrections are searched.
        posthoc: as `make_posthoc` gave it.
        model: what is corrected.
        match: its logits of the data's classes.
        loader: this process's share of images that are not test images.
        accelerator: adds up the counts, which are exact, over the processes.
    """
    grids = {
        name: list(GRIDS[name]) if getattr(config, name) == "search" else [value]
        for name in GRIDS
        if (value := getattr(posthoc, name)) is not None
    }
    pairs = [grids.get(name, [None]) for name in GRIDS]  # type: ignore[list-item]
    points = [[replace(posthoc, logit_adjustment=a, tau_norm=t) for t in pairs[1]] for a in pairs[0]]
    classes = len(posthoc.class_counts)
    correct = torch.zeros(len(pairs[0]), len(pairs[1]), classes, dtype=torch.int64, device=accelerator.device)
    support = torch.zeros(classes, dtype=torch.int64, device=accelerator.device)
    for logits, labels, _ in logit_batches(model, loader, accelerator):
        own, labels = match.select(logits), labels.to(logits.device)
        support += torch.bincount(labels, minlength=classes)
        for row, line in enumerate(points):
            for column, point in enumerate(line):
                found = labels[point(own).argmax(dim=1) == labels]
                correct[row, column] += torch.bincount(found, minlength=classes)
    total, right = accelerator.reduce(support, "sum").cpu(), accelerator.reduce(correct, "sum").cpu()
    tested = total > 0
    scores = (right[..., tested] / total[tested].double()).mean(dim=-1).numpy()
    best = divmod(int(scores.argmax()), scores.shape[1])
    return SearchOutcome(points[best[0]][best[1]], grids, scores)


# What of a data set's description tells whether two runs held out the same images.
_SAME = ("imbalance_factor", "profile", "selection", "data_seed", "train_images", "val_images", "skipped_images")


def was_held_out(results: dict[str, Any] | None, data: LongTailData) -> tuple[bool, str]:
    """Whether the validation part of ``data`` was kept out of a model's training, by what its results tell; and why."""
    if results is None or not results.get("data"):
        return False, "it does not say what it was trained on"
    trained = results["data"]
    base = (results.get("model") or {}).get("pretrained_from")
    if base:
        return False, f"it was fine-tuned from {base}, whose training may have held the same images"
    if trained.get("name") != data.info["name"]:
        return False, f"it was trained on {trained.get('name')}, which may hold the same images"
    if not trained.get("val_images"):
        return False, "its training held none out"
    differing = [name for name in _SAME if trained.get(name) != data.info.get(name)]
    if differing or results.get("class_counts") != data.class_counts:
        return False, f"its training held out others (it differs in {', '.join(differing) or 'class_counts'})"
    return True, "its training held out the same images"
