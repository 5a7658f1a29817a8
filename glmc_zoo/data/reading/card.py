"""The configurations that a dataset card lists: which files of a folder of images are which split."""

from pathlib import Path
from typing import Any

from glmc_zoo.data.options import DataOptions
from glmc_zoo.data.reading.layout import list_rows
from glmc_zoo.data.reading.listing import FileListing
from glmc_zoo.data.reading.walk import Walk
from glmc_zoo.errors import UserError

NOT_CONFIGURED = "not in the configuration of the dataset card"


def card_configurations(folder: Path) -> list[dict[str, Any]]:
    """The entries under ``configs`` in the front matter of a folder's README.md; empty without any."""
    import yaml

    card = folder / "README.md"
    if not card.is_file():
        return []
    text = card.read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---"):
        return []
    try:
        front = yaml.safe_load(text.split("---", 2)[1])
    except (yaml.YAMLError, IndexError):
        return []
    configs = front.get("configs") if isinstance(front, dict) else None
    return [entry for entry in configs or [] if isinstance(entry, dict)] if isinstance(configs, list) else []


def list_by_card(walk: Walk, options: DataOptions, config: str | None) -> FileListing | None:
    """The images in the splits that a configuration of the card names; ``None`` where it names no files.

    The class is the first folder below that of the split, as without a card.
    """
    entry = _chosen(walk.root, config)
    patterns = _patterns(entry)
    if not patterns:
        return None
    listing = FileListing(walk.root, "class folders in the splits of a dataset card", left_out=walk.left_out)
    remaining = {
        name if folder == "." else f"{folder}/{name}" for folder, names in walk.folders.items() for name in names
    }
    for split, globs in patterns.items():
        files = {path for pattern in globs for path in _matching(walk.root, pattern)} & remaining
        remaining -= files
        rows = list_rows(sorted(files), _common_folder(globs), split, options, listing)
        if rows.paths:
            listing.splits[split] = rows
    if not listing.splits:
        raise UserError(f"The dataset card of {walk.root} names no image in class folders: mend or remove its configs.")
    if remaining:
        listing.left_out.add(NOT_CONFIGURED, min(remaining), len(remaining))
    return listing


def _chosen(folder: Path, config: str | None) -> dict[str, Any]:
    entries = {str(entry.get("config_name", "default")): entry for entry in card_configurations(folder)}
    default = [name for name, entry in entries.items() if entry.get("default") or name == "default"]
    if config is None and len(entries) > 1 and len(default) != 1:
        raise UserError(f"{folder} has several configurations: give data_config= one of {', '.join(entries)}.")
    name = config if config is not None else (default or list(entries))[0]
    if name not in entries:
        raise UserError(f"data_config={name!r} is not a configuration of {folder}: give one of {', '.join(entries)}.")
    return entries[name]


def _patterns(entry: dict[str, Any]) -> dict[str, list[str]]:
    """The patterns of each split, relative to the folder of the card."""
    files, folder = entry.get("data_files"), str(entry.get("data_dir") or "")
    if files is None:
        return {"train": [f"{folder}/**"]} if folder else {}
    if isinstance(files, str | list) and not any(isinstance(one, dict) for one in files):
        files = [{"split": "train", "path": files}]
    patterns: dict[str, list[str]] = {}
    for one in files if isinstance(files, list) else []:
        paths = one.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            patterns.setdefault(str(one.get("split", "train")), []).append(f"{folder}/{path}" if folder else str(path))
    return patterns


def _matching(root: Path, pattern: str) -> list[str]:
    from datasets.data_files import resolve_pattern

    try:
        files = resolve_pattern(pattern, str(root))
    except FileNotFoundError as error:
        raise UserError(
            f"The dataset card of {root} names {pattern}, which matches no file: mend its configs."
        ) from error
    prefix = f"{root}/"
    archives = [file for file in files if file.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"))]
    if archives:
        raise UserError(
            f"The data folder {root} holds the archive {archives[0].removeprefix(prefix)}: unpack it there."
        )
    return [file.removeprefix(prefix) for file in files]


def _common_folder(patterns: list[str]) -> str:
    """The folder that all patterns of a split begin with, up to the first special character."""
    fixed = []
    for pattern in patterns:
        parts = pattern.split("/")[:-1]
        special = next((index for index, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        fixed.append(parts[:special])
    common = fixed[0]
    for other in fixed[1:]:
        common = [one for one, two in zip(common, other, strict=False) if one == two]
    return "/".join(common) or "."
