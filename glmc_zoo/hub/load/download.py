"""Download a model's files from the Hub, and compare each with the hash that the repository gives.

The Hub's client compares no hashes: it would not notice a byte that changed on the way or in the cache.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from glmc_zoo.disk import file_failure
from glmc_zoo.documents import MAX_BYTES
from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import CONFIG_FILE, as_user_error, file_sha256, one_line
from glmc_zoo.hub.load.zoo import published_names
from glmc_zoo.retry import Budget, call_with_retries, http_status, is_transient, unexpected_answer

_T = TypeVar("_T")
_TENSORS = ".safetensors"


def download(name: str, reference: str, files: Sequence[str]) -> Path:
    """Download files of a repository into the Hub's cache, and compare each with its hash there.

    Files that the repository does not have are left out. A file with a wrong hash is removed from the cache and
    downloaded once more. Without a network the cached files are used, after a comparison with the hashes that the cache
    names them by.

    Args:
        name: What messages call the model.
        reference: ``ORG/NAME`` or ``ORG/NAME@REVISION``.
        files: Names of files in the repository; `CONFIG_FILE` is one of them.

    Returns:
        The snapshot's folder, named by the commit.

    Raises:
        UserError: The repository cannot be read or has no `CONFIG_FILE`, or a file is damaged again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    repo_id, _, revision = reference.partition("@")
    api, budget = HfApi(library_name="glmc_zoo"), Budget()
    with as_user_error(f"{name} is not a repository", HFValidationError, fix="Give hf-hub:ORG/NAME."):
        try:
            get_info = partial(api.model_info, repo_id, revision=revision or None, files_metadata=True)
            info = _request(get_info, budget)
            return _CommitFiles(name, repo_id, revision, info, budget).fetch(files)
        except Exception as error:
            if not is_hub_error(error):
                raise
            status = http_status(error)
            unreachable = status is None or is_transient(error)
            folder = _cached_folder(name, repo_id, revision, files) if unreachable else None
            if folder is None:
                raise UserError(_failure_reason(name, repo_id, revision, error)) from error
            return folder


class _CommitFiles:
    """Files of one commit."""

    def __init__(self, name: str, repo_id: str, revision: str, info: Any, budget: Budget) -> None:
        self._name, self._repo_id, self._revision, self._budget = name, repo_id, revision, budget
        self._commit, self._entries = info.sha, {entry.rfilename: entry for entry in info.siblings or []}

    def fetch(self, files: Sequence[str]) -> Path:
        """Download those of ``files`` that the repository has, check their hashes, and return their folder."""
        if CONFIG_FILE not in self._entries:
            raise UserError(
                f"{self._name} is not an exported model, {CONFIG_FILE} is missing: give a repository that glmc_zoo or "
                "timm exported."
            )
        paths = [self._fetch_file(file) for file in files if file in self._entries]
        return paths[0].parent

    def _fetch_file(self, file: str) -> Path:
        size = self._entries[file].size or 0
        if not file.endswith(_TENSORS) and size > MAX_BYTES:
            limit = MAX_BYTES >> 20
            raise UserError(
                f"{file} of {self._name} has {size:,} bytes, and at most {limit} MiB are read: give another model."
            )
        path = self._get(file)
        if self._has_expected_hash(path, file):
            return path
        _remove(path)  # or every later call would get the same damaged file
        path = self._get(file, force=True)
        if self._has_expected_hash(path, file):
            return path
        _remove(path)
        raise UserError(
            f"{file} of {self._name} was damaged on its way, twice: its hash is not the one that the Hub gives; it was "
            "removed from the cache: check the network and run the same command again."
        )

    def _get(self, file: str, *, force: bool = False) -> Path:
        from huggingface_hub import hf_hub_download

        # By the branch, so that the cache knows which commit it was on, when there is no network.
        for revision in (self._revision or "main", self._commit):
            get = partial(hf_hub_download, self._repo_id, file, revision=revision, force_download=force)
            path = Path(_request(get, self._budget, long=file.endswith(_TENSORS)))
            if path.parent.name == self._commit:  # else the branch has moved since
                return path
        return path

    def _has_expected_hash(self, path: Path, file: str) -> bool:
        entry = self._entries[file]
        expected = entry.lfs.sha256 if entry.lfs else entry.blob_id
        if not expected:
            fault = "cannot be compared with its hash, because the Hub does not give it"
            raise UserError(f"{file} of {self._name} {fault}: give an exported folder.")
        return _hash(path, expected) == str(expected)


def _cached_folder(name: str, repo_id: str, revision: str, files: Sequence[str]) -> Path | None:
    """The files of an earlier download, compared with their names in the cache; ``None`` without them."""
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            repo_id, revision=revision or None, allow_patterns=list(files), local_files_only=True
        )
    except OSError:  # not in the cache
        return None
    folder = Path(snapshot)
    if not (folder / CONFIG_FILE).is_file():
        return None
    blobs = folder.parents[1] / "blobs"
    linked = blobs.is_dir() and any(blobs.iterdir())  # else the system has no links, and there is no hash to compare
    for file in files if linked else []:
        if (folder / file).is_file() and not _matches_cached_hash(folder / file):
            _remove(folder / file)
            raise UserError(
                f"{file} of {name} was changed in the cache, and the Hub cannot be reached: it was removed, so run the "
                "same command again with a network."
            )
    return folder


def _matches_cached_hash(path: Path) -> bool:
    """Whether a file of the cache has the hash that the file it links to is named by."""
    expected = next(
        (target.name for target in _links(path) if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", target.name)), None
    )
    return expected is not None and _hash(path, expected) == expected


def _hash(path: Path, expected: str) -> str:
    """The hash of a file, of the kind that is expected: SHA-256, or git's hash of a blob."""
    if len(expected) == 64:
        return file_sha256(path)
    if path.stat().st_size > MAX_BYTES:  # git holds no such file
        return ""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _links(path: Path) -> list[Path]:
    """A path and what it links to, one after the other."""
    paths = [path]
    while paths[-1].is_symlink() and len(paths) < 10:
        paths.append(paths[-1].parent / paths[-1].readlink())
    return paths


def _remove(path: Path) -> None:
    for target in _links(path):
        target.unlink(missing_ok=True)


def _request(call: Callable[[], _T], budget: Budget, *, long: bool = False) -> _T:
    return call_with_retries(call, attempts=4, first_wait=0.5, budget=budget, long=long)


def is_hub_error(error: Exception) -> bool:
    """Whether the client or its HTTP library raised an error; not in every release is the latter's an ``OSError``."""
    is_client_error = isinstance(error, OSError) or http_status(error) is not None or is_transient(error)
    return not isinstance(error, UserError) and (is_client_error or unexpected_answer(error) is not None)


def _failure_reason(name: str, repo_id: str, revision: str, error: Exception) -> str:
    """Why a repository could not be read, in one sentence."""
    from difflib import get_close_matches

    from huggingface_hub import constants, errors

    status = http_status(error)
    if (failure := file_failure(error)) is not None:
        return f"{name} cannot be stored ({failure}): set HF_HOME to a folder that you may write to."
    if isinstance(error, errors.GatedRepoError):
        return f"{name} is gated: ask for access on its page, and log in with `hf auth login` or set HF_TOKEN."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{name} has no revision {revision!r}: leave it out, or give a branch, tag or commit."
    if isinstance(error, errors.RepositoryNotFoundError):
        suggestions = get_close_matches(repo_id.rpartition("/")[2], published_names(), n=3, cutoff=0.0)
        return (
            f"{name} does not exist, or is private and hidden from this login: check the name, or run `hf auth login`."
            + (f" The nearest models of the zoo are {', '.join(suggestions)}." if suggestions else "")
        )
    if status in (401, 403):
        return f"The Hub refuses {name} to this login (HTTP {status}): log in with `hf auth login`, or set HF_TOKEN."
    if constants.HF_HUB_OFFLINE:
        return f"{name} is not in the local cache and HF_HUB_OFFLINE is set: unset it, or give an exported folder."
    unexpected = unexpected_answer(error)
    if unexpected is not None:
        return f"{name} cannot be read from the Hub: {unexpected}"
    return f"{name} cannot be read from the Hub: {one_line(error)} Check the network and try again."
