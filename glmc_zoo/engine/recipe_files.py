"""Where the recipes lie, and the option files that go with them."""

from __future__ import annotations

from pathlib import Path

from glmc_zoo.errors import UserError, did_you_mean

__all__ = ["config_path", "recipes_folder"]


def recipes_folder() -> Path:
    """The folder of the recipes: the one that is installed with the package, or the checkout's."""
    installed = Path(__file__).parents[1] / "recipes"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "recipes"


def config_path(name: str) -> Path:
    """The file that ``--config`` names: a path, or the name of one of those in recipes/configs.

    Raises:
        UserError: it is no file, and no such name.
    """
    path = Path(name).expanduser()
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path  # one that is missing is told by whoever reads it
    known = sorted(file.stem for file in (recipes_folder() / "configs").glob("*.yaml"))
    if name in known:
        return recipes_folder() / "configs" / f"{name}.yaml"
    raise UserError(
        f"--config {name!r} is neither a file nor one of the recipe files {', '.join(known)}; give one of these or a "
        f"path.{did_you_mean(name, known)}"
    )
