"""How many processes load images where nobody said it."""

from __future__ import annotations

__all__ = ["MOST_WORKERS", "default_workers"]

MOST_WORKERS = 16
"""Of one process of a run; beyond that the batches queue up for the process that takes them in."""


def default_workers(decoded: bool, device_type: str, cores: int, processes: int) -> int:
    """Processes that load images for one process of a run; 0: it loads them itself.

    Pictures that are decoded already are cropped faster than a batch travels between processes. Files are decoded
    beside the step: for a GPU by all cores but the one that feeds it, on a CPU by a quarter of the cores, which the
    step leaves to them. On two or three cores the step and the decoding take turns: beside a worker, each operation of
    the step would wait for the thread that the worker keeps from running.

    Args:
        decoded: whether the pictures lie in memory as pixels.
        device_type: of the run, as ``torch.device.type`` has it.
        cores: of this machine.
        processes: of the run that share them.
    """
    if decoded:
        return 0
    if device_type == "cpu":
        return min(cores // processes // 4, MOST_WORKERS)
    return max(1, min(cores // processes - 1, MOST_WORKERS))
