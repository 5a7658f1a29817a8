"""Options as they were given: on the command line or as keywords, and in a file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glmc_zoo.documents import read_yaml
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.fields import convert
from glmc_zoo.options.other_names import similar_options
from glmc_zoo.options.sections import Command

_VERBOSITY = {
    level: f"{level}= is not an option here: call glmc_zoo.set_verbosity({level!r}), or give --{level} on the command "
    "line."
    for level in ("quiet", "verbose")
}
"""What to do instead of an option that only the command line has; it is for all that a process shows."""


@dataclass(frozen=True)
class UserOptions:
    """The options that were given, by where they were given; an option that was not given is in neither mapping."""

    explicit: dict[str, Any] = field(default_factory=dict)
    """From the command line, or keyword arguments in Python."""
    file: dict[str, Any] = field(default_factory=dict)
    """From the file that ``config`` names; fine-tuning puts its own defaults below these."""
    command: str = ""
    """The command, or the Python call."""

    def get(self, name: str) -> Any:
        """The value of an option; ``explicit`` overrides the file; ``None`` if it was not given."""
        return self.explicit.get(name, self.file.get(name))

    def __contains__(self, name: str) -> bool:
        return name in self.explicit or name in self.file

    @property
    def values(self) -> dict[str, Any]:
        """All options that were given; ``explicit`` overrides the file."""
        return self.file | self.explicit


def parse_options(command: Command, explicit: Mapping[str, Any], command_line: str) -> UserOptions:
    """Check and convert the options of a command, and read the file that its option ``config`` names.

    Args:
        command: The command that is run.
        explicit: Values by option name; ``None`` stands for an option that was not given.
        command_line: The whole command line or Python call, for the results.

    Raises:
        UserError: An option is unknown, or a value has the wrong type, or the file cannot be read.
    """
    values = dict(explicit)
    path = values.pop("config", None)
    file = {} if path is None else read_config(config_path(convert("config", path, str)), command)
    _load_plugins(command, values, file)
    return UserOptions(_convert(command, values, ""), file, command_line)


def _convert(command: Command, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    types, converted = command.types, {}
    for name, value in values.items():
        if name not in types:
            refusal = command.refusals.get(name) or _VERBOSITY.get(name)
            raise UserError(refusal or f"{prefix or 'The option '}{name}= is unknown.{similar_options(name, types)}")
        if value is not None:
            converted[name] = convert(name, value, types[name])
    return converted


def _load_plugins(command: Command, explicit: Mapping[str, Any], file: dict[str, Any]) -> None:
    """Import plug-ins before the names that they register are checked."""
    if "plugin" not in command.types:
        return
    from glmc_zoo.method.registry import load_plugin

    paths = explicit.get("plugin") or file.get("plugin") or []
    for path in convert("plugin", paths, list[str]):
        load_plugin(path)


def read_config(path: Path, command: Command) -> dict[str, Any]:
    """Read a YAML file of options, by option name.

    The key ``about`` is not an option and is left out: recipe files hold a description of themselves there.
    """
    loaded = read_yaml(path, f"config={str(path)!r}", fix="Give a file with 'option: value' lines.")
    if loaded is None:
        raise UserError(f"config={str(path)!r} is empty: give a file of 'option: value' lines, or leave config= out.")
    if not isinstance(loaded, dict):
        raise UserError(f"config={str(path)!r} must hold 'option: value' lines, but holds a {type(loaded).__name__}.")
    loaded.pop("about", None)
    if not loaded:
        raise UserError(f"config={str(path)!r} holds no option: write 'option: value' lines, or leave config= out.")
    values = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    try:
        return _convert(command, values, "The key ")
    except UserError as error:
        raise UserError(f"config={str(path)!r} cannot be used: {error}") from error


def recipes_folder() -> Path:
    """The folder of the recipes: the one installed with the package, or the checkout's."""
    installed = Path(__file__).parents[1] / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def config_path(name: str) -> Path:
    """The file that ``config`` names: a path, or the name of a file in ``recipes/configs`` without its suffix."""
    path = Path(name)
    if os.path.isfile(path) or path.suffix or len(path.parts) > 1:
        return path  # `read_config` reports a missing file
    config_names = sorted(file.stem for file in (recipes_folder() / "configs").glob("*.yaml"))
    if name in config_names:
        return recipes_folder() / "configs" / f"{name}.yaml"
    raise UserError(
        f"config={name!r} is neither a file nor one of the recipe files {', '.join(config_names)}; give one of these "
        f"or a path.{did_you_mean(name, config_names)}"
    )
