"""JSON and YAML files from others: which values are read unchanged, and which are refused in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from glmc_zoo.documents import parse_json, parse_yaml, read_json, read_text, read_yaml
from glmc_zoo.errors import UserError

FIX = "Give another."


@pytest.mark.parametrize(
    "value", [{}, [], None, 1.5, -3, "é", True, {"a": [{"b": 2**62}]}, [[0.0] * 3] * 4, {"x": {"y": {"z": None}}}]
)
def test_values_within_the_limits_are_read_unchanged(value: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "x.json", "x.json") == value
    assert parse_yaml(json.dumps(value), "x.yaml", fix=FIX) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ('{"a": NaN}', "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("1e999", "not finite"),
        ("9" * 30, "beyond 64 bits"),
        ("9" * 5000, "digit"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("[" * 150 + "]" * 150, "nested too deeply"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
        ('["\\ud800"]', "UTF-8 cannot hold"),
        ('{"\\udfff": 1}', "UTF-8 cannot hold"),
    ],
)
def test_json_that_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        parse_json(text, "x.json of y", fix=FIX)
    sentence = str(caught.value)
    assert sentence.startswith("x.json of y cannot be read: ") and sentence.endswith(FIX) and "\n" not in sentence


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "!!python/object/apply:os.system [ls]", "? {a: b}\n: c\n", "&a [*a, *b]", "a: 2020-99-99", "[" * 50_000,
        "0x: !!int zz", "a: !!float x", "\x00", "{? [a]: b}", "a: " + "9" * 5000,
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"x\.yaml (is not YAML|cannot be read): ") as caught:
        parse_yaml(text, "x.yaml", fix=FIX)
    assert "\n" not in str(caught.value)


def test_yaml_with_aliases_of_aliases_is_read_quickly() -> None:
    assert isinstance(parse_yaml("&a [*a]", "x.yaml", fix=FIX), list)
    levels = [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(30)]
    assert parse_yaml("\n".join(["a0: &a0 lol", *levels]), "x.yaml", fix=FIX)["a0"] == "lol"


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")  # reading it would wait for ever
    for name, reason in (
        ("pipe.json", "not a regular file"),
        ("absent.json", "No such file"),
        (".", "regular file|dir"),
    ):
        with pytest.raises(UserError, match=reason):
            read_json(tmp_path / name, name)
    with pytest.raises(UserError, match="not a regular file"):
        read_yaml(Path("/dev/zero"), "zero", fix=FIX)


def test_size_and_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"12345")
    assert read_text(path, "x", fix=FIX, max_bytes=5) == "12345"
    with pytest.raises(UserError, match="more than 0 MiB"):
        read_text(path, "x", fix=FIX, max_bytes=4)
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse file
    with pytest.raises(UserError, match="more than 16 MiB"):
        read_json(path, "x")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read: 'utf-8' codec"):
        read_json(path, "x")
