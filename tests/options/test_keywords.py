"""The functions of the commands show their options: in their signatures and docstrings, as ``help()`` prints them."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin

import pytest
from waiting import PATIENCE

import glmc_zoo
from glmc_zoo.fields import convert
from glmc_zoo.options.keywords import _as_python
from glmc_zoo.options.parser import build_parser
from glmc_zoo.options.sections import COMMANDS

FUNCTIONS = {name: getattr(glmc_zoo, name) for name in COMMANDS if name != "convert"}


def entries(function: Any) -> dict[str, str]:
    """The entry of each option in the docstring, on one line."""
    text = re.sub(r"\n {8}", " ", inspect.getdoc(function) or "")
    return dict(re.findall(r"^    (\w+): (.*)$", text.partition("\ngeneral:\n")[2], re.MULTILINE))


def test_every_command_that_is_a_function_is_checked() -> None:
    assert len(FUNCTIONS) == 10 and not hasattr(glmc_zoo, "convert")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_and_docstring_hold_exactly_the_options(name: str) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    assert list(parameters) == list(entries(FUNCTIONS[name])) == ["config", *COMMANDS[name].types]
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    headings = re.findall(r"^(\S.*):$", (inspect.getdoc(FUNCTIONS[name]) or "").partition("(default: None)")[2], re.M)
    assert headings == list(COMMANDS[name].sections)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_help_is_that_of_the_command_line(name: str) -> None:
    """The same descriptions and choices. Options and values are spelled as in Python."""
    parser = build_parser(COMMANDS[name], "")
    shown = entries(FUNCTIONS[name])
    for action in parser._actions:
        if action.dest in COMMANDS[name].types:
            description = str(action.help).replace("%%", "%").partition(" (default: ")[0].partition(" (required")[0]
            plain = re.sub(r"--(no-)?|[-_=' ]", "", description)
            assert plain in re.sub(r"[-_=' ]", "", shown[action.dest]), action.dest
    assert not re.findall(r"--[a-z]", " ".join(shown.values()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_defaults_are_accepted_values(name: str) -> None:
    types = COMMANDS[name].types
    declared = {field.name: field for group in COMMANDS[name].groups for field in fields(group)}  # type: ignore[arg-type]
    for key, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert entries(FUNCTIONS[name])[key].endswith("(required)")
        elif parameter.default is None:
            assert type(None) in get_args(parameter.annotation), key
        else:
            assert convert(key, parameter.default, types[key]) == parameter.default
            default = entries(FUNCTIONS[name])[key].rpartition("(default: ")[2]
            decided = declared[key].metadata["decided_by"] is not None
            assert decided or default == f"{parameter.default!r})", key


def test_some_entries() -> None:
    parameters, shown = inspect.signature(glmc_zoo.finetune).parameters, entries(glmc_zoo.finetune)
    assert get_origin(parameters["tune"].annotation) is Literal and parameters["tune"].default == "full"
    assert shown["tune"].endswith("[full | head | blocks | lora | adapter] (default: 'full')")
    assert shown["epochs"] == "epochs to train (default: 40)" and parameters["epochs"].default is None
    assert shown["batch_size"].endswith("(default: 32; 128 for tune='head')")
    assert parameters["freeze_bn"].default is False and shown["freeze_bn"].endswith("(default: False)")
    assert "recipe" not in "".join(shown.values()).replace("recipes/configs", "")
    # From Python these write nothing unasked.
    for function in (glmc_zoo.predict, glmc_zoo.inspect):
        assert inspect.signature(function).parameters["output"].default is None
        assert re.search(r"\(default: no \w+ is written\)$", entries(function)["output"])
    assert inspect.signature(glmc_zoo.predict).parameters["images"].default is inspect.Parameter.empty
    assert str(inspect.signature(glmc_zoo.predict)).endswith("list[Prediction]'")


def test_options_in_a_text_become_keywords() -> None:
    choices = {"tune": ["full", "head"]}
    for text, expected in {
        "for --tune head, as": "for tune='head', as",
        "parts that --tune trains": "parts that tune= trains",
        "--lr and --no-maxnorm": "lr= and maxnorm=False",
        "--no-maxnorm leaves it": "maxnorm=False leaves it",
        "as `git --version` says": "as `git --version` says",
    }.items():
        assert _as_python(text, choices) == expected


def test_help_shows_them() -> None:
    text = pydoc.plain(pydoc.render_doc(glmc_zoo.train))
    assert "backbone: str | None = None" in text and "    backbone: any timm model, with or without" in text


@pytest.mark.processes
def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, glmc_zoo; assert 'glmc_zoo.api' not in sys.modules; help(glmc_zoo.finetune); "
        "assert not {'torch', 'timm', 'PIL', 'accelerate'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert "search_minutes: " in done.stdout
