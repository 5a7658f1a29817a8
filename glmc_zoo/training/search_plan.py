"""The plan of a search for learning rate and epochs: which trials, on how many images; nothing here trains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.results import SearchTrial
from glmc_zoo.training.network_settings import uses_sgd

_SGD_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
_ADAPTIVE_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
SURVIVORS = (5, 2, 1)
"""Learning rates that are tried in each round; the best of a round go on to the next, which is twice as long."""
_FEWEST_EPOCHS, _MOST_EPOCHS = 2, 10  # of the first round
_CLASS_IMAGES = 8  # training images of a class that a trial keeps, where it has so many


@dataclass(frozen=True)
class SearchPlan:
    """What the search would train if its time allowed all of it."""

    rates: list[float]
    """Learning rates of the first round, the likeliest first: the time may end before the last."""
    epochs: int
    """Epochs of the first round."""
    images: int
    """Training images of each trial."""

    @property
    def planned(self) -> int:
        """Number of trials."""
        return sum(min(count, len(self.rates)) for count in SURVIVORS)


def rates_for(opt: str, tune: str) -> list[float]:
    """The learning rates to try: those of the optimiser's kind, higher ones where only adapters are trained."""
    ladder = _SGD_RATES if uses_sgd(opt) else _ADAPTIVE_RATES
    rates = ladder[1:] if tune in ("lora", "adapter") else ladder[:-1]
    middle = len(rates) // 2
    return [rates[index] for index in sorted(range(len(rates)), key=lambda index: (abs(index - middle), index))]


def make_plan(rates: list[float], *, images: int, held_out: int, affordable: float) -> SearchPlan:
    """The longest trials, on as many images as possible, that the time is enough for.

    Args:
        rates: Learning rates of the first round.
        images: Training images that are not held out.
        held_out: Images that each trial is scored on.
        affordable: Images that can be trained on in the time of the whole search, each as often as it is seen.
    """
    scoring = sum(SURVIVORS) * held_out / 3  # a pass without gradients takes about a third of one with them
    work = sum(count * 2**round_ for round_, count in enumerate(SURVIVORS))
    each = max(affordable - scoring, 0) / work  # for the first round's epochs of one trial
    epochs = min(max(int(each // images), _FEWEST_EPOCHS), _MOST_EPOCHS)
    return SearchPlan(rates, epochs, max(1, min(images, int(each / epochs))))


def reduced(labels: NDArray[np.int64], positions: NDArray[np.int64], images: int, seed: int) -> NDArray[np.int64]:
    """About ``images`` of the ``positions`` in order, the same share of each class but never fewer than some of it."""
    if images >= len(positions):
        return positions
    rng, share, chosen = np.random.default_rng(seed), images / len(positions), []
    for label in np.unique(labels[positions]):
        of_class = rng.permutation(positions[labels[positions] == label])
        chosen.append(of_class[: max(_CLASS_IMAGES, round(share * len(of_class)))])
    return np.sort(np.concatenate(chosen))


def next_rates(plan: SearchPlan, trials: Sequence[SearchTrial], round_: int) -> list[float]:
    """The learning rates of a round, the best first; ``trials`` are those of the round before it."""
    ranked = plan.rates if round_ == 0 else [trial.lr for trial in sorted(trials, key=rank, reverse=True)]
    return ranked[: SURVIVORS[round_]]


def rank(trial: SearchTrial) -> tuple[float, float, int]:
    """What the best trial has most of: balanced accuracy, then top-1 accuracy, then the shorter training."""
    return trial.balanced_accuracy, trial.top1, -trial.epochs
