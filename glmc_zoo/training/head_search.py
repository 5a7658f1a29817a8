"""The search for a classifier on features: many are trained at once and compared on held-out training images."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    HeadProblems,
    LinearHeads,
    PrincipalAxes,
    class_means,
    fit_heads,
    mean_anchor,
)
from glmc_zoo.options.model import TuneOptions
from glmc_zoo.results import HeadFacts, HeadTrial
from glmc_zoo.screen import progress_bar

Progress = Callable[[float], None]
"""Called with the share that is done, from 0 to 1."""

FOLDS = 5
WEIGHT_DECAYS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2)
"""Weight decays to try, for features with a mean squared length of 1."""
LOSSES = {"cross-entropy": 0.0, "balanced softmax": 1.0}
"""Factor of the log class frequencies that each loss adds to the logits in training."""
ADJUSTMENTS = {
    "cross-entropy": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
    "balanced softmax": (-0.5, -0.25, 0.0, 0.25, 0.5),
}
"""Logit adjustments to try on each trained classifier of a loss; not used where the user chooses a loss."""
NAMED_LOSSES = {"ce": "cross-entropy", "balanced_softmax": "balanced softmax"}
"""Losses by the names of their methods."""
MEAN_LENGTH = 10.0
"""Length of the weight vector of a class that starts from the class mean."""
ONE_FOLD_WORK = 2e10
"""If images times features times classes is larger, only one fold is held out."""


class HeadSetting(NamedTuple):
    """The settings with which one classifier is trained."""

    loss: str
    weight_decay: float


@dataclass(frozen=True)
class HeadChoice:
    """The chosen classifier, trained on all images; it applies to the features as the network gives them."""

    weight: Tensor
    """float32 (C, D), on the CPU."""
    bias: Tensor
    """float32 (C,), with the logit adjustment included."""
    trials: list[HeadTrial]
    """The best trial of each setting."""
    chosen: HeadTrial
    """The trial that was chosen."""
    folds: int
    """Number of folds that were held out in turn."""
    held_out_logits: Tensor
    """Logits of the held-out images, with the chosen setting and its adjustment, float32 (n, C), on the CPU."""
    held_out_positions: Tensor
    """Positions of the held-out images in the training split, int64 (n,)."""
    held_out_labels: Tensor
    """Classes of the held-out images, int64 (n,)."""
    seconds: float
    """Seconds that the search took."""


def count_folds(images: int, features: int, classes: int) -> int:
    """Number of folds to hold out in turn: all, or only one where training takes long."""
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
    """Train a classifier for every setting and fold, choose the best setting, and train with it on all images.

    A held-out image is predicted once, from its first view, by the classifier that was trained without its fold. The
    best setting has the highest balanced accuracy. Ties are decided by top-1 accuracy, then by the larger weight decay.

    Args:
        features: Features of the training images, float32 (views, N, D).
        labels: Class of each image, (N,).
        fold: Fold of each image, (N,), from `glmc_zoo.data.folds.training_folds`.
        class_counts: Number of images of each class.
        init: Where classifiers start, and where weight decay pulls them: ``mean`` for the class means, ``fresh`` for
            zeros.
        device: Device on which the classifiers are trained.
        cosine: Whether to train on features of equal length, so that only their direction counts. The result is still
            a linear layer, compared and returned for features as the network gives them.
        loss: ``auto`` for all of `LOSSES`, or a key of `NAMED_LOSSES` for one loss without logit adjustment.
        show: Whether to show a progress bar.
    """
    start_time = time.perf_counter()
    search = _Search(features.to(device), torch.from_numpy(labels).to(device), class_counts, init, cosine=cosine)
    losses = LOSSES if loss == "auto" else [NAMED_LOSSES[loss]]
    settings = [HeadSetting(*values) for values in product(losses, WEIGHT_DECAYS)]
    num_folds = count_folds(len(labels), features.shape[-1], len(class_counts))
    folds = torch.from_numpy(np.where(fold < num_folds, fold, ALWAYS_TRAINS)).to(device)
    with progress_bar(total=100, desc="classifiers", unit="%", main_process=show) as bar:

        def progress(share: float) -> None:
            bar.update(max(0, round(95 * share) - bar.n))

        adjustments = ADJUSTMENTS if loss == "auto" else dict.fromkeys(losses, (0.0,))
        logits = search.held_out_logits(settings, folds, num_folds, progress)
        trials, chosen, held_out_logits = search.compare(settings, logits, folds, adjustments)
        all_images = torch.ones_like(folds, dtype=torch.bool)
        final = search.fit([HeadSetting(chosen.loss, chosen.weight_decay)], [all_images])
        bar.update(100 - bar.n)
    weight, bias = search.export_layer(final, chosen.logit_adjustment)
    is_held_out = folds >= 0
    held_out_logits = held_out_logits - chosen.logit_adjustment * search.prior
    return HeadChoice(
        weight, bias, trials, chosen, num_folds, held_out_logits.cpu(), is_held_out.nonzero()[:, 0].cpu(),
        search.labels[is_held_out].cpu(),
        round(time.perf_counter() - start_time, 1),
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
    """The facts of a search for the results.

    Args:
        choice: The chosen classifier.
        tune: Its ``head_kind`` is the kind of the classifier.
        data: The data set of the run.
        fold: Fold of each image, as for `search_head`.
        features: Features of the images, as for `search_head`.
        init: Where the classifiers started, as for `search_head`.
        seconds: Seconds that computing the features took.
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


def _score_order(trial: HeadTrial) -> tuple[float, float, float]:
    return trial.balanced_accuracy, trial.top1, trial.weight_decay


def _no_progress(share: float) -> None:
    pass


class _Search:
    """The features, centred and scaled to a mean squared length of 1, and the classifiers that are trained on them."""

    def __init__(
        self, features: Tensor, labels: Tensor, class_counts: list[int], init: str, *, cosine: bool = False
    ) -> None:
        self.views = len(features)
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
        self.first_view = (first - self.mean) / self.length
        """Features of the first view, scaled likewise but not to equal length, (N, D)."""
        self.principal_axes = PrincipalAxes.from_features(self.scaled)

    def fit(self, settings: list[HeadSetting], masks: list[Tensor], progress: Progress = _no_progress) -> LinearHeads:
        """Train one classifier for each setting, on the images where its mask (N,) in ``masks`` is true."""
        image_weights = [mask.to(self.scaled).repeat(self.views) for mask in masks]
        labels = self.labels.repeat(self.views)
        anchors: dict[int, Tensor] = {}  # by the identity of the mask, as all settings share the masks of the folds
        for mask, weights in zip(masks, image_weights, strict=True):
            if id(mask) not in anchors:
                means = class_means(self.scaled, labels, self.classes, weights)
                anchors[id(mask)] = mean_anchor(means, MEAN_LENGTH if self.init == "mean" else 0.0)
        problems = HeadProblems(
            margins=torch.stack([LOSSES[setting.loss] * self.prior for setting in settings]),
            weight_decay=self.prior.new_tensor([setting.weight_decay for setting in settings]),
            anchor=torch.stack([anchors[id(mask)] for mask in masks]),
            image_weights=torch.stack(image_weights),
        )
        return fit_heads(self.scaled, labels, problems, principal_axes=self.principal_axes, progress=progress)

    def held_out_logits(
        self, settings: list[HeadSetting], folds: Tensor, num_folds: int, progress: Progress
    ) -> Iterator[Tensor]:
        """For each setting the logits (n, C) of the first view of the held-out images.

        The logits of an image are those of the classifier that was trained without its fold.
        """
        masks = [folds != number for number in range(num_folds)]
        pairs = list(product(settings, masks))
        heads = self.fit([setting for setting, _ in pairs], [mask for _, mask in pairs], progress)
        first_view, folds = self.first_view[folds >= 0], folds[folds >= 0]
        for first in range(0, len(pairs), num_folds):
            logits = first_view.new_empty(len(first_view), self.classes)
            for number in range(num_folds):
                head = heads.select(torch.tensor([first + number], device=folds.device))
                logits[folds == number] = head.logits(first_view[folds == number])[0]
            yield logits

    def compare(
        self,
        settings: list[HeadSetting],
        all_logits: Iterable[Tensor],
        folds: Tensor,
        adjustments: Mapping[str, tuple[float, ...]],
    ) -> tuple[list[HeadTrial], HeadTrial, Tensor]:
        """The best trial of each setting, the best of these, and its logits of the held-out images.

        The logits come one setting after the other: those of all settings of a large set do not fit into memory.
        """
        trials: list[HeadTrial] = []
        chosen, chosen_logits = None, None
        for setting, logits in zip(settings, all_logits, strict=True):
            trials.append(self.best_adjustment(logits, setting, folds, adjustments[setting.loss]))
            if chosen is None or _score_order(trials[-1]) > _score_order(chosen):
                chosen, chosen_logits = trials[-1], logits
        assert chosen is not None and chosen_logits is not None
        return trials, chosen, chosen_logits

    def best_adjustment(
        self, logits: Tensor, setting: HeadSetting, folds: Tensor, adjustments: tuple[float, ...]
    ) -> HeadTrial:
        """The trial of a setting with the logit adjustment that suits ``logits`` (n, C) of the held-out images best."""
        labels, best = self.labels[folds >= 0], None
        support = torch.bincount(labels, minlength=self.classes)
        for adjustment in adjustments:
            is_correct = (logits - adjustment * self.prior).argmax(dim=1) == labels
            correct_counts = torch.bincount(labels[is_correct], minlength=self.classes)
            recall = (correct_counts.double() / support)[support > 0].mean().item()
            trial = HeadTrial(
                **setting._asdict(), logit_adjustment=adjustment, balanced_accuracy=recall,
                top1=is_correct.double().mean().item(),
            )  # fmt: skip
            if best is None or (trial.balanced_accuracy, trial.top1) > (best.balanced_accuracy, best.top1):
                best = trial
        assert best is not None
        return best

    def export_layer(self, heads: LinearHeads, adjustment: float) -> tuple[Tensor, Tensor]:
        """Weight (C, D) and bias (C,) of the first classifier, for features as the network gives them."""
        weight = heads.weight[0].double() / self.length.double()
        bias = heads.bias[0].double() - weight @ self.mean.double() - adjustment * self.prior.double()
        return weight.float().cpu(), bias.float().cpu()
