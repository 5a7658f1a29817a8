"""The published models, as their folders in ``hub_cards/`` describe them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from glmc_zoo.errors import UserError

__all__ = ["PublishedModel", "cards_folder", "list_models", "published_names"]


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
    """Published models with their scores, by name; `glmc_zoo.create_model` builds one by its name.

    Args:
        folder: holds one folder a model; those that come with the package when absent.

    Raises:
        UserError: a model's ``results.json`` is damaged.
    """
    models = []
    for path in sorted((Path(folder) if folder is not None else cards_folder()).glob("*/results.json")):
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            model = results["model"]
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} holds no results of a model: export it again, or move its folder away.") from error
        models.append(
            PublishedModel(
                name=path.parent.name,
                backbone=model["backbone"],
                data=results["data"]["name"],
                method=results.get("method", "glmc"),  # of a converted checkpoint: it is in GLMC's layout
                parameters=model["parameters"],
                scores=results.get("test", {}),
                folder=path.parent,
            )
        )
    return models


def published_names() -> list[str]:
    """Names of the published models."""
    return sorted(path.parent.name for path in cards_folder().glob("*/results.json"))


def cards_folder() -> Path:
    """Where the published models lie: in the package as installed, or the checkout's ``hub_cards/``."""
    installed = Path(__file__).with_name("cards")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "hub_cards"
