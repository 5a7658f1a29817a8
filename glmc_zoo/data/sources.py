"""Where data sets come from: scikit-learn, a folder, or the Hugging Face Hub."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glmc_zoo.data.columns import find_image_column, find_label_column, read_labels
from glmc_zoo.data.images import IMAGE_SUFFIXES, ArrayImages, ArrowImages
from glmc_zoo.data.local_cache import has_configurations, is_saved, table_arguments
from glmc_zoo.data.raw import RawData, RawSplit
from glmc_zoo.errors import UserError

__all__ = [
    "choose_splits",
    "holds_tables",
    "one_line",
    "open_digits",
    "open_folder",
    "open_hub",
    "raw_from_tables",
]

_TRAIN_NAMES = ("train", "training")
_TEST_NAMES = ("test", "testing")
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")
_DIGITS_TEST_PER_CLASS = 60


def open_digits() -> RawData:
    """The scanned digits of scikit-learn, as uint8 RGB of 8 x 8 pixels; 60 images of each class are the test part."""
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


def open_folder(folder: Path, config: str | None = None) -> Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a folder: saved by ``save_to_disk``, parquet files, or pictures.

    Pictures lie as ``CLASS/*.jpg``, or as ``train/CLASS/*.jpg`` beside ``test`` or ``validation``, at any depth below
    the folder of their class; or a ``metadata.csv`` or ``metadata.jsonl`` beside them gives their labels.

    Raises:
        UserError: no such folder, nothing in it that can be read, pictures outside the class folders, several
            configurations and none chosen, or one chosen where there is none.
    """
    import datasets

    if not folder.is_dir():
        raise UserError(
            f"The data folder {folder} does not exist: give an existing folder, a Hub id or a catalogue name."
        )
    if config is not None and not has_configurations(folder):
        raise UserError(f"The data folder {folder} has no configurations, so no {config!r}: leave --data-config out.")
    try:
        if is_saved(folder):
            saved = datasets.load_from_disk(str(folder))
            return saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        if _first_kind(folder) == "parquet":
            return datasets.load_dataset(**table_arguments(folder.resolve(), config))
        return _open_pictures(folder.resolve())
    except UserError:
        raise
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"The data folder {folder} cannot be read: {one_line(error)}.") from error


def holds_tables(folder: Path) -> bool:
    """Whether a folder is saved by ``datasets`` or has parquet files, and not pictures.

    Raises:
        UserError: it has none of these.
    """
    return is_saved(folder) or _first_kind(folder) == "parquet"


def open_hub(hub_id: str, config: str | None = None) -> Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a data set on the Hugging Face Hub.

    Raises:
        UserError: the Hub cannot be reached, or has no such data set or configuration.
    """
    import datasets

    try:
        return datasets.load_dataset(hub_id, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UserError(
            f"The data set {hub_id} cannot be had from the Hugging Face Hub ({one_line(error)}): check the name and "
            "the network, or give a local copy (--data-dir FOLDER for a catalogue set, else the folder as data set)."
        ) from error


def raw_from_tables(
    tables: Mapping[str, Any],
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    folder: Path | None = None,
) -> RawData:
    """Pick the splits and columns, and read the classes.

    Raises:
        UserError: a split or column that is not there or cannot be told, or labels that cannot be used.
    """
    train_name, test_name, notes = choose_splits(list(tables), train_split, test_split)
    chosen = [tables[train_name]] + ([tables[test_name]] if test_name else [])
    features = chosen[0].features
    images = find_image_column(features, image_column)
    labels, class_names = read_labels(chosen, find_label_column(features, label_column))
    parts = []
    for table, name, label in zip(chosen, ("training", "test"), labels, strict=False):
        column = images if images in table.features else find_image_column(table.features, None)
        parts.append(RawSplit(ArrowImages(table, column, name, folder), label, np.arange(len(label))))
    license_name = getattr(chosen[0].info, "license", None) or "unknown"
    return RawData(class_names, parts[0], parts[1] if test_name else None, license_name, notes)


def _first_kind(folder: Path) -> str:
    """Whether the first readable file below the folder is a parquet file or a picture; a dataset card may decide it."""
    if has_configurations(folder):
        return "parquet"
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix == ".parquet":
                return "parquet"
            if suffix in IMAGE_SUFFIXES:
                return "pictures"
    raise UserError(
        f"The data folder {folder} has no images: expected CLASS/*.jpg, train/CLASS/*.jpg with test/CLASS/*.jpg, "
        "*.parquet, or a folder saved by datasets."
    )


def _open_pictures(folder: Path) -> Mapping[str, Any]:
    """Pictures in one folder a class, however deep below it; or as a metadata file beside them lists them.

    Not left to ``datasets``, which takes the folder next to the file for the class (``cat/2020/1.jpg`` would be a
    "2020"), and a class called "test tube" or a file called ``train_1.jpg`` for a split.
    """
    import datasets

    splits = _split_folders(folder)
    if any(_has_metadata(path) for path in splits.values()):
        _refuse_without_train(folder, list(splits))
        files = {split: f"{glob.escape(str(path))}/**" for split, path in splits.items()}
        return datasets.load_dataset("imagefolder", data_files=files)
    pictures = {split: found for split, path in splits.items() if (found := _pictures_by_class(path))}
    _refuse_without_train(folder, list(pictures))
    classes = sorted({name for found in pictures.values() for name, _ in found})
    number = {name: i for i, name in enumerate(classes)}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=classes)})
    return {
        split: datasets.Dataset.from_dict(
            {"image": [str(path) for _, path in found], "label": [number[name] for name, _ in found]},
            features=features,
        )
        for split, found in pictures.items()
    }


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split; the whole folder is the training split when none of those in it is one.

    A folder called "train" may be a class, beside others that are called otherwise: it is a split when it has folders
    or a metadata file in it.
    """
    inner = _visible_folders(folder)
    named: dict[str, Path] = {}
    for split, names in (("train", _TRAIN_NAMES), ("test", _TEST_NAMES), ("validation", _VALIDATION_NAMES)):
        for path in inner:
            if path.name.lower() in names:
                named.setdefault(split, path)
    sure = {split: path for split, path in named.items() if _has_metadata(path) or _visible_folders(path)}
    if "train" in sure:
        return named
    if _has_metadata(folder):
        return {"train": folder}
    only_splits = all(path.name.lower() in (*_TRAIN_NAMES, *_TEST_NAMES, *_VALIDATION_NAMES) for path in inner)
    return sure or (named if only_splits else {}) or {"train": folder}


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_metadata(folder: Path) -> bool:
    return any((folder / f"metadata.{kind}").is_file() for kind in ("csv", "jsonl"))


def _refuse_without_train(folder: Path, splits: list[str]) -> None:
    if "train" not in splits:
        raise UserError(
            f"The data folder {folder} has {', '.join(splits)} but no train pictures: add train/CLASS/*.jpg."
        )


def _pictures_by_class(root: Path) -> list[tuple[str, Path]]:
    """Class and file of each picture below ``root``, in the order of their paths; the class is the first folder."""
    found = []
    for here, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                continue
            path = Path(here, name)
            if path.parent == root:
                raise UserError(
                    f"The picture {name} lies in {root} itself and so has no class: move it into a folder named as its "
                    "class, or away."
                )
            found.append((path.relative_to(root).parts[0], path))
    return found


def choose_splits(names: list[str], train: str | None, test: str | None) -> tuple[str, str | None, list[str]]:
    """Training split, test split (``None`` where there is none), and what was decided for the user.

    Raises:
        UserError: a split that is asked for is not there, both are one, or the training split cannot be told.
    """
    notes = []
    for option, wanted in (("train-split", train), ("test-split", test)):
        if wanted is not None and wanted not in names:
            raise UserError(f"There is no split {wanted!r}: give one of {', '.join(names)} as --{option}.")
    if train is None:
        usable = [name for name in names if name != test]
        train = next((name for name in _TRAIN_NAMES if name in usable), None)
        if train is None:
            if len(usable) != 1:
                raise UserError(f"None of the splits {', '.join(names)} is called train: name it with --train-split.")
            train = usable[0]
            notes.append(f"The split {train} is the training part.")
    if test == train:
        raise UserError(f"The split {train!r} cannot be both training and test part: name another as --test-split.")
    rest = [name for name in names if name != train]
    if test is None:
        test = next((name for name in (*_TEST_NAMES, *_VALIDATION_NAMES) if name in rest), None)
        if test in _VALIDATION_NAMES:
            notes.append(f"There is no test split: the split {test} is the test part.")
    idle = [name for name in _VALIDATION_NAMES if name in rest and name != test]
    if idle:
        notes.append(f"The split {idle[0]} is not used: --val-fraction holds out a part of the training split.")
    return train, test, notes


def one_line(error: Exception) -> str:
    """An error's text on one line, of at most 200 characters."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
