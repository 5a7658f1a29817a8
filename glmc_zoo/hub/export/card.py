"""The model card, rendered from the results of a run."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.facts import FEW_TEST_IMAGES
from glmc_zoo.files import is_wide
from glmc_zoo.hub.folder import PLOTS_FOLDER, SAMPLE_FILE, backbone_plugin, cards_folder
from glmc_zoo.results import BaselineFacts, GroupSupport, RunResults
from glmc_zoo.text import counted, markdown, markdown_block, markdown_code

_SCORES = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "many": "Many-shot accuracy",
    "medium": "Medium-shot accuracy",
    "few": "Few-shot accuracy",
    "hmean": "Harmonic mean of class recalls",
    "gmean": "Geometric mean of class recalls",
    "worst": "Worst class recall",
    "macro_f1": "Macro F1",
    "ece": "Expected calibration error (15 bins)",
    "nll": "Negative log-likelihood (nats)",
}
_INDEXED_SCORES = ("top1", "balanced_accuracy", "many", "medium", "few")  # scores in the front matter's model-index
_METHOD_TITLES = {
    "glmc": "GLMC (global and local mixture consistency cumulative learning)",
    "ce": "plain cross-entropy",
    "balanced_softmax": "cross-entropy with balanced softmax",
}
_TUNED_PARTS = {
    "full": "every layer",
    "head": "the classifier alone",
    "blocks": "the last blocks and the classifier",
    "lora": "low-rank adapters (LoRA), merged into the weights",
    "adapter": "adapters, merged into the weights",
}
_PRECISIONS = {"no": "single (float32)", "fp16": "mixed with float16", "bf16": "mixed with bfloat16"}
_MIXING_TITLES = {"alternate": "MixUp and CutMix in turn", "mixup": "MixUp", "cutmix": "CutMix"}
_COLOUR_MODES = {1: "L", 4: "RGBA"}
_MAX_CLASSES_LISTED = 20


def render_card(results: RunResults, *, template: str | Path | None = None, repo_id: str | None = None) -> str:
    """The text of ``README.md`` for an exported model, front matter included, from its results alone.

    Needs no network, timm or torch. Scores are shown in percent, with their 95 % intervals in brackets where these are
    wider than 2 points. A score that is ``None``, such as that of a shot group without classes, is left out of the
    front matter and shown as a dash. A model trained without a test split has the scores of its validation split, if
    any. ``template`` is a Jinja2 file to use instead of the package's. The snippets load ``repo_id`` (``ORG/NAME`` on
    the Hub), or else the folder that the card lies in.

    A run's results without test scores (unless ``no_test`` left them out) or class counts, lists of classes that
    disagree, and a template that does not exist raise a `UserError`.
    """
    from jinja2 import Environment, StrictUndefined

    _check(results)
    path = Path(template) if template is not None else cards_folder() / "card_template.md"
    if not path.is_file():
        raise UserError(f"template={str(path)!r} does not exist: give a Jinja2 file, or leave it out.")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"md": markdown, "code": markdown_code, "block": markdown_block}
    environment.filters |= {"percent": _percent, "duration": _duration}
    text = environment.from_string(path.read_text(encoding="utf-8")).render(_context(results, repo_id))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _check(results: RunResults) -> None:
    untested = results.test is None and not results.data.no_test
    if results.converted is None and (untested or results.class_counts is None):
        missing = "test scores" if untested else "class counts"
        raise UserError(f"The results have no {missing}: render the card from the results.json of a finished run.")
    if results.class_counts is None:
        return
    classes = len(results.class_counts)
    for name in ("class_names", "class_recalls", "class_support"):
        values = getattr(results, name)
        if values is not None and len(values) != classes:
            raise UserError(f"{name} has {len(values)} entries for {classes} class_counts: give one for each class.")


def backbone_module(results: RunResults) -> str | None:
    """The module whose import registers the architecture with timm; ``None`` for an architecture of timm itself.

    It is ``glmc_zoo``, or the name of a plug-in's file without its ending.
    """
    if results.model.needs_glmc_zoo:
        return "glmc_zoo"
    file = backbone_plugin(results, results.model.backbone)
    return None if file is None else PurePath(file).stem


def _backbone_import(results: RunResults) -> str | None:
    """A line of Python that registers the architecture; a comment where the file's name cannot be imported."""
    module, backbone = backbone_module(results), results.model.backbone
    if module is None or module.isidentifier():
        return module and f"import {module}  # registers {backbone} with timm"
    return f"# first run the file of the plug-in that registers {backbone} with timm"


def _context(results: RunResults, repo_id: str | None) -> dict[str, Any]:
    """The names that the template uses: the results and their fields, and what has to be computed from them."""
    finetune, stage, precision = results.finetune, results.second_stage, results.origin.precision
    limits, thresholds = results.thresholds, None
    if limits is not None:
        thresholds = f"many: above {limits.many}; medium: {limits.few} to {limits.many}; few: below {limits.few}"
    return {
        **vars(results),
        "results": results,
        "card_data": _front_matter(results).to_yaml(),
        "method_title": _method_title(results),
        "backbone_module": backbone_module(results),
        "backbone_import": _backbone_import(results),
        "tuned": _TUNED_PARTS.get(finetune.tune, finetune.tune) if finetune else None,
        "precision": _PRECISIONS.get(precision, precision) if precision else None,
        "top1": _percent(results.test.top1 if results.test else None),
        "scores": _score_rows(results),
        "scored_split": _scored_split(results),
        "compared": _comparison_rows(results),
        "brackets": any("[" in value for _, value, _ in _score_rows(results)),
        "thresholds": thresholds,
        "counts": results.class_counts or [],
        "num_classes": len(results.class_names),
        "classes": _class_rows(results),
        "few_tested": sum(0 < images <= FEW_TEST_IMAGES for images in results.class_support or []),
        "few_test_images": FEW_TEST_IMAGES,
        "corrections": _corrections(results),
        "plots": {Path(name).stem: f"{PLOTS_FOLDER}/{name}" for name in results.plots},
        "first_config": stage.source_config if stage else results.config,
        "sample": SAMPLE_FILE if results.sample_image is not None else None,
        "repo_id": repo_id,
        "source": f"hf-hub:{repo_id}" if repo_id else "local-dir:.",
        "folder_or_source": f"hf-hub:{repo_id}" if repo_id else "path/to/this/folder",
        "colour_mode": _COLOUR_MODES.get(results.model.input_size[0], "RGB"),
    }


def _method_title(results: RunResults) -> str:
    """The method in words, and how it mixed images where that is not what its name stands for."""
    title = results.method_title or _METHOD_TITLES.get(results.method, results.method)
    first_stage = results.second_stage.source_config if results.second_stage else results.config
    views = (first_stage or {}).get("views")
    if results.method == "glmc":
        return f"{title}, in the variant with one mixed view a step" if views == "alternate" else title
    return f"{title} on mixed images ({_MIXING_TITLES[views]})" if views in _MIXING_TITLES else title


def _corrections(results: RunResults) -> list[str]:
    """What was folded into the classifier after training, in words."""
    correction, names = results.correction, ("tau_norm", "logit_adjustment", "temperature")
    values = {name: getattr(correction, name, None) for name in names}
    return [f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items() if value is not None]


def _scored_split(results: RunResults) -> str | None:
    """The split that the table of scores is of: test, or validation where the model has no test scores."""
    return next((split for split in ("test", "validation") if getattr(results, split)), None)


def _score_rows(results: RunResults) -> list[tuple[str, str, int | str]]:
    """Label, value and, for a shot group, number of classes; scores that were not computed have no row."""
    split, groups = _scored_split(results), results.groups or {}
    if split is None:
        return []
    intervals, support = results.intervals.get(split, {}), results.group_support if split == "test" else {}
    return [
        (_SCORES[name], _score(name, value, intervals.get(name)), _classes(groups.get(name, ""), support.get(name)))
        for name, value in asdict(getattr(results, split)).items()
        if value is not None or name in groups
    ]


def _comparison_rows(results: RunResults) -> list[list[str]]:
    """Label, test scores and training time of the model and of the baselines beside it; none without baselines."""
    if not results.baselines or results.test is None:
        return []
    this_model = BaselineFacts(
        label=results.model.name,
        test=results.test,
        intervals=results.intervals.get("test", {}),
        wall_time_s=results.wall_time_s,
    )
    return [
        [
            f"**{markdown(row.label)}**" if row is this_model else markdown(row.label),
            *(_score(name, getattr(row.test, name), row.intervals.get(name)) for name in _INDEXED_SCORES),
            "–" if row.wall_time_s is None else _duration(row.wall_time_s),  # noqa: RUF001
        ]
        for row in (this_model, *results.baselines)
    ]


def _score(name: str, value: float | None, interval: list[float] | None) -> str:
    """A score, followed by its 95 % interval where that is wider than 2 points: ``91.24 % [88.9, 93.1]``."""
    text = f"{value:.4f}" if name == "nll" else _percent(value)
    if interval is None or not is_wide(interval):
        return text
    low, high = (f"{end:.2f}" if name == "nll" else f"{100 * end:.1f}" for end in interval)
    return f"{text} [{low}, {high}]"


def _classes(classes: int | str, support: GroupSupport | None) -> int | str:
    if support is None or support.classes == classes:
        return classes
    return f"{classes}, {support.classes} of them tested ({counted(support.images, 'image')})"


def _class_rows(results: RunResults) -> list[tuple[str, int, int | None, str]]:
    """Name, training and test images, and test accuracy of each class; none when there are too many for a table."""
    counts = results.class_counts or []
    if len(counts) > _MAX_CLASSES_LISTED:
        return []
    recalls = map(_percent, results.class_recalls or [None] * len(counts))
    support: Sequence[int | None] = results.class_support or [None] * len(counts)
    return list(zip(results.class_names, counts, support, recalls, strict=False))  # a conversion has no counts


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"  # noqa: RUF001


def _duration(seconds: float) -> str:
    minutes, remaining_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {remaining_seconds} s"


def _front_matter(results: RunResults) -> Any:
    """The metadata that the Hub reads, as its ``ModelCardData``."""
    from huggingface_hub import EvalResult, ModelCardData

    tags = ["timm", "glmc_zoo", "long-tailed", "imbalanced-data", results.method.replace("_", "-")]
    if backbone_module(results) is None:
        tags.insert(1, "transformers")
    task = "image-feature-extraction" if results.encoder_only else "image-classification"
    suffix = " of the classifier it was trained with" if results.encoder_only else ""
    scores = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=results.data.hub_id or results.data.name,
            dataset_name=results.data.name,
            dataset_split="test",
            metric_type="accuracy",
            metric_name=f"{_SCORES[name]}{suffix}",
            metric_value=round(100 * value, 2),
        )
        for name in _INDEXED_SCORES
        if (value := getattr(results.test, name, None)) is not None
    ]
    return ModelCardData(
        library_name="timm",
        pipeline_tag=task,
        tags=[task, *(["feature-extraction"] if results.encoder_only else []), *tags],
        license=results.model.license,
        datasets=[results.data.hub_id] if results.data.hub_id else None,
        metrics=["accuracy"] if scores else None,
        base_model=_base_model(results),
        model_name=results.model.name,
        eval_results=scores or None,
    )


def _base_model(results: RunResults) -> str | None:
    """Hub id of the weights that training started from; ``None`` from scratch, or from a local folder.

    A timm name without a tag does not tell its repository; `export_run` looks that one up.
    """
    model, finetune = results.model, results.finetune
    if model.base_model:
        return model.base_model
    source = model.pretrained_from or (finetune.model if finetune else None)
    if not source or source.startswith("local-dir:") or (finetune and finetune.kind not in ("timm", "hub")):
        return None
    repository = source.removeprefix("hf-hub:").removeprefix("hf_hub:").partition("@")[0]
    if "/" in repository:
        return repository
    return f"timm/{repository}" if "." in repository else None
