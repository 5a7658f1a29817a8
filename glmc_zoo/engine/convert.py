"""A published checkpoint as an exported folder: options, and the steps from one to the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmc_zoo.engine.options import check_minimum, option
from glmc_zoo.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from glmc_zoo.data import DataEntry

__all__ = ["ConvertConfig", "convert", "read_class_names"]


@dataclass(kw_only=True)
class ConvertConfig:
    """Every option of a conversion."""

    checkpoint: str | None = option(None, "torch file with a state dict in the layout that GLMC's authors published")
    backbone: str | None = option(None, "timm model that the tensors belong to; found by their shapes by default")
    data: str | None = option(None, "catalogue name: its image size and normalisation, and the names of its classes")
    data_dir: str | None = option(None, "folder with a local copy of --data, to read the names of its classes from")
    class_names: str | None = option(None, "text file with the name of each class, one a line, in the logits' order")
    image_size: int | None = option(None, "side of the images in pixels; that of --data or the backbone by default")
    license: str = option("unknown", "licence of the weights, as the Hub spells it")
    output_dir: str | None = option(None, "folder for the converted model")

    def __post_init__(self) -> None:
        for name, example in (("checkpoint", "path/to/model.pth.tar"), ("output_dir", "path/to/folder")):
            if getattr(self, name) is None:
                raise UserError(f"--{name.replace('_', '-')} is missing: give one, such as {example}.")
        if self.data is None and self.class_names is None:
            raise UserError("The names of the classes are missing: give --class-names FILE, or --data NAME.")
        if self.data_dir is not None and (self.data is None or self.class_names is not None):
            raise UserError(
                "--data-dir is read for the names of --data's classes and has no effect here; leave it out."
            )
        check_minimum(self, {"image_size": 1})


def convert(config: ConvertConfig) -> Path:
    """Convert and export; the folder's card says that the model was not evaluated.

    Raises:
        UserError: the checkpoint cannot be read or does not fit, or the classes are not as many as its classifier has.
    """
    from glmc_zoo.engine.provenance import command_line, package_versions, slug, source_commit
    from glmc_zoo.hub import export_run
    from glmc_zoo.hub.convert import checkpoint_facts, convert_state_dict, read_checkpoint

    assert config.checkpoint is not None and config.output_dir is not None
    entry = _entry(config.data)
    converted = convert_state_dict(read_checkpoint(config.checkpoint), config.backbone)
    model: Any = converted.timm_model
    names = _class_names(config, entry)
    if len(names) != model.num_classes:
        raise UserError(
            f"{len(names)} class names for a classifier of {model.num_classes} classes: give --class-names with one a"
            " line, or the --data that the checkpoint was trained on."
        )
    source = entry.name if entry is not None else Path(str(config.class_names)).stem
    tag = f"glmc_{slug(source)}"
    results = {
        "converted": checkpoint_facts(config.checkpoint),
        "class_names": names,
        "data": {"name": source, "in_catalogue": entry is not None},
        "model": {
            "name": f"{converted.backbone}.{tag}",
            "tag": tag,
            "backbone": converted.backbone,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "license": config.license,
            "needs_glmc_zoo": type(model).__module__.startswith("glmc_zoo."),
            **_input(model.pretrained_cfg, entry, config.image_size),
        },
        "method": "glmc",
        "command": command_line(),
        "versions": package_versions(),
        "commit": source_commit(),
    }
    try:
        return export_run(config.output_dir, model, results, heads=converted.heads)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"--output-dir {config.output_dir!r} cannot be written: {reason}; give another.") from error


def read_class_names(path: str | Path) -> list[str]:
    """The lines of a text file, one a class.

    Raises:
        UserError: the file cannot be read, has an empty line before its end, or names a class twice.
    """
    path = Path(path)
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"--class-names {str(path)!r} cannot be read: {reason}.") from error
    if not all(names):
        raise UserError(f"--class-names {str(path)!r} has no name on line {names.index('') + 1}: give one a line.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--class-names {str(path)!r} names {twice!r} twice: give each class a name of its own.")
    return names


def _entry(name: str | None) -> DataEntry | None:
    from glmc_zoo.data import list_data

    catalogue = list_data()
    if name is not None and name not in catalogue:
        near = did_you_mean(name, list(catalogue))
        raise UserError(
            f"--data {name!r} is not in the catalogue ({', '.join(catalogue)}): leave it out and give --class-names."
            f"{near}"
        )
    return None if name is None else catalogue[name]


def _class_names(config: ConvertConfig, entry: DataEntry | None) -> list[str]:
    from glmc_zoo.data import load_data

    if config.class_names is not None:
        return read_class_names(config.class_names)
    assert entry is not None
    if entry.official is not None and config.data_dir is None:
        # Not from the Hub: that would be all of its pictures for the names alone.
        raise UserError(
            f"--data {entry.name} needs a copy of its images to name its classes: give --data-dir or --class-names."
        )
    return load_data(entry.name, data_dir=config.data_dir).class_names


def _input(backbone: dict[str, Any], entry: DataEntry | None, image_size: int | None) -> dict[str, Any]:
    """What the images are like: as the data set's entry says, else as the backbone does."""
    size = image_size or (entry.image_size if entry is not None else backbone["input_size"][-1])
    large = entry.augment == "large" if entry is not None else size > 64
    return {
        "input_size": [3, size, size],
        "mean": list(entry.mean if entry is not None else backbone["mean"]),
        "std": list(entry.std if entry is not None else backbone["std"]),
        "interpolation": backbone.get("interpolation") or "bicubic",
        "crop_pct": 0.875 if large else 1.0,  # as these are trained and evaluated: resized to 256, cropped to 224
    }
