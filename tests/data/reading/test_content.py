from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

from glmc_zoo.data.reading.content import (
    byte_sizes,
    content_digests,
    full_digests,
    tail_digests,
    unit_interval,
)
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages

END = 1 << 16


def blake(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


@pytest.fixture
def contents() -> list[bytes]:
    """Small, just whole, just beyond, and far beyond the two ends."""
    rng = np.random.RandomState(0)
    return [rng.bytes(size) for size in (1, 3000, 2 * END, 2 * END + 1, 5 * END)]


def as_files(folder: Path, contents: list[bytes]) -> FileImages:
    for index, content in enumerate(contents):
        (folder / f"{index}.jpg").write_bytes(content)
    return FileImages(folder, [f"{index}.jpg" for index in range(len(contents))], "training")


def as_table(records: list[Any], kind: Any, folder: Path | None = None) -> ArrowImages:
    table = datasets.Dataset(pa.table({"image": pa.array(records, kind)}))
    return ArrowImages(table, "image", "training", folder)


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_digest_covers_length_and_both_ends(contents: list[bytes], tmp_path: Path) -> None:
    expected = [
        blake(b"%d\n" % len(content), content if len(content) <= 2 * END else content[:END] + content[-END:])
        for content in contents
    ]
    digests = content_digests(as_files(tmp_path, contents), np.arange(5))
    assert digests.shape == (5, 16) and [digest.tobytes() for digest in digests] == expected
    whole = full_digests(as_files(tmp_path, contents), np.arange(5))
    assert [digest.tobytes() for digest in whole] == [blake(b"%d\n" % len(one), one) for one in contents]


def test_bytes_count_the_same_wherever_they_lie(contents: list[bytes], tmp_path: Path) -> None:
    files = as_files(tmp_path, contents)
    tables = [
        as_table([{"bytes": content, "path": f"other{index}"} for index, content in enumerate(contents)], STRUCT),
        as_table([{"bytes": None, "path": str(tmp_path / f"{index}.jpg")} for index in range(5)], STRUCT, tmp_path),
        as_table(contents, pa.binary()),
    ]
    rows = np.asarray([4, 0, 2, 3])
    for function in (content_digests, tail_digests, full_digests, byte_sizes):
        expected = function(files, rows)
        for table in tables:
            assert (function(table, rows) == expected).all()
            assert (function(table, np.arange(5))[rows] == expected).all()
    assert byte_sizes(files, rows).tolist() == [len(contents[row]) for row in rows]


def test_a_change_between_the_ends_is_seen_by_the_whole_alone(tmp_path: Path) -> None:
    one = bytes(5 * END)
    other = one[: 2 * END] + b"x" + one[2 * END + 1 :]
    source = as_files(tmp_path, [one, other])
    first, second = content_digests(source, np.arange(2))
    assert (first == second).all()
    first, second = full_digests(source, np.arange(2))
    assert (first != second).any()


def test_what_cannot_be_read_is_known_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").mkdir()
    source = FileImages(tmp_path, ["missing.jpg", "1.jpg", "b\udce9.jpg"], "training")
    digests = content_digests(source, np.arange(3))
    assert len({digest.tobytes() for digest in digests}) == 3
    assert digests[0].tobytes() == blake(b"path\n", b"missing.jpg")
    assert byte_sizes(source, np.asarray([0])).tolist() == [-1]
    moved = FileImages(tmp_path / "elsewhere", ["missing.jpg"], "training")
    assert (content_digests(moved, np.asarray([0])) == digests[0]).all()
    table = as_table(
        [{"bytes": None, "path": "gone.png"}, {"bytes": None, "path": None}, {"bytes": b"", "path": "x"}], STRUCT
    )
    assert len({digest.tobytes() for digest in content_digests(table, np.arange(3))}) == 3


def test_decoded_images_count_by_their_pixels() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (4, 2, 3, 3)).astype(np.uint8)
    pixels[3] = pixels[0]
    first, second, _, last = content_digests(ArrayImages(pixels, "training"), np.arange(4))
    assert (first == last).all() and (first != second).any()
    turned = content_digests(ArrayImages(pixels.reshape(4, 3, 2, 3), "training"), np.arange(1))
    assert (turned[0] != first).any()


def test_nothing_is_read_for_no_rows(tmp_path: Path) -> None:
    none = np.empty(0, dtype=np.int64)
    for source in (
        as_files(tmp_path, []),
        as_table([], pa.binary()),
        ArrayImages(np.zeros((0, 1, 1, 3), np.uint8), ""),
    ):
        assert content_digests(source, none).shape == (0, 16)
        assert byte_sizes(source, none).shape == (0,)


def test_numbers_of_a_hash_are_even_and_depend_on_the_salt() -> None:
    values = [index.to_bytes(8, "little") for index in range(20_000)]
    numbers = unit_interval(values, "test")
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi-square with 19 degrees of freedom
    assert abs(np.corrcoef(numbers, unit_interval(values, "validation 0"))[0, 1]) < 0.03
