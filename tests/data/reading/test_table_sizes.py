"""Files of a few kilobytes that become gigabytes are refused before they do."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glmc_zoo.data import load_data
from glmc_zoo.data.official.lists import read_list
from glmc_zoo.data.reading import table_sizes
from glmc_zoo.data.reading.table_rows import read_rows
from glmc_zoo.data.reading.table_sizes import check_expansion, read_packed
from glmc_zoo.errors import UserError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_a_list_packed_by_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.txt.gz"
    path.write_bytes(gzip.compress(b"a/1.jpg 0\nb/2.jpg 1\n"))
    assert read_packed(path) == b"a/1.jpg 0\nb/2.jpg 1\n" and read_list(path).labels.tolist() == [0, 1]
    monkeypatch.setattr(table_sizes, "MOST_LIST_BYTES", 2**22)
    path.write_bytes(gzip.compress(bytes(2**26)))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    with pytest.raises(UserError, match=r"list\.txt\.gz holds more than 4 MB of text"):
        read_list(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_list_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metadata.parquet"
    pq.write_table(pa.table({"file_name": ["x" * 1000] * 100_000, "label": ["a"] * 100_000}), path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(table_sizes, "MOST_LIST_BYTES", 2**24)
    with pytest.raises(UserError, match="holds more than 16 MB of text"):
        read_rows(path)
    monkeypatch.setattr(table_sizes, "MOST_LIST_BYTES", 2**27)
    assert read_rows(path)[0] == {"file_name": "x" * 1000, "label": "a"}


def test_a_table_of_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before ``datasets`` writes it to its cache."""
    cell = {"bytes": b"\x89PNG" + bytes(100_000), "path": None}
    table = pa.table({"image": pa.array([cell] * 3000, STRUCT), "label": ["a", "b", "c"] * 1000})
    pq.write_table(table, tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < 50_000
    monkeypatch.setattr("datasets.load_dataset", None)
    with pytest.raises(UserError, match=r"becomes more than 268 MB of images|becomes more than 256 MB of images"):
        load_data(tmp_path)


def test_a_table_of_different_images_passes(tmp_path: Path) -> None:
    cells = [{"bytes": bytes([i % 256, i // 256]) * 500, "path": None} for i in range(2000)]
    pq.write_table(pa.table({"image": pa.array(cells, STRUCT), "label": [0] * 2000}), tmp_path / "train.parquet")
    check_expansion(tmp_path / "train.parquet")
