"""Data sets: the catalogue, long-tailed subsets, transforms and loaders.

Nothing heavy is imported until a name is used: the catalogue and the class counts need numpy alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glmc_zoo.data.catalogue import DataEntry, list_data
    from glmc_zoo.data.images import ImageSplit, to_rgb
    from glmc_zoo.data.load import LongTailData, load_data
    from glmc_zoo.data.loaders import (
        EpochSampler,
        PairedBatch,
        PairIndex,
        SingleBatch,
        TrainDataset,
        eval_loader,
        train_loader,
    )
    from glmc_zoo.data.longtail import longtail_counts, longtail_indices
    from glmc_zoo.data.stream_split import StreamSplit
    from glmc_zoo.data.streaming import StreamedData, load_stream
    from glmc_zoo.data.transforms import BatchCrop, Normalize, build_transforms

__all__ = [
    "BatchCrop",
    "DataEntry",
    "EpochSampler",
    "ImageSplit",
    "LongTailData",
    "Normalize",
    "PairIndex",
    "PairedBatch",
    "SingleBatch",
    "StreamSplit",
    "StreamedData",
    "TrainDataset",
    "build_transforms",
    "eval_loader",
    "list_data",
    "load_data",
    "load_stream",
    "longtail_counts",
    "longtail_indices",
    "to_rgb",
    "train_loader",
]

_HOMES = {
    "catalogue": ("DataEntry", "list_data"),
    "images": ("ImageSplit", "to_rgb"),
    "load": ("LongTailData", "load_data"),
    "loaders": (
        "EpochSampler",
        "PairIndex",
        "PairedBatch",
        "SingleBatch",
        "TrainDataset",
        "eval_loader",
        "train_loader",
    ),
    "longtail": ("longtail_counts", "longtail_indices"),
    "stream_split": ("StreamSplit",),
    "streaming": ("StreamedData", "load_stream"),
    "transforms": ("BatchCrop", "Normalize", "build_transforms"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
