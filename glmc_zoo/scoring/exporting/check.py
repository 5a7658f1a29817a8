"""An exported file against torch: the same classes, how far probabilities differ, and the time of a batch."""

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

TOLERANCE = 1e-4
"""Largest difference of a probability that an export may have."""

_BATCHES = (1, 3, 16)
_ROUNDS, _SECONDS = (5, 50), 2.0  # fewest and most rounds of a timing; the seconds after which fewer than most suffice


@dataclass
class Agreement:
    """How well an exported file agrees with torch, over the images that were counted."""

    images: int = 0
    equal: int = 0
    """Images whose most probable class is the same."""
    max_difference: float = 0.0
    """Largest absolute difference of a probability."""

    def count(self, expected: Tensor, probabilities: Tensor) -> None:
        """Count a batch of probabilities (B, C) of torch and of the file."""
        if expected.shape != probabilities.shape:
            shapes = f"{tuple(probabilities.shape)} instead of {tuple(expected.shape)}"
            raise UserError(f"The export gives probabilities of shape {shapes} for a batch: give another format=.")
        self.images += len(expected)
        self.equal += int((expected.argmax(dim=1) == probabilities.argmax(dim=1)).sum())
        difference = float((expected - probabilities).abs().max())
        # A NaN is no agreement, and a comparison would pass over it.
        self.max_difference = max(self.max_difference, difference) if difference == difference else float("inf")

    @property
    def top1_agreement(self) -> float:
        """Share of the images whose most probable class is the same."""
        return self.equal / self.images

    def check(self, name: str) -> None:
        """Refuse a file that does not give torch's answers."""
        if self.equal < self.images or self.max_difference >= TOLERANCE:
            raise UserError(
                f"The export does not give the answers of {name}: the class of {self.images - self.equal} of "
                f"{self.images} images differs, and probabilities by up to {self.max_difference:.2g} where less than "
                f"{TOLERANCE:g} is allowed; nothing was written, give another format=."
            )


def random_batches(size: tuple[int, int, int]) -> Iterator[Tensor]:
    """uint8 batches of 1, 3 and 16 images: noise, and in every second image coarse spots; the same in each call."""
    generator = torch.Generator().manual_seed(0)
    for count in _BATCHES:
        noise = torch.rand(count, *size, generator=generator)
        spots = F.interpolate(torch.rand(count, size[0], 4, 4, generator=generator), size[1:], mode="bilinear")
        noise[1::2] = 0.8 * spots[1::2] + 0.2 * noise[1::2]
        yield (noise * 255).round().to(torch.uint8)


def as_input(images: Tensor) -> Tensor:
    """uint8 images as the input of an exported file."""
    return images.float() / 255


@torch.inference_mode()
def torch_probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """float32 probabilities (B, C) of uint8 images, as every score comes from them: not through the exported graph."""
    logits: Tensor = classifier.network(classifier.normalize(images))
    return logits.float().softmax(dim=1)


def time_ratio(reference: Run, exported: Run, images: Tensor) -> float:
    """Time that the file takes for a batch over the time that torch takes: the median of rounds in which both run."""
    for run in (reference, exported):  # the first batches allocate
        run(images)
        run(images)
    ratios, start, (fewest, most) = list[float](), time.perf_counter(), _ROUNDS
    while len(ratios) < fewest or (len(ratios) < most and time.perf_counter() - start < _SECONDS):
        begin = time.perf_counter()
        reference(images)
        middle = time.perf_counter()
        exported(images)
        ratios.append((time.perf_counter() - middle) / (middle - begin))
    return median(ratios)
