"""An exported folder on the Hub, in one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.hub.export import CONFIG_FILE, WEIGHTS_FILE, one_line

__all__ = ["check_push", "push_folder"]


def check_push(repo_id: str) -> None:
    """Refuse, before any work is done, a push that cannot succeed; asks nothing of the network.

    Raises:
        UserError: ``repo_id`` is no name of a repository, or nobody is logged in.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"{repo_id!r} is no repository: {one_line(error)} Give ORG/NAME.") from error
    if get_token() is None:
        raise UserError(f"Nobody is logged in to push to {repo_id}: run `hf auth login`, or set HF_TOKEN.")


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    commit_message: str = "Upload model",
    api: Any = None,
) -> str:
    """Put an exported folder on the Hub, as one commit, with the login that ``hf auth login`` or ``HF_TOKEN`` gave.

    Args:
        folder: an exported model; files whose name starts with a dot stay behind.
        repo_id: ``ORG/NAME``; made when it does not exist.
        private: whether a repository made here is private. One that exists keeps what it is.
        commit_message: of the one commit.
        api: a ``huggingface_hub.HfApi`` to use in place of a fresh one.

    Returns:
        The repository's address.

    Raises:
        UserError: the folder is no exported model, or the Hub refused or could not be reached; nothing local changes.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} is no exported model, {' and '.join(missing)} is missing: give the model/ folder of a run."
        )
    api = api if api is not None else HfApi(library_name="glmc_zoo")
    try:
        repository = api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=str(folder),
            repo_type="model",
            commit_message=commit_message,
            ignore_patterns=[".*", "**/.*"],
        )
    except Exception as error:
        # The clients raise their HTTP library's, the xet library's and their own errors; a finished run outlives each.
        raise UserError(
            f"Pushing to {repo_id!r} failed, the local results in {folder} are untouched:"
            f" {one_line(error)} Check the name, the network and the login (hf auth login), then push again."
        ) from error
    return str(repository)
