"""Where the official lists of a set are found: named by the user, beside the data, or in a data set on the Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from glmc_zoo.data.official import OfficialSplit
from glmc_zoo.errors import UserError

__all__ = ["HUB_ID", "FoundLists", "find_lists"]

HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
# What collections of such lists call the folder.
_FOLDERS = ("data_txt", "lists")


@dataclass(frozen=True)
class FoundLists:
    """The files, as far as there are any."""

    train: Path | None = None
    test: Path | None = None
    val: Path | None = None
    notes: list[str] = field(default_factory=list)
    """Why there is none, where the Hub was asked in vain."""


def find_lists(
    name: str,
    official: OfficialSplit,
    *,
    split_file: str | Path | None,
    data_dir: Path | None,
    lists_repo: str | None,
) -> FoundLists:
    """The lists of a set: those that the user names, else those beside the data, else those on the Hub.

    Args:
        name: of the catalogue entry.
        official: what the lists are called.
        split_file: a training list, a folder with the official lists, or the Hub id of a data set with them.
        data_dir: local copy of the set; its parent is looked through as well.
        lists_repo: Hub data set to ask last; a failure is a note.

    Raises:
        UserError: ``split_file`` is none of these, or holds no training list.
    """
    if split_file is not None:
        return _named(name, official, split_file)
    if data_dir is not None:
        here = data_dir.resolve()
        beside = _in_folders([here, here.parent], name, official)
        if beside.train is not None or (official.natural and beside.test is not None):
            return beside
    else:
        beside = FoundLists()
    if lists_repo is None:
        return beside
    fetched = _fetched(lists_repo, name, official)
    if isinstance(fetched, FoundLists) and fetched.train is not None:
        return fetched
    reason = f" ({fetched})" if isinstance(fetched, str) else ""
    return replace(beside, notes=[f"The Hub data set {lists_repo} did not give {official.train.file}{reason}."])


def _named(name: str, official: OfficialSplit, split_file: str | Path) -> FoundLists:
    path = Path(split_file).expanduser()
    if path.is_file():
        beside = _in_folders([path.resolve().parent], name, official, inner=False)
        return replace(beside, train=path)
    expected = f"{official.train.file} (or .gz" + (f", or {official.annotations[0]})" if official.annotations else ")")
    if path.is_dir():
        found: FoundLists | str = _in_folders([path], name, official)
        problem = "is a folder without"
    elif HUB_ID.fullmatch(str(split_file)) and not str(split_file).startswith("."):
        found = _fetched(str(split_file), name, official)
        problem = "is neither a file here nor a Hub data set that gives"
    else:
        raise UserError(
            f"--split-file {split_file} does not exist: give the training list, a folder with the official lists, or "
            "the Hub id of a data set with them."
        )
    if isinstance(found, str) or found.train is None:
        reason = f" ({found})" if isinstance(found, str) else ""
        raise UserError(f"--split-file {split_file} {problem} {expected}{reason}: give a place that has the list.")
    return found


def _in_folders(folders: list[Path], name: str, official: OfficialSplit, *, inner: bool = True) -> FoundLists:
    """The lists of the first folder that has a training list, or failing that a test list."""
    names = (name, official.train.file.removesuffix("_train.txt"), *_FOLDERS) if inner else ()
    tried = [candidate for folder in folders for candidate in (folder, *(folder / inside for inside in names))]
    found = [_in_folder(folder, official) for folder in tried if folder.is_dir()]
    with_train = [lists for lists in found if lists.train is not None]
    with_test = [lists for lists in found if lists.test is not None]
    return next(iter(with_train + with_test), FoundLists())


def _in_folder(folder: Path, official: OfficialSplit) -> FoundLists:
    train, test = official.annotations or (None, None)
    return FoundLists(
        train=_first(folder, official.train.file, train),
        test=_first(folder, official.test.file, test),
        val=_first(folder, official.val.file) if official.val else None,
    )


def _first(folder: Path, *names: str | None) -> Path | None:
    candidates = [folder / f"{name}{packed}" for name in names if name for packed in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _fetched(repo: str, name: str, official: OfficialSplit) -> FoundLists | str:
    """The lists in a Hub data set, or why it cannot be had."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    names = [facts.file for facts in (official.train, official.test, official.val) if facts] + [
        *(official.annotations or ())
    ]
    try:
        folder = snapshot_download(repo, repo_type="dataset", allow_patterns=[f"*{file}*" for file in names])
    except RepositoryNotFoundError:
        return "it is not there, or private and not for this login"
    except Exception as error:
        # Errors of the client's HTTP library are no OSError in every release.
        if not isinstance(error, OSError | ValueError | RuntimeError) and "httpx" not in type(error).__module__:
            raise
        if constants.HF_HUB_OFFLINE:
            return "it is not in the local cache and HF_HUB_OFFLINE is set"
        # Not the client's own words: what is said here goes into results and cards, and those name hosts and files.
        status = getattr(getattr(error, "response", None), "status_code", None)
        return f"the Hub answers HTTP {status}" if status else "the Hub cannot be reached"
    return _in_folders([Path(folder)], name, official)
