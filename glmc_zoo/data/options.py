"""Which data set, which of its images, and how its splits are made: the arguments of `load_data`."""

import math
import re
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any, Literal

from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.fields import OptionGroup, convert, option, type_hints

PATH_PREFIX = "path:"
"""Prefix of a ``split_by`` value that is a pattern on the path instead of the name of a column."""

_IDLE_IN_A_STREAM = frozenset(
    {
        *("split_file", "official_val", "selection", "data_seed", "val_fraction", "split_by", "duplicates"),
        *("allow_duplicates", "skip_bad_images", "no_test"),
    }
)

ImbalanceType = Literal["exp", "step", "pareto"]
Selection = Literal["ldam", "first"]
CompareBy = Literal["auto", "pixels", "bytes", "off"]


@dataclass(frozen=True, kw_only=True)
class DataOptions(OptionGroup):
    """Which data set is read, and how its splits are made. ``None`` means the default that the help text names."""

    data: str = option(
        "catalogue name, Hub id, folder of images or parquet files, saved datasets folder, or CSV file",
        default="digits_lt",
    )
    data_dir: str | None = option("folder with a local copy of a catalogue data set", default=None)
    data_config: str | None = option("configuration of a Hub data set or folder that has several", default=None)
    imbalance_factor: float | None = option(
        "thin the training split to largest class / smallest class = this",
        default=None,
        decided_by="the data set",
        at_least=1,
    )
    max_count: int | None = option(
        "images of the largest class when thinning", default=None, decided_by="all that the class has", at_least=1
    )
    imbalance_type: ImbalanceType | None = option(
        "shape of the thinned class counts", default=None, decided_by="the data set, else exp"
    )
    selection: Selection = option(
        "which images stay when thinning: a seeded shuffle (ldam), or the first of each class", default="ldam"
    )
    data_seed: int = option(
        "seed of the long-tailed subset and of the held-out images", default=0, at_least=0, below=2**32
    )
    val_fraction: float = option(
        "share of the training images held out for validation", default=0.0, at_least=0, below=1
    )
    duplicates: CompareBy = option(
        "how to find training images that are test images too; auto: by pixels where that is quick, else by bytes",
        default="auto",
    )
    allow_duplicates: bool = option("train on images that are test images too", default=False)
    split_file: str | None = option(
        "official training list of a large set, a folder with its lists, or the Hub id of a data set with them",
        default=None,
    )
    official_val: bool = option("hold out the official validation list, to choose an epoch on", default=False)
    image_column: str | None = option("column with the images", default=None, decided_by="its type")
    label_column: str | None = option("column with the classes", default=None, decided_by="its type")
    split_column: str | None = option(
        "column of a table with the split of each image", default=None, decided_by="its name, or what is in it"
    )
    split_by: str | None = option(
        "keep images together where a split is made: a column, or path:PATTERN, a regular expression on the path",
        default=None,
        decided_by="a CSV file's column group",
    )
    class_level: int | None = option(
        "which folder below the split is the class of an image; 1 is the first",
        default=None,
        decided_by="the first, where that is clear",
        at_least=1,
    )
    follow_links: bool = option("follow links that lead out of the data folder", default=False)
    train_split: str | None = option("name of the training split", default=None, decided_by="the usual names")
    test_split: str | None = option("name of the test split", default=None, decided_by="the usual names")
    no_test: bool = option(
        "train without a test split: none is set aside, and one that the data set has is not used", default=False
    )
    intensity_range: str | None = option(
        "values that become black and white in images of more than 8 bits, as LOW,HIGH; what lies beyond is cut off",
        default=None,
        decided_by="the values of the images, none of which is cut off",
    )
    skip_bad_images: bool = option("leave out images that cannot be read, and count them", default=False)

    @property
    def intensity_limits(self) -> tuple[float, float] | None:
        """The two values of ``intensity_range``; ``None`` where it is not given."""
        return None if self.intensity_range is None else parse_range("intensity_range", self.intensity_range)

    def check_stream(self) -> None:
        """Refuse options that have no effect on a stream: its test split is used as it is."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _IDLE_IN_A_STREAM and value != field.default:
                raise UserError(f"{field.name}={value!r} has no effect with streaming=True: leave one of them out.")

    def check(self) -> None:
        """Refuse an empty name, an invalid range or pattern, and options that contradict each other."""
        _ = self.intensity_limits
        if self.split_by is not None and self.split_by.startswith(PATH_PREFIX):
            path_pattern(self.split_by)
        if not self.data.strip():
            raise UserError(f"data={self.data!r} is empty: give a folder, a Hub id or a name, such as cifar10_lt.")
        if self.official_val and self.val_fraction:
            both = f"official_val=True and val_fraction={self.val_fraction!r}"
            raise UserError(f"{both} both hold images out: give one of them.")
        if self.allow_duplicates and self.duplicates == "off":
            raise UserError("allow_duplicates=True has no effect with duplicates='off': leave one of them out.")


def path_pattern(split_by: str) -> re.Pattern[str]:
    """The regular expression in ``path:PATTERN``, a value of ``split_by``; `UserError` if it is invalid or empty."""
    text = split_by.removeprefix(PATH_PREFIX)
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"split_by={split_by!r} is not a regular expression ({error}): correct it.") from error
    if not text:
        raise UserError(f"split_by={split_by!r} has no pattern: give one, such as 'path:([^/]+)/[^/]+$'.")
    return pattern


def parse_range(name: str, text: str) -> tuple[float, float]:
    """The numbers LOW and HIGH in ``LOW,HIGH``, a value of the option ``name``; `UserError` for any other text."""
    try:
        low, high = (float(number) for number in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not -math.inf < low < high < math.inf:
        raise UserError(
            f"{name}={text!r} is not accepted: it must be two numbers with a comma, the smaller first, such as 0,4095."
        )
    return low, high


def data_options(name_or_path: str | PathLike[str], options: dict[str, Any]) -> DataOptions:
    """The options of a data set from the keyword arguments of `load_data`, checked and converted as for a command."""
    types = type_hints(DataOptions)
    known = [name for name in types if name != "data"]
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{name}= is not an option of a data set: give {', '.join(known)}.{hint}")
    values = {"data": name_or_path, **options}
    return DataOptions(**{name: convert(name, value, types[name]) for name, value in values.items()})
