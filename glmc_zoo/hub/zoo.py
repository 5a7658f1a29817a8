"""The published models, as their folders in ``hub_cards/`` describe them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PublishedModel", "list_models"]


@dataclass(frozen=True)
class PublishedModel:
    """One model of the zoo: what its Hub repository is called, and what its ``results.json`` says."""

    name: str
    backbone: str
    data: str
    method: str
    parameters: int
    scores: dict[str, float | None]
    """Test scores by the names of `LongTailMetrics`, fractions of 1."""
    folder: Path


def list_models(folder: str | Path | None = None) -> list[PublishedModel]:
    """Published models with their scores, by name.

    Args:
        folder: holds one folder a model; the checkout's ``hub_cards/`` when absent. Without one, as in an installation
            from a wheel, the list is empty.
    """
    root = Path(folder) if folder is not None else Path(__file__).parents[2] / "hub_cards"
    models = []
    for path in sorted(root.glob("*/results.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        model = results["model"]
        models.append(
            PublishedModel(
                name=model["name"],
                backbone=model["backbone"],
                data=results["data"]["name"],
                method=results["method"],
                parameters=model["parameters"],
                scores=results["test"],
                folder=path.parent,
            )
        )
    return models
