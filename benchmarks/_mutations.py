"""Seeded mutations of valid files: they change bytes of any file, or values of a JSON file."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 255, 10**6, 10**9, 2**63, -(2**31), 1e-4, 0.5, 1e308, -0.0, 1e-320),
    *("", "x", "nan", "../../etc/passwd", "a" * 5000, "\u202e\x1b[31m", "line\nbreak", "=1+1"),
    *([], {}, [[]], [0], [None] * 3, [1, 2], [0.5] * 3, ["a"] * 10, {"a": 1}, [[1, 2], [3, 4]], list(range(200))),
]
"""Values that replace a value of a JSON file."""
_REPLACEMENTS = [*map(str, VALUES), *"\"',;#|\t\n\r", "- ", "? ", ": ", "&a ", "*a"]
SNIPPETS = [b"NaN", b"Infinity", b"1e999", b"9" * 400, b"[" * 3000, b'{"a":' * 500, b"\xff\xfe", b"\x00", b'"\\ud800"']
SNIPPETS += [b"!!python/object/apply:os.system [ls]", b"&a [*a]", b"\r\n", b",,,,", b'"', b"'", b"\\", b"\x1b[0m", b"-"]


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change, delete, repeat or insert a few bytes."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if data:
                data[min(at, len(data) - 1)] = rng.randrange(256)
            case 1:
                del data[at : at + rng.choice([1, 4, 64, len(data)])]
            case 2:
                data[at:at] = rng.choice(SNIPPETS)
            case 3:
                data[at:at] = data[at : at + rng.choice([1, 8, 100])] * rng.choice([2, 50])
            case _:
                data[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x01"])
    return bytes(data)


def mutated_text(content: bytes, rng: random.Random) -> bytes:
    """Change a few lines, cells or words of a text, so that the result is text too; one time in ten, change bytes."""
    if rng.random() < 0.1:
        return mutated_bytes(content, rng)
    text = content.decode()
    for _ in range(rng.choice([1, 1, 2, 4])):
        parts = re.split(rng.choice([r"(\n)", r"([,;:\t\n])", r"(\b)"]), text)
        at = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0:
                del parts[at]
            case 1:
                parts[at] = parts[at] * 3
            case 2:
                parts[at] = parts[rng.randrange(len(parts))]
            case _:
                parts[at] = rng.choice(_REPLACEMENTS)
        text = "".join(parts)
    return text.encode("utf-8", "replace")


def mutated_values(value: Any, rng: random.Random) -> Any:
    """Replace, remove, rename or repeat one to three values anywhere in a JSON value."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice([1, 1, 2, 3])):
        containers = [container for container in _containers(value) if container]
        if not containers:
            return copy.deepcopy(rng.choice(VALUES))
        container = rng.choice(containers)
        key = rng.choice(list(container)) if isinstance(container, dict) else rng.randrange(len(container))
        match rng.randrange(7):
            case 0:
                del container[key]
            case 1 if isinstance(container, list):
                container += container[: rng.choice([1, 10])]
            case 2 if isinstance(container, dict):
                container[rng.choice(["x", "", "schema", "num_classes"])] = container.pop(key)
            case 3 | 4:
                container[key] = _same_type(container[key], rng)
            case _:
                container[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _same_type(value: Any, rng: random.Random) -> Any:
    """Another value of the same type, if it is a truth value, a number or text."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value * rng.choice([0, 0.5, 2, 1000])) + rng.choice([0, 1])
    if isinstance(value, str):
        return rng.choice([value[::-1], value * 3, value + "<b>|*\n", "{{ x }}", "../" + value, value.upper(), " "])
    return value


def _containers(value: Any) -> Iterator[Any]:
    """The lists and dicts in a JSON value, with the value itself if it is one."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def json_or_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change the values of a JSON file, or its bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(content, rng)
    text = json.dumps(mutated_values(json.loads(content), rng), indent=rng.choice([None, 2]))
    return text.encode("utf-8", "replace")


def header_or_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change the JSON header of a safetensors file, the length of the header, or bytes at the beginning."""
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.1:
        return mutated_bytes(content[:200], rng) + content[200:]
    header = json_or_bytes(header, rng)
    size = len(header) if rng.random() < 0.9 else rng.choice([0, 1, 2**31, 2**40, 2**63, len(header) + 1])
    return size.to_bytes(8, "little") + header + rest


def lines_or_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change one line of a file of JSON lines."""
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = json_or_bytes(lines[at], rng)
    return b"\n".join(lines) + rng.choice([b"", b"\n"])
