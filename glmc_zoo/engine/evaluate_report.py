"""What an evaluation leaves: scores, a line a class, a row an image, plots, and the comparison of several models."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from glmc_zoo.data import ImageSplit, LongTailData, StreamedData, StreamSplit
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.inference import InferenceModel
from glmc_zoo.engine.output import write_json
from glmc_zoo.engine.provenance import command_line, hardware, package_versions, source_commit, without_place
from glmc_zoo.engine.report import percent
from glmc_zoo.hub import ModelSource
from glmc_zoo.hub._weights import file_sha256
from glmc_zoo.metrics import GROUPS, ScoreCounts, group_of_classes, recalls

__all__ = [
    "Predictions",
    "describe_evaluation",
    "score_table",
    "short_names",
    "write_comparison",
    "write_evaluation",
]

_TOP = 5
_COLUMNS = {
    "top1": "top-1",
    "balanced_accuracy": "balanced",
    **{group: group for group in GROUPS},
    "worst": "worst class",
    "ece": "ECE",
}


@dataclass(frozen=True)
class Predictions:
    """One row an image, as arrays of equal length."""

    index: NDArray[np.int64]
    """Position in the split."""
    label: NDArray[np.int64]
    top: NDArray[np.int64]
    """(N, min(5, C)): classes, the most probable first; among equals the lower class."""
    probabilities: NDArray[np.float64]
    """Of those classes."""

    @classmethod
    def of(cls, index: Tensor, label: Tensor, logits: Tensor) -> Predictions:
        """Those of one batch."""
        # Sorted in full: topk does not say which of equal logits comes first.
        order = torch.sort(logits, dim=1, descending=True, stable=True).indices[:, :_TOP].cpu()
        probabilities = logits.cpu().double().softmax(dim=1).gather(1, order)
        return cls(index.numpy(), label.numpy(), order.numpy(), probabilities.numpy())

    @classmethod
    def joined(cls, parts: Iterable[Predictions]) -> Predictions:
        """Those of all batches of all processes, in the order of the split."""
        parts = list(parts)
        whole = [np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__]
        order = np.argsort(whole[0], kind="stable")
        return cls(*(column[order] for column in whole))


def describe_evaluation(
    config: EvaluateConfig,
    data: LongTailData | StreamedData,
    class_counts: list[int],
    thresholds: dict[str, Any],
    name: str,
    model: InferenceModel,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Everything about the evaluation of one model that is known before its scores."""
    source, used = model.source, model.data_config
    groups = group_of_classes(class_counts, **thresholds)
    weights = (source.results or {}).get("weights") or {}
    sha256 = weights.get("sha256")
    if sha256 is None and source.folder is not None:
        sha256 = file_sha256(source.folder / "model.safetensors")
    return {
        "model": {
            "name": name,
            "given_as": without_place(source.name),
            "source": source.kind,
            "architecture": source.config.get("architecture"),
            "hub_id": source.config.get("hf_hub_id"),
            "commit": source.commit,
            "sha256": sha256,
            "parameters": model.parameters,
            "classes": model.num_classes,
            "input_size": list(used["input_size"]),
            "mean": list(used["mean"]),
            "std": list(used["std"]),
            **{key: used[key] for key in ("interpolation", "crop_pct", "crop_mode")},
        },
        "data": data.info,
        "split": config.split,
        "class_names": data.class_names,
        "class_counts": class_counts,
        "thresholds": thresholds,
        "groups": {group: int((groups == i).sum()) for i, group in enumerate(GROUPS)},
        "batch_size": config.batch_size,
        "command": command_line(),
        "versions": package_versions(),
        "commit": source_commit(),
        "hardware": hardware(accelerator),
        "precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
    }


def write_evaluation(
    folder: Path,
    results: dict[str, Any],
    counts: ScoreCounts,
    predictions: Predictions,
    split: ImageSplit | StreamSplit,
) -> None:
    """Write results.json, per_class.csv, predictions.parquet and plots/ below ``folder``; completes ``results``."""
    from glmc_zoo.metrics import plots

    folder.mkdir(parents=True, exist_ok=True)
    results["class_recalls"] = [None if value != value else float(value) for value in recalls(counts)]
    results["group_confusion"] = counts.group_confusion.tolist()
    write_json(folder / "results.json", results)
    _write_classes(folder / "per_class.csv", results, counts)
    _write_predictions(folder / "predictions.parquet", predictions, split)
    title = f"{_rows([results])[-1].label} on {results['data']['name']}, {results['split']} images"
    plots.plot_class_accuracy(
        results["class_counts"],
        recalls(counts),
        folder / "plots" / "class_accuracy.png",
        class_names=results["class_names"],
        title=title,
        **results["thresholds"],
    )
    plots.plot_group_confusion(counts.group_confusion, folder / "plots" / "group_confusion.png", title=title)


def _write_classes(path: Path, results: dict[str, Any], counts: ScoreCounts) -> None:
    columns = (
        *("class", "name", "group", "training_images", "test_images"),
        *("correct", "recall", "precision", "predicted"),
    )
    rows = []
    for i, name in enumerate(results["class_names"]):
        correct, support, predicted = int(counts.correct[i]), int(counts.support[i]), int(counts.predicted[i])
        recall, precision = (correct / n if n else "" for n in (support, predicted))
        group, images = GROUPS[counts.groups[i]], results["class_counts"][i]
        rows.append((i, name, group, images, support, correct, recall, precision, predicted))
    _write_csv(path, columns, rows)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _write_predictions(path: Path, predictions: Predictions, split: ImageSplit | StreamSplit) -> None:
    import pyarrow
    from pyarrow import parquet

    paths = split.paths() if isinstance(split, ImageSplit) else None
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
    """A name for each model that is short, fit for a folder, and taken once."""
    names: list[str] = []
    for source in sources:
        if source.kind == "folder" and source.folder is not None:
            folder = source.folder.resolve()
            base = folder.parent.name if folder.name == "model" else folder.name
        else:
            base = source.name.partition("@")[0].rpartition("/")[2].rpartition(":")[2]
        base = base or "model"
        tries = (base, *(f"{base}-{i}" for i in range(2, len(sources) + 2)))
        names.append(next(name for name in tries if name not in names))
    return names


class _Row(NamedTuple):
    """A model with or without its corrections."""

    model: str
    corrections: str
    scores: dict[str, float | None]
    parameters: int

    @property
    def label(self) -> str:
        return f"{self.model} ({self.corrections})" if self.corrections else self.model


def _rows(results: Iterable[dict[str, Any]]) -> list[_Row]:
    """A row a model, and one before it for the scores without corrections where there are any."""
    rows = []
    for one in results:
        split, model, posthoc = one["split"], one["model"], one["posthoc"]
        if posthoc is not None:
            rows.append(_Row(model["name"], "plain", one[f"{split}_plain"], model["parameters"]))
        rows.append(_Row(model["name"], _corrections(posthoc), one[split], model["parameters"]))
    return rows


def _corrections(posthoc: dict[str, Any] | None) -> str:
    names = {"logit_adjustment": "logit adjustment", "tau_norm": "tau-norm"}
    return ", ".join(f"{name} {posthoc[key]['tau']:g}" for key, name in names.items() if posthoc and posthoc[key])


def score_table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the models' scores in %, with their parameters; readable as plain text too."""
    groups, split, data = results[0]["groups"], results[0]["split"], results[0]["data"]["name"]
    heads = ["model", *(_COLUMNS[c] + (f" ({groups[c]} cl.)" if c in groups else "") for c in _COLUMNS), "parameters"]
    rows = [
        [row.label, *(percent(row.scores[column]) for column in _COLUMNS), f"{row.parameters / 1e6:.2f} M"]
        for row in _rows(results)
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [heads, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], *rows]
    table = (
        " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
    return "\n".join([f"Scores in % on the {split} images of {data}", "", *(f"| {line} |" for line in table), ""])


def write_comparison(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """Write comparison.csv (fractions of 1), comparison.md (%) and plots/comparison.png."""
    from glmc_zoo.metrics import plot_comparison

    rows, first = _rows(results), results[0]
    _write_csv(
        folder / "comparison.csv",
        ["model", "corrections", *_COLUMNS, "parameters"],
        [[row.model, row.corrections, *(row.scores[c] for c in _COLUMNS), row.parameters] for row in rows],
    )
    (folder / "comparison.md").write_text(score_table(results), encoding="utf-8")
    plot_comparison(
        [row.label for row in rows],
        [row.scores for row in rows],
        folder / "plots" / "comparison.png",
        groups=first["groups"],
        title=f"Accuracy on {first['data']['name']}, {first['split']} images",
    )
