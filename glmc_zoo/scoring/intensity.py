"""Images of more than 8 bits, read with the intensity range of a model's training."""

from glmc_zoo.data import ImageSplit, StreamSplit
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.intensity import Intensity
from glmc_zoo.hub import ModelSource


def with_trained_intensity(
    split: ImageSplit | StreamSplit, source: ModelSource, options: DataOptions
) -> tuple[ImageSplit | StreamSplit, list[str]]:
    """The split, read with the intensity range of the model's training unless the user gives one, and notes on that."""
    intensity = trained_intensity(source)
    if intensity is None or options.intensity_range is not None:
        return split, []
    converted = split.with_intensity(intensity)
    return converted, [] if converted is split else [f"{intensity.note} The model was trained with this range."]


def trained_intensity(source: ModelSource) -> Intensity | None:
    """The intensity range of a model's training; ``None`` for images of 8 bits, and where it is not known."""
    return None if source.results is None else Intensity.of(source.results.data)
