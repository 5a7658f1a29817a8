"""The search for a classifier on features: many are trained at once, and held-out training images choose."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.data import LongTailData
from glmc_zoo.data.folds import ALWAYS_TRAINS
from glmc_zoo.method import log_prior
from glmc_zoo.method.linear_heads import (
    Directions,
    HeadProblems,
    LinearHeads,
    class_means,
    fit_heads,
    mean_anchor,
)
from glmc_zoo.options.model import TuneOptions
from glmc_zoo.results import HeadFacts, HeadTrial
from glmc_zoo.screen import progress_bar

Progress = Callable[[float], None]
"""Is told the share that is done, from 0 to 1."""

FOLDS = 5
WEIGHT_DECAYS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2)
"""For features whose squared length is 1 in the mean."""
LOSSES = {"cross-entropy": 0.0, "balanced softmax": 1.0}
"""How often each adds the logarithm of the class frequencies to the logits in training."""
ADJUSTMENTS = {
    "cross-entropy": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    "balanced softmax": (-0.5, -0.25, 0.0, 0.25, 0.5),
}
"""Logit adjustments that are tried on each trained classifier; none where one loss alone is asked for."""
NAMED_LOSSES = {"ce": "cross-entropy", "balanced_softmax": "balanced softmax"}
"""The losses by the names of the methods that have them."""
MEAN_LENGTH = 10.0
"""Length of the weights of a class that start from its mean."""
ONE_FOLD_WORK = 2e10
"""Images times features times classes from which one fold alone is held out."""


class HeadSetting(NamedTuple):
    """How one classifier is trained."""

    loss: str
    weight_decay: float


@dataclass(frozen=True)
class HeadChoice:
    """The classifier that was chosen, trained on all images, for features as the network gives them."""

    weight: Tensor
    """float32 (C, D), on the CPU."""
    bias: Tensor
    """float32 (C,), the logit adjustment included."""
    trials: list[HeadTrial]
    chosen: HeadTrial
    folds: int
    held_out_logits: Tensor
    """Logits of the chosen setting for the images that were held out, float32 (n, C), on the CPU."""
    held_out_positions: Tensor
    """Their positions in the training split, int64 (n,)."""
    held_out_labels: Tensor
    """Their classes, int64 (n,)."""
    seconds: float


def folds_for(images: int, features: int, classes: int) -> int:
    """Folds that are held out in turn: all, or one where training takes long."""
    return 1 if images * features * classes > ONE_FOLD_WORK else FOLDS


def search_head(
    features: Tensor,
    labels: NDArray[np.int64],
    fold: NDArray[np.int64],
    class_counts: list[int],
    *,
    init: str,
    device: torch.device,
    cosine: bool = False,
    loss: str = "auto",
    show: bool = False,
) -> HeadChoice:
    """Train a classifier for every setting and fold, choose by the balanced accuracy, and train the choice on all.

    The prediction for a held-out image is that of the classifiers whose training left its fold out, on the first view;
    so each held-out image counts once. Among equals the higher top-1 accuracy wins, then the stronger weight decay.

    Args:
        features: float32 (views, N, D).
        labels: Class of each image, (N,).
        fold: Of each image, as `glmc_zoo.data.folds.training_folds` gives them.
        class_counts: Images of each class.
        init: What classifiers start from and are pulled to: ``mean``, the class means, or ``fresh``, zeros.
        device: Where training takes place.
        cosine: Whether classifiers are trained on features of one length, so that only their direction counts. They
            are chosen, and given back, as the linear layer that they are for features as they come.
        loss: ``auto`` for all of `LOSSES`, else a key of `NAMED_LOSSES`: that one, without a logit adjustment.
        show: Whether there is a progress bar.
    """
    begun = time.perf_counter()
    search = _Search(features.to(device), torch.from_numpy(labels).to(device), class_counts, init, cosine=cosine)
    losses = LOSSES if loss == "auto" else [NAMED_LOSSES[loss]]
    settings = [HeadSetting(*values) for values in product(losses, WEIGHT_DECAYS)]
    used = folds_for(len(labels), features.shape[-1], len(class_counts))
    folds = torch.from_numpy(np.where(fold < used, fold, ALWAYS_TRAINS)).to(device)
    with progress_bar(total=100, desc="classifiers", unit="%", main_process=show) as bar:

        def progress(share: float) -> None:
            bar.update(max(0, round(95 * share) - bar.n))

        logits = search.held_out_logits(settings, folds, used, progress)
        trials = [
            search.best_adjustment(one, setting, folds, ADJUSTMENTS[setting.loss] if loss == "auto" else (0.0,))
            for one, setting in zip(logits, settings, strict=True)
        ]
        chosen = max(range(len(trials)), key=lambda i: _rank(trials[i]))
        every = torch.ones_like(folds, dtype=torch.bool)
        final = search.fit([settings[chosen]], [every])
        bar.update(100 - bar.n)
    weight, bias = search.exported(final, trials[chosen].logit_adjustment)
    held = folds >= 0
    held_out = logits[chosen, held] - trials[chosen].logit_adjustment * search.prior
    return HeadChoice(
        weight, bias, trials, trials[chosen], used, held_out.cpu(), held.nonzero()[:, 0].cpu(),
        search.labels[held].cpu(),
        round(time.perf_counter() - begun, 1),
    )  # fmt: skip


def head_facts(
    choice: HeadChoice,
    tune: TuneOptions,
    data: LongTailData,
    fold: NDArray[np.int64],
    features: Tensor,
    *,
    init: str,
    seconds: float,
) -> HeadFacts:
    """What results say of a choice.

    Args:
        choice: What was found.
        tune: Kind of the classifier.
        data: What the classifier was trained on.
        fold: As for `search_head`.
        features: As for `search_head`.
        init: What the classifiers started from.
        seconds: Time that the features took.
    """
    return HeadFacts(
        init=init,
        kind=tune.head_kind,
        views=len(features),
        features=features.shape[-1],
        folds=choice.folds,
        held_out_images=len(choice.held_out_labels),
        always_trained=int((fold == ALWAYS_TRAINS).sum()),
        grouped_by=data.grouped_by,
        trials=choice.trials,
        chosen=choice.chosen,
        feature_seconds=seconds,
        search_seconds=choice.seconds,
    )


def _rank(trial: HeadTrial) -> tuple[float, float, float]:
    return trial.balanced_accuracy, trial.top1, trial.weight_decay


def _silent(share: float) -> None:
    pass


class _Search:
    """The training images in one scale, and their classifiers."""

    def __init__(
        self, features: Tensor, labels: Tensor, class_counts: list[int], init: str, *, cosine: bool = False
    ) -> None:
        self.views, self.images, _ = features.shape
        first = features[0]
        if cosine:
            lengths = torch.linalg.vector_norm(features, dim=2, keepdim=True)
            features = features * (lengths.mean() / lengths.clamp_min(1e-12))
        self.labels, self.classes, self.init = labels, len(class_counts), init
        self.prior = log_prior(class_counts).to(features)
        flat = features.flatten(0, 1)
        self.mean = flat.mean(dim=0)
        self.length = (flat - self.mean).square().sum(dim=1).mean().sqrt().clamp_min(1e-12)
        self.scaled = (flat - self.mean) / self.length
        self.first = (first - self.mean) / self.length
        """The first view, as the network gives it."""
        self.directions = Directions.of(self.scaled)

    def fit(self, settings: list[HeadSetting], trained: list[Tensor], progress: Progress = _silent) -> LinearHeads:
        """A classifier for each setting, on the images (N,) where ``trained`` is true."""
        rows = [mask.to(self.scaled).repeat(self.views) for mask in trained]
        labels = self.labels.repeat(self.views)
        anchors: dict[int, Tensor] = {}  # by mask: settings share those of the folds
        for mask, weights in zip(trained, rows, strict=True):
            if id(mask) not in anchors:
                means = class_means(self.scaled, labels, self.classes, weights)
                anchors[id(mask)] = mean_anchor(means, MEAN_LENGTH if self.init == "mean" else 0.0)
        problems = HeadProblems(
            margins=torch.stack([LOSSES[setting.loss] * self.prior for setting in settings]),
            weight_decay=self.prior.new_tensor([setting.weight_decay for setting in settings]),
            anchor=torch.stack([anchors[id(mask)] for mask in trained]),
            rows=torch.stack(rows),
        )
        return fit_heads(self.scaled, labels, problems, directions=self.directions, progress=progress)

    def held_out_logits(self, settings: list[HeadSetting], folds: Tensor, used: int, progress: Progress) -> Tensor:
        """Logits (settings, N, C) of the first view, by classifiers that were trained without the image's fold."""
        masks = [folds != number for number in range(used)]
        pairs = list(product(settings, masks))
        heads = self.fit([setting for setting, _ in pairs], [mask for _, mask in pairs], progress)
        logits = self.first.new_zeros(len(settings), self.images, self.classes)
        for index, (_, mask) in enumerate(pairs):
            one = heads.select(torch.tensor([index], device=mask.device))
            logits[index // used, ~mask] = one.logits(self.first[~mask])[0]
        return logits

    def best_adjustment(
        self, logits: Tensor, setting: HeadSetting, folds: Tensor, adjustments: tuple[float, ...]
    ) -> HeadTrial:
        """The trial of a setting with the logit adjustment that is best on the held-out images."""
        held, best = folds >= 0, None
        labels = self.labels[held]
        support = torch.bincount(labels, minlength=self.classes)
        for adjustment in adjustments:
            right = (logits[held] - adjustment * self.prior).argmax(dim=1) == labels
            hits = torch.bincount(labels[right], minlength=self.classes)
            recall = (hits.double() / support)[support > 0].mean().item()
            trial = HeadTrial(
                **setting._asdict(), logit_adjustment=adjustment, balanced_accuracy=recall,
                top1=right.double().mean().item(),
            )  # fmt: skip
            if best is None or (trial.balanced_accuracy, trial.top1) > (best.balanced_accuracy, best.top1):
                best = trial
        assert best is not None
        return best

    def exported(self, heads: LinearHeads, adjustment: float) -> tuple[Tensor, Tensor]:
        """Weight (C, D) and bias (C,) of the one classifier, for features as the network gives them."""
        weight = heads.weight[0].double() / self.length.double()
        bias = heads.bias[0].double() - weight @ self.mean.double() - adjustment * self.prior.double()
        return weight.float().cpu(), bias.float().cpu()
