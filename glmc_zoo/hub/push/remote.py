"""What a repository on the Hub holds, compared with what is about to be pushed."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.hub.folder import CONFIG_FILE, EXPORTED_FILES, PLOTS_FOLDER, file_sha256

# timm's own push adds the pickle, which would be another model's beside our weights.
_OURS = EXPORTED_FILES | {"pytorch_model.bin"}
_NO_CONTENT = {".gitattributes", ".gitignore"}


@dataclass(frozen=True)
class Remote:
    """One revision of a repository: its commit, and the Hub's entry for each file."""

    commit: str
    private: bool
    files: Mapping[str, Any]
    """``RepoSibling`` by path."""
    branch_exists: bool = True
    """``False``: the branch has to be made, and this is the newest commit of main, where it starts."""

    def stale(self, files: Mapping[str, Any]) -> list[str]:
        """Files of an earlier export that ``files`` does not have."""
        ours = [name for name in self.files if name in _OURS or name.startswith(f"{PLOTS_FOLDER}/")]
        return sorted(name for name in ours if name not in files)

    def holds(self, files: Mapping[str, bytes | Path]) -> bool:
        """Whether a push of ``files`` would change nothing."""
        return not self.stale(files) and all(
            name in self.files and _same(self.files[name], content) for name, content in files.items()
        )


def read_remote(api: Any, repo_id: str, revision: str) -> Remote | None:
    """The repository at a branch; ``None`` when this login can see no such repository."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    branch_exists = True
    try:
        info = api.model_info(repo_id, revision=revision, files_metadata=True)
    except GatedRepoError:  # a kind of RepositoryNotFoundError
        raise
    except RepositoryNotFoundError:
        return None
    except RevisionNotFoundError:
        branch_exists, info = False, api.model_info(repo_id, files_metadata=True)
    files = {entry.rfilename: entry for entry in info.siblings or []}
    return Remote(info.sha, bool(info.private), files, branch_exists)


def difference(api: Any, repo_id: str, remote: Remote, config: Mapping[str, Any]) -> str | None:
    """How the model in the repository differs from the one that ``config`` (a ``config.json``) describes.

    The end of a sentence about the repository; ``None`` for the same architecture and classes, or an empty one.
    """
    uploaded = sorted(remote.files.keys() - _NO_CONTENT)
    if not uploaded:
        return None
    theirs = _read_config(api, repo_id, remote) if CONFIG_FILE in remote.files else {}
    if not theirs.get("architecture"):
        return f"holds files ({', '.join(uploaded[:3])}) but no timm model"
    if theirs["architecture"] != config.get("architecture"):
        return f"holds a {theirs['architecture']}, not a {config.get('architecture')}"
    (old_count, old_names), (count, names) = _classes(theirs), _classes(config)
    if old_count != count:
        return f"holds a model of {old_count} classes, not {count}"
    if (old_names is None) != (names is None):
        return f"holds a model {'without' if old_names is None else 'with'} names of its classes, unlike this one"
    for before, now in zip(old_names or [], names or [], strict=False):
        if before != now:
            return f"holds a model of other classes ({before!r} instead of {now!r})"
    return None


def _classes(config: Mapping[str, Any]) -> tuple[int | None, list[str] | None]:
    """Number of classes and, where the config lists them, their names."""
    inner = config.get("pretrained_cfg") or {}
    names = config.get("label_names") or inner.get("label_names")
    count = config.get("num_classes", inner.get("num_classes"))
    names = [str(name) for name in names] if isinstance(names, list) else None
    return (count if count is not None else len(names or []) or None), names


def _read_config(api: Any, repo_id: str, remote: Remote) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as cache:  # not the user's cache, since nobody asked to download this model
        path = api.hf_hub_download(repo_id, CONFIG_FILE, revision=remote.commit, cache_dir=cache)
        try:
            config = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError:
            return {}
    return config if isinstance(config, dict) else {}


def _same(entry: Any, content: bytes | Path) -> bool:
    """Whether the Hub's file has this content: by SHA-256 for a large one, by git's hash of the blob otherwise."""
    if entry.lfs and isinstance(content, Path):
        return bool(entry.lfs.sha256 == file_sha256(content))
    data = content if isinstance(content, bytes) else content.read_bytes()
    if entry.lfs:
        return bool(entry.lfs.sha256 == hashlib.sha256(data).hexdigest())
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
