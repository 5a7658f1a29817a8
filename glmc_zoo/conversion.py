"""Convert a published checkpoint to an exported folder: find its class names and its input, then export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from glmc_zoo.disk import disk_error
from glmc_zoo.documents import read_text
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.options.commands import ConvertOptions
from glmc_zoo.text import counted

if TYPE_CHECKING:
    from glmc_zoo.data import DataEntry


def convert(options: ConvertOptions, command: str) -> Path:
    """Convert and export; the folder's card says that the model was not evaluated."""
    from glmc_zoo.backbones.complexity import count_operations
    from glmc_zoo.data import list_data
    from glmc_zoo.hub import convert_state_dict, export_run, read_checkpoint
    from glmc_zoo.hub.folder import file_sha256
    from glmc_zoo.machine.command import slug
    from glmc_zoo.machine.provenance import package_versions, source_commit
    from glmc_zoo.results import ConvertedFacts, DataFacts, ModelFacts, Origin, RunResults

    catalogue = list_data()
    entry = catalogue.get(options.data or "")
    if options.data is not None and entry is None:
        catalogue_names = list(catalogue)
        raise UserError(
            f"data={options.data!r} is not in the catalogue ({', '.join(catalogue_names)}): leave it out and give "
            f"class_names=FILE.{did_you_mean(options.data, catalogue_names)}"
        )
    checkpoint = Path(options.checkpoint)
    converted = convert_state_dict(read_checkpoint(checkpoint), options.backbone)
    model: Any = converted.timm_model
    names = _class_names(options, entry)
    if len(names) != model.num_classes:
        raise UserError(
            f"{counted(len(names), 'class name')} for a classifier of {counted(model.num_classes, 'class')}: give "
            "class_names=FILE with one "
            "a line, or the data= that the checkpoint was trained on."
        )
    source = entry.name if entry is not None else Path(str(options.class_names)).stem
    tag = f"glmc_{slug(source)}"
    input_settings = _input_settings(model.pretrained_cfg, entry, options.image_size)
    results = RunResults(
        converted=ConvertedFacts(file=checkpoint.name, sha256=file_sha256(checkpoint)),
        class_names=names,
        data=DataFacts(name=source, in_catalogue=entry is not None),
        model=ModelFacts(
            name=f"{converted.backbone}.{tag}",
            tag=tag,
            backbone=converted.backbone,
            parameters=sum(weight.numel() for weight in model.parameters()),
            **count_operations(model, tuple(input_settings["input_size"])),
            feature_maps=hasattr(model, "feature_info"),
            license=options.license,
            needs_glmc_zoo=type(model).__module__.startswith("glmc_zoo."),
            **input_settings,
        ),
        method="glmc",
        origin=Origin(command=command, versions=package_versions(), commit=source_commit()),
    )
    try:
        return export_run(options.output_dir, model, results, heads=converted.heads)
    except OSError as error:
        if (disk_failure := disk_error(error, Path(options.output_dir))) is not None:
            raise disk_failure from error
        reason = error.strerror or error
        raise UserError(
            f"output_dir={options.output_dir!r} cannot be written ({reason}): give another folder."
        ) from error


def _class_names(options: ConvertOptions, entry: DataEntry | None) -> list[str]:
    """The lines of the file ``class_names``, one for each class; without a file the classes of the data set."""
    from glmc_zoo.data import load_data

    if options.class_names is None and entry is not None:
        if entry.official is not None and options.data_dir is None:
            # Not from the Hub: that would download all images for the names alone.
            raise UserError(
                f"data={entry.name!r} needs a copy of its images to name its classes: give data_dir= or "
                "class_names=FILE."
            )
        return load_data(entry.name, data_dir=options.data_dir).class_names
    path = Path(str(options.class_names))
    text = read_text(path, f"class_names={str(path)!r}", fix="Give a text file with one name a line.")
    names = [line.strip() for line in text.rstrip().splitlines()]
    if not all(names):
        raise UserError(f"class_names={str(path)!r} has no name on line {names.index('') + 1}: give one a line.")
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UserError(f"class_names={str(path)!r} names {duplicate!r} twice: give each class a name of its own.")
    return names


def _input_settings(backbone: dict[str, Any], entry: DataEntry | None, image_size: int | None) -> dict[str, Any]:
    """The network's input: as the data set's entry describes it, else as the backbone does."""
    size = image_size or (entry.image_size if entry is not None else backbone["input_size"][-1])
    large_images = entry.augment == "large" if entry is not None else size > 64
    return {
        "input_size": [3, size, size],
        "mean": list(entry.mean if entry is not None else backbone["mean"]),
        "std": list(entry.std if entry is not None else backbone["std"]),
        "interpolation": (entry and entry.interpolation) or backbone.get("interpolation") or "bicubic",
        "crop_pct": 0.875
        if large_images
        else 1.0,  # as these are trained and evaluated: resized to 256, cropped to 224
    }
