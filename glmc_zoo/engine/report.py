"""What a finished run says: results.json, plots, the exported model with its card, and the table on the screen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.data import LongTailData
from glmc_zoo.engine.build import InputSpec
from glmc_zoo.engine.config import TrainConfig, images_per_step, with_scaled_lr
from glmc_zoo.engine.options import GroupOptions, saved_options
from glmc_zoo.engine.output import write_json
from glmc_zoo.engine.provenance import command_line, hardware, package_versions, slug, source_commit, without_place
from glmc_zoo.metrics import GROUPS, ScoreCounts, group_of_classes, recalls

__all__ = [
    "describe_run",
    "epoch_line",
    "one_group_note",
    "opening_lines",
    "percent",
    "result_table",
    "step_text",
    "write_outputs",
]


def _public(config: TrainConfig) -> dict[str, Any]:
    values = saved_options(dataclasses.replace(config, output_dir=None, resume=None))
    return {name: without_place(value) if isinstance(value, str) else value for name, value in values.items()}


def describe_run(
    config: TrainConfig,
    data: LongTailData,
    spec: InputSpec,
    timm_model: nn.Module,
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Everything about a run that is known before its scores."""
    thresholds: dict[str, Any] = {"many": config.many_threshold, "few": config.few_threshold, "few_inclusive": False}
    groups = group_of_classes(data.class_counts, **thresholds)
    tag = f"{config.method}_{slug(data.name)}"
    registered: Any = timm_model.default_cfg
    architecture = registered.get("architecture", config.backbone)
    named = config.backbone is not None and ":" not in config.backbone
    return {
        "class_names": data.class_names,
        "class_counts": data.class_counts,
        "thresholds": thresholds,
        "groups": {name: int((groups == i).sum()) for i, name in enumerate(GROUPS)},
        "data": data.info,
        "model": {
            "name": f"{architecture}.{tag}",
            "tag": tag,
            # Of a name with a source prefix, which may be a place on this machine, the architecture.
            "backbone": config.backbone if named else architecture,
            "parameters": sum(p.numel() for p in timm_model.parameters()),
            "input_size": [3, spec.size, spec.size],
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
            "crop_pct": spec.crop_pct,
            "pretrained_from": without_place(str(config.backbone)) if config.pretrained else None,
            "ema": config.ema_decay,
            "license": config.license or "apache-2.0",
            "needs_glmc_zoo": type(timm_model).__module__.startswith("glmc_zoo."),
        },
        "method": config.method,
        "preset": config.preset if config.method == "glmc" else None,
        "config": _public(config),
        "seeds": {"seed": config.seed, "data_seed": config.data_seed},
        "command": command_line(),
        "versions": package_versions(),
        "commit": source_commit(),
        "hardware": hardware(accelerator),
        "precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
        "schedule": _schedule(config, accelerator.num_processes),
    }


def _schedule(config: TrainConfig, processes: int) -> dict[str, Any]:
    """What batch and learning rates come to over all processes; the options say them as they were given."""
    scaled = with_scaled_lr(config, processes)
    return {"images_per_step": images_per_step(config, processes), "lr": scaled.lr, "min_lr": scaled.min_lr}


def opening_lines(
    config: TrainConfig,
    data: LongTailData,
    spec: InputSpec,
    timm_model: nn.Module,
    folder: Path,
    processes: int,
) -> list[str]:
    """What is about to be trained, on what, by how many processes, and where the results go."""
    registered: Any = timm_model.default_cfg
    method = config.method + (f" ({config.preset})" if config.method == "glmc" else "")
    return [
        f"{method}: {config.backbone or registered['architecture']}, "
        f"{sum(p.numel() for p in timm_model.parameters()) / 1e6:.2f} M parameters, {spec.size} x {spec.size} "
        f"pixels; {config.data}: {len(data.train)} training images in {len(data.class_names)} classes "
        f"({max(data.class_counts)} to {min(data.class_counts)} each), {len(data.test)} test images",
        *(
            f"note: {note}"
            for note in [*data.notes, *one_group_note(data.class_counts, config), *_one_epoch_note(config)]
        ),
        f"{config.epochs} epochs of {step_text(config, processes)}; results in {folder}",
    ]


def step_text(config: TrainConfig, processes: int) -> str:
    """Batch and learning rate in words, such as "batch 64 x 8 processes = 512 images a step, lr 0.1"."""
    factors = [f"batch {config.batch_size}"]
    if processes > 1:
        factors.append(f"{processes} processes")
    if config.grad_accum_steps > 1:
        factors.append(f"{config.grad_accum_steps} accumulated")
    images = images_per_step(config, processes)
    batch = " x ".join(factors) + (f" = {images} images a step" if len(factors) > 1 else "")
    rate = f"lr {config.lr}"
    if config.lr_base_size is not None:
        rate = f"lr {with_scaled_lr(config, processes).lr:g} ({config.lr} x {images} / {config.lr_base_size})"
    return f"{batch}, {rate}" + (f", SAM within {config.sam_rho}" if config.sam_rho is not None else "")


def _one_epoch_note(config: TrainConfig) -> list[str]:
    if config.method != "glmc" or config.epochs != 1:
        return []
    return [
        "In its first epoch GLMC does not train the re-balanced classifier, the one that is exported, and this run "
        "has no other: give --epochs 2 or more."
    ]


def epoch_line(row: dict[str, Any], config: TrainConfig) -> str:
    """An epoch's losses and scores in one line."""
    scores = row.get("test") or row.get("validation") or {}
    text = f"epoch {row['epoch'] + 1}/{config.epochs}  loss {row['loss']:.3f}  lr {row['lr']:.4f}"
    shown = ("top1", "balanced_accuracy", *GROUPS) if scores else ()
    text += "".join(f"  {name} {percent(scores[name])}" for name in shown)
    return f"{text}  ({row['images_per_second']:.0f} images/s)"


def one_group_note(class_counts: list[int], config: GroupOptions) -> list[str]:
    """What to say where the thresholds put every class into one group, so that two of the three scores are null."""
    groups = group_of_classes(class_counts, many=config.many_threshold, few=config.few_threshold)
    found = {GROUPS[group] for group in groups}
    if len(found) > 1 or config.groups == "terciles":
        return []
    return [
        f"All classes are {found.pop()}-shot by the thresholds {config.many_threshold} and {config.few_threshold}: "
        "--groups terciles makes three groups of them."
    ]


def percent(score: float | None) -> str:
    """A fraction as percent with one decimal; a group with no class is a dash."""
    return "-" if score is None else f"{100 * score:.1f}"


def result_table(results: dict[str, Any], folder: Path) -> str:
    """The scores and where everything lies, for the end of a run."""
    test, groups = results["test"], results["groups"]
    columns = ["top1", "balanced_accuracy", *GROUPS, "worst", "macro_f1"]
    heads = ["top-1", "balanced", *(f"{g} ({groups[g]} cl.)" for g in GROUPS), "worst class", "macro-F1"]
    cells = [percent(test[column]) for column in columns]
    widths = [max(len(h), len(c)) for h, c in zip(heads, cells, strict=True)]
    lines = [
        f"{results['model']['name']} on {results['data']['name']}: test scores in %, {results['selection']['how']}, "
        f"seed {results['seeds']['seed']}",
        "  ".join(h.rjust(w) for h, w in zip(heads, widths, strict=True)),
        "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=True)),
        f"scores  {folder / 'results.json'}",
        f"plots   {folder / 'plots'}",
        f"model   {folder / 'model'}",
        f'load    timm.create_model("local-dir:{folder / "model"}", pretrained=True)',
    ]
    if (folder / "encoder").is_dir():
        lines.insert(-1, f"encoder {folder / 'encoder'}")
    if results["model"]["needs_glmc_zoo"]:
        lines[-1] += "  # after import glmc_zoo, which registers the backbone"
    return "\n".join(lines)


def write_outputs(
    folder: Path,
    results: dict[str, Any],
    counts: ScoreCounts,
    rows: list[dict[str, Any]],
    timm_model: nn.Module,
    heads: dict[str, torch.Tensor],
    *,
    half: bool = False,
    encoder: bool = False,
    repo_id: str | None = None,
) -> dict[str, Any]:
    """Write scores, plots, model and card below ``folder`` and return the results; by the main process alone.

    Args:
        folder: of the run; the model goes to ``model/`` in it.
        results: what `describe_run` says, and what came out beside the scores.
        counts: of the test part.
        rows: the epochs' lines, for the plot of the training.
        timm_model: the trained classifier.
        heads: what only training needs; may be empty.
        half: store the exported weights in half precision.
        encoder: export the model without its classifier as well, to ``encoder/``.
        repo_id: ``ORG/NAME`` where the model is about to be pushed, for its card.
    """
    from glmc_zoo.hub import export_run

    results["test"] = counts.scores()
    results["class_recalls"] = [None if value != value else float(value) for value in recalls(counts)]
    results["group_confusion"] = counts.group_confusion.tolist()
    write_json(folder / "results.json", results)  # at once: the scores outlive whatever fails from here on

    drawn = _draw(folder / "plots", results, counts, rows)
    shared: dict[str, Any] = {
        "plots": drawn,
        "config_yaml": _public_options(folder / "config.yaml"),
        "half": half,
        "repo_id": repo_id,
    }
    model = export_run(folder / "model", timm_model, results, heads=heads, **shared)
    if encoder:
        # The repository, if any, is the classifier's: the encoder's card speaks of its own folder.
        export_run(folder / "encoder", timm_model, results, encoder_only=True, **{**shared, "repo_id": None})
    exported: dict[str, Any] = json.loads((model / "results.json").read_text(encoding="utf-8"))
    write_json(folder / "results.json", exported)
    return exported


def _draw(folder: Path, results: dict[str, Any], counts: ScoreCounts, rows: list[dict[str, Any]]) -> Path:
    """The plots of a finished run, in ``folder``."""
    from glmc_zoo.metrics import plots

    title = f"{results['model']['name']} on {results['data']['name']}, seed {results['seeds']['seed']}"
    folder.mkdir(exist_ok=True)
    plots.plot_training(rows, folder / "training.png", title=title)
    plots.plot_class_accuracy(
        results["class_counts"],
        results["class_recalls"],
        folder / "class_accuracy.png",
        class_names=results["class_names"],
        title=title,
        **results["thresholds"],
    )
    plots.plot_group_confusion(counts.group_confusion, folder / "group_confusion.png", title=title)
    return folder


def _public_options(path: Path) -> str | None:
    """The text of a run's config.yaml as others may see it; None where there is none."""
    import yaml

    if not path.is_file():
        return None
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    said = {name: without_place(value) if isinstance(value, str) else value for name, value in options.items()}
    return yaml.safe_dump(said, sort_keys=False)
