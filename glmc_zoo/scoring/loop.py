"""The scoring loop: one pass over a split counts the scores, and optionally collects a row for each image."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.method.model import evaluation_mode
from glmc_zoo.metrics import ImageScores, ScoreCounts, score_intervals
from glmc_zoo.scoring.answers import AnswerCollector, Answers, PixelRecorder
from glmc_zoo.scoring.model import Classifier, logit_batches


@dataclass(frozen=True)
class Predictions:
    """The predictions of N images, as arrays of length N."""

    index: NDArray[np.int64]
    """Position of the image in the split."""
    label: NDArray[np.int64]
    """True class."""
    top: NDArray[np.int64]
    """(N, min(5, C)): classes, the most probable first; of equally probable ones the lower index first."""
    probabilities: NDArray[np.float64]
    """Probabilities of the classes in ``top``."""

    @classmethod
    def from_batch(cls, index: Tensor, label: Tensor, logits: Tensor) -> "Predictions":
        """The predictions of one batch of logits (B, C)."""
        top, probabilities = top_classes(logits, k=5)
        return cls(index.numpy(), label.numpy(), top.numpy(), probabilities.numpy())

    @classmethod
    def concatenate(cls, batches: Sequence["Predictions"]) -> "Predictions":
        """The predictions of several batches, in the order of the split."""
        columns = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in vars(batches[0])}
        order = np.argsort(columns["index"], kind="stable")
        return cls(**{name: column[order] for name, column in columns.items()})


def top_classes(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` most probable classes of each row of logits (B, C), and their float64 probabilities, on the CPU."""
    # A stable sort, because topk does not define the order of equal logits.
    order = torch.sort(logits, dim=1, descending=True, stable=True).indices[:, :k].cpu()
    return order, logits.cpu().double().softmax(dim=1).gather(1, order)


@dataclass(frozen=True)
class ScoredSplit:
    """The result of one pass over a split, the same in every process."""

    counts: ScoreCounts
    plain: ScoreCounts | None = None
    """Counts without the correction; ``None`` where there is no correction."""
    predictions: Predictions | None = None
    """A row for each image, if requested."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """95 % interval of each score, if requested; see `score_intervals`."""
    plain_intervals: dict[str, list[float]] = field(default_factory=dict)
    answers: Answers | None = None
    """Single images and class confusions for a report, if requested."""
    plain_answers: Answers | None = None

    def swap(self) -> "ScoredSplit":
        """The same with ``counts`` and ``plain`` exchanged, for a correction that undoes a part of the model."""
        assert self.plain is not None
        return replace(
            self, counts=self.plain, plain=self.counts, intervals=self.plain_intervals, plain_intervals=self.intervals,
            answers=self.plain_answers, plain_answers=self.answers,
        )  # fmt: skip


class _ScoreCollector:
    """Collects counts, and optionally scores and answers of each image, for one set of logits of a pass."""

    def __init__(self, empty: ScoreCounts, *, keep_images: bool, answers: bool) -> None:
        self.counts, self.keep_images = empty + empty, keep_images
        self._rows: list[tuple[NDArray[np.int64], ImageScores]] = []
        self._answers = AnswerCollector(empty.num_classes) if answers else None

    def update(self, positions: Tensor, labels: Tensor, logits: Tensor, pixels: Tensor | None) -> None:
        """Count one batch of logits (B, C)."""
        images = self.counts.update(labels.numpy(), logits=logits.cpu().numpy())
        if self.keep_images:
            self._rows.append((positions.numpy(), images))
        if self._answers is not None:
            self._answers.update(positions.numpy(), images, pixels)

    def answers(self) -> Answers | None:
        """The answers of all processes; ``None`` where they were not requested."""
        return None if self._answers is None else self._answers.gather()

    def finish(self, accelerator: Accelerator, total: int | None) -> tuple[ScoreCounts, dict[str, list[float]]]:
        """The counts of all processes, and the intervals if requested; the same in each process."""
        counts = _sum_counts(self.counts, accelerator, total)
        if not self.keep_images or not counts.total:
            return counts, {}
        positions, images = zip(*gather_object(self._rows), strict=True)
        # In the order of the split, because the intervals depend on the order of the images.
        order = np.argsort(np.concatenate(positions), kind="stable")
        return counts, score_intervals(ImageScores.concatenate(list(images)).select(order), counts.groups)


@torch.inference_mode()
def score_split(
    classifier: Classifier,
    loader: Iterable[tuple[Tensor, Tensor, Tensor]],
    empty: ScoreCounts,
    accelerator: Accelerator,
    *,
    total: int | None,
    select: Callable[[Tensor], Tensor] = lambda logits: logits,
    correct: Callable[[Tensor], Tensor] | None = None,
    keep_predictions: bool = False,
    intervals: bool = False,
    answers: Literal["none", "positions", "pixels"] = "none",
) -> ScoredSplit:
    """Score a whole split, each image once over all processes.

    The training mode of each module of the network is left as it was.

    Args:
        classifier: The model.
        loader: Batches of (uint8 images, classes, positions): the share of this process.
        empty: Counts without an image, with the classes and groups.
        accelerator: The accelerator, for device, precision and processes.
        total: Number of images in the split, to check the counts; ``None`` where it is not known.
        select: Selects the logits of the data's classes from the model's logits.
        correct: Corrects the selected logits; ``None`` for no correction.
        keep_predictions: Whether to return a row for each image.
        intervals: Whether to return the 95 % interval of each score.
        answers: Whether to return the answers that a report shows: ``none``; ``positions`` for the positions of single
            images; ``pixels`` also for small JPEGs, for a split that cannot be read again.

    Raises:
        RuntimeError: An image was missed or counted twice.
    """
    settings: dict[str, bool] = {"keep_images": intervals, "answers": answers != "none"}
    scored, plain, rows = _ScoreCollector(empty, **settings), _ScoreCollector(empty, **settings), []
    recorder = PixelRecorder(loader)
    with evaluation_mode(classifier.network):
        for batch, labels, positions in logit_batches(classifier, recorder, accelerator):
            logits, pixels = select(batch), recorder.pixels if answers == "pixels" else None
            corrected = logits if correct is None else correct(logits)
            scored.update(positions, labels, corrected, pixels)
            if correct is not None:
                plain.update(positions, labels, logits, pixels)
            if keep_predictions:
                rows.append(Predictions.from_batch(positions, labels, corrected))
    predictions = _gather_predictions(rows, total) if keep_predictions else None
    number = total if predictions is None else len(predictions.index)
    counts, bounds = scored.finish(accelerator, number)
    collected = scored.answers()
    if correct is None:
        return ScoredSplit(counts, None, predictions, bounds, answers=collected)
    plain_counts, plain_intervals = plain.finish(accelerator, number)
    return ScoredSplit(counts, plain_counts, predictions, bounds, plain_intervals, collected, plain.answers())


def _gather_predictions(rows: list[Predictions], total: int | None) -> Predictions:
    """The rows of all processes; each image must be in them once."""
    predictions = Predictions.concatenate(gather_object(rows))
    number = len(predictions.index)
    if len(np.unique(predictions.index)) != number or total not in (None, number):
        raise RuntimeError(f"The evaluation gave {number} predictions for a split of {total} images.")
    # Positions are numbered again, because those of a stream have gaps where several processes read it.
    return replace(predictions, index=np.arange(number))


def _sum_counts(counts: ScoreCounts, accelerator: Accelerator, total: int | None) -> ScoreCounts:
    """Sum of the counts of all processes, the same in each, and checked against ``total`` where that is known."""
    vectors = [torch.from_numpy(vector).to(accelerator.device) for vector in (counts.integers(), counts.floats())]
    integers, floats = (accelerator.reduce(vector, "sum").cpu().numpy() for vector in vectors)
    total_counts = counts.with_state(integers, floats)
    if total is not None and total_counts.total != total:
        raise RuntimeError(f"The evaluation counted {total_counts.total} images of a split of {total}.")
    return total_counts
