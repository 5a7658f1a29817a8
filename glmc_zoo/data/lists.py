"""Lists of pictures with their classes: reading them, and comparing them with what is known of the official ones."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmc_zoo.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from glmc_zoo.data.official import ListFacts

__all__ = ["SplitList", "counts_digest", "differences", "read_list"]


_LABEL = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class SplitList:
    """One list as it was read."""

    file: str
    """Name of the file, without ``.gz``."""
    sha256: str
    """Of the unpacked file."""
    paths: Any
    """Arrow strings of shape (N,)."""
    labels: NDArray[np.int64]
    """Class of each path, shape (N,)."""
    line_numbers: NDArray[np.int64] | None
    """Line of each path, from 1; ``None`` for an annotation file."""

    def place(self, entry: int) -> str:
        """Where an entry stands, for messages."""
        return self.file if self.line_numbers is None else f"{self.file}, line {self.line_numbers[entry]}"


def read_list(path: Path) -> SplitList:
    """Read ``path label`` lines (plain or packed by gzip), or an annotation file of the iNaturalist competition.

    Blank lines are passed over, and lines may end as on any system.

    Raises:
        UserError: the file cannot be read or unpacked, is no such list, names no picture, or a line is not a path and
            a class number of 0 or more.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8 or is damaged"
        raise UserError(f"The list {path} cannot be read: {reason}; give a text file of 'path label' lines.") from error
    file = path.name.removesuffix(".gz")
    digest = hashlib.sha256(data).hexdigest()
    del data
    if text.lstrip()[:1] == "{":
        return _from_annotations(file, digest, text)
    return _from_lines(file, digest, text)


def _from_lines(file: str, digest: str, text: str) -> SplitList:
    import pyarrow as pa

    paths, labels, numbers = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.rsplit(maxsplit=1)
        if not words:
            continue
        if len(words) < 2 or not _LABEL.fullmatch(words[1]):
            raise UserError(
                f"Line {number} of the list {file} is {line.strip()[:80]!r}: each line must be a path and a class "
                "number of 0 or more."
            )
        paths.append(words[0].lstrip())
        labels.append(int(words[1]))
        numbers.append(number)
    if not paths:
        raise UserError(f"The list {file} names no picture: give a text file of 'path label' lines.")
    return SplitList(file, digest, pa.array(paths), np.asarray(labels, np.int64), np.asarray(numbers, np.int64))


def _from_annotations(file: str, digest: str, text: str) -> SplitList:
    import pyarrow as pa

    try:
        content = json.loads(text)
        category = {entry["image_id"]: int(entry["category_id"]) for entry in content["annotations"]}
        paths = [image["file_name"] for image in content["images"]]
        labels = [category[image["id"]] for image in content["images"]]
        strings = pa.array(paths, pa.string())
    except (ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise UserError(
            f"The list {file} is JSON but no annotation file: it must have images with id and file_name, and "
            "annotations with image_id and category_id for each of them."
        ) from error
    if not paths or min(labels) < 0:
        raise UserError(f"The list {file} names no picture, or a category below 0: give the competition's file.")
    return SplitList(file, digest, strings, np.asarray(labels, np.int64), None)


def counts_digest(counts: NDArray[np.int64] | list[int]) -> str:
    """SHA-256 of class counts, written one a line in the order of the labels."""
    return hashlib.sha256("".join(f"{count}\n" for count in counts).encode()).hexdigest()


def differences(found: SplitList, facts: ListFacts) -> list[str]:
    """What a list has otherwise than the official one, one sentence each; empty for the official one."""
    if found.sha256 == facts.sha256:
        return []
    labels, counts = np.unique(found.labels, return_counts=True)
    # The digest is of the counts of labels 0, 1, 2, ...; any other labels are not the official ones.
    if labels[-1] == len(labels) - 1 and counts_digest(counts) == facts.counts_sha256:
        if facts.sha256 is None or found.line_numbers is None:
            return []
        return [
            f"{found.file} has the official class counts, but another text than the official file (SHA-256 "
            f"{found.sha256[:12]}..., official {facts.sha256[:12]}...): another prefix, another order, or other images."
        ]
    here = _summary(len(found.labels), counts)
    there = _in_words(facts.lines, sum(facts.groups), facts.largest, facts.smallest, facts.groups)
    return [
        f"{found.file} is not the official list: it has {here}; the official one has {there}"
        + (", class by class otherwise." if here == there else ".")
    ]


def _summary(lines: int, counts: NDArray[np.int64]) -> str:
    groups = int((counts > 100).sum()), int(((counts >= 20) & (counts <= 100)).sum()), int((counts < 20).sum())
    return _in_words(lines, len(counts), int(counts.max()), int(counts.min()), groups)


def _in_words(lines: int, classes: int, largest: int, smallest: int, groups: tuple[int, int, int]) -> str:
    if largest == smallest:
        return f"{lines:,} images of {classes} classes, {largest} of each"
    shot = "/".join(map(str, groups))
    return f"{lines:,} images of {classes} classes, {largest} to {smallest} of each, many/medium/few {shot}"
