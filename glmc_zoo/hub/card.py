"""The model card, rendered from a run's ``results.json``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.hub._front_matter import SCORES, front_matter
from glmc_zoo.hub.zoo import cards_folder

__all__ = ["render_card"]

TEMPLATE_FILE = "card_template.md"

# Dotted names of what no card can do without; a model converted from somebody's checkpoint has no scores.
_REQUIRED = ("test.top1", "class_counts", "data.name", "model.backbone", "model.input_size")
_REQUIRED_CONVERTED = ("class_names", "data.name", "model.backbone", "model.input_size")

_METHODS = {
    "glmc": "GLMC (global and local mixture consistency cumulative learning)",
    "ce": "plain cross-entropy",
    "balanced_softmax": "cross-entropy with balanced softmax",
}
_TUNED = {
    "full": "every layer",
    "head": "the classifier alone",
    "blocks": "the last blocks and the classifier",
    "last-blocks": "the last blocks and the classifier",
    "lora": "low-rank adapters (LoRA), merged into the weights",
}
_PRECISIONS = {"no": "single (float32)", "fp16": "mixed with float16", "bf16": "mixed with bfloat16"}
_MOST_CLASSES_LISTED = 20


def render_card(results: Mapping[str, Any], *, template: str | Path | None = None, repo_id: str | None = None) -> str:
    """The text of ``README.md`` for an exported model: front matter and card, from the results alone.

    Needs no network. Scores are fractions of 1 in ``results`` and percent in the card; a score that is null, such as
    that of a group with no class, is left out of the front matter and shown as a dash.

    Args:
        results: the content of a run's ``results.json``. Required are ``test.top1``, ``class_counts``, ``data.name``,
            ``model.backbone`` and ``model.input_size``; what else is missing is left out of the card. With
            ``converted``, for a model out of somebody's checkpoint, ``class_names`` stand in for the first two.
        template: a Jinja2 file in place of the one that comes with the package.
        repo_id: ``ORG/NAME`` on the Hub, for the snippets; by default they load the folder that the card lies in.

    Returns:
        The card, with a newline at its end.

    Raises:
        UserError: a required key is missing, lists of classes disagree, or there is no such template.
    """
    from jinja2 import Environment, StrictUndefined

    _check_required(results)
    path = Path(template) if template is not None else cards_folder() / TEMPLATE_FILE
    if not path.is_file():
        raise UserError(f"There is no card template at {path}: give a Jinja2 file, or leave the template out.")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"cell": _cell, "words": _words}
    text = environment.from_string(path.read_text(encoding="utf-8")).render(_context(results, repo_id))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _check_required(results: Mapping[str, Any]) -> None:
    def absent(dotted: str) -> bool:
        value: Any = results
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value is None

    missing = [name for name in (_REQUIRED_CONVERTED if results.get("converted") else _REQUIRED) if absent(name)]
    if missing:
        raise UserError(
            f"The results lack {', '.join(missing)}: render the card from the results.json of a finished run."
        )
    if results.get("class_counts") is None:
        return
    classes = len(results["class_counts"])
    for key in ("class_names", "class_recalls"):
        if results.get(key) is not None and len(results[key]) != classes:
            raise UserError(
                f"{key} has {len(results[key])} entries for {classes} class_counts: give one for each class."
            )


def _context(results: Mapping[str, Any], repo_id: str | None) -> dict[str, Any]:
    """Everything that the template names, with None for what the results do not say."""
    model, data, converted = dict(results["model"]), dict(results["data"]), results.get("converted")
    model["tag"] = model.get("tag") or f"glmc_{data['name']}"
    model["name"] = model.get("name") or f"{model['backbone']}.{model['tag']}"
    model["license"] = model.get("license") or ("unknown" if converted else "apache-2.0")
    for key in ("parameters", "mean", "std", "interpolation", "crop_pct", "pretrained_from"):
        model.setdefault(key, None)
    for key in ("hub_id", "imbalance_factor", "profile", "selection", "data_seed", "description", "license"):
        data.setdefault(key, None)
    for key in ("train_images", "test_images", "val_images", "skipped_images", "image_format"):
        data.setdefault(key, None)
    method = results.get("method") or "glmc"
    needs_package = _needs_package(model)
    card_data = front_matter(results, model=model, data=data, method=method, needs_package=needs_package)
    counts = list(results.get("class_counts") or [])
    plots = results.get("plots") or []
    return {
        "card_data": card_data.to_yaml(),
        "model": model,
        "data": data,
        "method": method,
        "method_name": _METHODS.get(method, method),
        "preset": results.get("preset"),
        "schedule": results.get("schedule"),
        "encoder": bool(results.get("encoder_only")),
        "converted": converted,
        "finetune": _finetune(results.get("finetune")),
        "second_stage": _second_stage(results.get("second_stage")),
        "config": results.get("config") or {},
        "selection": results.get("selection") or {},
        "seeds": results.get("seeds") or {},
        "command": results.get("command"),
        "versions": results.get("versions") or {},
        "commit": results.get("commit"),
        "hardware": results.get("hardware"),
        "processes": results.get("processes"),
        "precision": _PRECISIONS.get(results.get("precision") or "", results.get("precision")),
        "wall_time": _duration(results.get("wall_time_s")),
        "weights": _weights(results.get("weights")),
        "scores": _score_rows(results),
        "posthoc": results.get("posthoc"),
        "top1": _percent((results.get("test") or {}).get("top1")),
        "thresholds": _thresholds(results.get("thresholds")),
        "counts": counts,
        "num_classes": len(counts or results["class_names"]),
        "classes": _class_rows(results),
        "plots": {Path(name).stem: f"plots/{name}" for name in plots},
        "source": f"hf-hub:{repo_id}" if repo_id else "local-dir:.",
        "repo_id": repo_id,
        "needs_package": needs_package,
        "colour_mode": {1: "L", 4: "RGBA"}.get(model["input_size"][0], "RGB"),
    }


def _needs_package(model: Mapping[str, Any]) -> bool:
    """Whether timm alone does not know the architecture; only results that do not say it need timm here."""
    if model.get("needs_glmc_zoo") is not None:
        return bool(model["needs_glmc_zoo"])
    import timm

    backbone = model["backbone"]
    return not (timm.is_model(backbone) and timm.model_entrypoint(backbone).__module__.startswith("timm."))


def _finetune(finetune: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the model was fine-tuned from and how, in words."""
    if not finetune or not finetune.get("model"):
        return None
    tune = finetune.get("tune")
    return {
        "model": finetune["model"],
        "commit": finetune.get("commit"),
        "tuned": _TUNED.get(tune or "", tune),
        "kept": finetune.get("kept") or [],
    }


def _second_stage(stage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the classifier went through after the rest of the model was finished; ``limit`` is None without MaxNorm."""
    if not stage or not stage.get("source"):
        return None
    limit, seeds = stage.get("limit"), stage.get("source_seeds") or {}
    return {
        "source": stage["source"],
        "commit": stage.get("source_commit"),
        "top1": None if stage.get("source_test_top1") is None else _percent(stage["source_test_top1"]),
        "beta": stage.get("beta"),
        "threshold": stage.get("threshold"),
        "limit": None if limit is None else f"{limit:.4g}",
        "command": stage.get("source_command"),
        "config": stage.get("source_config") or {},
        "seeds": ", ".join(f"{name} {value}" for name, value in seeds.items()),
    }


def _weights(weights: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is said of the weight file; ``difference`` is a number in words, of ``what``."""
    if not weights:
        return None
    kind = next((kind for kind in ("logit", "feature") if weights.get(f"max_{kind}_difference") is not None), None)
    return {
        "file": weights["file"],
        "bytes": f"{weights['bytes']:,}",
        "sha256": weights["sha256"],
        "half": weights["dtype"] == "float16",
        "what": f"{kind}s" if kind else None,
        "difference": f"{weights[f'max_{kind}_difference']:.2g}" if kind else None,
    }


def _score_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a score that was computed; ``classes`` is the size of a group."""
    test, groups = results.get("test") or {}, results.get("groups") or {}
    return [
        {
            "key": key,
            "label": label,
            "value": _percent(test[key]) if share else _number(test[key]),
            "classes": groups.get(key),
        }
        for key, label, share in SCORES
        if key in test
    ]


def _class_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a class, or none when they are too many for a table."""
    counts = results.get("class_counts") or []
    if len(counts) > _MOST_CLASSES_LISTED:
        return []
    names = results.get("class_names") or list(range(len(counts)))
    recalls = results.get("class_recalls") or [None] * len(counts)
    return [
        {"name": name, "count": count, "recall": _percent(recall)}
        for name, count, recall in zip(names, counts, recalls, strict=bool(counts))
    ]


def _thresholds(thresholds: Mapping[str, Any] | None) -> str | None:
    """The groups in words, such as "many: above 100; medium: 20 to 100; few: below 20"."""
    if not thresholds or thresholds.get("many") is None or thresholds.get("few") is None:
        return None
    many, few = thresholds["many"], thresholds["few"]
    if thresholds.get("few_inclusive"):
        return f"many: above {many}; medium: {few + 1} to {many}; few: up to {few}"
    return f"many: above {many}; medium: {few} to {many}; few: below {few}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"  # noqa: RUF001


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"  # noqa: RUF001


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _cell(value: Any) -> str:
    """Text that cannot break a Markdown table's row."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _words(value: Any) -> str:
    """Nested settings in one line, such as "logit adjustment: tau 1.0, chosen on the validation part"."""
    if isinstance(value, Mapping):
        parts = [
            f"{str(key).replace('_', ' ')}{':' if isinstance(part, Mapping) else ''} {_words(part)}"
            for key, part in value.items()
            if part is not None
        ]
        return ("; " if any(isinstance(part, Mapping) for part in value.values()) else ", ").join(parts)
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return " ".join(str(value).split())
