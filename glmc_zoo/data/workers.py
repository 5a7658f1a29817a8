"""How many processes load images where nobody said it."""

from __future__ import annotations

from glmc_zoo.data.images import ImageSplit

__all__ = ["MOST_WORKERS", "default_workers"]

MOST_WORKERS = 16
"""Of one training process; beyond that the batches queue up for the process that takes them in."""


def default_workers(split: ImageSplit, device_type: str, cores: int, processes: int) -> int:
    """Processes that load images for one training process; 0: it loads them itself.

    Pictures that are decoded already are cropped faster than a batch travels between processes. Files are decoded
    beside the step: on a CPU by one process, so that the step keeps the cores (benchmarks/README.md); for a GPU by all
    cores but the one that feeds it.

    Args:
        split: what is loaded.
        device_type: of the training, as ``torch.device.type`` has it.
        cores: of this machine.
        processes: training processes that share them.
    """
    if split.pixels is not None:
        return 0
    if device_type == "cpu":
        return 1 if cores > processes else 0
    return max(1, min(cores // processes - 1, MOST_WORKERS))
