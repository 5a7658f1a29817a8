"""Long-tailed image classification with GLMC for any timm backbone.

Importing the package registers its backbones with timm. Everything heavy is imported on first use, so that the command
line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from glmc_zoo.data import list_data, load_data, longtail_counts, longtail_indices
    from glmc_zoo.hub import create_model, list_models
    from glmc_zoo.method import (
        GLMCModel,
        GLMCOutput,
        GLMCTask,
        MaxNorm,
        Mix,
        MixedViews,
        class_weights,
        cumulative_alpha,
        cut_box,
        draw_mix,
        glmc_loss,
        mix_views,
        sampling_weights,
    )
    from glmc_zoo.metrics import LongTailMetrics

__version__ = "0.1.0"

__all__ = [
    "GLMCModel",
    "GLMCOutput",
    "GLMCTask",
    "LongTailMetrics",
    "MaxNorm",
    "Mix",
    "MixedViews",
    "class_weights",
    "create_model",
    "cumulative_alpha",
    "cut_box",
    "draw_mix",
    "glmc_loss",
    "list_data",
    "list_models",
    "load_data",
    "longtail_counts",
    "longtail_indices",
    "mix_views",
    "sampling_weights",
]

_ROOMS = {"LongTailMetrics": "metrics", "create_model": "hub", "list_models": "hub"} | dict.fromkeys(
    ("list_data", "load_data", "longtail_counts", "longtail_indices"), "data"
)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS.get(name, 'method')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@wrapt.when_imported("timm")
def _register_backbones(_timm: Any) -> None:
    # timm takes seconds to import. Registering as soon as it is there, and at once when it is already, keeps both
    # promises: `import glmc_zoo` makes the names known, and `--help` does not wait for it.
    importlib.import_module(f"{__name__}.backbones")
