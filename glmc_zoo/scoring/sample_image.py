"""The sample image of a model card: an image that did not train the model, small and without metadata."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from glmc_zoo.data import ImageSplit
from glmc_zoo.errors import UserError
from glmc_zoo.files import partial_name
from glmc_zoo.hub.folder import SAMPLE_FILE
from glmc_zoo.results import DataFacts
from glmc_zoo.scoring.answers import Answers

_MAX_PIXELS = 384
"""Pixels of the longer side, at most."""
_MAX_BYTES = 60_000
_QUALITIES = (95, 90, 80, 70, 60, 50, 40, 30)
_OPEN_LICENSES = ("cc0-1.0", "cc-by-4.0")


def is_publishable(data: DataFacts) -> bool:
    """Whether an image may be published without asking: that of a catalogue's set whose licence lets everybody."""
    return data.in_catalogue and data.license in _OPEN_LICENSES


def write_sample(folder: Path, answers: Answers, split: ImageSplit, class_counts: Sequence[int]) -> str:
    """Write `SAMPLE_FILE` into a folder, and give the class of the image.

    The file is a JPEG of at most 384 pixels a side and 60 kB, without metadata.

    Args:
        folder: The run folder.
        answers: Those of the whole split.
        split: The images that were scored.
        class_counts: Training images of each class.

    Raises:
        UserError: No image was classified correctly, or the image cannot be read.
        OSError: The file cannot be written.
    """
    position = _sample_position(answers, class_counts)
    (image,) = split.images([position])
    # Pixels alone: a copy of the image would take its metadata along.
    image = Image.fromarray(np.asarray(image.convert("RGB")))
    image.thumbnail((_MAX_PIXELS, _MAX_PIXELS), Image.Resampling.BICUBIC)
    path = folder / SAMPLE_FILE
    partial = partial_name(path)
    try:
        partial.write_bytes(_jpeg(image))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return split.class_names[int(split.labels[position])]


def _sample_position(answers: Answers, class_counts: Sequence[int]) -> int:
    """Position of the surest right answer of the class in the middle by training images.

    Classes without a right answer do not count. A sure answer stays right when the image is encoded anew.
    """
    if not answers.most_confident:
        raise UserError("no image was classified correctly")
    classes = sorted(answers.most_confident, key=lambda label: (class_counts[label], label))
    return answers.most_confident[classes[len(classes) // 2]][1]


def _jpeg(image: Image.Image) -> bytes:
    """The image at the best quality within the limit of size."""
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
        content = file.getvalue()
        if len(content) <= _MAX_BYTES:
            break
    return content
