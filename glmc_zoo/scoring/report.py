"""Writes the files of an evaluation: scores, rows for classes and images, plots, and a comparison of models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from glmc_zoo.data import ImageSplit, StreamSplit
from glmc_zoo.files import align_columns, percent, replace_file, write_csv
from glmc_zoo.hub import ModelSource
from glmc_zoo.hub.export.decoration import decorate_export
from glmc_zoo.hub.folder import file_sha256
from glmc_zoo.machine.command import shorten_path
from glmc_zoo.metrics import GROUPS, ScoreCounts, group_of_classes, recalls, wilson_interval
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.results import EvaluatedModel, EvaluationResults, GroupSupport, Thresholds, group_heading
from glmc_zoo.scoring.answers import images_of_each_class
from glmc_zoo.scoring.decoration import Decorations, draw_results, make_report, write_answer_file
from glmc_zoo.scoring.loop import Predictions, ScoredSplit
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.page.subject import Subject
from glmc_zoo.text import markdown, printable

_COLUMNS = ("top1", "balanced_accuracy", *GROUPS, "worst", "ece")
_BOUNDS = ("low", "high")
_MAX_KEPT = 3000  # images of a stream as small JPEGs in memory, about 15 MB
_HEADINGS = {"top1": "top-1", "balanced_accuracy": "balanced", "worst": "worst class", "ece": "ECE"}


def class_recalls(counts: ScoreCounts) -> list[float | None]:
    """Recall of each class; ``None`` for a class without a test image."""
    return [None if value != value else float(value) for value in recalls(counts)]


def group_sizes(class_counts: Sequence[int], thresholds: Thresholds) -> dict[str, int]:
    """Number of classes in each shot group."""
    groups = group_of_classes(class_counts, many=thresholds.many, few=thresholds.few)
    return {name: int((groups == i).sum()) for i, name in enumerate(GROUPS)}


def group_support(counts: ScoreCounts) -> dict[str, GroupSupport]:
    """Number of classes and test images of each shot group; empty without groups."""
    if not counts.has_groups:
        return {}
    return {name: GroupSupport(**numbers) for name, numbers in counts.group_support().items()}


def one_group_note(class_counts: Sequence[int], shots: ShotOptions) -> list[str]:
    """A note if the thresholds put every class into one group, so that two of the three scores are null."""
    many, few = shots.many_threshold, shots.few_threshold
    filled = [name for name, classes in group_sizes(class_counts, Thresholds(many=many, few=few)).items() if classes]
    if len(filled) > 1 or shots.groups == "terciles":
        return []
    return [
        f"All classes are {filled[0]}-shot by the thresholds {many} and {few}: groups='terciles' makes three groups of "
        "them."
    ]


def model_facts(name: str, source: ModelSource, classifier: Classifier) -> EvaluatedModel:
    """Identity, size and preprocessing of a model, as the results store them.

    ``sha256`` is that of the weights: from the model's results.json if they have it, else that of model.safetensors.
    It is ``None`` for a model without a folder.
    """
    sha256 = None if source.results is None or source.results.weights is None else source.results.weights.sha256
    if sha256 is None and source.folder is not None:
        sha256 = file_sha256(source.folder / "model.safetensors")
    config: dict[str, Any] = {key: list(classifier.data_config[key]) for key in ("input_size", "mean", "std")}
    config |= {key: classifier.data_config[key] for key in ("interpolation", "crop_pct", "crop_mode")}
    return EvaluatedModel(
        name=name,
        given_as=shorten_path(source.name),
        source=source.kind,
        architecture=source.config.get("architecture"),
        hub_id=source.config.get("hf_hub_id"),
        commit=source.commit,
        sha256=sha256,
        parameters=classifier.parameters,
        classes=classifier.num_classes,
        **config,
    )


def write_evaluation(
    folder: Path,
    results: EvaluationResults,
    scored: ScoredSplit,
    paths: list[str | None] | None,
    *,
    quote_formulas: bool,
    images: ImageSplit | StreamSplit | None,
) -> EvaluationResults:
    """Write results.json, per_class.csv, predictions.parquet and then plots/ and report.html below ``folder``.

    ``images`` are those of the split, for the report; without them there is none. Returns the results with a warning
    for each plot or page that could not be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / "results.json")
    _write_classes(folder / "per_class.csv", results, scored.counts, quote_formulas)
    if scored.predictions is not None:
        _write_predictions(folder / "predictions.parquet", scored.predictions, paths)
    decorations = Decorations()
    if images is not None:
        write_answer_file(decorations, folder, results.split, scored, images, results.class_counts)
    return decorate_evaluation(folder, results, decorations.warnings, report=images is not None)


def decorate_evaluation(
    folder: Path,
    results: EvaluationResults,
    warnings: Sequence[str] = (),
    *,
    report: bool = True,
    baselines: Sequence[Subject] = (),
) -> EvaluationResults:
    """Draw the plots of an evaluation, and write its page; ``baselines`` are compared with it there.

    What could not be made is a warning in its results, after the ``warnings`` so far; they are written again.
    """
    decorations = Decorations(warnings)
    title = f"{_model_rows([results])[-1]['label']} on {results.data.name}, {results.split} images"
    if results.thresholds is not None:  # the plots are by numbers of training images
        draw_results(decorations, folder / "plots", Subject.from_results(folder, results), title)
    if report:
        subject = Subject.from_results(folder, replace(results, warnings=list(decorations.warnings)))
        make_report(decorations, folder, subject, baselines)
    if results.warnings != decorations.warnings:
        results = replace(results, warnings=decorations.warnings)
        results.save(folder / "results.json")
    return results


def answer_storage(images: ImageSplit | StreamSplit, num_classes: int) -> Literal["positions", "pixels"]:
    """How the images of the report are kept while a split is scored: those of a stream cannot be read again."""
    fits_in_memory = num_classes * sum(images_of_each_class(num_classes)) <= _MAX_KEPT
    return "pixels" if isinstance(images, StreamSplit) and fits_in_memory else "positions"


def write_joint_report(folder: Path, evaluations: Sequence[Path], baselines: Sequence[Subject] = ()) -> list[str]:
    """Write report.html about the first of several models, compared with the others and ``baselines``.

    Returns a warning if the page could not be made.
    """
    decorations = Decorations()

    def make() -> None:
        subject, *other_subjects = map(Subject.load, evaluations)
        make_report(decorations, folder, subject, [*other_subjects, *baselines])

    decorations.attempt("The page of all models", make)
    return decorations.warnings


def decorate_saved_model(saved: Path, folder: Path, results: EvaluationResults) -> EvaluationResults:
    """Put the plots of an evaluation and a card into the corrected model that it saved.

    Returns the results of the evaluation, with a warning if that failed; they are then written to ``folder`` again.
    """
    decorations, plots = Decorations(results.warnings), folder / "plots"
    names = sorted(path.name for path in plots.glob("*.png"))
    decorations.attempt("The card of the saved model", lambda: decorate_export(saved, plots, names))
    if decorations.warnings != results.warnings:
        results = replace(results, warnings=decorations.warnings)
        results.save(folder / "results.json")
    return results


def _write_classes(path: Path, results: EvaluationResults, counts: ScoreCounts, quote_formulas: bool) -> None:
    """Write a row for each class; a cell without a value, such as the recall of a class without images, is empty."""
    header = (
        *("class", "name", "group", "training_images", f"{results.split}_images", "correct", "recall", "precision"),
        *("predicted", "recall_low", "recall_high"),
    )
    rows: list[tuple[Any, ...]] = []
    training_counts = results.class_counts
    for label, name in enumerate(results.class_names):
        correct, images, predicted = (int(c[label]) for c in (counts.correct, counts.support, counts.predicted))
        recall, precision = (correct / total if total else "" for total in (images, predicted))
        low, high = map(float, wilson_interval(correct / images, images)) if images else ("", "")
        group, trained = ("", "") if training_counts is None else (GROUPS[counts.groups[label]], training_counts[label])
        rows.append((label, name, group, trained, images, correct, recall, precision, predicted, low, high))
    write_csv(path, header, rows, quote_formulas=quote_formulas)


def _write_predictions(path: Path, predictions: Predictions, paths: list[str | None] | None) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {
        "index": predictions.index,
        **({} if paths is None else {"path": paths}),
        "label": predictions.label,
        "prediction": predictions.top[:, 0],
        "probability": predictions.probabilities[:, 0],
        "correct": predictions.top[:, 0] == predictions.label,
        "top5": list(predictions.top),
        "top5_probabilities": list(predictions.probabilities),
    }
    parquet.write_table(pyarrow.table(columns), path)


def short_names(sources: Sequence[ModelSource]) -> list[str]:
    """A name for each model: short, fit for a folder, and different from the others."""
    names: list[str] = []
    for source in sources:
        if source.kind == "folder" and source.folder is not None:
            folder = source.folder.resolve()
            base = (folder.parent if folder.name == "model" else folder).name or "model"
        else:
            base = source.name.partition("@")[0].rpartition("/")[2].rpartition(":")[2] or "model"
        candidates = (base, *(f"{base}-{i}" for i in range(2, len(sources) + 2)))
        names.append(next(name for name in candidates if name not in names))
    return names


def _model_rows(results: Iterable[EvaluationResults]) -> list[dict[str, Any]]:
    """A row for each model, and one before it for the scores without corrections where there are any."""
    rows = []
    for evaluation in results:
        name, corrections = evaluation.model.name, _corrections(evaluation.posthoc)
        facts = {"model": name, "parameters": evaluation.model.parameters}
        if evaluation.plain_scores is not None:
            plain_row = {"corrections": "plain", "label": f"{name} (plain)"}
            rows.append(
                facts
                | plain_row
                | _with_intervals(vars(evaluation.plain_scores), evaluation.intervals.get(f"{evaluation.split}_plain"))
            )
        label = f"{name} ({corrections})" if corrections else name
        final_scores = _with_intervals(vars(evaluation.scores), evaluation.intervals.get(evaluation.split))
        rows.append(facts | {"corrections": corrections, "label": label} | final_scores)
    return rows


def _with_intervals(scores: dict[str, Any], intervals: Mapping[str, list[float]] | None) -> dict[str, Any]:
    """The scores by name, and the ends of their intervals as ``NAME_low`` and ``NAME_high``."""
    bounds = {
        f"{name}_{bound}": value
        for name, interval in (intervals or {}).items()
        for bound, value in zip(_BOUNDS, interval, strict=True)
    }
    return scores | bounds


def _cell(row: dict[str, Any], column: str) -> str:
    low, high = (row.get(f"{column}_{bound}") for bound in _BOUNDS)
    return percent(row[column], None if low is None or high is None else [low, high])


def _corrections(posthoc: dict[str, Any] | None) -> str:
    names = {"logit_adjustment": "logit adjustment", "tau_norm": "tau-norm"}
    parts = [f"{name} {posthoc[key]['tau']:g}" for key, name in names.items() if posthoc and posthoc[key]]
    if posthoc and posthoc.get("temperature"):
        parts.append(f"temperature {posthoc['temperature']['value']:.4g}")
    return ", ".join(parts)


def score_table(results: Sequence[EvaluationResults], *, markup: bool = False) -> str:
    """A Markdown table of the models' scores in %, with their parameters; readable as plain text too.

    With ``markup`` names are escaped for Markdown; without it they are shown as they are.
    """
    escape = markdown if markup else printable
    first = results[0]
    headings = _HEADINGS | {group: group_heading(first, group) for group in GROUPS}
    header = ["model", *(headings[column] for column in _COLUMNS), "parameters"]
    rows = [
        [escape(row["label"]), *(_cell(row, column) for column in _COLUMNS), f"{row['parameters'] / 1e6:.2f} M"]
        for row in _model_rows(results)
    ]
    header, *body = align_columns([header, *rows])
    rule = ["-" * len(header[0]), *("-" * (len(cell) - 1) + ":" for cell in header[1:])]
    table = (f"| {' | '.join(line)} |" for line in (header, rule, *body))
    title = f"Scores in % on the {first.split} images of {escape(first.data.name)}"
    if any("[" in cell for row in rows for cell in row[1:]):
        title += "; in brackets the 95 % interval, where it is wider than 2 points"
    title += "; ECE is the calibration error, lower is better"
    return "\n".join([title, "", *table, ""])


def write_comparison(folder: Path, results: Sequence[EvaluationResults], *, quote_formulas: bool = True) -> list[str]:
    """Write comparison.csv (fractions of 1), comparison.md (%) and plots/comparison.png; returns warnings."""
    from glmc_zoo.metrics import plots

    rows, first = _model_rows(results), results[0]
    bound_columns = [f"{column}_{bound}" for column in _COLUMNS for bound in _BOUNDS]
    columns = ("model", "corrections", *_COLUMNS, "parameters", *bound_columns)
    cells = [[row.get(column) for column in columns] for row in rows]
    write_csv(folder / "comparison.csv", columns, cells, quote_formulas=quote_formulas)
    replace_file(folder / "comparison.md", lambda file: file.write(score_table(results, markup=True)))
    labels, path = [row["label"] for row in rows], folder / "plots" / "comparison.png"
    title = f"Accuracy on {first.data.name}, {first.split} images"
    tested = {group: support.classes for group, support in first.group_support.items()} or None
    decorations = Decorations()
    decorations.plot(
        path,
        lambda partial: plots.plot_comparison(labels, rows, partial, groups=first.groups, tested=tested, title=title),
    )
    return decorations.warnings
