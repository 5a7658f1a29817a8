"""Data sets on the Hugging Face Hub: tables as they are, image files as a local folder of them is read."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.card import ARCHIVES, card_configurations
from glmc_zoo.data.reading.dataset_errors import errors_as_sentence
from glmc_zoo.data.reading.folders import list_images
from glmc_zoo.data.reading.formats import IMAGE_SUFFIXES
from glmc_zoo.data.reading.label_files import METADATA
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.split_names import without_shard
from glmc_zoo.data.reading.walk import NOT_AN_IMAGE, Walk, unwanted, walk_images
from glmc_zoo.errors import UserError
from glmc_zoo.retry import ANSWER_SECONDS, Budget, call_with_retries, call_with_timeout, is_transient

# `datasets` also asks a second server, twice in a row, which may not be there.
_MOST_FAILURES = 5
_T = TypeVar("_T")
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def open_hub(hub_id: str, options: DataOptions, config: str | None = None) -> FileListing | Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a data set on the Hub; a listing where it holds image files.

    ``datasets`` takes the last folder of an image file for its class. Image files are therefore downloaded, archives
    of them unpacked, and both read by the same rules as a local folder.
    """
    import datasets
    from huggingface_hub import snapshot_download

    with errors_as_sentence(hub_id):
        builder = ask_hub(hub_id, lambda: datasets.load_dataset_builder(hub_id, config))
        if not holds_image_files(builder):
            tables: Mapping[str, Any] = ask_hub(hub_id, lambda: datasets.load_dataset(hub_id, config))
            return tables
        folder = Path(ask_hub(hub_id, lambda: snapshot_download(hub_id, repo_type="dataset")))
        # The files of a download are links to the cache beside its folder.
        walk = walk_images(folder, follow_links=True)
        archives = _archives(folder)
        if archives:
            walk = walk_images(_unpacked(folder, walk, archives), follow_links=True)
    _check_configuration(hub_id, walk.root, config)
    return list_images(walk, options, config)


def ask_hub(hub_id: str, call: Callable[[], _T]) -> _T:
    """The result of ``call``, which reads a data set of the Hub; tried again where the Hub is busy or breaks off.

    ``datasets`` tries nothing again and waits for ever. A Hub that gives no answer at all is noticed by a small request
    before; ``call`` then has a few seconds to find the data set in the cache.

    Raises:
        Exception: That of the last attempt; see `glmc_zoo.retry.call_with_retries`.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return call()
    budget = Budget()
    try:
        call_with_retries(lambda: HfApi().dataset_info(hub_id), attempts=4, first_wait=0.5, budget=budget)
    except Exception as error:
        if not is_transient(error):
            raise
        return call_with_timeout(ANSWER_SECONDS, call)
    return call_with_retries(call, attempts=4, first_wait=0.5, budget=budget, long=True, max_failures=_MOST_FAILURES)


def holds_image_files(builder: Any) -> bool:
    """Whether a builder of ``datasets`` reads image files."""
    return bool(builder.name == "imagefolder")


def walk_hub(hub_id: str, config: str | None) -> tuple[Walk, str]:
    """The image files of a data set on the Hub, by their names alone, and the address that they are relative to.

    Raises:
        UserError: The images are in archives, or their classes in a metadata file: neither is read as a stream.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    revision = ask_hub(hub_id, lambda: HfApi().dataset_info(hub_id)).sha
    request: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    walk = Walk(Path(ask_hub(hub_id, lambda: snapshot_download(hub_id, allow_patterns="README.md", **request))))
    folders: dict[str, list[str]] = {}
    for entry in ask_hub(hub_id, lambda: list(HfApi().list_repo_tree(hub_id, recursive=True, **request))):
        if not isinstance(entry, RepoFile):
            continue
        folder, _, name = entry.path.rpartition("/")
        hidden = next((reason for part in entry.path.split("/") if (reason := unwanted(part))), None)
        if name.lower().endswith(ARCHIVES) or name.lower() in METADATA:
            raise UserError(f"streaming=True cannot read {entry.path} of {hub_id}: leave streaming=True out.")
        if hidden or os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
            walk.left_out.add(hidden or NOT_AN_IMAGE, entry.path)
        else:
            folders.setdefault(folder or ".", []).append(name)
    walk.folders = {folder: sorted(folders[folder]) for folder in sorted(folders, key=lambda path: path.split("/"))}
    _check_configuration(hub_id, walk.root, config)
    return walk, f"hf://datasets/{hub_id}@{revision}"


def _check_configuration(hub_id: str, folder: Path, config: str | None) -> None:
    if config is not None and not card_configurations(folder):
        raise UserError(f"data_config={config!r} is not known: {hub_id} has no configurations, so leave it out.")


def _archives(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.lower().endswith(ARCHIVES) and path.is_file()
    )


def _unpacked(folder: Path, walk: Walk, archives: list[str]) -> Path:
    """A folder of links to the files of a download, with a folder instead of each archive."""
    import datasets

    unpacked = {path: Path(datasets.DownloadManager().extract(str(folder / path))) for path in archives}
    others = [
        path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).as_posix() not in archives
    ]
    listed = walk.images or card_configurations(folder) or any(path.name.lower() in METADATA for path in others)
    if len(archives) == 1 and not listed:
        return unpacked[archives[0]]
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    root = Path(datasets.config.HF_DATASETS_CACHE) / "glmc_zoo" / f"unpacked-{digest}"
    links = {path.relative_to(folder).as_posix(): path for path in others}
    shards: dict[str, list[Path]] = {}
    for path, target in unpacked.items():
        name = next(path[: -len(suffix)] for suffix in sorted(ARCHIVES, key=len)[::-1] if path.lower().endswith(suffix))
        shards.setdefault(without_shard(name), []).append(target)
    for name, targets in shards.items():
        links |= {name: targets[0]} if len(targets) == 1 else _joined(name, targets)
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    return root


def _joined(name: str, targets: list[Path]) -> dict[str, Path]:
    """The files of several unpacked archives as if they had been unpacked into one folder."""
    files: dict[str, Path] = {}
    for number, target in enumerate(targets):
        for path in sorted(file for file in target.rglob("*") if file.is_file()):
            inner = path.relative_to(target).as_posix()
            if f"{name}/{inner}" in files:  # the archives number their files each from the start
                inner = f"{inner.rpartition('/')[0] or '.'}/{number}_{path.name}"
            files[f"{name}/{inner}"] = path
    return files
