"""From a run's results to what an export says: the arguments of its configuration, and the facts that it adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glmc_zoo.errors import UserError

__all__ = ["GLMC_PAPER", "export_arguments", "with_encoder", "with_facts"]

# For `export_model(..., **GLMC_PAPER)`, when the model really was trained with GLMC.
GLMC_PAPER: dict[str, Any] = {
    "paper_name": "Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions",
    "paper_ids": "arXiv:2305.08661",
}

_REQUIRED = ("tag", "mean", "std", "input_size")


def export_arguments(results: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `glmc_zoo.hub.export_model`, out of results.

    Raises:
        UserError: one of them is not there.
    """
    model, data = results.get("model") or {}, results.get("data") or {}
    missing = [f"model.{key}" for key in _REQUIRED if model.get(key) is None]
    missing += [] if results.get("class_names") is not None else ["class_names"]
    if missing:
        raise UserError(f"The results lack {', '.join(missing)}: export with the results of a finished run.")
    return {
        "class_names": [] if results.get("encoder_only") else results["class_names"],
        "mean": model["mean"],
        "std": model["std"],
        "input_size": tuple(model["input_size"]),
        "interpolation": model.get("interpolation") or "bicubic",
        "crop_pct": 1.0 if model.get("crop_pct") is None else model["crop_pct"],
        "tag": model["tag"],
        "license": model.get("license") or "apache-2.0",
        "description": data.get("description"),
        **(GLMC_PAPER if results.get("method") == "glmc" else {}),
    }


def with_encoder(results: Mapping[str, Any], *, parameters: int) -> dict[str, Any]:
    """The results of the classifier, as they stand in the export of its encoder."""
    model = dict(results["model"])
    name = model.get("name") or f"{model['backbone']}.{model['tag']}"
    model |= {"tag": f"{model['tag']}_encoder", "name": f"{name}_encoder", "parameters": parameters}
    return {**results, "model": model, "encoder_only": True}


def with_facts(results: Mapping[str, Any], *, weights: Mapping[str, Any], plots: Sequence[str]) -> dict[str, Any]:
    """The results with what the export adds, and with the repository that the training started from by its full name.

    timm takes a name without a tag for one of its repositories; the card cannot look that up.
    """
    model = dict(results["model"])
    start = model.get("pretrained_from")
    if start and model.get("base_model") is None and not {":", "/", "."} & set(start):
        from timm.models import get_pretrained_cfg, is_model

        config = get_pretrained_cfg(start, allow_unregistered=False) if is_model(start) else None
        model |= {"base_model": config.hf_hub_id} if config and config.hf_hub_id else {}
    return {**results, "model": model, "weights": dict(weights), "plots": list(plots)}
