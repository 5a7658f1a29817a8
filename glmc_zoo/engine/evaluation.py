"""Scores of a model on a split, with every image counted exactly once however many processes share it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from glmc_zoo.engine.output import own_share
from glmc_zoo.metrics import ScoreCounts

__all__ = ["evaluate", "sum_counts"]


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    loader: DataLoader,
    normalize: Callable[[Tensor], Tensor],
    empty: ScoreCounts,
    accelerator: Accelerator,
    *,
    total: int,
) -> ScoreCounts:
    """Counts of a whole split, the same in every process.

    Args:
        model: Gives logits ``(B, C)``; not wrapped, because the processes' shares may differ in length.
        loader: This process's own share, batches of (uint8 images, classes, indices).
        normalize: From uint8 to the network's input, on the device.
        empty: Counts to add to, with class counts and thresholds.
        accelerator: For device, precision and the sum over processes.
        total: Images in the split; the sum must come out as this.

    Raises:
        RuntimeError: An image was missed or counted twice.
    """
    was_training = model.training
    model.eval()
    for images, targets, _ in own_share(loader, accelerator):
        with accelerator.autocast():
            logits = model(normalize(images.to(accelerator.device, non_blocking=True)))
        empty.update(targets.numpy(), logits=logits.float().cpu().numpy())
    model.train(was_training)
    return sum_counts(empty, accelerator, total)


def sum_counts(counts: ScoreCounts, accelerator: Accelerator, total: int) -> ScoreCounts:
    """Counts of all processes together, the same in each.

    Raises:
        RuntimeError: they are not ``total`` images: one was missed or counted twice.
    """
    parts = [torch.from_numpy(part).to(accelerator.device) for part in (counts.integers(), counts.floats())]
    integers, floats = (accelerator.reduce(part, "sum").cpu().numpy() for part in parts)
    summed = counts.with_state(integers, floats)
    if summed.total != total:
        raise RuntimeError(f"The evaluation counted {summed.total} images of a split of {total}.")
    return summed
