"""Write ``report.html``: scores, curves, classes, confusions and images of a run on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmc_zoo.data.duplicates import same_images
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.files import replace_file
from glmc_zoo.metrics import GROUPS
from glmc_zoo.results import EvaluationResults
from glmc_zoo.scoring.page import charts, tables
from glmc_zoo.scoring.page.answer_file import lowest_recall_first, rarest_first
from glmc_zoo.scoring.page.gallery import gallery
from glmc_zoo.scoring.page.html import html_environment, script_hash
from glmc_zoo.scoring.page.subject import Subject, check_comparable, short_names
from glmc_zoo.scoring.page.suspects import SuspectFile, suspect_classes
from glmc_zoo.text import counted

REPORT_FILE = "report.html"


def write_report(
    path: Path, subject: Subject, baselines: Sequence[Subject] = (), epochs: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        subject: The run or evaluation that it is about.
        baselines: Runs that it is compared with, on the same classes.
        epochs: Lines of ``metrics.jsonl``.

    Raises:
        UserError: A baseline is of other classes.
        OSError: The page cannot be written.
    """
    text = render_report(subject, baselines, epochs)
    # A file name may hold a lone surrogate, which UTF-8 cannot encode.
    replace_file(path, lambda file: file.write(text), errors="backslashreplace")


def render_report(subject: Subject, baselines: Sequence[Subject] = (), epochs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page as text; see `write_report`."""
    results, answers = subject.results, subject.answers
    notes = [*results.data.notes, *_evaluation_notes(subject), *check_comparable(subject, baselines)]
    suspects, read_errors = _suspects(subject)
    warnings = [*results.warnings, *([subject.warning] if subject.warning else []), *read_errors]
    most_first = rarest_first(len(results.class_names), results.class_counts)[::-1]
    environment = html_environment()
    return environment.get_template("report.html.jinja").render(
        subject=subject,
        results=results,
        origin=results.origin,
        about=_about(subject),
        made=_origin(subject),
        title=short_names([subject, *baselines])[0],
        baselines=short_names([subject, *baselines])[1:],
        notes=list(map(for_screen, notes)),
        warnings=list(map(for_screen, warnings)),
        scores=tables.score_rows(subject, baselines),
        plain=tables.plain_note(subject),
        same_images=same_images,
        calibration_error=subject.scores is not None and subject.scores.ece is not None,
        panels=charts.training_panels(epochs) if epochs else [],
        chart=charts,
        bars=charts.class_bars(subject, most_first) if subject.recalls else [],
        bars_each=-(-len(most_first) // charts.MAX_BARS),
        classes=tables.class_rows(subject, baselines, lowest_recall_first(subject.recalls, results.class_counts)),
        groups=GROUPS,
        group_block=tables.group_block(subject),
        pairs=tables.confused_pairs(subject),
        matrix=tables.matrix(subject, most_first),
        answers=answers,
        gallery=[] if answers is None else gallery(subject, baselines, answers),
        shown=set() if answers is None else {image.label for image in answers.images},
        suspects=suspects,
        suspect_classes=[] if suspects is None else suspect_classes(results, suspects),
        inventory=results.data.inventory,
        script_hash=script_hash(environment.get_template("report.js").render()),
    )


def _suspects(subject: Subject) -> tuple[SuspectFile | None, list[str]]:
    """The labels to check, and the reason if they cannot be read."""
    try:
        return subject.suspects(), []
    except UserError as error:
        return None, [str(error)]


def _evaluation_notes(subject: Subject) -> list[str]:
    results = subject.results
    # The notes of an evaluation include those of the data.
    return [note for note in getattr(results, "notes", []) if note not in results.data.notes]


def _about(subject: Subject) -> list[tuple[str, str]]:
    """Headings and facts on model and data, for the top of the page."""
    results, model, data = subject.results, subject.results.model, subject.results.data
    facts = [("model", f"{model.name}, {model.parameters / 1e6:.2f} M parameters, {_pixels(model.input_size)}")]
    counts = results.class_counts
    images = "" if data.train_images is None else f"{counted(data.train_images, 'training image')} in "
    spread = "" if not counts else f", {max(counts):,} to {min(counts):,} training images each"
    facts.append(("data", f"{data.name}: {images}{counted(len(results.class_names), 'class')}{spread}"))
    scored = data.test_images if subject.split == "test" else data.val_images
    if subject.scores is not None:
        facts.append(
            (
                "scored on",
                f"streamed {subject.split} images" if scored is None else counted(scored, f"{subject.split} image"),
            )
        )
    if not isinstance(results, EvaluationResults):
        facts.append(("method", results.method_title or results.method))
    return facts


def _origin(subject: Subject) -> list[tuple[str, str]]:
    """Headings and facts on how the results came about, for the end of the page."""
    results, origin, facts = subject.results, subject.results.origin, list[tuple[str, str]]()
    if not isinstance(results, EvaluationResults):
        if results.selection is not None:
            facts.append(("epoch", results.selection.how))
        if results.seeds is not None:
            facts.append(("seed", str(results.seeds.seed)))
    elif results.class_counts_from is not None:
        facts.append(("class counts", _counts_source(results.class_counts_from)))
    if results.wall_time_s is not None:
        facts.append(("wall time", _duration(results.wall_time_s)))
    if origin.hardware is not None:
        facts.append(("hardware", origin.hardware))
    versions = [f"{name} {version}" for name, version in origin.versions.items()]
    facts.append(("versions", ", ".join(versions)))
    facts.append(("commit", origin.commit or ""))
    return [(heading, fact) for heading, fact in facts if fact]


def _counts_source(source: str) -> str:
    return "training images of the data" if source == "data" else f"training images of {source}"


def _pixels(input_size: Sequence[int]) -> str:
    return f"{input_size[1]} x {input_size[2]} pixels"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return counted(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
