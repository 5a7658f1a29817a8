"""The front matter of a model card: what the Hub reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["INDEXED", "SCORES", "base_model", "front_matter"]

# Score, its name in the card, and whether it is a share to be shown in percent.
SCORES = (
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
INDEXED = ("top1", "balanced_accuracy", "many", "medium", "few")  # what the front matter's model-index lists


def front_matter(
    results: Mapping[str, Any], *, model: Mapping[str, Any], data: Mapping[str, Any], method: str, needs_package: bool
) -> Any:
    """The ``ModelCardData`` of a card.

    Args:
        results: as `glmc_zoo.hub.render_card` takes them.
        model: their part of this name, its name and licence filled in.
        data: their part of this name, with ``hub_id``.
        method: their method, filled in.
        needs_package: whether timm alone does not know the architecture.
    """
    from huggingface_hub import ModelCardData

    encoder = bool(results.get("encoder_only"))
    tags = ["timm", "glmc_zoo", "long-tailed", "imbalanced-data", method.replace("_", "-")]
    if not needs_package:
        tags.insert(1, "transformers")
    scores = _scores(results, data)
    return ModelCardData(
        library_name="timm",
        pipeline_tag="image-feature-extraction" if encoder else "image-classification",
        tags=[*(("image-feature-extraction", "feature-extraction") if encoder else ("image-classification",)), *tags],
        license=model["license"],
        datasets=[data["hub_id"]] if data["hub_id"] else None,
        metrics=["accuracy"] if scores else None,
        base_model=base_model(model, results.get("finetune")),
        model_name=model["name"],
        eval_results=scores or None,
    )


def _scores(results: Mapping[str, Any], data: Mapping[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    test = results.get("test") or {}
    whose = " of the classifier it was trained with" if results.get("encoder_only") else ""
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            dataset_type=data["hub_id"] or data["name"],
            dataset_name=data["name"],
            dataset_split="test",
            metric_type="accuracy",
            metric_name=f"{label}{whose}",
            metric_value=round(100 * test[key], 2),
        )
        for key, label, _ in SCORES
        if key in INDEXED and test.get(key) is not None
    ]


def base_model(model: Mapping[str, Any], finetune: Mapping[str, Any] | None) -> str | None:
    """The Hub id of the weights that training started from; None from scratch, or when they lie in a local folder.

    A name of timm without a tag does not say which of timm's repositories it is; an export adds ``base_model`` then.
    """
    if model.get("base_model"):
        return str(model["base_model"])
    source = model.get("pretrained_from") or (finetune or {}).get("model")
    if not source or source.startswith("local-dir:") or (finetune or {}).get("kind") not in (None, "timm", "hub"):
        return None
    repository = source.removeprefix("hf-hub:").removeprefix("hf_hub:").partition("@")[0]
    if "/" in repository:
        return str(repository)
    return f"timm/{repository}" if "." in repository else None
