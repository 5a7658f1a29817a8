"""What is made once the results are safe: a plot or a card that fails is a warning, and the rest goes on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.results import EvaluationResults, RunResults, Thresholds

REPORT_FIX = "glmc-zoo report makes it again"
RERUN_FIX = "a new run makes it"
"""For what does not follow from the results alone."""


class Decorations:
    """Plots and cards of one folder, as far as they can be made.

    Attributes:
        warnings: A sentence for each that was not made.
    """

    def __init__(self, warnings: Sequence[str] = ()) -> None:
        self.warnings = list(warnings)

    def attempt(self, what: str, make: Callable[[], Any], *, fix: str = REPORT_FIX) -> bool:
        """Call ``make``; whatever goes wrong, of which there is no end of kinds, becomes a warning about ``what``.

        ``fix`` says how it is made after all.
        """
        try:
            make()
        except Exception as error:
            reason = f"{type(error).__name__}: {one_line(error)}"
            self.warnings.append(f"{what} was not made ({reason}): {fix}.")
            return False
        return True

    def plot(self, path: Path, draw: Callable[[Path], Any]) -> None:
        """Draw a plot, whole or not at all; an older one of its name goes in any case."""
        partial = path.with_name(f".writing-{path.name}")

        def make() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            draw(partial)
            partial.replace(path)

        if not self.attempt(f"The plot {path.name}", make):
            partial.unlink(missing_ok=True)


def draw_results(decorations: Decorations, folder: Path, results: RunResults | EvaluationResults, title: str) -> None:
    """The plots that follow from the results alone: accuracy of the classes, and confusion of the shot groups."""
    from glmc_zoo.metrics import plots

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
