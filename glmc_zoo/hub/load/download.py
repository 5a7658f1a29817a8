"""A model's files from the Hub, compared with the SHA-256 that the repository gives."""

from collections.abc import Sequence
from pathlib import Path

from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import CONFIG_FILE, explaining, file_sha256, one_line
from glmc_zoo.hub.load.zoo import published_names
from glmc_zoo.hub.retry import http_status, is_transient, retrying


def download(name: str, reference: str, files: Sequence[str]) -> Path:
    """Download files of a repository into the Hub's cache, and compare the large ones with their SHA-256.

    The reference is ``ORG/NAME`` or ``ORG/NAME@REVISION``; messages call the model ``name``. Files that the repository
    does not have are left out. Without a network the cached files are used as they are; ``results.json`` also holds a
    SHA-256 of the weights. Returns the snapshot's folder, named by the commit.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repo_id, _, revision = reference.partition("@")
    with explaining(f"{name} is not a repository", HFValidationError, fix="Give hf_hub:ORG/NAME."):
        try:
            folder = Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=list(files)))
        except Exception as error:
            if not is_of_the_hub(error):
                raise
            raise UserError(_refusal(name, repo_id, revision, error)) from error
    if not folder.is_dir():  # the repository has none of the files
        raise UserError(f"{name} is not an exported model, {CONFIG_FILE} is missing: give one of a timm model.")
    _compare(name, repo_id, folder)
    return folder


def is_of_the_hub(error: Exception) -> bool:
    """Whether the client or its HTTP library raised an error; not in every release is the latter's an ``OSError``."""
    return isinstance(error, OSError) or http_status(error) is not None or is_transient(error)


def _refusal(name: str, repo_id: str, revision: str, error: Exception) -> str:
    """Why a repository could not be read, in one sentence."""
    from difflib import get_close_matches

    from huggingface_hub import constants, errors

    status = http_status(error)
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: ask for access on its page, and log in with `hf auth login` or set HF_TOKEN."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision!r}: leave it out, or give a branch, tag or commit."
    if isinstance(error, errors.RepositoryNotFoundError):
        near = get_close_matches(repo_id.rpartition("/")[2], published_names(), n=3, cutoff=0.0)
        return (
            f"{name} does not exist, or is private and hidden from this login: check the name, or run `hf auth login`."
            + (f" The nearest models of the zoo are {', '.join(near)}." if near else "")
        )
    if status in (401, 403):
        return f"The Hub refuses {name} to this login (HTTP {status}): log in with `hf auth login`, or set HF_TOKEN."
    if constants.HF_HUB_OFFLINE:
        return f"{name} is not in the local cache and HF_HUB_OFFLINE is set: unset it, or give an exported folder."
    return f"{name} cannot be read from the Hub: {one_line(error)} Check the network and try again."


def _compare(name: str, repo_id: str, folder: Path) -> None:
    """Refuse weights whose SHA-256 is not the one that the Hub gives."""
    from huggingface_hub import HfApi

    weights = sorted(path.name for path in folder.glob("*.safetensors"))
    if not weights:
        return
    api = HfApi(library_name="glmc_zoo")
    try:
        entries = retrying(
            lambda: api.get_paths_info(repo_id, weights, revision=folder.name), attempts=3, first_wait=0.5
        )
    except Exception as error:
        if http_status(error) is not None:
            failure = f"The weights of {name} cannot be compared with their SHA-256, because the Hub does not give it"
            raise UserError(f"{failure}: {one_line(error)} Try again later.") from error
        if not is_of_the_hub(error):
            raise
        return  # no network: cached files were compared when they were downloaded
    for entry in entries:
        lfs, file = getattr(entry, "lfs", None), folder / entry.path
        if lfs is not None and file_sha256(file) != lfs.sha256:
            # Removed from the cache, or every later call would get the same damaged file.
            file.resolve().unlink()
            file.unlink(missing_ok=True)
            raise UserError(
                f"{file.name} of {name} was damaged on its way, its SHA-256 is not the one that the Hub gives; it was "
                "removed from the cache: run the same command again."
            )
