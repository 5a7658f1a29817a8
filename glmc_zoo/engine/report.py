"""What a finished run says: results.json, plots, the exported model with its card, and the table on the screen."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from glmc_zoo.data import LongTailData
from glmc_zoo.engine.build import InputSpec
from glmc_zoo.engine.config import TrainConfig
from glmc_zoo.engine.output import write_json
from glmc_zoo.metrics import GROUPS, ScoreCounts, group_of_classes, recalls

__all__ = ["describe_run", "percent", "result_table", "write_outputs"]

_PACKAGES = ("glmc_zoo", "torch", "torchvision", "timm", "accelerate", "datasets", "huggingface_hub", "numpy")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            from glmc_zoo import __version__

            found[name] = f"{__version__} (not installed)" if name == "glmc_zoo" else "not installed"
    return found


def _hardware(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return f"{torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} threads a process"


def _command() -> str:
    """The command as it was given, by the mark that each launcher leaves in the environment."""
    here = os.environ
    launcher = ["python"]
    if "ACCELERATE_MIXED_PRECISION" in here:
        launcher = ["accelerate", "launch", "--num_processes", here.get("WORLD_SIZE", "1")]
    elif "TORCHELASTIC_RUN_ID" in here:
        nodes = int(here["WORLD_SIZE"]) // int(here["LOCAL_WORLD_SIZE"])
        place = ["--standalone"] if nodes == 1 else ["--nnodes", str(nodes)]
        launcher = ["torchrun", "--nproc_per_node", here["LOCAL_WORLD_SIZE"], *place]
    return shlex.join([*launcher, "recipes/" + Path(sys.argv[0]).name, *map(_without_place, sys.argv[1:])])


def _without_place(argument: str) -> str:
    # It goes into model cards: of an absolute path its last part alone, not where it lies on this machine.
    mark = re.match(r"(?:--[\w-]+=)?(?:local-dir:)?", argument)
    before = mark[0] if mark else ""
    path = Path(argument.removeprefix(before))
    return f"{before}path/to/{path.name}" if path.is_absolute() else argument


def _public(config: TrainConfig) -> dict[str, Any]:
    values = dataclasses.asdict(dataclasses.replace(config, output_dir=None, resume=None))
    return {name: _without_place(value) if isinstance(value, str) else value for name, value in values.items()}


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
    tag = f"{config.method}_{_slug(data.name)}"
    registered: Any = timm_model.default_cfg
    architecture = registered.get("architecture", config.backbone)
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
            "backbone": architecture if ":" in str(config.backbone) else config.backbone,
            "parameters": sum(p.numel() for p in timm_model.parameters()),
            "input_size": [3, spec.size, spec.size],
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
            "crop_pct": spec.crop_pct,
            "pretrained_from": _without_place(str(config.backbone)) if config.pretrained else None,
            "ema": config.ema_decay,
            "needs_glmc_zoo": type(timm_model).__module__.startswith("glmc_zoo."),
        },
        "method": config.method,
        "preset": config.preset if config.method == "glmc" else None,
        "config": _public(config),
        "seeds": {"seed": config.seed, "data_seed": config.data_seed},
        "command": _command(),
        "versions": _versions(),
        "hardware": _hardware(accelerator),
        "precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
    }


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(name).name.lower()).strip("_") or "data"


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
    spec: InputSpec,
) -> dict[str, Any]:
    """Write scores, plots, model and card below ``folder`` and return the results; by the main process alone."""
    from glmc_zoo.hub import GLMC_PAPER, export_model, render_card, write_heads
    from glmc_zoo.metrics import plots

    results["test"] = counts.scores()
    results["class_recalls"] = [None if value != value else float(value) for value in recalls(counts)]
    results["group_confusion"] = counts.group_confusion.tolist()
    model_info = results["model"]
    write_json(folder / "results.json", results)

    title = f"{model_info['name']} on {results['data']['name']}, seed {results['seeds']['seed']}"
    drawn = folder / "plots"
    drawn.mkdir(exist_ok=True)
    plots.plot_training(rows, drawn / "training.png", title=title)
    plots.plot_class_accuracy(
        results["class_counts"],
        results["class_recalls"],
        drawn / "class_accuracy.png",
        class_names=results["class_names"],
        title=title,
        **results["thresholds"],
    )
    plots.plot_group_confusion(counts.group_confusion, drawn / "group_confusion.png", title=title)
    export_model(
        timm_model,
        folder / "model",
        class_names=results["class_names"],
        mean=spec.mean,
        std=spec.std,
        input_size=(3, spec.size, spec.size),
        interpolation=spec.interpolation,
        crop_pct=spec.crop_pct,
        tag=model_info["tag"],
        description=results["data"].get("description"),
        **(GLMC_PAPER if results["method"] == "glmc" else {}),
    )
    if heads:
        write_heads(heads, folder / "model")
    shutil.copytree(drawn, folder / "model" / "plots", dirs_exist_ok=True)  # the card shows them
    (folder / "model" / "README.md").write_text(
        render_card(results, repo_id=results["config"]["push_to_hub"]), encoding="utf-8"
    )
    return results
