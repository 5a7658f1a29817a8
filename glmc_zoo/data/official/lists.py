"""Official lists: finding the files, reading them, and comparing them with the published ones."""

import hashlib
import io
import json
import os
import re
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glmc_zoo.data.official.facts import ListFacts, OfficialSplit, list_facts
from glmc_zoo.data.reading.hub import HUB_ID
from glmc_zoo.data.reading.table_sizes import read_packed
from glmc_zoo.errors import UserError

_LABEL = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class ListFiles:
    """The list files of a data set, as far as they exist."""

    train: Path | None = None
    test: Path | None = None
    val: Path | None = None
    problem: str = ""
    """Why the Hub gave no list, in brackets; empty if the Hub was not asked."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SplitList:
    """The content of one list."""

    file: str
    """Name of the file, without ``.gz``."""
    sha256: str
    """SHA-256 of the unpacked file."""
    paths: Any
    """Arrow strings of shape (N,)."""
    labels: NDArray[np.int64]
    """Class of each path, shape (N,)."""
    line_numbers: list[int] | None
    """Line of each path, from 1; ``None`` for an annotation file."""

    def line(self, entry: int) -> str:
        """File and line of an entry, for messages."""
        return self.file if self.line_numbers is None else f"{self.file}, line {self.line_numbers[entry]}"


def find_lists(
    name: str, official: OfficialSplit, *, split_file: str | None, data_dir: Path | None, lists_repo: str | None
) -> ListFiles:
    """The lists of a data set: those that the user names, else those beside the data, else those on the Hub.

    ``split_file`` is a training list, a folder with the official lists, or the Hub id of a data set with them. Lists
    beside the data lie in ``data_dir`` or its parent. ``lists_repo`` is asked last; a note says if it gives none.
    """
    if split_file is not None:
        return _named_lists(name, official, split_file)
    folders = [] if data_dir is None else [data_dir.resolve(), data_dir.resolve().parent]
    beside = _in_folders(folders, name, official)
    if lists_repo is None or beside.train is not None or (official.natural and beside.test is not None):
        return beside
    fetched = _fetch(lists_repo, name, official)
    if fetched.train is not None:
        return fetched
    note = f"The Hub data set {lists_repo} did not give {official.train.file}{fetched.problem}."
    return replace(beside, notes=[note])


def _named_lists(name: str, official: OfficialSplit, split_file: str) -> ListFiles:
    path = Path(split_file)
    if os.path.isfile(path):
        return replace(_in_folder(path.resolve().parent, official), train=path)
    if os.path.isdir(path):
        lists, problem = _in_folders([path], name, official), "is a folder without"
    elif HUB_ID.fullmatch(split_file) and not split_file.startswith("."):
        lists, problem = _fetch(split_file, name, official), "is neither a file nor a Hub data set that gives"
    else:
        choices = "the training list, a folder with the lists, or the Hub id of a data set with them"
        raise UserError(f"split_file={split_file!r} does not exist: give {choices}.")
    if lists.train is None:
        files = " or ".join([official.train.file, *(official.annotations or ())[:1]])
        raise UserError(f"split_file={split_file!r} {problem} {files}{lists.problem}: give the file itself.")
    return lists


def _in_folders(folders: list[Path], name: str, official: OfficialSplit) -> ListFiles:
    """The lists of the first folder with a training list; without one, of the first folder with a test list."""
    names = ("", name, official.train.file.removesuffix("_train.txt"), "data_txt", "lists")  # the usual ones
    lists = [_in_folder(folder / inner, official) for folder in folders for inner in names]
    with_train = [files for files in lists if files.train is not None]
    with_test = [files for files in lists if files.test is not None]
    return next(iter(with_train + with_test), ListFiles())


def _in_folder(folder: Path, official: OfficialSplit) -> ListFiles:
    def first(facts: ListFacts | None, annotations: str | None = None) -> Path | None:
        names = [name for name in (facts and facts.file, annotations) if name]
        candidates = [folder / f"{name}{packed}" for name in names for packed in ("", ".gz")]
        return next((path for path in candidates if path.is_file()), None)

    train, test = official.annotations or (None, None)
    return ListFiles(first(official.train, train), first(official.test, test), first(official.val))


def _fetch(repo: str, name: str, official: OfficialSplit) -> ListFiles:
    """The lists in a Hub data set."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    published = [facts.file for facts in (official.train, official.test, official.val) if facts]
    patterns = [f"*{file}*" for file in (*published, *(official.annotations or ()))]
    try:
        folder = snapshot_download(repo, repo_type="dataset", allow_patterns=patterns)
    except RepositoryNotFoundError:
        problem = "it does not exist, or is private and not for this login"
    except Exception as error:
        # Errors of the client's HTTP library are not an OSError in every release.
        if not isinstance(error, OSError | ValueError | RuntimeError) and "httpx" not in type(error).__module__:
            raise
        # The client's own message names hosts and files, and this text goes into results and cards.
        status = getattr(getattr(error, "response", None), "status_code", None)
        problem = f"the Hub answers HTTP {status}" if status else "the Hub cannot be reached"
        if constants.HF_HUB_OFFLINE:
            problem = "it is not in the local cache and HF_HUB_OFFLINE is set"
    else:
        return _in_folders([Path(folder)], name, official)
    return ListFiles(problem=f" ({problem})")


def read_list(path: Path) -> SplitList:
    """Read ``path label`` lines (plain or packed by gzip), or an annotation file of the iNaturalist competition.

    Blank lines are skipped. Lines may end with LF, CRLF or CR.
    """
    try:
        data = read_packed(path)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8 or is damaged"
        raise UserError(f"The list {path} cannot be read: {reason}; give a text file of 'path label' lines.") from error
    file = path.name.removesuffix(".gz")
    parse = _read_annotations if text.lstrip()[:1] == "{" else _read_lines
    paths, labels, line_numbers = parse(file, text)
    return SplitList(file, hashlib.sha256(data).hexdigest(), paths, np.asarray(labels, np.int64), line_numbers)


def _read_lines(file: str, text: str) -> tuple[Any, list[int], list[int]]:
    """Paths, labels and line numbers, counted from 1, of a list with a path and a label in each line."""
    paths, labels, line_numbers = [], [], []
    # Not `splitlines`, which also splits at characters that a path may contain.
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        words = line.rsplit(maxsplit=1)  # a path may contain spaces
        if not words:
            continue
        if len(words) < 2 or not _LABEL.fullmatch(words[1]):
            line_text = f"Line {number} of the list {file} is {line.strip()[:80]!r}"
            raise UserError(f"{line_text}: each line must be a path and a class number of 0 or more.")
        paths.append(words[0].lstrip())
        labels.append(int(words[1]))
        line_numbers.append(number)
    if not paths:
        raise UserError(f"The list {file} names no image: give a text file of 'path label' lines.")
    return pa.array(paths), labels, line_numbers


def _read_annotations(file: str, text: str) -> tuple[Any, list[int], None]:
    try:
        content = json.loads(text)
        category = {entry["image_id"]: int(entry["category_id"]) for entry in content["annotations"]}
        paths = pa.array([image["file_name"] for image in content["images"]], pa.string())
        labels = [category[image["id"]] for image in content["images"]]
    except (ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise UserError(
            f"The list {file} is JSON but not an annotation file: it must have images with id and file_name, and "
            "annotations with image_id and category_id for each of them."
        ) from error
    if min(labels, default=-1) < 0:
        raise UserError(f"The list {file} names no image, or a category below 0: give the competition's file.")
    return paths, labels, None


def differences(listed: SplitList, facts: ListFacts) -> list[str]:
    """How a list differs from the official one, one sentence each; empty for the official one."""
    if listed.sha256 == facts.sha256:
        return []
    labels, counts = np.unique(listed.labels, return_counts=True)
    # The digest is taken over labels 0, 1, 2, ...; any other labels are not the official ones.
    if labels[-1] == len(labels) - 1 and facts.has_counts(counts.tolist()):
        if facts.sha256 is None or listed.line_numbers is None:
            return []
        return [
            f"{listed.file} has the official class counts, but differs from the official file (SHA-256 "
            f"{listed.sha256[:12]}..., official {facts.sha256[:12]}...): another prefix, order or images."
        ]
    actual, expected = list_facts(listed.file, counts.tolist()).in_words(), facts.in_words()
    return [
        f"{listed.file} is not the official list: it has {actual}; the official one has {expected}"
        + (", but in other classes." if actual == expected else ".")
    ]
