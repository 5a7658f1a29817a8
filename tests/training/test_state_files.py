"""State on disk: exact, without pickles, and one sentence for a file that does not hold it."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from glmc_zoo.errors import UserError
from glmc_zoo.training import state_files
from glmc_zoo.training.state_files import read_state, unfit_state, write_state


def same(one: Any, other: Any) -> bool:
    """Equal in types, values, bits and strides."""
    if isinstance(one, torch.Tensor):
        return (one.dtype, one.stride()) == (other.dtype, other.stride()) and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (one != one and other != other)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tied = torch.randn(3)
    state = {
        "numbers": [1, 2**80, 0.1, 1e-320, -0.0, math.inf, math.nan, True, None, "text"],
        "betas": (0.9, (0.999, [])),
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": images}, 1: {}},
        "groups": [{"params": [0, 1], "dtype": torch.bfloat16}],
        "a.b": tied, "a": {"b": tied}, "view": torch.randn(4, 4).T, "empty": torch.zeros(0, 3),
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.uint8, torch.bool, torch.float16, torch.bfloat16)],
        "$tensor": {"$tuple": 1},
    }  # fmt: skip
    write_state(tmp_path, "optimizer", state)
    assert {path.name for path in tmp_path.iterdir()} == {"optimizer.json", "optimizer.safetensors"}
    assert {path.stat().st_mode & 0o444 for path in tmp_path.iterdir()} == {
        (tmp_path / "optimizer.json").stat().st_mode & 0o444
    }
    assert same(read_state(tmp_path, "optimizer"), state)


def test_a_state_without_tensors_is_one_file(tmp_path: Path) -> None:
    write_state(tmp_path, "progress", {"epoch": 3})
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]
    assert read_state(tmp_path, "progress") == {"epoch": 3}


def test_what_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot hold the complex at 'a\.1' in the state of the optimizer"):
        write_state(tmp_path, "optimizer", {"a": [1, 2j]})


TENSOR = {"$tensor": "x"}


@pytest.mark.parametrize(
    ("text", "file", "reason"),
    [
        (None, "json", "No such file"),
        ("", "json", "Expecting value"),
        ('{"a": 1', "json", "delimiter"),
        ("[" * 100_000, "json", "recursion"),
        ("\udcff", "json", "utf-8"),
        (json.dumps({"a": {"$tensor": "y"}}), "safetensors", "y"),
        (json.dumps({"$tensor": "x", "stride": [10**15, 1]}), "json", ""),
        (json.dumps({**TENSOR, "stride": [1]}), "json", r"stride \[1\] does not fit"),
        (json.dumps({**TENSOR, "stride": [-1, 1]}), "json", "does not fit"),
        (json.dumps({**TENSOR, "stride": "ab"}), "json", "does not fit"),
        (json.dumps({"$pairs": [[1]]}), "json", "unpack"),
        (json.dumps({"$pairs": [[[], 1]]}), "json", "unhashable"),
        (json.dumps({"$tuple": 1}), "json", "iterable"),
        (json.dumps({"$dtype": "load"}), "json", "'load' is not a dtype"),
    ],
)
def test_a_damaged_structure_is_one_sentence(tmp_path: Path, text: str | None, file: str, reason: str) -> None:
    save_file({"x": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    if text is not None:
        (tmp_path / "model.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    if "10000000" in (text or ""):  # such a stride would ask for petabytes: it has no effect
        assert torch.equal(read_state(tmp_path, "model"), torch.ones(2, 2))
        return
    with pytest.raises(UserError, match=rf"^File '.*model\.{file}' cannot be used \(.*{reason}.*\): remove that"):
        read_state(tmp_path, "model")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage", "pickle"])
def test_damaged_tensors_are_one_sentence(tmp_path: Path, damage: str) -> None:
    write_state(tmp_path, "model", {"x": torch.ones(200)})
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        torch.save({"x": torch.ones(200)}, path)
    else:
        path.write_bytes({"empty": b"", "cut": content[:-9], "garbage": b"\xff" * len(content)}[damage])
    with pytest.raises(UserError, match=r"^File '.*model\.safetensors' cannot be used \([^\n]*\): remove that"):
        read_state(tmp_path, "model")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        SafetensorError("Error while deserializing header: I/O error: Cannot allocate memory (os error 12)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_full_memory_is_not_blamed_on_the_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told to remove a good checkpoint."""
    write_state(tmp_path, "model", {"x": torch.ones(2)})

    def fail(*given: object, **named: object) -> None:
        raise error

    if not isinstance(error, MemoryError):  # reading tensors needs memory, and so does copying them into the model
        monkeypatch.setattr(state_files, "safe_open", fail)
    else:
        monkeypatch.setattr(state_files, "read_plain_json", fail)
    expected = f"Checkpoint {str(tmp_path)!r} needs more memory than is free: free some memory, or resume the run on"
    with pytest.raises(UserError) as caught:
        read_state(tmp_path, "model")
    assert str(caught.value).startswith(expected)
    assert str(unfit_state(tmp_path, "model", error)).startswith(expected)
