"""Which data set, which of its images, and how its splits are made: the arguments of `load_data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, option

ImbalanceType = Literal["exp", "step", "pareto"]
Selection = Literal["ldam", "first"]


@dataclass(frozen=True, kw_only=True)
class DataOptions(OptionGroup):
    """Which images; ``None`` stands for the data set's own, or for nothing of the kind."""

    data: str = option(
        "catalogue name, Hub id, image folder, parquet folder or saved datasets folder", default="digits_lt"
    )
    data_dir: str | None = option("folder with a local copy of a catalogue data set", default=None)
    data_config: str | None = option("configuration of a Hub data set or folder that has several", default=None)
    imbalance_factor: float | None = option(
        "thin the training split to largest class / smallest class = this", default=None, decided_by="the data set"
    )
    max_count: int | None = option(
        "images of the largest class when thinning", default=None, decided_by="all that the class has"
    )
    imbalance_type: ImbalanceType | None = option(
        "shape of the thinned class counts", default=None, decided_by="the data set, else exp"
    )
    selection: Selection = option(
        "which images stay when thinning: a seeded shuffle (ldam), or the first of each class", default="ldam"
    )
    data_seed: int = option("seed of the long-tailed subset and of the held-out images", default=0)
    val_fraction: float = option("share of each training class held out for validation", default=0.0)
    split_file: str | None = option(
        "official training list of a large set, a folder with its lists, or the Hub id of a data set with them",
        default=None,
    )
    official_val: bool = option("hold out the official validation list, to choose an epoch on", default=False)
    image_column: str | None = option("column with the images", default=None, decided_by="its type")
    label_column: str | None = option("column with the classes", default=None, decided_by="its type")
    train_split: str | None = option("name of the training split", default=None, decided_by="the usual names")
    test_split: str | None = option("name of the test split", default=None, decided_by="the usual names")
    skip_bad_images: bool = option("leave out images that cannot be read, and count them", default=False)

    def check(self) -> None:
        """Refuse values out of range, and two ways to hold images out at once.

        Raises:
            UserError: One of these was given.
        """
        self.at_least(1, "max_count", "imbalance_factor")
        self.at_least(0, "data_seed")
        self.below_one("val_fraction")
        if self.official_val and self.val_fraction:
            raise UserError(
                f"official_val=True and val_fraction={self.val_fraction!r} both hold images out: give one of them."
            )
        if self.data_seed >= 2**32:
            raise UserError(f"data_seed={self.data_seed!r} is too large: it must be below 2 ** 32.")
