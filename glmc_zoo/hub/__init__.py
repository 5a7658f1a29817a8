"""What a trained model becomes for other people: a timm folder, a model card, a repository on the Hub."""

from __future__ import annotations

from glmc_zoo.hub.card import render_card
from glmc_zoo.hub.export import GLMC_PAPER, export_model, export_run, write_heads
from glmc_zoo.hub.push import check_login, check_push, push_command, push_folder
from glmc_zoo.hub.source import ModelSource, create_model, open_model, source_license
from glmc_zoo.hub.upload import PushResult
from glmc_zoo.hub.validate import check_card
from glmc_zoo.hub.zoo import PublishedModel, list_models

__all__ = [
    "GLMC_PAPER",
    "ModelSource",
    "PublishedModel",
    "PushResult",
    "check_card",
    "check_login",
    "check_push",
    "create_model",
    "export_model",
    "export_run",
    "list_models",
    "open_model",
    "push_command",
    "push_folder",
    "render_card",
    "source_license",
    "write_heads",
]
