"""What is checked on this side before anything changes on the Hub: names, the exported folder, its card."""

from __future__ import annotations

import json
import re
from pathlib import Path

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import (
    CARD_FILE,
    CONFIG_FILE,
    HEADS_FILE,
    OPTIONS_FILE,
    PLOTS_FOLDER,
    RESULTS_FILE,
    WEIGHTS_FILE,
    one_line,
)

__all__ = ["check_card", "check_ref", "check_repo_id", "exported_files", "is_converted", "read_card"]

_EXPORTED = {CARD_FILE, CONFIG_FILE, HEADS_FILE, OPTIONS_FILE, RESULTS_FILE, WEIGHTS_FILE}
_PICKLES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}


def check_repo_id(repo_id: str) -> None:
    """Refuse what breaks the Hub's rules for names of repositories.

    Raises:
        UserError: ``repo_id`` is not ``ORG/NAME``, or has characters that the Hub does not take.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id!r} is no repository: {one_line(error)} Give ORG/NAME.") from error
    if "/" not in repo_id:
        raise UserError(f"{repo_id!r} is no repository: the owner is missing. Give ORG/NAME.")


def check_ref(name: str, what: str) -> None:
    """Refuse what git does not take as the name of a branch or tag (``git check-ref-format``).

    Raises:
        UserError: ``name`` cannot be one; ``what`` says of which kind in the sentence.
    """
    wrong = not name or re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|//|@\{|/\.|\.lock(/|$)", name)
    if wrong or name[0] in "-./" or name[-1] in "./":
        raise UserError(f"{name!r} is no name of a {what}: use letters, digits, '-', '_', '.' and '/', such as v1.0.")


def exported_files(folder: Path) -> dict[str, Path]:
    """The files of an exported model by their path in the repository; those whose name starts with a dot stay behind.

    Raises:
        UserError: the folder is no exported model, or holds a pickle or another file that is no part of an export.
    """
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is no exported model, {' and '.join(missing)} is missing: give the model/ folder of a run."
        )
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: path for name, path in files.items() if not any(part[0] == "." for part in name.split("/"))}
    pickles = [name for name in files if _PICKLES & {suffix.lower() for suffix in Path(name).suffixes}]
    if pickles:
        raise UserError(
            f"{folder} holds {pickles[0]}, and pickles are not pushed, since loading one can run code: move it away."
        )
    foreign = [name for name in files if name not in _EXPORTED and not name.startswith(f"{PLOTS_FOLDER}/")]
    if foreign:
        raise UserError(
            f"{folder} holds {foreign[0]}, which is no part of an export and is not published: move it away."
        )
    return files


def is_converted(folder: Path) -> bool:
    """Whether an exported model comes from somebody's checkpoint, and so without scores."""
    try:
        results = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(results, dict) and bool(results.get("converted"))


def read_card(folder: Path) -> str:
    """The text of an exported model's card.

    Raises:
        UserError: there is none, or it is no UTF-8.
    """
    try:
        return (folder / CARD_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder / CARD_FILE}, the model card, cannot be read: export the run again.") from error


def check_card(text: str, *, scored: bool = True) -> None:
    """Refuse a model card whose front matter is not what the Hub and timm need.

    Args:
        text: of ``README.md``, front matter included.
        scored: whether a classifier has scores to show; one converted from a checkpoint has none.

    Raises:
        UserError: the front matter is missing or no YAML, a required key is missing or empty, or the library is not
            timm. ``model-index`` is required of classifiers that have scores.
    """
    import yaml
    from huggingface_hub import ModelCard

    if not text.startswith("---"):
        raise UserError("The model card has no front matter: render it from results.json (render_card).")
    try:
        data = ModelCard(text).data.to_dict()
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"The model card's front matter is not valid: {one_line(error)} Render it anew.") from error
    required = ["library_name", "pipeline_tag", "tags", "license"]
    if scored and data.get("pipeline_tag") == "image-classification":
        required.append("model-index")
    missing = [key for key in required if not data.get(key)]
    if missing:
        raise UserError(f"The model card's front matter lacks {', '.join(missing)}: render it from results.json.")
    if data["library_name"] != "timm":
        raise UserError(f"The model card says library_name {data['library_name']!r}: it must be timm.")
