"""Data sets of some classes of CIFAR-100 that CIFAR-10 does not have, thinned to a long tail.

- ``cifar100_20_lt``: every fifth class (0, 5, ..., 95), with 200 training images of the first class down to 5 of the
  last (imbalance factor 40, 1,100 images) and 100 test images of each class.
- ``cifar100_20_held_out``: the same training images. The test split, for choosing settings, has 40 training images of
  each class that the thinning left over.
- ``cifar100_20_held_out_small``: the same with the classes 2, 7, ..., 97 and 60 to 6 images of a class, 468 in all.
- ``cifar100_12_lt``: every eighth class (4, 12, ..., 92), with 226 training images of the first class down to 4 of the
  last (imbalance factor 56.5, 724 images) and 100 test images of each class.
- ``cifar100_12_held_out``: the same with the classes 6, 14, ..., 94, and left-over training images as test split.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HELD_OUT = 40  # images of each class


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Every ``step``-th class from ``first`` on, thinned."""

    first: int
    step: int = 5
    max_count: int
    imbalance_factor: float
    held_out: bool = False
    """Whether the test split has training images that the thinning left over."""


SUBSETS = {
    "cifar100_20_lt": Subset(first=0, max_count=200, imbalance_factor=40),
    "cifar100_20_held_out": Subset(first=0, max_count=200, imbalance_factor=40, held_out=True),
    "cifar100_20_held_out_small": Subset(first=2, max_count=60, imbalance_factor=10, held_out=True),
    "cifar100_12_lt": Subset(first=4, step=8, max_count=226, imbalance_factor=56.5),
    "cifar100_12_held_out": Subset(first=6, step=8, max_count=226, imbalance_factor=56.5, held_out=True),
}


def write_subset(source: Path, folder: Path, subset: Subset) -> None:
    """Write a subset as parquet files with a train and a test split.

    Args:
        source: Copy of the Hub's ``uoft-cs/cifar100``.
        folder: New folder for the files.
        subset: Which classes and how many images.
    """
    import numpy as np
    from datasets import ClassLabel, Dataset

    from glmc_zoo import longtail_counts

    tables = {
        name: Dataset.from_parquet([str(p) for p in source.rglob(f"{name}-*.parquet")]) for name in ("train", "test")
    }
    labels = {name: np.asarray(table.with_format("numpy")["fine_label"][:]) for name, table in tables.items()}
    classes = list(range(subset.first, 100, subset.step))
    names = [tables["train"].features["fine_label"].names[label] for label in classes]
    order = np.random.RandomState(0).permutation(len(labels["train"]))
    train, left_over = [], []
    for index, count in enumerate(longtail_counts(len(names), subset.max_count, subset.imbalance_factor)):
        members = order[labels["train"][order] == classes[index]]
        train += members[:count].tolist()
        left_over += members[count : count + HELD_OUT].tolist()
    test = (
        ("train", left_over)
        if subset.held_out
        else ("test", np.flatnonzero(labels["test"] % subset.step == subset.first))
    )
    folder.mkdir(parents=True)
    for split, (origin, indices) in {"train": ("train", train), "test": test}.items():
        table = tables[origin].select(indices).select_columns(["img", "fine_label"])
        table = table.rename_columns({"img": "image", "fine_label": "label"})
        table = table.map(lambda row: {"label": row["label"] // subset.step}).cast_column(
            "label", ClassLabel(names=names)
        )
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
