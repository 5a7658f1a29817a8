"""What a trained model becomes for other people: a timm folder, a model card, a repository on the Hub."""

from __future__ import annotations

from glmc_zoo.hub.card import render_card
from glmc_zoo.hub.export import GLMC_PAPER, export_model, write_heads
from glmc_zoo.hub.push import check_push, push_folder
from glmc_zoo.hub.zoo import PublishedModel, list_models

__all__ = [
    "GLMC_PAPER",
    "PublishedModel",
    "check_push",
    "export_model",
    "list_models",
    "push_folder",
    "render_card",
    "write_heads",
]
