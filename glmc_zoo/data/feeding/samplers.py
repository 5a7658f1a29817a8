"""Which images make a batch: pairs of a shuffled image and a re-balanced partner, and the types of batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from glmc_zoo.data.feeding.view_params import ViewParams
from glmc_zoo.errors import UserError
from glmc_zoo.text import counted

SECOND_IMAGE = 0x2545F4914F6CDD1D
"""XORed with a sample seed, so that the partner of an image is augmented by other random numbers."""


class PairIndex(NamedTuple):
    """One training sample."""

    first: int
    """Position in the split, from the plain shuffle."""
    second: int
    """Position of the partner from the re-balanced sampler, or -1."""
    sample_seed: int
    """Seed of the sample's augmentation, 63 bits."""


class PairedBatch(NamedTuple):
    """A batch for GLMC. A view is uint8 of shape (B, 3, S, S); targets are int64 of shape (B,)."""

    first: tuple[Tensor, ...]
    """The views of the plainly shuffled images."""
    first_targets: Tensor
    second: tuple[Tensor, ...] | None
    """The views of the re-balanced images; ``None`` without a re-balanced sampler."""
    second_targets: Tensor | None
    first_params: tuple[ViewParams, ...] | None = None
    """The augmentation that each view of ``first`` still needs, see `Normalize`; ``None`` for none."""
    second_params: tuple[ViewParams, ...] | None = None


class SingleBatch(NamedTuple):
    """A batch for plain training: one view, uint8 of shape (B, 3, S, S), and int64 targets of shape (B,)."""

    images: Tensor
    targets: Tensor
    params: ViewParams | None = None
    """The augmentation that the view still needs, see `Normalize`; ``None`` for none."""


class EpochSampler(Sampler[PairIndex]):
    """Shuffles the split, and samples a partner for each image with replacement.

    Both depend only on ``seed`` and the epoch, so a run that is resumed in any epoch sees the same samples.

    Args:
        num_samples: Images in the split.
        second_weights: Weight of each image for the partners, shape (num_samples,); ``None``: no partners.
        seed: Seed of the order, 0 or more; the same in every process.
    """

    def __init__(self, num_samples: int, *, second_weights: Tensor | None, seed: int) -> None:
        if seed < 0:
            raise UserError(f"seed={seed!r} is negative: give 0 or more.")
        if second_weights is not None:
            second_weights = torch.as_tensor(second_weights, dtype=torch.float64).cpu()
            if second_weights.shape != (num_samples,):
                shape = tuple(second_weights.shape)
                raise UserError(
                    f"Sampling weights of shape {shape} do not fit {counted(num_samples, 'image')}: give one each."
                )
            if not (torch.isfinite(second_weights).all() and (second_weights >= 0).all() and second_weights.sum() > 0):
                raise UserError("The sampling weights must be finite numbers of 0 or more, not all 0.")
        self.num_samples = num_samples
        self.second_weights = second_weights
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[PairIndex]:
        words = np.random.SeedSequence([self.seed, self.epoch]).generate_state(self.num_samples + 2, np.uint64) >> 1
        order_seed, pair_seed, *sample_seeds = words.tolist()
        first = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(order_seed)).tolist()
        if self.second_weights is None:
            second = [-1] * self.num_samples
        else:
            generator = torch.Generator().manual_seed(pair_seed)
            second = torch.multinomial(self.second_weights, self.num_samples, True, generator=generator).tolist()
        yield from map(PairIndex, first, second, sample_seeds)
