"""Options as fields: the values that each type accepts, from text and from Python, and errors about others."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.fields import OptionGroup, convert, describe_type, field_names, option, values_of
from glmc_zoo.options.images import ImageOptions
from glmc_zoo.options.machine import MachineOptions

Level = Literal["low", "high"]
Search = float | Literal["search"]


@dataclass(frozen=True, kw_only=True)
class Group(OptionGroup):
    """A group with an option of each kind."""

    rate: float = option("a rate", above=0, below=1)
    steps: int | None = option("steps", default=None, at_least=2)
    level: Level = option("a level", default="low")
    animal: str | None = option("an animal", default=None, choices=lambda: ["ant", "bee"])
    names: list[str] = option("names", default=["a"])

    def check(self) -> None:
        if self.level == "high" and self.steps is None:
            raise UserError("level='high' needs steps=.")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        *(("3", int, 3), (3, int, 3), (3.0, int, 3), ("-3", int, -3)),
        *(("1e-3", float, 1e-3), (2, float, 2.0), ("2", float, 2.0)),
        *((True, bool, True), (False, bool | None, False)),
        *(("x", str, "x"), (Path("a/b"), str, "a/b"), ("3", str, "3")),
        *((name, str, os.path.expanduser(name)) for name in ("~/a", "~", "a/~", "~nobody_of_that_name/a")),
        *((["~/a", Path("~/b")], list[str], [os.path.expanduser("~/a"), os.path.expanduser("~/b")]),),
        *((None, int | None, None), ("3", int | None, 3), (None, Level | None, None)),
        *((np.int64(3), int, 3), (np.float64(0.5), float, 0.5)),
        *(("9" * 400, int, 10**400 - 1),),  # more than a float holds
        *((False, Literal["no", "bf16"], "no"),),  # YAML reads no as False
        *(("low", Level, "low"), ("search", Search, "search"), ("1.5", Search, 1.5)),
        *((["a", "b"], list[str], ["a", "b"]), ("a", list[str], ["a"]), ((Path("a"),), list[str], ["a"])),
    ],
)  # fmt: skip
def test_a_value_is_converted_to_the_type_of_its_option(value: Any, kind: Any, expected: Any) -> None:
    converted = convert("name", value, kind)
    assert converted == expected and type(converted) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        *(("abc", float, "a number"), ("2.5", int, "a whole number"), (2.5, int, "a whole number")),
        *((True, int, "a whole number"), (False, float, "a number"), ([1], int, "a whole number")),
        *((math.inf, int, "a whole number"), (math.nan, int, "a whole number")),
        *((math.inf, float, "a number"), (math.nan, float, "a number"), ("NaN", float, "a number")),
        *((np.float32("nan"), float, "a number"), (math.nan, Search | None, "a number or search")),
        *((1, bool, "true or false"), ("true", bool, "true or false"), (5, str, "text"), (None, int, "a whole number")),
        *(("mid", Level, "one of low, high"), (True, Literal[1], "1"), (["low"], Level, "one of low, high")),
        *((True, Level, "one of low, high"), (np.bool_(True), int, "a whole number")),
        *((3, list[str], "text, once or several times"), ([3], list[str], "text, once or several times")),
        ("much", float | Literal["search"] | None, "a number or search"),
    ],
)
def test_one_sentence_about_any_other_value(value: Any, kind: Any, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        convert("name", value, kind)
    assert str(caught.value) == f"name={value!r} is not accepted: it must be {expected}."
    assert describe_type(kind) == expected


def test_a_group_converts_and_checks_its_values() -> None:
    group = Group(rate="0.5", steps="3", animal="bee", level="high")  # type: ignore[arg-type]  # as from a file
    assert values_of(group) == {"rate": 0.5, "steps": 3, "level": "high", "animal": "bee", "names": ["a"]}
    assert field_names(Group) == ["rate", "steps", "level", "animal", "names"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        group.rate = 0.1  # type: ignore[misc]
    group.names.append("b")
    assert Group(rate=0.1).names == ["a"]  # the default is copied


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": 0}, "rate=0.0 must be above 0."),
        ({"rate": 1}, "rate=1.0 must be below 1."),
        ({"rate": math.nan}, "rate=nan is not accepted: it must be a number."),
        ({"rate": 0.5, "steps": 1}, "steps=1 is too small: it must be at least 2."),
        ({"rate": 0.5, "animal": "cat"}, "animal='cat' is not accepted: it must be one of ant, bee."),
        ({"rate": 0.5, "level": "mid"}, "level='mid' is not accepted: it must be one of low, high."),
        ({"rate": 0.5, "level": "high"}, "level='high' needs steps=."),
    ],
)
def test_one_sentence_about_a_value_that_the_group_refuses(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Group(**values)
    assert str(caught.value) == sentence


def test_a_long_value_is_named_by_its_type() -> None:
    with pytest.raises(UserError, match=r"^name=dict is not accepted: it must be text.$"):
        convert("name", {"key": "x" * 300}, str)


@pytest.mark.parametrize("value", ["", "  ", "a\0b", ["x", ""]])
def test_empty_text_and_nul_characters_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^output_dir=.* (is empty: give a value|holds a NUL character)"):
        convert("output_dir", value, list[str] if isinstance(value, list) else str | None)


@pytest.mark.parametrize("name", ["workers", "threads"])
def test_a_million_workers_or_threads_are_refused(name: str) -> None:
    group = MachineOptions if name == "threads" else ImageOptions
    with pytest.raises(UserError, match=f"{name}=1000000 must be at most 1024"):
        group(**{name: 1_000_000})
