"""Data sets on the Hugging Face Hub: tables as they are, image files as a local folder of them is read."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.folders import list_images
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.tables import errors_as_sentence
from glmc_zoo.data.reading.walk import walk_images

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def open_hub(hub_id: str, options: DataOptions, config: str | None = None) -> FileListing | Mapping[str, Any]:
    """The ``datasets.Dataset`` of each split of a data set on the Hub; a listing where it holds image files.

    ``datasets`` takes the last folder of an image file for its class. Image files are therefore downloaded, and read
    by the same rules as a local folder.
    """
    import datasets

    with errors_as_sentence(hub_id):
        builder = datasets.load_dataset_builder(hub_id, config)
        if builder.name != "imagefolder" or _packed(builder):
            tables: Mapping[str, Any] = datasets.load_dataset(hub_id, config)
            return tables
        folder = _download(hub_id)
    # The files of a download are links to the cache beside its folder.
    return list_images(walk_images(folder, follow_links=True), options, config)


def _packed(builder: Any) -> bool:
    """Whether the images are in archives, which ``datasets`` unpacks."""
    files = [file for listed in (builder.config.data_files or {}).values() for file in listed]
    return any(str(file).lower().endswith((".zip", ".tar", ".gz", ".tgz")) for file in files)


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(hub_id, repo_type="dataset"))
