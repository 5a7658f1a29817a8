"""The files of a repository on the Hub, compared with those that are about to be pushed."""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.documents import MAX_BYTES, read_json
from glmc_zoo.errors import UserError
from glmc_zoo.hub.config import ModelConfig, check_config
from glmc_zoo.hub.folder import CONFIG_FILE, EXPORTED_FILES, PLOTS_FOLDER, file_sha256
from glmc_zoo.text import counted

# A push by timm adds `pytorch_model.bin`. It would stay beside the new weights, with those of another model.
_MODEL_FILES = EXPORTED_FILES | {"pytorch_model.bin"}
_NO_CONTENT = {".gitattributes", ".gitignore"}
APP_FILE = "app.py"
SPACE_MODEL, SPACE_IMAGES = "model", "rare_images"
SPACE_FILES = frozenset({"README.md", "requirements.txt", APP_FILE})
SPACE_FOLDERS = (SPACE_MODEL, SPACE_IMAGES)
"""Folders of a Space that this package writes: a model, and training images of rare classes."""


@dataclass(frozen=True)
class Remote:
    """One revision of a repository: its commit, and the Hub's entry for each file."""

    commit: str
    private: bool
    files: Mapping[str, Any]
    """``RepoSibling`` by path."""
    branch_exists: bool = True
    """``False``: the branch has to be made, and this is the newest commit of main, where it starts."""
    kind: str = "model"
    """Kind of the repository, as the Hub calls it."""

    def outdated_files(self, files: Mapping[str, Any]) -> list[str]:
        """Files of an earlier export that ``files`` does not have."""
        names, folders = (_MODEL_FILES, (PLOTS_FOLDER,)) if self.kind == "model" else (SPACE_FILES, SPACE_FOLDERS)
        exported = [
            name for name in self.files if name in names or name.startswith(tuple(f"{folder}/" for folder in folders))
        ]
        return sorted(name for name in exported if name not in files)

    def contains(self, files: Mapping[str, bytes | Path]) -> bool:
        """Whether a push of ``files`` would change nothing."""
        return not self.outdated_files(files) and all(
            name in self.files and _same_content(self.files[name], content) for name, content in files.items()
        )


def read_remote(api: Any, repo_id: str, revision: str, kind: str) -> Remote | None:
    """The repository at a branch; ``None`` when this login can see no such repository."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    branch_exists = True
    try:
        info = api.repo_info(repo_id, revision=revision, files_metadata=True, repo_type=kind)
    except GatedRepoError:  # a kind of RepositoryNotFoundError
        raise
    except RepositoryNotFoundError:
        return None
    except RevisionNotFoundError:
        branch_exists, info = False, api.repo_info(repo_id, files_metadata=True, repo_type=kind)
    files = {entry.rfilename: entry for entry in info.siblings or []}
    return Remote(info.sha, bool(info.private), files, branch_exists, kind)


def difference(api: Any, repo_id: str, remote: Remote, config: ModelConfig) -> str | None:
    """How the model in the repository differs from the one that ``config`` describes.

    The end of a sentence about the repository; ``None`` for the same architecture and classes, or an empty one.
    """
    uploaded = sorted(remote.files.keys() - _NO_CONTENT)
    if not uploaded:
        return None
    remote_config = _read_config(api, repo_id, remote) if CONFIG_FILE in remote.files else None
    if remote_config is None:
        return f"holds files ({', '.join(uploaded[:3])}) but no timm model"
    if remote_config.architecture != config.architecture:
        return f"holds a {remote_config.architecture}, not a {config.architecture}"
    old_count, count = _class_count(remote_config), _class_count(config)
    if old_count != count:
        old_size, size = (
            "an unknown number of classes" if number is None else counted(number, "class")
            for number in (old_count, count)
        )
        return f"holds a model of {old_size}, not of {size}"
    old_names, names = remote_config.class_names, config.class_names
    if (old_names is None) != (names is None):
        return f"holds a model {'without' if old_names is None else 'with'} names of its classes, unlike this one"
    for old_name, name in zip(old_names or [], names or [], strict=False):
        if old_name != name:
            return f"holds a model of other classes ({old_name!r} instead of {name!r})"
    return None


def space_difference(api: Any, repo_id: str, remote: Remote) -> str | None:
    """How a Space differs from a demo of this package: the end of a sentence; ``None`` for one, or an empty Space."""
    uploaded = sorted(remote.files.keys() - _NO_CONTENT - {"README.md"})
    if not uploaded:
        return None
    if APP_FILE in remote.files and (remote.files[APP_FILE].size or 0) <= MAX_BYTES:
        with tempfile.TemporaryDirectory() as cache:
            path = api.hf_hub_download(
                repo_id, APP_FILE, revision=remote.commit, cache_dir=cache, repo_type=remote.kind
            )
            if b"glmc_zoo.demo(" in Path(path).read_bytes():
                return None
    return f"holds files ({', '.join(uploaded[:3])}) but no demo of glmc_zoo"


def _class_count(config: ModelConfig) -> int | None:
    return config.num_classes if config.num_classes is not None else len(config.class_names or []) or None


def _read_config(api: Any, repo_id: str, remote: Remote) -> ModelConfig | None:
    """The configuration in the repository; ``None`` where it is not one of a timm model."""
    if (remote.files[CONFIG_FILE].size or 0) > MAX_BYTES:
        return None
    with tempfile.TemporaryDirectory() as cache:  # not the user's cache, since nobody asked to download this model
        path = api.hf_hub_download(repo_id, CONFIG_FILE, revision=remote.commit, cache_dir=cache)
        try:
            return check_config(read_json(Path(path), CONFIG_FILE), CONFIG_FILE)
        except UserError:
            return None


def _same_content(entry: Any, content: bytes | Path) -> bool:
    """Whether the Hub's file has this content: by SHA-256 for a large one, by git's hash of the blob otherwise."""
    if entry.lfs and isinstance(content, Path):
        return bool(entry.lfs.sha256 == file_sha256(content))
    data = content if isinstance(content, bytes) else content.read_bytes()
    if entry.lfs:
        return bool(entry.lfs.sha256 == hashlib.sha256(data).hexdigest())
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())
