"""The model card, rendered from a run's ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError

__all__ = ["render_card"]

TEMPLATE_FILE = "card_template.md"

# Dotted names of what no card can do without.
_REQUIRED = ("test.top1", "class_counts", "data.name", "model.backbone", "model.input_size")

# Score, its name in the card, and whether it is a share to be shown in percent.
_SCORES = (
    ("top1", "Top-1 accuracy", True),
    ("top5", "Top-5 accuracy", True),
    ("balanced_accuracy", "Balanced accuracy", True),
    ("many", "Many-shot accuracy", True),
    ("medium", "Medium-shot accuracy", True),
    ("few", "Few-shot accuracy", True),
    ("hmean", "Harmonic mean of class recalls", True),
    ("gmean", "Geometric mean of class recalls", True),
    ("worst", "Worst class recall", True),
    ("macro_f1", "Macro F1", True),
    ("ece", "Expected calibration error (15 bins)", True),
    ("nll", "Negative log-likelihood (nats)", False),
)
_INDEXED = ("top1", "balanced_accuracy", "many", "medium", "few")  # what the front matter's model-index lists
_METHODS = {
    "glmc": "GLMC (global and local mixture consistency cumulative learning)",
    "ce": "plain cross-entropy",
    "balanced_softmax": "cross-entropy with balanced softmax",
}
_MOST_CLASSES_LISTED = 20


def render_card(results: Mapping[str, Any], *, template: str | Path | None = None, repo_id: str | None = None) -> str:
    """The text of ``README.md`` for an exported model: front matter and card, from the results alone.

    Needs no network. Scores are fractions of 1 in ``results`` and percent in the card; a score that is null, such as
    that of a group with no class, is left out of the front matter and shown as a dash.

    Args:
        results: the content of a run's ``results.json``. Required are ``test.top1``, ``class_counts``, ``data.name``,
            ``model.backbone`` and ``model.input_size``; what else is missing is left out of the card.
        template: a Jinja2 file in place of the one that comes with the package.
        repo_id: ``ORG/NAME`` on the Hub, for the snippets; by default they load the folder that the card lies in.

    Returns:
        The card, with a newline at its end.

    Raises:
        UserError: a required key is missing, lists of classes disagree, or there is no such template.
    """
    from jinja2 import Environment, StrictUndefined

    _check_required(results)
    path = Path(template) if template is not None else _default_template()
    if not path.is_file():
        raise UserError(f"There is no card template at {path}: give a Jinja2 file, or leave the template out.")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    text = environment.from_string(path.read_text(encoding="utf-8")).render(_context(results, repo_id))
    return text.rstrip() + "\n"


def _default_template() -> Path:
    installed = Path(__file__).with_name(TEMPLATE_FILE)
    return installed if installed.is_file() else Path(__file__).parents[2] / "hub_cards" / TEMPLATE_FILE


def _check_required(results: Mapping[str, Any]) -> None:
    def absent(dotted: str) -> bool:
        value: Any = results
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value is None

    missing = [dotted for dotted in _REQUIRED if absent(dotted)]
    if missing:
        raise UserError(
            f"The results lack {', '.join(missing)}: render the card from the results.json of a finished run."
        )
    classes = len(results["class_counts"])
    for key in ("class_names", "class_recalls"):
        if results.get(key) is not None and len(results[key]) != classes:
            raise UserError(
                f"{key} has {len(results[key])} entries for {classes} class_counts: give one for each class."
            )


def _context(results: Mapping[str, Any], repo_id: str | None) -> dict[str, Any]:
    """Everything that the template names, with None for what the results do not say."""
    model, data = dict(results["model"]), dict(results["data"])
    model.setdefault("tag", f"glmc_{data['name']}")
    model["name"] = model.get("name") or f"{model['backbone']}.{model['tag']}"
    for key in ("parameters", "mean", "std", "interpolation", "crop_pct", "pretrained_from", "license"):
        model.setdefault(key, None)
    for key in ("hub_id", "imbalance_factor", "profile", "selection", "data_seed", "description", "license"):
        data.setdefault(key, None)
    for key in ("train_images", "test_images", "val_images", "skipped_images"):
        data.setdefault(key, None)
    method = results.get("method") or "glmc"
    return {
        "card_data": _front_matter(results, model, data, method).to_yaml(),
        "model": model,
        "data": data,
        "method": method,
        "method_name": _METHODS.get(method, method),
        "preset": results.get("preset"),
        "config": results.get("config") or {},
        "selection": results.get("selection") or {},
        "seeds": results.get("seeds") or {},
        "command": results.get("command"),
        "versions": results.get("versions") or {},
        "hardware": results.get("hardware"),
        "processes": results.get("processes"),
        "wall_time": _duration(results.get("wall_time_s")),
        "scores": _score_rows(results),
        "top1": _percent(results["test"]["top1"]),
        "thresholds": _thresholds(results.get("thresholds")),
        "counts": list(results["class_counts"]),
        "classes": _class_rows(results),
        "source": f"hf-hub:{repo_id}" if repo_id else "local-dir:.",
        "repo_id": repo_id,
        "needs_package": _needs_package(model),
        "colour_mode": {1: "L", 4: "RGBA"}.get(model["input_size"][0], "RGB"),
    }


def _front_matter(results: Mapping[str, Any], model: Mapping[str, Any], data: Mapping[str, Any], method: str) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    test = results["test"]
    labels = {key: label for key, label, _ in _SCORES}
    scores = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=data["hub_id"] or data["name"],
            dataset_name=data["name"],
            dataset_split="test",
            metric_type="accuracy",
            metric_name=labels[key],
            metric_value=round(100 * test[key], 2),
        )
        for key in _INDEXED
        if test.get(key) is not None
    ]
    tags = ["image-classification", "timm", "glmc_zoo", "long-tailed", "imbalanced-data", method.replace("_", "-")]
    if not _needs_package(model):
        tags.insert(2, "transformers")
    return ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=tags,
        license=model["license"] or "apache-2.0",
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        metrics=["accuracy"],
        base_model=_base_model(model["pretrained_from"]),
        model_name=model["name"],
        eval_results=scores,
    )


def _base_model(source: str | None) -> str | None:
    """The Hub id of the weights that training started from; None from scratch, or when they lie in a local folder."""
    if not source or source.startswith("local-dir:"):
        return None
    repository = source.removeprefix("hf-hub:").removeprefix("hf_hub:").partition("@")[0]
    return repository if "/" in repository else f"timm/{repository}"


def _needs_package(model: Mapping[str, Any]) -> bool:
    """Whether timm alone does not know the architecture."""
    import timm

    if model.get("needs_glmc_zoo") is not None:
        return bool(model["needs_glmc_zoo"])
    backbone = model["backbone"]
    return not (timm.is_model(backbone) and timm.model_entrypoint(backbone).__module__.startswith("timm."))


def _score_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a score that was computed; ``classes`` is the size of a group."""
    test, groups = results["test"], results.get("groups") or {}
    return [
        {
            "key": key,
            "label": label,
            "value": _percent(test[key]) if share else _number(test[key]),
            "classes": groups.get(key),
        }
        for key, label, share in _SCORES
        if key in test
    ]


def _class_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a class, or none when they are too many for a table."""
    counts = results["class_counts"]
    if len(counts) > _MOST_CLASSES_LISTED:
        return []
    names = results.get("class_names") or list(range(len(counts)))
    recalls = results.get("class_recalls") or [None] * len(counts)
    return [
        {"name": name, "count": count, "recall": _percent(recall)}
        for name, count, recall in zip(names, counts, recalls, strict=True)
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
