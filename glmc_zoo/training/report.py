"""The report of a run: its results, its exported model, and the lines on the screen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from torch import nn

from glmc_zoo.backbones.complexity import count_operations
from glmc_zoo.data import LongTailData, inventory_lines
from glmc_zoo.disk import disk_errors
from glmc_zoo.documents import read_yaml
from glmc_zoo.errors import for_screen
from glmc_zoo.files import percent, text_table
from glmc_zoo.hub.export.card import backbone_module
from glmc_zoo.machine.command import slug, without_local_paths
from glmc_zoo.machine.provenance import collect_origin
from glmc_zoo.method.registry import get_registered, method_names, plugins_of
from glmc_zoo.metrics import GROUPS
from glmc_zoo.options.run import HeadStage, RunOptions, SecondStage, flatten_options, saved_options
from glmc_zoo.options.schedule import ScheduleOptions
from glmc_zoo.results import (
    ModelFacts,
    PluginFacts,
    RunResults,
    ScheduleFacts,
    Scores,
    Seeds,
    Thresholds,
    group_heading,
)
from glmc_zoo.scoring.calibration import MIN_IMAGES, calibration_lines
from glmc_zoo.scoring.decoration import Decorations
from glmc_zoo.scoring.loop import ScoredSplit
from glmc_zoo.scoring.page.render import REPORT_FILE
from glmc_zoo.scoring.report import class_recalls, group_sizes, group_support, one_group_note
from glmc_zoo.text import counted, printable
from glmc_zoo.training.folder import RunFolder
from glmc_zoo.training.inputs import InputSpec


def describe_run(
    options: RunOptions,
    data: LongTailData,
    spec: InputSpec,
    timm_model: Any,
    scored: dict[str, ScoredSplit],
    accelerator: Accelerator,
) -> RunResults:
    """The results of a run. The facts of its stage, the chosen epoch and the exported weights are added by others.

    ``scored`` holds the counts of the splits ``test`` and ``validation``, where they exist.
    """
    values, processes = flatten_options(options), accelerator.num_processes
    scores = {split: Scores.from_dict(result.counts.scores()) for split, result in scored.items()}
    test = scored.get("test")
    thresholds = Thresholds(many=options.shots.many_threshold, few=options.shots.few_threshold)
    method = values.get("method", "")
    scaled_schedule = options.schedule.scale_rates(processes)
    return RunResults(
        model=_model_facts(options, data, spec, timm_model, method),
        data=data.facts,
        method=method,
        method_title=get_registered(method).title if method in method_names() else None,
        preset=values.get("preset") if method == "glmc" else None,
        class_names=data.class_names,
        class_counts=data.class_counts,
        thresholds=thresholds,
        groups=group_sizes(data.class_counts, thresholds),
        test=scores.get("test"),
        validation=scores.get("validation"),
        intervals={split: result.intervals for split, result in scored.items()},
        group_support={} if test is None else group_support(test.counts),
        class_recalls=None if test is None else class_recalls(test.counts),
        class_support=None if test is None else test.counts.support.tolist(),
        group_confusion=None if test is None else test.counts.group_confusion.tolist(),
        seeds=Seeds(seed=options.schedule.seed, data_seed=options.data.data_seed),
        schedule=ScheduleFacts(
            images_per_step=options.schedule.images_per_step(processes),
            lr=scaled_schedule.lr,
            min_lr=scaled_schedule.min_lr,
        ),
        config=without_local_paths(saved_options(options)),
        plugins=used_plugins(options, timm_model),
        origin=collect_origin(accelerator, options.command),
    )


def used_plugins(options: RunOptions, timm_model: Any) -> list[PluginFacts]:
    """The files that registered the method, loss, sampler or backbone of a run."""
    values = flatten_options(options)
    names = [str(values[name]) for name in ("method", "rebalanced_loss", "sampler") if name in values]
    return plugins_of(*names, architecture_of(timm_model))


def _model_facts(options: RunOptions, data: LongTailData, spec: InputSpec, timm_model: Any, method: str) -> ModelFacts:
    tag = f"{method or 'model'}_{slug(data.name)}"
    architecture = architecture_of(timm_model)
    return ModelFacts(
        name=f"{architecture}.{tag}",
        tag=tag,
        backbone=architecture,
        parameters=sum(p.numel() for p in timm_model.parameters()),
        **count_operations(timm_model, (3, spec.size, spec.size)),
        feature_maps=hasattr(timm_model, "feature_info"),
        input_size=[3, spec.size, spec.size],
        mean=list(spec.mean),
        std=list(spec.std),
        interpolation=spec.interpolation,
        crop_pct=spec.crop_pct,
        ema=flatten_options(options).get("ema_decay"),
        # On images of the user, only the user can license the weights.
        license=options.output.license or ("apache-2.0" if data.facts.in_catalogue else "unknown"),
        needs_glmc_zoo=type(timm_model).__module__.startswith("glmc_zoo."),
    )


def architecture_of(timm_model: Any) -> str:
    """timm's name of the architecture."""
    return str(timm_model.default_cfg["architecture"])


def opening_lines(
    options: RunOptions, title: str, name: str, data: LongTailData, spec: InputSpec, timm_model: nn.Module
) -> list[str]:
    """Lines that describe the run before it begins: method, model, images and notes on the data."""
    lines = [
        f"{title}: {name}, {sum(p.numel() for p in timm_model.parameters()) / 1e6:.2f} M parameters, "
        f"{spec.size} x {spec.size} pixels; {options.data.data}: {counted(len(data.train), 'training image')} in "
        f"{counted(len(data.class_names), 'class')} ({max(data.class_counts)} to {min(data.class_counts)} each), "
        f"{counted(len(data.test), 'test image') if len(data.test) else 'no test images'}"
    ]
    notes = [*data.notes, *one_group_note(data.class_counts, options.shots), *uncalibrated_note(options, data)]
    inventory = [] if data.facts.inventory is None else inventory_lines(data.facts.inventory)
    return [*map(printable, lines), *inventory, *(f"note: {for_screen(note)}" for note in notes)]


def uncalibrated_note(options: RunOptions, data: LongTailData) -> list[str]:
    """A note that the probabilities will not be calibrated, and the fix; none where they will be, or were not to be."""
    if options.output.calibrate == "never" or isinstance(options.stage, HeadStage):
        return []  # a classifier on features is calibrated on training images that are held out in turn
    second = isinstance(options.stage, SecondStage)  # its first stage was trained on every image that it could hold out
    if data.val:
        if len(data.val) >= MIN_IMAGES:
            return []
        fix = "train the first stage with a larger val_fraction=" if second else "give a larger val_fraction="
        return [
            f"Fitting a temperature needs at least {MIN_IMAGES} held-out images, and this run has {len(data.val)}, so "
            f"the probabilities will not be calibrated: {fix}."
        ]
    fix = "give val_fraction= or calibrate='always'"
    if second:
        fix = "train the first stage with val_fraction=, and give the same one here"
    return [
        "No images are held out of the training to fit a temperature, so the probabilities will not be calibrated: to "
        f"calibrate them, {fix}."
    ]


def step_text(schedule: ScheduleOptions, processes: int) -> str:
    """Batch and learning rate in words, such as "batch 64 x 8 processes = 512 images a step, lr 0.1"."""
    factors = [f"batch {schedule.batch_size}"]
    if processes > 1:
        factors.append(f"{processes} processes")
    if schedule.grad_accum_steps > 1:
        factors.append(f"{schedule.grad_accum_steps} accumulated")
    images = schedule.images_per_step(processes)
    batch = " x ".join(factors) + (f" = {images} images a step" if len(factors) > 1 else "")
    rate = f"lr {schedule.lr}"
    if schedule.lr_base_size is not None:
        rate = f"lr {schedule.scale_rates(processes).lr:g} ({schedule.lr} x {images} / {schedule.lr_base_size})"
    return f"{batch}, {rate}" + _sam_text(schedule)


def _sam_text(schedule: ScheduleOptions) -> str:
    if schedule.sam_rho is None:
        return ""
    return f", SAM within {schedule.sam_rho}" + (f" in one step of {n}" if (n := schedule.sam_every) > 1 else "")


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """The line of one epoch on the screen: loss, learning rate, scores and speed."""
    scores = row.get("test") or row.get("validation") or {}
    text = f"epoch {row['epoch']}/{epochs}  loss {row['loss']:.3f}  lr {row['lr']:.4f}"
    score_names = ("top1", "balanced_accuracy", *GROUPS) if scores else ()
    text += "".join(f"  {name} {percent(scores[name])}" for name in score_names)
    return f"{text}  ({row['images_per_second']:.0f} images/s)"


def result_table(results: RunResults, folder: Path) -> str:
    """The lines at the end of a run: its scores, and the paths of its files."""
    if results.groups is None or results.selection is None or results.seeds is None:
        return f"model   {folder / 'model'}"
    folder_text = printable(str(folder))
    lines = [
        *_score_lines(results),
        *(calibration_lines(results.calibration) if results.calibration else []),
        f"scores  {folder_text}/results.json",
        *([f"plots   {folder_text}/plots"] if results.plots else []),
        *([f"report  {folder_text}/{REPORT_FILE}"] if (folder / REPORT_FILE).is_file() else []),
        f"model   {folder_text}/model",
        f'load    timm.create_model("local-dir:{folder_text}/model", pretrained=True)',
    ]
    if (folder / "encoder").is_dir():
        lines.insert(-1, f"encoder {folder_text}/encoder")
    if module := backbone_module(results):
        imported = f"import {module}" if module.isidentifier() else "running the file of the plug-in"
        lines[-1] += f"  # after {imported}, which registers the backbone"
    lines += [f"warning: {for_screen(warning)}" for warning in results.warnings]
    return "\n".join(lines)


def _score_lines(results: RunResults) -> list[str]:
    """The test scores under a heading; the validation scores where there is no test split."""
    split = "validation" if results.test is None else "test"
    scores, intervals = getattr(results, split), results.intervals.get(split, {})
    title = printable(f"{results.model.name} on {results.data.name}: ")
    selection = f"{results.selection.how}, seed {results.seeds.seed}" if results.selection and results.seeds else ""
    if scores is None:
        return [f"{title}not scored, because no images were left for a test (no_test=True); {selection}"]
    columns = ["top1", "balanced_accuracy", *GROUPS, "worst", "macro_f1"]
    shots = [group_heading(results, group) for group in GROUPS]
    headings = ["top-1", "balanced", *shots, "worst class", "macro-F1"]
    cells = [percent(getattr(scores, column), intervals.get(column)) for column in columns]
    brackets = ", in brackets the 95 % interval where it is wider than 2 points" if "[" in "".join(cells) else ""
    return [f"{title}{split} scores in %, {selection}{brackets}", text_table([headings, cells], left=())]


def write_outputs(
    folder: RunFolder,
    results: RunResults,
    timm_model: nn.Module,
    heads: dict[str, torch.Tensor],
    options: RunOptions,
    write_answers: Callable[[Decorations], str | None] | None = None,
) -> RunResults:
    """Write the scores, the exported model, and then plots, card and page into the run folder.

    Only the main process calls this.

    Args:
        folder: The run folder.
        results: Results with the scores.
        timm_model: The model to export.
        heads: Tensors that only training needs, exported beside the model.
        options: Options of the run.
        write_answers: Writes the images of page and card.

    Returns:
        The results with the exported weights, and with a warning for each plot, card or page that could not be made.

    Raises:
        UserError: The model cannot be exported, or the disk is full. The scores are on disk already.
    """
    from glmc_zoo.hub import export_run
    from glmc_zoo.training.decoration import decorate_run

    path = folder.path
    with disk_errors(path):
        results.save(path / "results.json")  # first, so that the scores survive whatever fails later
        config, half = _public_config(path / "config.yaml"), options.output.export_half
        export_options: dict[str, Any] = {"config_yaml": config, "half": half, "card": False}
        model = export_run(path / "model", timm_model, results, heads=heads, **export_options)
        if options.output.export_encoder:
            export_run(path / "encoder", timm_model, results, encoder_only=True, **export_options)
        exported = RunResults.load(model / "results.json")
        exported.save(path / "results.json")
        repository, report = options.push.push_to_hub, options.output.report
        return decorate_run(path, exported, folder.epoch_lines, repository, report=report, write_answers=write_answers)


def _public_config(path: Path) -> str | None:
    """The text of a run's config.yaml without paths of this machine; ``None`` where the file does not exist."""
    if not path.is_file():
        return None
    values = read_yaml(path, str(path), fix="Restore it, and go on with the run by resume='auto'.")
    return yaml.safe_dump(without_local_paths(values), sort_keys=False)
