"""Plots, page and cards of a run, made once its scores and model are on disk; `glmc-zoo report` makes them again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from glmc_zoo.hub.export.decoration import decorate_export
from glmc_zoo.hub.folder import RESULTS_FILE, SAMPLE_FILE
from glmc_zoo.results import RunResults
from glmc_zoo.scoring.decoration import RERUN_FIX, Decorations, draw_results, make_report
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.training.metrics_file import EpochLines

EXPORTS = ("model", "encoder")
"""Folders of a run that hold exports."""
_PLOTS = ("training.png", "class_accuracy.png", "class_confusion.png", "group_confusion.png")


def decorate_run(
    folder: Path,
    results: RunResults,
    epochs: Callable[[], EpochLines],
    repo_id: str | None,
    *,
    report: bool = True,
    write_answers: Callable[[Decorations], str | None] | None = None,
    baselines: Sequence[Subject] = (),
) -> RunResults:
    """Draw the plots of a finished run, write its cards and its page, and save the results with the warnings.

    A plot, card or page that cannot be made adds a warning to the results in the run folder and in its exports.
    Warnings of an earlier call are dropped, except those that only a new run can mend.

    Args:
        folder: Run folder with its exports.
        results: The results in the run folder.
        epochs: Reads the lines of the epochs.
        repo_id: ``ORG/NAME`` on the Hub, for the card of the classifier.
        report: Whether to write ``report.html``.
        write_answers: Writes ``answers.json``, whose images the page shows, and the sample image of the card, and
            returns the class of that; without it the existing files are used.
        baselines: Runs that the page compares with this one.

    Returns:
        The results with the names of the plots, and the warnings.
    """
    permanent_warnings = [warning for warning in results.warnings if warning.endswith(f"{RERUN_FIX}.")]
    decorations, plots = Decorations(permanent_warnings), folder / "plots"
    label = results.sample_image if write_answers is None else write_answers(decorations)
    sample = None if label is None or not (folder / SAMPLE_FILE).is_file() else (folder / SAMPLE_FILE, label)
    results = replace(results, sample_image=sample and label)
    lines = _draw(decorations, folder, results, epochs)
    names = [name for name in sorted(_PLOTS) if (plots / name).is_file() and not (plots / name).is_symlink()]
    exports = [folder / name for name in EXPORTS if (folder / name).is_dir()]
    for export in exports:
        # Only the classifier is pushed, so the card of the encoder names its folder and not the repository.
        repository = repo_id if export.name == "model" else None
        warnings = list(decorations.warnings)
        decorations.attempt(
            f"The card of {export.name}/",
            lambda: decorate_export(export, plots, names, warnings=warnings, repo_id=repository, sample=sample),  # noqa: B023  # called here
        )
    if report:
        subject = Subject.from_results(folder, replace(results, warnings=list(decorations.warnings)))
        make_report(decorations, folder, subject, baselines, lines.rows)
    results = replace(results, plots=names, warnings=decorations.warnings)
    results.save(folder / RESULTS_FILE)
    for export in exports:
        decorations.attempt(f"The warnings in {export.name}/", lambda: _keep_warnings(export, results.warnings))  # noqa: B023
    return results


def _draw(decorations: Decorations, folder: Path, results: RunResults, epochs: Callable[[], EpochLines]) -> EpochLines:
    """Draw the plots of a run folder, and return the lines of the epochs: none where the file cannot be read."""
    from glmc_zoo.metrics import plots as drawing

    title = f"{results.model.name} on {results.data.name}, seed {results.seeds.seed if results.seeds else 0}"
    plots, lines = folder / "plots", EpochLines()

    def read() -> None:
        nonlocal lines
        lines = epochs()

    decorations.attempt("The plot training.png", read)
    decorations.warnings += lines.warnings
    if lines.rows:
        decorations.plot(plots / "training.png", lambda path: drawing.plot_training(lines.rows, path, title=title))
    elif results.selection is not None and results.selection.epoch is not None and not decorations.warnings:
        # A classifier on features has no epochs and no such plot, so it gets no warning.
        decorations.warnings.append("The plot training.png was not made: metrics.jsonl is missing or empty.")
    if results.test is not None:
        draw_results(decorations, plots, Subject.from_results(folder, results), title)
    return lines


def _keep_warnings(export: Path, warnings: list[str]) -> None:
    path = export / RESULTS_FILE
    results = RunResults.load(path)
    if results.warnings != warnings:
        replace(results, warnings=warnings).save(path)
