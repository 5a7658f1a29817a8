"""Evaluation on a stream: the data set opened to be read as it comes, and the class counts that it may not know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from accelerate import Accelerator

from glmc_zoo.data import StreamedData, load_stream
from glmc_zoo.engine.evaluate import EvaluateConfig
from glmc_zoo.engine.output import main_process_first
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource

__all__ = ["check_support", "load_run_stream", "with_known_counts"]

# What `load_stream` takes of the arguments of `load_data`.
_OPTIONS = (
    *("data_dir", "data_config", "imbalance_factor", "max_count", "profile"),
    *("image_column", "label_column", "train_split", "test_split"),
)


def load_run_stream(config: EvaluateConfig, accelerator: Accelerator) -> StreamedData:
    """The data set of the evaluation as a stream.

    Raises:
        UserError: as of `load_stream`, in all processes.
    """
    options = {name: value for name, value in config.load_options().items() if name in _OPTIONS}
    return main_process_first(accelerator, lambda: load_stream(config.data, **options))


def with_known_counts(data: StreamedData, sources: Sequence[ModelSource]) -> StreamedData:
    """The data with class counts: its own, else those that the first model of the same classes was trained on.

    Raises:
        UserError: neither says them.
    """
    if data.class_counts is not None:
        return data
    for source in sources:
        results = source.results or {}
        names, counts = results.get("class_names") or source.class_names, results.get("class_counts")
        if counts is not None and names == data.class_names:
            note = f"The class counts are those that {source.name} was trained on: the stream does not tell them."
            info = {**data.info, "class_counts_from": "model", "notes": [*data.notes, note]}
            return dataclasses.replace(data, class_counts=list(counts), info=info)
    raise UserError(
        f"The training images of each class of {data.name} are not known from its stream, nor from the results of a "
        "model: leave --streaming out, or give a model that was trained on it."
    )


def check_support(support: Sequence[int], class_names: Sequence[str]) -> None:
    """Refuse what `load_data` refuses beforehand, and a stream only shows when it has passed.

    Raises:
        UserError: a class came without a test image.
    """
    bare = [name for name, images in zip(class_names, support, strict=True) if not images]
    if bare:
        more = f" (and {len(bare) - 1} more)" if len(bare) > 1 else ""
        raise UserError(f"Class {bare[0]!r}{more} has no test image: add some, or remove it from the training part.")
