"""Compares an exported file with torch: the predicted classes, the probabilities, and the time of a batch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from glmc_zoo.errors import UserError
from glmc_zoo.scoring.exporting.formats import Run
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.text import counted

TOLERANCE = 1e-4
"""The absolute difference of any probability must be below this."""

_BATCHES = (1, 3, 16)
_ROUNDS, _SECONDS = (5, 50), 2.0  # least and most rounds of a timing; after these seconds no more rounds are needed


@dataclass
class Agreement:
    """The agreement of an exported file with torch, over all counted images."""

    images: int = 0
    equal: int = 0
    """Images whose most probable class is the same."""
    max_difference: float = 0.0
    """Largest absolute difference of a probability."""

    def count(self, expected: Tensor, probabilities: Tensor) -> None:
        """Count a batch of probabilities (B, C): ``expected`` from torch, and those of the file.

        Raises:
            UserError: The shapes differ.
        """
        if expected.shape != probabilities.shape:
            shapes = f"{tuple(probabilities.shape)} instead of {tuple(expected.shape)}"
            raise UserError(f"The exported file returns the shape {shapes} for a batch: give another format=.")
        self.images += len(expected)
        self.equal += int((expected.argmax(dim=1) == probabilities.argmax(dim=1)).sum())
        difference = float((expected - probabilities).abs().max())
        # `max` would ignore a NaN, so it counts as infinite.
        self.max_difference = max(self.max_difference, difference) if difference == difference else float("inf")

    @property
    def top1_agreement(self) -> float:
        """Share of the images whose most probable class is the same."""
        return self.equal / self.images

    def check(self, name: str) -> None:
        """Refuse a file whose answers differ from torch's; ``name`` is the model's name.

        Raises:
            UserError: A predicted class differs, or a probability by at least `TOLERANCE`.
        """
        if self.equal < self.images or self.max_difference >= TOLERANCE:
            raise UserError(
                f"The exported file differs from {name}: in the class of {self.images - self.equal} of "
                f"{counted(self.images, 'image')}, and in probabilities by up to {self.max_difference:.2g}, where "
                f"less than {TOLERANCE:g} is "
                "allowed; nothing was written: give another format=."
            )


def random_batches(size: tuple[int, int, int]) -> Iterator[Tensor]:
    """uint8 batches of 1, 3 and 16 random images: noise, with coarse spots in every second one; always the same."""
    generator = torch.Generator().manual_seed(0)
    for count in _BATCHES:
        noise = torch.rand(count, *size, generator=generator)
        spots = F.interpolate(torch.rand(count, size[0], 4, 4, generator=generator), size[1:], mode="bilinear")
        noise[1::2] = 0.8 * spots[1::2] + 0.2 * noise[1::2]
        yield (noise * 255).round().to(torch.uint8)


def to_graph_input(images: Tensor) -> Tensor:
    """uint8 images (B, 3, H, W) as the input of an exported file, float32 with values of 0 to 1."""
    return images.float() / 255


@torch.inference_mode()
def torch_probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """float32 probabilities (B, C) of uint8 images, computed by the model as for scores, not by the exported graph."""
    logits: Tensor = classifier.network(classifier.normalize(images))
    return logits.float().softmax(dim=1)


def time_ratio(reference: Run, exported: Run, images: Tensor) -> float:
    """Time of the file for a batch divided by the time of torch: the median over rounds in which both run."""
    for run in (reference, exported):  # warm-up
        run(images)
        run(images)
    ratios, start, (min_rounds, max_rounds) = list[float](), time.perf_counter(), _ROUNDS
    while len(ratios) < min_rounds or (len(ratios) < max_rounds and time.perf_counter() - start < _SECONDS):
        round_start = time.perf_counter()
        reference(images)
        middle = time.perf_counter()
        exported(images)
        ratios.append((time.perf_counter() - middle) / (middle - round_start))
    return median(ratios)
