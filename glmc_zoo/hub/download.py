"""A model's files from the Hub, compared with what the repository says they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import CONFIG_FILE, one_line
from glmc_zoo.hub._weights import file_sha256
from glmc_zoo.hub.retry import http_status, is_transient, retrying
from glmc_zoo.hub.zoo import published_names

__all__ = ["download"]

_ATTEMPTS, _FIRST_WAIT = 3, 0.5


def download(name: str, reference: str, files: Sequence[str]) -> Path:
    """Get files of a repository into the Hub's cache, and compare the large ones with their SHA-256.

    Without a network the files are taken from the cache as they are; ``results.json`` has a SHA-256 of the weights too.

    Args:
        name: as the model was asked for, for messages.
        reference: ``ORG/NAME``, or ``ORG/NAME@REVISION``.
        files: names in the repository; those that it does not have are left out.

    Returns:
        The snapshot's folder, named by the commit.

    Raises:
        UserError: the repository is not there, gated, or cannot be reached, or a file was damaged on its way.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HFValidationError

    repo_id, _, revision = reference.partition("@")
    try:
        folder = Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=list(files)))
    except HFValidationError as error:
        raise UserError(f"{name} names no repository: {one_line(error)} Give hf_hub:ORG/NAME.") from error
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        raise _refusal(name, repo_id, revision, error) from error
    if not folder.is_dir():  # none of the files is there
        raise UserError(f"{name} is no exported model, it has no {CONFIG_FILE}: give a repository with a timm model.")
    _compare(name, repo_id, folder)
    return folder


def _is_of_the_hub(error: Exception) -> bool:
    """Whether an error is the client's or its HTTP library's; the latter's are no ``OSError`` in every release."""
    return isinstance(error, OSError) or http_status(error) is not None or is_transient(error)


def _refusal(name: str, repo_id: str, revision: str, error: Exception) -> UserError:
    """What kept a repository from being read, in one sentence."""
    from difflib import get_close_matches

    from huggingface_hub import constants, errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{name} is gated: ask for access on its page, and log in with `hf auth login` or set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{name} has no revision {revision!r}: leave it out, or give a branch, tag or commit of it.")
    if isinstance(error, errors.RepositoryNotFoundError):
        near = get_close_matches(repo_id.rpartition("/")[2], published_names(), n=3, cutoff=0.0)
        return UserError(
            f"{name} is not there, or private and not for this login: check the name, and log in with `hf auth login`."
            + (f" The nearest models of the zoo are {', '.join(near)}." if near else "")
        )
    status = http_status(error)
    if status in (401, 403):
        return UserError(
            f"{name} is refused to this login (HTTP {status}): log in with `hf auth login`, or set HF_TOKEN."
        )
    if constants.HF_HUB_OFFLINE:
        return UserError(
            f"{name} is not in the local cache and HF_HUB_OFFLINE is set: unset it, or give an exported folder."
        )
    return UserError(f"{name} cannot be had from the Hub: {one_line(error)} Check the network and try again.")


def _compare(name: str, repo_id: str, folder: Path) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        return
    api = HfApi(library_name="glmc_zoo")
    try:
        found = retrying(
            lambda: api.get_paths_info(repo_id, weights, revision=folder.name),
            attempts=_ATTEMPTS,
            first_wait=_FIRST_WAIT,
        )
    except OfflineModeIsEnabled:
        return
    except Exception as error:
        if not _is_of_the_hub(error):
            raise
        if http_status(error) is None:  # no network: what is in the cache was compared when it came
            return
        raise UserError(
            f"The weights of {name} cannot be compared with their SHA-256, which the Hub does not give: "
            f"{one_line(error)} Try again later."
        ) from error
    for entry in found:
        lfs, file = getattr(entry, "lfs", None), folder / entry.path
        if lfs is not None and file_sha256(file) != lfs.sha256:
            # Out of the cache, or every later call would be handed the same damaged file.
            file.resolve().unlink()
            file.unlink(missing_ok=True)
            raise UserError(
                f"{file.name} of {name} was damaged on its way, its SHA-256 is not the one that the Hub gives; it was "
                "removed from the cache: run the same again."
            )
