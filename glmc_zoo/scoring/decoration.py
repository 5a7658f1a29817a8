"""Plots, pages and cards, made once the results are on disk; one that fails becomes a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.files import partial_name
from glmc_zoo.hub.folder import SAMPLE_FILE
from glmc_zoo.metrics import recalls
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.page.answer_file import ANSWERS_FILE, lowest_recall_first, make_answer_file
from glmc_zoo.scoring.page.render import REPORT_FILE, write_report
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.scoring.sample_image import write_sample

if TYPE_CHECKING:
    from glmc_zoo.data import ImageSplit, StreamSplit
    from glmc_zoo.scoring.loop import ScoredSplit

REPORT_FIX = "glmc-zoo report makes it again"
RERUN_FIX = "a new run makes it"
"""The fix for files that cannot be made from the results alone."""


class Decorations:
    """Makes plots, pages and cards, and collects a warning for each one that fails.

    Attributes:
        warnings: The warnings, one sentence each.
    """

    def __init__(self, warnings: Sequence[str] = ()) -> None:
        self.warnings = list(warnings)

    def attempt(self, description: str, make: Callable[[], Any], fix: str = REPORT_FIX) -> bool:
        """Call ``make``, and turn any exception into a warning.

        Args:
            description: The name of the plot, page or card, with which the warning begins.
            make: A function that makes it.
            fix: How it can be made later, with which the warning ends.

        Returns:
            Whether it was made.
        """
        try:
            make()
        except Exception as error:
            reason = f"{type(error).__name__}: {one_line(error)}"
            self.warnings.append(f"{description} was not made ({reason}): {fix}.")
            return False
        return True

    def plot(self, path: Path, draw: Callable[[Path], Any]) -> None:
        """Draw a plot, completely or not at all; an older plot of this name is removed in any case."""

        def make() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            partial = partial_name(path)
            try:
                draw(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)

        self.attempt(f"The plot {path.name}", make)


def draw_results(decorations: Decorations, folder: Path, subject: Subject, title: str) -> None:
    """Draw the plots of results and answers: accuracy of the classes, and confusion of shot groups and of classes."""
    from glmc_zoo.metrics import plots

    results = subject.results
    counts, recalls = results.class_counts, results.class_recalls
    if counts is None or recalls is None or results.group_confusion is None:
        return
    thresholds = results.thresholds or Thresholds(many=100, few=20)
    decorations.plot(
        folder / "class_accuracy.png",
        lambda path: plots.plot_class_accuracy(
            counts,
            [float("nan") if recall is None else recall for recall in recalls],
            path,
            class_names=results.class_names,
            title=title,
            many=thresholds.many,
            few=thresholds.few,
        ),
    )
    confusion = results.group_confusion
    decorations.plot(
        folder / "group_confusion.png", lambda path: plots.plot_group_confusion(confusion, path, title=title)
    )
    if subject.answers is not None and subject.answers.pairs:
        pairs, names = subject.answers.pairs, results.class_names
        decorations.plot(
            folder / "class_confusion.png",
            lambda path: plots.plot_class_confusion(pairs, path, class_names=names, class_counts=counts, title=title),
        )


def write_answer_file(
    decorations: Decorations,
    folder: Path,
    name: str,
    scored: ScoredSplit,
    split: ImageSplit | StreamSplit,
    class_counts: Sequence[int] | None,
) -> None:
    """Write ``answers.json`` for the report of the split ``name``; an older file is removed in any case."""
    path = folder / ANSWERS_FILE

    def make() -> None:
        path.unlink(missing_ok=True)
        if scored.answers is not None:
            order = lowest_recall_first(recalls(scored.counts).tolist(), class_counts)
            make_answer_file(name, scored.answers, split, order).save(path)

    decorations.attempt(f"{ANSWERS_FILE} with the images of the report", make, fix="evaluate the model to make it")


def write_sample_image(
    decorations: Decorations, folder: Path, scored: ScoredSplit, split: ImageSplit, class_counts: Sequence[int]
) -> str | None:
    """Write the sample image of the card, and give its class; an older one goes in any case."""
    label = None

    def make() -> None:
        nonlocal label
        (folder / SAMPLE_FILE).unlink(missing_ok=True)
        if scored.answers is not None:
            label = write_sample(folder, scored.answers, split, list(class_counts))

    decorations.attempt(f"The sample image {SAMPLE_FILE}", make, fix=RERUN_FIX)
    return label


def make_report(
    decorations: Decorations,
    folder: Path,
    subject: Subject,
    baselines: Sequence[Subject],
    epochs: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write ``report.html`` into a folder; an older file is removed in any case."""
    path = folder / REPORT_FILE

    def make() -> None:
        path.unlink(missing_ok=True)
        write_report(path, subject, baselines, epochs)

    decorations.attempt(f"The page {REPORT_FILE}", make)
