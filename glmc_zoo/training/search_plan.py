"""The plan of a search for learning rate and epochs: which trials, and on how many images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.results import SearchTrial
from glmc_zoo.training.network_settings import uses_sgd

_SGD_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_ADAPTIVE_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
SURVIVORS = (5, 2, 1)
"""Number of learning rates in each round. The best of a round enter the next, whose trainings are twice as long."""
_MIN_EPOCHS, _MAX_EPOCHS = 2, 10  # of the first round
_CLASS_IMAGES = 8  # images of each class that a trial keeps at least, where the class has so many


@dataclass(frozen=True)
class SearchPlan:
    """The trials of a search, if its time is enough for all."""

    rates: list[float]
    """Learning rates of the first round, the most promising first, because the time may end before the last."""
    epochs: int
    """Epochs of the first round."""
    images: int
    """Training images of each trial."""

    @property
    def planned(self) -> int:
        """Number of trials."""
        return sum(min(count, len(self.rates)) for count in SURVIVORS)


def rates_for(opt: str, tune: str) -> list[float]:
    """The learning rates to try, from the middle outwards. They depend on the optimiser, and adapters get higher ones.

    Args:
        opt: Name of the optimiser.
        tune: Which part of the model is trained, as in the option.
    """
    all_rates = _SGD_RATES if uses_sgd(opt) else _ADAPTIVE_RATES
    rates = all_rates[1:] if tune in ("lora", "adapter") else all_rates[:-1]
    middle = len(rates) // 2
    return [rates[index] for index in sorted(range(len(rates)), key=lambda index: (abs(index - middle), index))]


def make_plan(rates: list[float], *, images: int, held_out: int, image_budget: float) -> SearchPlan:
    """The plan that uses the time: trials on all images for as many epochs as possible, else on fewer images.

    Args:
        rates: Learning rates of the first round.
        images: Number of training images that are not held out.
        held_out: Number of images that each trial is scored on.
        image_budget: Images that the search can train on in its time; an image counts each time that it is seen.
    """
    scoring = sum(SURVIVORS) * held_out / 3  # a pass without gradients takes about a third of the time of one with them
    work = sum(count * 2**round_ for round_, count in enumerate(SURVIVORS))
    trial_images = max(image_budget - scoring, 0) / work  # affordable images of one trial in the first round
    epochs = min(max(int(trial_images // images), _MIN_EPOCHS), _MAX_EPOCHS)
    return SearchPlan(rates, epochs, max(1, min(images, int(trial_images / epochs))))


def stratified_subset(
    labels: NDArray[np.int64], positions: NDArray[np.int64], images: int, seed: int
) -> NDArray[np.int64]:
    """Choose a random subset of about ``images`` positions with the same share of each class.

    Each class keeps at least 8 of its images, or all if it has fewer, so the subset can be larger than ``images``.

    Args:
        labels: Class of each image of the split, int64 (N,).
        positions: Positions to choose from, sorted, int64 (n,).
        images: Number of positions wanted.
        seed: Seed of the choice.

    Returns:
        The chosen positions, sorted, int64 (m,); all of them if ``images`` is n or more.
    """
    if images >= len(positions):
        return positions
    rng, share, selected = np.random.default_rng(seed), images / len(positions), []
    for label in np.unique(labels[positions]):
        class_positions = rng.permutation(positions[labels[positions] == label])
        selected.append(class_positions[: max(_CLASS_IMAGES, round(share * len(class_positions)))])
    return np.sort(np.concatenate(selected))


def next_rates(plan: SearchPlan, trials: Sequence[SearchTrial], round_: int) -> list[float]:
    """The learning rates of a round, the best first; ``trials`` are the trials of the round before."""
    ranked = plan.rates if round_ == 0 else [trial.lr for trial in sorted(trials, key=rank, reverse=True)]
    return ranked[: SURVIVORS[round_]]


def rank(trial: SearchTrial) -> tuple[float, float, int]:
    """Sort key of a trial, the largest for the best: balanced accuracy, then top-1 accuracy, then fewer epochs."""
    return trial.balanced_accuracy, trial.top1, -trial.epochs
