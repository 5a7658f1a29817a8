"""The subject of a report: the results of a run or of an evaluation, with one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.hub.folder import RESULTS_FILE
from glmc_zoo.metrics import GROUPS, group_of_classes
from glmc_zoo.results import EvaluationResults, GroupSupport, RunResults, Scores
from glmc_zoo.scoring.page.answer_file import ANSWERS_FILE, AnswerFile
from glmc_zoo.scoring.page.suspects import SUSPECTS_PAGE_FILE, SuspectFile
from glmc_zoo.text import counted

PREDICTIONS_FILE = "predictions.parquet"


@dataclass(frozen=True)
class Predictions:
    """The stored predictions of an evaluation, one for each image of a split, in its order."""

    label: NDArray[np.int64]
    """True class, (N,)."""
    prediction: NDArray[np.int64]
    """Most probable class, (N,)."""
    probability: NDArray[np.float64]
    """Probability of that class, (N,)."""

    @classmethod
    def read(cls, folder: Path) -> Predictions:
        """Read the predictions in the folder of one evaluated model."""
        from pyarrow import parquet

        names = ("label", "prediction", "probability")
        table = parquet.read_table(folder / PREDICTIONS_FILE, columns=list(names))
        return cls(*(table[name].to_numpy() for name in names))


@dataclass(frozen=True)
class Subject:
    """The results of a run or of an evaluation, and the folder they are in."""

    folder: Path
    results: RunResults | EvaluationResults
    answers: AnswerFile | None = None
    """The answers on the split that was scored; ``None`` if the folder has none."""
    warning: str | None = None
    """Why the answers cannot be read, one sentence."""

    def suspects(self) -> SuspectFile | None:
        """Training images whose label is to be checked; ``None`` where the run looked for none.

        Raises:
            UserError: The file in the folder cannot be read, or is of other classes.
        """
        path = self.folder / SUSPECTS_PAGE_FILE
        return SuspectFile.load(path, len(self.results.class_names)) if path.is_file() else None

    @classmethod
    def from_results(cls, folder: Path, results: RunResults | EvaluationResults) -> Subject:
        """The results with the answers in their folder; those of an older evaluation have no images."""
        subject, path = cls(folder, results), folder / ANSWERS_FILE
        if not path.is_file():
            predictions = subject.predictions()
            return (
                subject
                if predictions is None
                else replace(subject, answers=_answers_without_images(subject.split, predictions))
            )
        try:
            answers = AnswerFile.load(path, len(results.class_names))
        except UserError as error:
            return replace(subject, warning=for_screen(str(error)))
        return replace(subject, answers=answers) if answers.split == subject.split else subject

    @classmethod
    def load(cls, folder: Path) -> Subject:
        """The results in a folder.

        Raises:
            UserError: It has none that can be read, or none with scores.
        """
        path = folder / RESULTS_FILE
        if not path.is_file():
            raise UserError(f"run={str(folder)!r} has no {RESULTS_FILE}: give the folder of a finished run.")
        results_class = RunResults if "method" in read_keys(path) else EvaluationResults
        subject = cls.from_results(folder, results_class.load(path))
        if subject.scores is None:
            raise UserError(f"run={str(folder)!r} has no scores to compare: give a run that was scored.")
        return subject

    @property
    def name(self) -> str:
        """A run by its folder, an evaluation by its model."""
        if isinstance(self.results, EvaluationResults):
            return self.results.model.name
        return self.folder.resolve().name

    @property
    def split(self) -> str:
        """The split that was scored: ``test``, or ``validation`` where there is no test split."""
        if isinstance(self.results, EvaluationResults):
            return self.results.split
        return "validation" if self.results.test is None else "test"

    @property
    def scores(self) -> Scores | None:
        """The scores on that split; ``None`` for a training without images to score."""
        scores: Scores | None = getattr(self.results, self.split)
        return scores

    @property
    def intervals(self) -> dict[str, list[float]]:
        """95 % interval of each score, by its name."""
        return self.results.intervals.get(self.split, {})

    @property
    def scored_images(self) -> list[int] | None:
        """Images of each class in that split; ``None`` without answers."""
        if self.answers is None:
            return None
        scored_images = [0] * len(self.results.class_names)
        for label, _, images in self.answers.pairs:
            scored_images[label] += images
        return scored_images

    @property
    def recalls(self) -> list[float | None]:
        """Recall of each class; empty where it is not known for that split."""
        if self.results.class_recalls:  # an evaluation that does not state them has an empty list
            return list(self.results.class_recalls)
        if self.answers is None or self.scored_images is None:
            return []
        correct = {label: images for label, prediction, images in self.answers.pairs if label == prediction}
        return [correct.get(label, 0) / images if images else None for label, images in enumerate(self.scored_images)]

    def support(self, group: str) -> GroupSupport | None:
        """What the score of a shot group rests on; ``None`` where it is not known."""
        if self.results.group_support:
            return self.results.group_support[group]
        if self.scored_images is None or self.groups is None:
            return None
        images = [
            images
            for images, class_group in zip(self.scored_images, self.groups, strict=True)
            if class_group == group and images
        ]
        return GroupSupport(classes=len(images), images=sum(images))

    @property
    def groups(self) -> list[str] | None:
        """Shot group of each class; ``None`` where the numbers of training images are not known."""
        counts, thresholds = self.results.class_counts, self.results.thresholds
        if counts is None or thresholds is None:
            return None
        return [GROUPS[group] for group in group_of_classes(counts, many=thresholds.many, few=thresholds.few)]

    def predictions(self) -> Predictions | None:
        """The prediction for each image; ``None`` if the folder has no predictions."""
        if not (self.folder / PREDICTIONS_FILE).is_file():
            return None
        return Predictions.read(self.folder)


def _answers_without_images(split: str, predictions: Predictions) -> AnswerFile:
    """The answers without images, of an evaluation that kept none."""
    columns = np.stack([predictions.label, predictions.prediction], axis=1)
    pairs, images = np.unique(columns, axis=0, return_counts=True)
    return AnswerFile(split=split, pairs=np.column_stack([pairs, images]).tolist())


def read_keys(path: Path) -> set[str]:
    """The keys of a file of results. A damaged file counts as that of a run: loading it reports the damage."""
    try:
        values = read_json(path, str(path))
    except UserError:
        return {"method"}
    return set(values) if isinstance(values, dict) else set()


def short_names(subjects: Sequence[Subject]) -> list[str]:
    """A name for each subject: its short name, or its folder where short names are equal."""
    names = [subject.name for subject in subjects]
    return [
        name if names.count(name) == 1 else str(subject.folder) for name, subject in zip(names, subjects, strict=True)
    ]


def check_comparable(subject: Subject, baselines: Sequence[Subject]) -> list[str]:
    """Refuse a baseline of other classes, and return a note for each that was scored on other images.

    Raises:
        UserError: The classes of a baseline are not those of the subject.
    """
    notes, subject_results = [], subject.results
    name, *others = short_names([subject, *baselines])
    for baseline, other_name in zip(baselines, others, strict=True):
        other = baseline.results
        if other.class_names != subject_results.class_names:
            raise UserError(
                f"run={str(baseline.folder)!r} has {len(other.class_names)} classes that are not the "
                f"{len(subject_results.class_names)} of {str(subject.folder)!r}: give runs on the same data."
            )
        images = [_images(compared) for compared in (subject, baseline)]
        if baseline.split != subject.split or images[0] != images[1]:
            scored = [_scored_images(compared) for compared in (subject, baseline)]
            notes.append(
                f"{other_name} was scored on {scored[1]} and {name} on {scored[0]}: their difference is not the "
                "model's alone."
            )
    return notes


def _scored_images(subject: Subject) -> str:
    number = _images(subject)
    return f"streamed {subject.split} images" if number is None else counted(number, f"{subject.split} image")


def _images(subject: Subject) -> int | None:
    """Images of the split that was scored, where the number is known."""
    facts = subject.results.data
    return facts.test_images if subject.split == "test" else facts.val_images


def rare_classes(results: EvaluationResults | RunResults) -> list[int]:
    """The few-shot classes, or the five rarest where there are none, the rarest last.

    Raises:
        UserError: The numbers of training images are not known.
    """
    counts, thresholds = results.class_counts, results.thresholds
    if counts is None or thresholds is None:
        raise UserError(
            "The results do not say how many training images each class has: give results of models that were trained "
            "on this data."
        )
    groups = group_of_classes(counts, many=thresholds.many, few=thresholds.few)
    order = sorted(range(len(counts)), key=lambda label: -counts[label])
    few = [label for label in order if groups[label] == GROUPS.index("few")]
    return few or order[-5:]
