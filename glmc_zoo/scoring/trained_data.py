"""The data options of a model's training, as far as its files state them."""

from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.documents import read_yaml
from glmc_zoo.fields import field_names
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.command import shorten_path

HIDDEN_FOLDER = "path/to/"
"""Stands in published results for the folder of something."""


def options_with_paths(source: ModelSource) -> dict[str, Any]:
    """The options of a model's training; empty where they are not known.

    Published results do not say where something was stored on the machine of the training; the ``config.yaml`` of its
    run does, beside a ``model/`` that is still where the run left it. A path that is not known begins with
    `HIDDEN_FOLDER`.

    Raises:
        UserError: The ``config.yaml`` cannot be read.
    """
    published = {} if source.results is None else source.results.config
    folder = source.folder.resolve() if source.kind == "folder" and source.folder is not None else None
    if folder is None or folder.name != "model" or not (folder.parent / "config.yaml").is_file():
        return dict(published)
    path = folder.parent / "config.yaml"
    run_options = read_yaml(
        path, str(path), fix="Restore it, or move it away and give data= and other paths as options."
    )
    paths = {
        name: value
        for name, value in (run_options if isinstance(run_options, dict) else {}).items()
        if isinstance(value, str)
    }
    return {**published, **{name: value for name, value in paths.items() if published.get(name) == shorten_path(value)}}


def data_options_of(source: ModelSource) -> dict[str, Any]:
    """Which images a model was trained on and how they were read, by the names of `DataOptions`, as far as known."""
    config = options_with_paths(source)
    return {
        name: config[name]
        for name in field_names(DataOptions)
        if name in config and not str(config[name]).startswith(HIDDEN_FOLDER)
    }


def has_same_name(data: str, source: ModelSource) -> bool:
    """Whether a data set has the name of the one that a model was trained on; its folder may lie elsewhere."""
    config = {} if source.results is None else source.results.config
    return Path(str(config.get("data"))).name == Path(data).name
