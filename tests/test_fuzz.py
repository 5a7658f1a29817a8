"""benchmarks/fuzz.py with few inputs: damaged and hostile files are read, or refused in one sentence."""

from __future__ import annotations

import random

import fuzz
import pytest
from _mutations import header_or_bytes, json_or_bytes, lines_or_bytes, mutated_bytes


# metrics.jsonl is not among them, because its damaged lines are reported and no file is refused.
@pytest.mark.parametrize(
    "kind", ["config.json", "results.json", "safetensors", "manifest.json", "YAML", "CSV", "image"]
)
def test_damaged_files_give_no_traceback(kind: str) -> None:
    report = fuzz.fuzz(60, seed=1, only=kind)
    counts = report["kinds"][kind]
    assert report["tracebacks"] == 0, report["examples"]
    assert counts["inputs"] == 60 == counts["read"] + counts["refused"] and counts["refused"] > 5
    assert report["peak_mib_beyond_start"] < 1024


def test_a_traceback_and_a_hang_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(content: bytes) -> None:
        if content == b"error":
            raise KeyError("x")
        while content == b"hang":
            pass

    kind, report = fuzz.Kind("x", [b""], mutated_bytes, read), fuzz.Report()
    for content in (b"error", b"hang", b"fine"):
        monkeypatch.setattr(fuzz, "TIME_LIMIT", 0.05 if content == b"hang" else 60.0)  # a busy machine pauses
        fuzz.try_one(kind, content, report)
    assert report.tracebacks == {"KeyError": 1, "Hanging": 1}
    assert (report.inputs, report.read, report.slowest_seconds >= 0.05) == (3, 1, True)


@pytest.mark.parametrize(
    ("mutate", "content"),
    [
        (mutated_bytes, b"some bytes"),
        (json_or_bytes, b'{"a": [1, 2.5, "x"], "b": {"c": null}}'),
        (lines_or_bytes, b'{"epoch": 0}\n{"epoch": 1}\n'),
        (header_or_bytes, b"\x02\x00\x00\x00\x00\x00\x00\x00{}" + b"\x00" * 8),
    ],
)
def test_mutations_follow_their_seed_and_change_something(mutate: object, content: bytes) -> None:
    mutated = [mutate(content, random.Random(seed)) for seed in range(200)]  # type: ignore[operator]
    assert mutated == [mutate(content, random.Random(seed)) for seed in range(200)]  # type: ignore[operator]
    assert len(set(mutated)) > 100 and mutated.count(content) < 60
