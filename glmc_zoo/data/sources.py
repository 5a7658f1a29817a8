"""Open the data set that the user names: a catalogue name, a folder, a CSV file or a Hub id."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from glmc_zoo.data.catalogue import DataEntry, list_data
from glmc_zoo.data.official.facts import OfficialSplit
from glmc_zoo.data.official.index import ImageIndex, index_layout, index_raw
from glmc_zoo.data.official.lists import find_lists
from glmc_zoo.data.official.splits import split_by_lists, split_without_lists
from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import has_configurations, holds_tables, open_folder
from glmc_zoo.data.reading.hub import HUB_ID, open_hub
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.label_files import list_csv
from glmc_zoo.data.reading.listing import FileListing, check_class_level, raw_from_listing
from glmc_zoo.data.reading.missing import LISTS, missing_data, missing_path, suggest_paths
from glmc_zoo.data.reading.split import RawData, RawSplit
from glmc_zoo.data.reading.split_names import NAMED_IN_CATALOGUE, NAMED_IN_OPTIONS
from glmc_zoo.data.reading.tables import raw_from_tables
from glmc_zoo.errors import UserError
from glmc_zoo.facts import SplitFacts
from glmc_zoo.text import counted, escaped

_DIGITS_TEST_PER_CLASS = 60
_EMBEDDED = Path(__file__).with_name("embedded")


def open_source(options: DataOptions, entry: DataEntry | None) -> RawData:
    """Read the complete data set before it is thinned. Official lists, if it has them, already define its splits."""
    if entry is not None and entry.official is not None:
        return _open_official(options, entry, entry.official)
    if entry is not None and entry.embedded and entry.folder is None:
        return open_digits()
    source = locate(options, entry)
    raw = _read(source, options, entry)[0]
    if entry is not None:
        check_num_classes(entry, source, len(raw.class_names))
    return raw


def open_digits() -> RawData:
    """The scanned digits of scikit-learn, as uint8 RGB of 8 x 8 pixels; 60 images of each class are the test split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    labels = digits.target.astype(np.int64)
    # The order is fixed, so that results with different options are scored on the same test images.
    order = np.random.RandomState(0).permutation(len(labels))
    test = np.concatenate([order[labels[order] == c][:_DIGITS_TEST_PER_CLASS] for c in range(10)])
    train = np.setdiff1d(np.arange(len(labels)), test)
    return RawData(
        class_names=[str(name) for name in digits.target_names],
        train=RawSplit(ArrayImages(pixels, "training"), labels, train),
        test=RawSplit(ArrayImages(pixels, "test"), labels, np.sort(test)),
    )


def locate(options: DataOptions, entry: DataEntry | None) -> Path | str:
    """Where the images lie: a folder, or a Hub id as text."""
    name = options.data
    if entry is not None and entry.folder is not None:
        return _EMBEDDED / entry.folder / "data"
    if entry is not None and options.data_dir is None:
        if entry.hub_id is None:
            raise UserError(f"The images of {name} are not on the Hub: give {entry.local_layout} with data_dir=.")
        return entry.hub_id
    folder = Path(name if options.data_dir is None else options.data_dir)
    is_file, exists = os.path.isfile(folder), os.path.exists(folder)  # unlike `Path`, these take names of any length
    if os.path.isdir(folder) or (entry is None and is_file):
        return _checked_file(folder) if is_file else folder
    if entry is not None:
        problem, hint = ("is not a folder", "") if exists else ("does not exist", suggest_paths(folder))
        raise UserError(f"data_dir={options.data_dir!r} {problem}: for {name} give {entry.local_layout}.{hint}")
    if exists:
        raise UserError(f"data={escaped(name)!r} is neither a folder nor a regular file: give one of them.")
    list_of_images = folder.suffix.lower() in (*LISTS, ".parquet")
    if HUB_ID.fullmatch(name) and not name.startswith(".") and not list_of_images:
        return name
    if "/" in name or name.startswith(("~", ".")) or list_of_images:
        raise missing_path(name)
    raise missing_data(name, list_data())


def _checked_file(path: Path) -> Path:
    if path.suffix.lower() in LISTS:
        return path
    if path.suffix.lower() == ".parquet":
        raise UserError(f"data={str(path)!r} is one parquet file: give the folder that it lies in.")
    raise UserError(f"data={str(path)!r} is a file: give a folder, or a CSV file that lists images with their classes.")


def configuration(source: Path | str, options: DataOptions, entry: DataEntry | None) -> str | None:
    """The configuration to open: the user's, or the catalogue's where the source has configurations."""
    if entry is None:
        return options.data_config
    return entry.hub_config if isinstance(source, str) or has_configurations(source) else None


def with_usual_names(options: DataOptions, entry: DataEntry | None, splits: Mapping[str, Any]) -> DataOptions:
    """Fill in the entry's columns and splits, if the user names none and the tables have them."""
    if entry is None:
        return options
    features = next(iter(splits.values())).features

    def usual(name: str, available: Any, other_split: str | None = None) -> str | None:
        requested, value = getattr(options, name), getattr(entry, name)
        return str(value) if requested is None and value in available and value != other_split else requested

    train = usual("train_split", splits, options.test_split)
    return replace(
        options,
        image_column=usual("image_column", features),
        label_column=usual("label_column", features),
        split_by=usual("split_by", features),
        train_split=train,
        test_split=usual("test_split", splits, train),
    )


def check_num_classes(entry: DataEntry, source: Path | str, num_classes: int) -> None:
    """Refuse a number of classes that differs from the catalogue."""
    if num_classes != entry.num_classes:
        problem = f"{entry.name} has {counted(entry.num_classes, 'class')} but {source} has {num_classes}"
        raise UserError(f"{problem}: give {entry.local_layout}.")


def is_thinned(options: DataOptions) -> bool:
    """Whether the user gives an option that thins the data set."""
    return any(value is not None for value in (options.imbalance_factor, options.max_count, options.imbalance_type))


def with_long_tail(options: DataOptions, entry: DataEntry | None, *, by_list: bool) -> DataOptions:
    """Fill in the long tail of the catalogue entry if the user asks for none.

    Without an ``imbalance_factor`` in the result, nothing is thinned. ``by_list`` says that an official list made the
    training split.
    """
    factor, largest, shape = options.imbalance_factor, options.max_count, options.imbalance_type or "exp"
    if entry is not None:
        largest, shape = largest or entry.max_count, options.imbalance_type or entry.imbalance_type
        if entry.official is None:
            factor = factor or entry.default_imbalance_factor
        elif is_thinned(options) or not (by_list or entry.official.natural):
            factor = factor or entry.official.imbalance_factor
    return replace(options, imbalance_factor=factor, max_count=largest, imbalance_type=shape)


def check_options(options: DataOptions, entry: DataEntry | None) -> None:
    """Refuse options that this data set does not support, or that would have no effect on it.

    Args:
        options: The options of the data set.
        entry: Its entry in the catalogue; ``None`` for a folder, a file or a data set of the Hub.

    Raises:
        UserError: Such an option is set.
    """

    def refuse(option: str, reason: str) -> NoReturn:
        raise UserError(f"{option}={getattr(options, option)!r} {reason}.")

    name, official = options.data, None if entry is None else entry.official
    if entry is None and options.data_dir is not None:
        refuse("data_dir", f"is for the data sets of glmc-zoo list, and {name} is not one: give data=FOLDER instead")
    if entry is not None and entry.embedded and options.data_dir is not None:
        refuse("data_dir", f"has no effect: {name} comes with the package; leave it out")
    if entry is not None and entry.embedded and options.intensity_range is not None:
        refuse("intensity_range", f"is for images of more than 8 bits, and those of {name} have 8: leave it out")
    if entry is not None and options.data_config is not None:
        refuse("data_config", f"is for data sets outside the catalogue: leave it out with {name}")
    if entry is None and options.imbalance_factor is None:
        advice = f"shapes a long tail, and {name} is used as it is: give imbalance_factor= as well, or leave"
        if options.max_count is not None:
            refuse("max_count", f"{advice} max_count= out")
        if options.imbalance_type not in (None, "exp"):  # exp is the default shape, so it asks for nothing
            refuse("imbalance_type", f"{advice} imbalance_type= out")
    listed = {other.name: other.official for other in list_data().values() if other.official}
    if options.split_file is not None and official is None:
        refuse("split_file", f"is for data sets with official lists ({', '.join(listed)}): leave it out with {name}")
    if options.official_val and (official is None or official.val is None):
        known = ", ".join(other for other, lists in listed.items() if lists.val)
        refuse(
            "official_val",
            f"is for data sets with an official validation list ({known}), and {name} has none: hold images out with "
            "val_fraction=",
        )


def source_facts(options: DataOptions, entry: DataEntry | None, license_name: str) -> dict[str, Any]:
    """The fields of `DataFacts` that identify the data set."""
    if entry is not None:
        names = ("name", "hub_id", "license", "description")
        return {"in_catalogue": True, **{name: getattr(entry, name) for name in names}}
    folder = Path(options.data)
    if os.path.exists(folder):
        # The name goes into model cards, which must not tell where a folder lies on this machine.
        folder = folder.resolve()  # a CSV file lists images of the folder that it lies in
        name = (folder.parent if folder.is_file() else folder).name
        return {"name": escaped(name), "license": license_name}
    return {"name": options.data, "hub_id": options.data, "license": license_name}


def _open_official(options: DataOptions, entry: DataEntry, official: OfficialSplit) -> RawData:
    """A catalogue data set split by its official lists, or complete if no list is available."""
    thinned = is_thinned(options)
    if thinned and (options.split_file is not None or options.official_val):
        option = "official_val=True" if options.split_file is None else f"split_file={options.split_file!r}"
        raise UserError(
            f"{option} uses the official list of {entry.name}, and imbalance_factor=, max_count= and imbalance_type= "
            "thin the data set without it: give either."
        )
    source = locate(options, entry)
    index, reading_notes = _index_images(source, options, entry, official)
    notes = list[str]()
    lists = find_lists(
        entry.name,
        official,
        split_file=options.split_file,
        data_dir=source if isinstance(source, Path) else None,
        lists_repo=None if thinned and not official.natural else entry.lists_repo,
    )
    uses_list = official.natural or not thinned
    if uses_list and (lists.train is not None or (index.shared and lists.test is not None)):
        raw = split_by_lists(
            official, index, lists, official_val=options.official_val, skip_missing=options.skip_bad_images,
            where=str(source),
        )  # fmt: skip
        notes += lists.notes
    elif options.official_val:
        raise UserError(
            f"official_val=True uses the official list of {entry.name}, and there is no {official.train.file}: give it "
            "as split_file=, or hold images out with val_fraction=."
        )
    else:
        raw = split_without_lists(official, index, lists, where=str(source))
        if not thinned:
            used = "used as it is, and was not checked"
            if not official.natural:
                used = "thinned to a Pareto curve instead, which is not the official split"
            notes += [*lists.notes, f"{official.train.file} is missing: the training split is {used}."]
        if len(index.class_names) != entry.num_classes:
            notes.append(
                f"The images are of {counted(len(index.class_names), 'class')}; {entry.name} has {entry.num_classes}."
            )
    if thinned:
        notes.append(f"The training split of {entry.name} is thinned as asked for: it is not the official split.")
    raw.notes = [*notes, *raw.notes, *reading_notes]
    return raw


def _index_images(
    source: Path | str, options: DataOptions, entry: DataEntry, official: OfficialSplit
) -> tuple[ImageIndex, list[str]]:
    """An index of all images of a large data set, and the notes of reading its tables."""
    if isinstance(source, str) or holds_tables(source):
        raw, tables = _read(source, options, entry)
        return index_raw(raw, tables), raw.notes
    for option in ("image_column", "label_column", "split_column", "class_level", "train_split", "test_split"):
        if (value := getattr(options, option)) is not None:
            raise UserError(
                f"{option}={value!r} has no effect: {source} has image files, and the layout of {entry.name} is known; "
                "leave it out."
            )
    index = index_layout(source, official)
    if index is None:
        raise UserError(f"The folder {source} does not have a layout of {entry.name}: give {entry.local_layout}.")
    return index, []


def _read(source: Path | str, options: DataOptions, entry: DataEntry | None) -> tuple[RawData, Mapping[str, Any]]:
    """The splits and classes of a folder, a CSV file or a Hub data set, and its tables, if any."""
    raw, tables = _open(source, options, entry)
    check_class_level(options, raw.layout, source)
    return raw, tables


def _open(source: Path | str, options: DataOptions, entry: DataEntry | None) -> tuple[RawData, Mapping[str, Any]]:
    """Open the source as what it is: a CSV file, a folder of image files or of tables, or a Hub data set."""
    if isinstance(source, Path) and source.is_file():
        return raw_from_listing(list_csv(source, options), options), {}
    config = configuration(source, options, entry)
    content = open_folder(source, options, config) if isinstance(source, Path) else open_hub(source, options, config)
    if isinstance(content, FileListing):
        return raw_from_listing(content, options), {}
    folder = source.resolve() if isinstance(source, Path) else None
    raw = raw_from_tables(content, with_usual_names(options, entry, content), folder)
    raw.sources = [_source_of_entry(origin, options) for origin in raw.sources]
    return raw, content


def _source_of_entry(origin: SplitFacts, options: DataOptions) -> SplitFacts:
    """The facts of a split, which say that the catalogue named it where the user did not."""
    requested = {"train": options.train_split, "test": options.test_split}.get(origin.name)
    return replace(origin, how=NAMED_IN_CATALOGUE) if origin.how == NAMED_IN_OPTIONS and not requested else origin
