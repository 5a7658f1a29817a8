"""Local folders: images in class folders, parquet files, or a folder saved by ``datasets``, and the cache of each."""

import glob
import hashlib
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.reading.images import IMAGE_SUFFIXES, stray_image
from glmc_zoo.data.reading.tables import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, errors_as_sentence
from glmc_zoo.data.reading.walk import walk_images
from glmc_zoo.errors import UserError


def open_folder(folder: Path, config: str | None = None) -> Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a folder: saved by ``save_to_disk``, parquet files, or images.

    Images lie as ``CLASS/*.jpg``, or as ``train/CLASS/*.jpg`` beside ``test`` or ``validation``, at any depth below
    the folder of their class; or a ``metadata.csv`` or ``metadata.jsonl`` beside them gives their labels.
    """
    import datasets

    if not folder.is_dir():
        raise missing_folder(folder)
    check_configuration(folder, config)
    tables: Mapping[str, Any]
    with errors_as_sentence(folder):
        if is_saved(folder):
            saved = datasets.load_from_disk(str(folder))
            tables = saved if isinstance(saved, datasets.DatasetDict) else {"train": saved}
        elif holds_tables(folder):
            tables = datasets.load_dataset(**table_arguments(folder.resolve(), config))
        else:
            tables = _open_images(folder.resolve())
        return tables


def missing_folder(folder: Path | str) -> UserError:
    """The error for a folder that does not exist."""
    return UserError(f"The data folder {folder} does not exist: give an existing folder, Hub id or catalogue name.")


def holds_tables(folder: Path) -> bool:
    """Whether a folder was saved by ``datasets`` or holds parquet files, rather than image files.

    The first file of either kind decides, or a dataset card.
    """
    if is_saved(folder) or has_configurations(folder):
        return True
    for _, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            suffix = Path(name).suffix.lower()
            if suffix == ".parquet" or suffix in IMAGE_SUFFIXES:
                return suffix == ".parquet"
    raise UserError(
        f"The data folder {folder} has no images: expected CLASS/*.jpg, train/CLASS/*.jpg with test/CLASS/*.jpg, "
        "*.parquet, or a folder saved by datasets."
    )


def _open_images(folder: Path) -> Mapping[str, Any]:
    """Images in one folder per class, however deep below it; or as a metadata file beside them lists them.

    This is not left to ``datasets``, which takes the folder next to the file for the class (``cat/2020/1.jpg`` would be
    a "2020"), and a class called "test tube" or a file called ``train_1.jpg`` for a split.
    """
    import datasets

    splits = _split_folders(folder)
    if any(_has_metadata(path) for path in splits.values()):
        _refuse_without_train(folder, list(splits))
        files = {split: f"{glob.escape(str(path))}/**" for split, path in splits.items()}
        tables: Mapping[str, Any] = datasets.load_dataset("imagefolder", data_files=files)
        return tables
    images = {split: listed for split, path in splits.items() if (listed := _images_by_class(path))}
    _refuse_without_train(folder, list(images))
    classes = sorted({name for listed in images.values() for name, _ in listed})
    number = {name: i for i, name in enumerate(classes)}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=classes)})
    return {
        split: datasets.Dataset.from_dict(
            {"image": [path for _, path in listed], "label": [number[name] for name, _ in listed]}, features=features
        )
        for split, listed in images.items()
    }


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split; the whole folder is the training split when none of the inner folders is a split.

    A folder called "train" may be a class, beside others with other names: it is a split when it contains folders or a
    metadata file.
    """
    inner = _visible_folders(folder)
    kinds = {"train": TRAIN_NAMES, "test": TEST_NAMES, "validation": VALIDATION_NAMES}
    # Of two folders for one split the first is taken.
    named = {kind: path for kind, names in kinds.items() for path in inner[::-1] if path.name.lower() in names}
    sure = {split: path for split, path in named.items() if _has_metadata(path) or _visible_folders(path)}
    if "train" in sure:
        return named
    if _has_metadata(folder):
        return {"train": folder}
    only_splits = all(path.name.lower() in itertools.chain(*kinds.values()) for path in inner)
    return sure or (named if only_splits else {}) or {"train": folder}


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_metadata(folder: Path) -> bool:
    return any((folder / f"metadata.{kind}").is_file() for kind in ("csv", "jsonl"))


def _refuse_without_train(folder: Path, splits: list[str]) -> None:
    if "train" not in splits:
        raise UserError(f"The data folder {folder} has {', '.join(splits)} but no train images: add train/CLASS/*.jpg.")


def _images_by_class(root: Path) -> list[tuple[str, str]]:
    """Class and path of each image below ``root``; the class is the first folder below ``root``."""
    listed = []
    for folder, names in walk_images(root).folders.items():
        if folder == ".":
            raise stray_image(names[0], root)
        listed += [(folder.split("/")[0], str(root / folder / name)) for name in names]
    return listed


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` of ``datasets`` wrote the folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def has_configurations(folder: Path) -> bool:
    """Whether a dataset card in the folder lists configurations to choose from."""
    card = folder / "README.md"
    if is_saved(folder) or not card.is_file():
        return False
    return "\nconfigs:" in card.read_text(encoding="utf-8", errors="replace")


def check_configuration(folder: Path, config: str | None) -> None:
    """Refuse a configuration for a folder that has none."""
    if config is not None and not has_configurations(folder):
        raise UserError(f"data_config={config!r} is not known: {folder} has no configurations, so leave it out.")


def table_arguments(folder: Path, config: str | None = None) -> dict[str, Any]:
    """The arguments of ``datasets.load_dataset`` that open a folder of parquet files."""
    path = str(folder)
    if glob.escape(path) == path:
        return {"path": path, "name": config, "cache_dir": cache_folder(folder, config)}
    # ``datasets`` makes a pattern of the folder's path as it stands.
    if has_configurations(folder):
        raise UserError(f"The path of the data folder {folder} contains one of the characters *?[: rename the folder.")
    return {"path": "parquet", "data_dir": glob.escape(path)}


def cache_folder(folder: Path, config: str | None = None) -> str:
    """A cache for this folder alone; it changes when a file of its data changes.

    ``datasets`` identifies a folder with a dataset card by its last name and its card alone: after one folder
    ``cifar10``, another of that name, or the same with other images in it, would be read from the cache of the first.
    Files that ``datasets`` does not recognise do not count.
    """
    import datasets

    builder = datasets.load_dataset_builder(str(folder), config)
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for split, paths in sorted((builder.config.data_files or {}).items()):
        for path in paths:
            status = os.stat(path)
            digest.update(os.fsencode(f"{split}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "glmc_zoo", digest.hexdigest()[:16])
