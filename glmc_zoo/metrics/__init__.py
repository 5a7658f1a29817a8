"""Scores and pictures for long-tailed classification.

The numpy functions are imported at once; ``LongTailMetrics`` (which needs ``evaluate``, slow to import) and the plots
(which need ``matplotlib``) on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .longtail import GROUPS, ScoreCounts, group_of_classes, longtail_scores, recalls, tercile_thresholds

if TYPE_CHECKING:
    from .longtail_metric import LongTailMetrics
    from .plots import plot_class_accuracy, plot_comparison, plot_group_confusion, plot_training

__all__ = [
    "GROUPS",
    "LongTailMetrics",
    "ScoreCounts",
    "group_of_classes",
    "longtail_scores",
    "plot_class_accuracy",
    "plot_comparison",
    "plot_group_confusion",
    "plot_training",
    "recalls",
    "tercile_thresholds",
]

_LAZY = {
    "LongTailMetrics": "longtail_metric",
    "plot_class_accuracy": "plots",
    "plot_comparison": "plots",
    "plot_group_confusion": "plots",
    "plot_training": "plots",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value  # so that the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
