"""The data set of an evaluation, and what a stream of it does not give: class counts, and classes without images."""

from collections.abc import Sequence
from dataclasses import replace

from glmc_zoo.data import LongTailData, StreamedData, load_split_data, load_stream_data
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.options.commands import EvaluateOptions


def open_data(options: EvaluateOptions) -> LongTailData | StreamedData:
    """The data set, loaded or as a stream."""
    return load_stream_data(options.data) if options.evaluation.streaming else load_split_data(options.data)


def with_known_counts(data: StreamedData, sources: Sequence[ModelSource]) -> StreamedData:
    """The data with class counts: its own, else those that the first model of the same classes was trained on."""
    if data.class_counts is not None:
        return data
    for source in sources:
        results = source.results
        if results is not None and results.class_counts is not None and results.class_names == data.class_names:
            note = f"The class counts are those that {source.name} was trained on: the stream does not give them."
            facts = replace(data.facts, class_counts_from="model", notes=[*data.notes, note])
            return replace(data, class_counts=list(results.class_counts), facts=facts)
    raise UserError(
        f"The training images of each class of {data.name} are not known from its stream, nor from the results of a "
        "model: leave streaming=True out, or give a model that was trained on it."
    )


def check_support(support: Sequence[int], class_names: Sequence[str]) -> None:
    """Refuse what `load_data` refuses beforehand, and a stream only shows once it was read."""
    bare = [name for name, images in zip(class_names, support, strict=True) if not images]
    if bare:
        more = f" (and {len(bare) - 1} more)" if len(bare) > 1 else ""
        raise UserError(f"Class {bare[0]!r}{more} has no test image: add some, or remove it from the training split.")
