"""What the configurations of all recipes share: declaring options, those of data, groups and push, and option files."""

from __future__ import annotations

import dataclasses
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, Literal

from glmc_zoo.errors import UserError, did_you_mean

__all__ = [
    "DataOptions",
    "GroupOptions",
    "ImbalanceType",
    "PushOptions",
    "check_minimum",
    "hidden",
    "load_config_file",
    "option",
    "saved_options",
    "shown_fields",
    "shown_options",
    "with_present_names",
]

ImbalanceType = Literal["exp", "step", "pareto"]


def option(default: Any, help: str) -> Any:
    """A dataclass field with the one line that ``--help`` shows for it."""
    return field(default=default, metadata={"help": help})


def hidden(default: Any) -> Any:
    """A dataclass field that is no option: it is set while the run is built, and neither asked for nor saved."""
    return field(default=default, metadata={"hidden": True})


def shown_fields(config: Any) -> list[Field[Any]]:
    """The fields of a configuration, or of its class, that are options."""
    return [f for f in dataclasses.fields(config) if not f.metadata.get("hidden")]


def shown_options(config: Any) -> dict[str, Any]:
    """The values of a configuration's options, by name."""
    return {f.name: getattr(config, f.name) for f in shown_fields(config)}


def saved_options(config: Any) -> dict[str, Any]:
    """Options as a run's config.yaml and results hold them: without those of the push.

    Whoever repeats the run by that file is not to push to the repository of the first.
    """
    return {
        k: v for k, v in shown_options(config).items() if k not in {f.name for f in dataclasses.fields(PushOptions)}
    }


def check_minimum(config: Any, least: dict[str, float]) -> None:
    """Refuse the first field of ``config`` that is below its entry in ``least``; ``None`` passes.

    Raises:
        UserError: A value is too small; the sentence names the option.
    """
    for name, low in least.items():
        value = getattr(config, name)
        if value is not None and not value >= low:
            raise UserError(f"--{name.replace('_', '-')} {value} is too small: it must be at least {low}.")


@dataclass(kw_only=True)
class DataOptions:
    """Which images: the arguments of `load_data`."""

    data: str = option("digits_lt", "catalogue name, Hub id, image folder, parquet folder or saved datasets folder")
    data_dir: str | None = option(None, "folder with a local copy of a catalogue data set")
    data_config: str | None = option(None, "configuration of a Hub data set or folder that has several")
    split_file: str | None = option(
        None, "official training list of a large set, a folder with its lists, or the Hub id of a data set with them"
    )
    official_val: bool = option(False, "hold out the official validation list, to choose an epoch on")
    imbalance_factor: float | None = option(None, "thin the training part to largest class / smallest class = this")
    max_count: int | None = option(None, "images of the largest class when thinning; all it has by default")
    imbalance_type: ImbalanceType | None = option(  # noqa: RUF009  # makes a field
        None, "shape of the thinned class counts: exp, step or pareto; the data set's own, or exp, by default"
    )
    selection: Literal["ldam", "glmc", "first"] = option("ldam", "which images stay when thinning: ldam, glmc or first")
    data_seed: int = option(0, "seed of the long-tail subset and the held-out split, apart from --seed")
    val_fraction: float = option(0.0, "share of each training class held out for validation")
    image_column: str | None = option(None, "column with the images; detected by its type by default")
    label_column: str | None = option(None, "column with the classes; detected by its type by default")
    train_split: str | None = option(None, "name of the training split, where it is not the usual one")
    test_split: str | None = option(None, "name of the test split, where it is not the usual one")
    skip_bad_images: bool = option(False, "leave out images that cannot be read, and count them")

    def __post_init__(self) -> None:
        check_minimum(self, {"max_count": 1, "imbalance_factor": 1, "data_seed": 0})
        if not 0 <= self.val_fraction < 1:
            raise UserError(f"--val-fraction {self.val_fraction} must lie in 0 to 1, 1 excluded.")
        if self.official_val and self.val_fraction:
            raise UserError(
                f"--official-val and --val-fraction {self.val_fraction} both say what is held out: give one of them."
            )
        if self.data_seed >= 2**32:
            raise UserError(f"--data-seed {self.data_seed} is too large: it must be below 2 ** 32.")

    def load_options(self) -> dict[str, Any]:
        """The keyword arguments of `load_data` for these options; ``data`` is its first argument."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(DataOptions) if f.name != "data"}
        options["profile"] = options.pop("imbalance_type")
        return options


@dataclass(kw_only=True)
class GroupOptions:
    """Which classes count as many-, medium- and few-shot."""

    many_threshold: int = option(100, "classes with more training images than this are many-shot")
    few_threshold: int = option(20, "classes with fewer training images than this are few-shot")
    groups: Literal["thresholds", "terciles"] = option(
        "thresholds", "many, medium, few by the two thresholds, or terciles: a third of the classes each"
    )

    def __post_init__(self) -> None:
        check_minimum(self, {"few_threshold": 0})
        if self.few_threshold > self.many_threshold:
            raise UserError(
                f"--few-threshold {self.few_threshold} must not exceed --many-threshold {self.many_threshold}."
            )


@dataclass(kw_only=True)
class PushOptions:
    """Where the finished model goes on the Hub, and how."""

    push_to_hub: str | None = option(None, "ORG/NAME of the Hub repository that the finished model goes to")
    push_private: bool = option(False, "make the repository private, when it is made by this push")
    push_revision: str | None = option(None, "branch of the repository to push to; made when missing")
    push_pull_request: bool = option(False, "open a pull request on the repository in place of a direct commit")
    push_tag: str | None = option(None, "tag to set on the pushed commit")
    push_collection: str | None = option(None, "collection to add the model to: its slug, or a title")
    push_overwrite: bool = option(False, "push even over a model of another architecture or other classes")

    def __post_init__(self) -> None:
        idle = [
            f.name
            for f in dataclasses.fields(PushOptions)
            if f.name != "push_to_hub" and getattr(self, f.name) not in (None, False)
        ]
        if idle and self.push_to_hub is None:
            raise UserError(f"--{idle[0].replace('_', '-')} has no effect without --push-to-hub: give ORG/NAME there.")


def with_present_names(options: dict[str, Any]) -> dict[str, Any]:
    """Saved options under the names of today.

    ``imbalance_type`` was called ``profile`` before that became a switch; a switch is a bool, which a shape never is.
    """
    shape = options.get("profile", False)
    if shape is not None and not isinstance(shape, str):
        return options
    others = {name: value for name, value in options.items() if name != "profile"}
    return others if shape is None else others | {"imbalance_type": shape}


def load_config_file(path: str | Path, config_class: type) -> dict[str, Any]:
    """Read a YAML file of options of ``config_class``, by field name; names of earlier versions become today's.

    Its key ``about`` is no option: that is where the recipe files say what they are and what was published.

    Raises:
        UserError: The file is missing, is no mapping, has a key that is no option, or the same option by two names.
    """
    import yaml

    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Config file {str(path)!r} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"Config file {str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    if loaded is None:
        loaded = {}
    if not isinstance(loaded, dict):
        raise UserError(
            f"Config file {str(path)!r} must hold 'option: value' lines, but holds a {type(loaded).__name__}."
        )
    known = [f.name for f in shown_fields(config_class)]
    loaded.pop("about", None)
    values = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    if "imbalance_type" in known:
        if "imbalance_type" in values and isinstance(values.get("profile"), str):
            raise UserError(
                f"Config file {str(path)!r} has imbalance_type and, by its earlier name, profile "
                f"{values['profile']!r}: keep imbalance_type alone."
            )
        values = with_present_names(values)
    for key in values:
        if key not in known:
            raise UserError(
                f"Config file {str(path)!r} has the unknown key {key!r}; allowed are the options of --help."
                f"{did_you_mean(key, known)}"
            )
    return values
