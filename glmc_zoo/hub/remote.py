"""What a repository on the Hub holds now, and how it compares with what is about to be pushed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.hub._folder import (
    CARD_FILE,
    CONFIG_FILE,
    HEADS_FILE,
    OPTIONS_FILE,
    PLOTS_FOLDER,
    RESULTS_FILE,
    WEIGHTS_FILE,
)

__all__ = ["Remote", "difference", "read_remote"]

# What an export writes; timm's own push adds the pickle, which would be another model's beside our weights.
_OURS = {CARD_FILE, CONFIG_FILE, HEADS_FILE, OPTIONS_FILE, RESULTS_FILE, WEIGHTS_FILE, "pytorch_model.bin"}
_NO_CONTENT = {".gitattributes", ".gitignore"}


@dataclass(frozen=True)
class Remote:
    """One revision of a repository: its commit, and of each file the Hub's entry."""

    commit: str
    private: bool
    files: Mapping[str, Any]
    """``RepoSibling`` by path."""
    branch_is_there: bool = True
    """False: the branch is still to be made, and starts from this, the newest commit of main."""

    @property
    def is_empty(self) -> bool:
        """Nothing that somebody put there."""
        return not self.files.keys() - _NO_CONTENT

    def stale(self, files: Mapping[str, Any]) -> list[str]:
        """Files of an earlier export that ``files`` does not have any more."""
        ours = [name for name in self.files if name in _OURS or name.startswith(f"{PLOTS_FOLDER}/")]
        return sorted(name for name in ours if name not in files)

    def holds(self, files: Mapping[str, bytes | Path]) -> bool:
        """Whether a push of ``files`` would change nothing."""
        return not self.stale(files) and all(
            name in self.files and _same(self.files[name], content) for name, content in files.items()
        )


def read_remote(api: Any, repo_id: str, revision: str) -> Remote | None:
    """The repository at a branch; None when there is none that this login can see.

    Raises:
        HfHubHTTPError: the Hub refused for another reason; and what the client raises for a broken connection.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    there = True
    try:
        info = api.model_info(repo_id, revision=revision, files_metadata=True)
    except GatedRepoError:  # a kind of RepositoryNotFoundError
        raise
    except RepositoryNotFoundError:
        return None
    except RevisionNotFoundError:
        there, info = False, api.model_info(repo_id, files_metadata=True)
    return Remote(info.sha, bool(info.private), {entry.rfilename: entry for entry in info.siblings or []}, there)


def difference(api: Any, repo_id: str, remote: Remote, config: Mapping[str, Any]) -> str | None:
    """How the model in the repository differs from the one that ``config`` (a ``config.json``) describes.

    Returns:
        The end of a sentence about the repository; None for the same architecture and classes, or no files at all.
    """
    if remote.is_empty:
        return None
    theirs = _read_config(api, repo_id, remote) if CONFIG_FILE in remote.files else {}
    if not theirs.get("architecture"):
        return f"holds files ({', '.join(sorted(remote.files.keys() - _NO_CONTENT)[:3])}) and no timm model"
    if theirs["architecture"] != config.get("architecture"):
        return f"holds a {theirs['architecture']}, not a {config.get('architecture')}"
    old, new = _classes(theirs), _classes(config)
    if old[0] != new[0]:
        return f"holds a model of {old[0]} classes, not {new[0]}"
    if (old[1] is None) != (new[1] is None):
        return f"holds a model {'without' if old[1] is None else 'with'} names of its classes, unlike this one"
    for before, now in zip(old[1] or [], new[1] or [], strict=False):
        if before != now:
            return f"holds a model of other classes ({before!r} in place of {now!r})"
    return None


def _classes(config: Mapping[str, Any]) -> tuple[int | None, list[str] | None]:
    """Number of classes, and their names where the config says them; timm keeps names as a list or in a mapping."""
    inner = config.get("pretrained_cfg") or {}
    names = config.get("label_names") or inner.get("label_names")
    count = config.get("num_classes", inner.get("num_classes"))
    names = [str(name) for name in names] if isinstance(names, list) else None
    return (count if count is not None else len(names or []) or None), names


def _read_config(api: Any, repo_id: str, remote: Remote) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:  # not the user's cache: this is no model that was asked for
        path = api.hf_hub_download(repo_id, CONFIG_FILE, revision=remote.commit, cache_dir=cache)
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError:
            return {}
    return config if isinstance(config, dict) else {}


def _same(entry: Any, content: bytes | Path) -> bool:
    """Whether the Hub's file has this content: by SHA-256 for a large one, by git's hash of the blob otherwise."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    lfs = entry.lfs
    digest = hashlib.sha256() if lfs else hashlib.sha1(b"blob %d\0" % size)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest() == (lfs.sha256 if lfs else entry.blob_id)
