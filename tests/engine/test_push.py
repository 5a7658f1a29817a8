"""The options of recipes/push.py, and what reaches the push; the Hub itself is in tests/hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from glmc_zoo.engine.cli import build_parser, parse_options
from glmc_zoo.engine.options import PushOptions
from glmc_zoo.engine.push import PushConfig, check_push_run, push_model, push_run
from glmc_zoo.errors import UserError

# People's scripts call these; one may be added, none may go.
SURFACE = {
    "collection",
    "config",
    "message",
    "model",
    "overwrite",
    "private",
    "pull-request",
    "repo",
    "revision",
    "tag",
}


def test_the_surface() -> None:
    parser = build_parser(PushConfig, description="Push.")
    shown = {string[2:] for action in parser._actions for string in action.option_strings if string.startswith("--")}
    assert shown >= SURFACE
    assert "token" not in shown  # would be seen in the list of processes


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "--model is missing: give --model runs/NAME/model"),
        (["--model", "x"], "--repo is missing: give --repo ORG/NAME"),
        (["--model", "x", "--repo", "a/b", "--privat"], "Unknown option --privat"),
    ],
)
def test_what_is_missing_is_named(argv: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        parse_options(PushConfig, argv, description="Push.")


def test_the_folder_is_looked_at_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} is no exported model"):
        push_model(PushConfig(model=str(tmp_path), repo="org/name"))
    with pytest.raises(UserError, match="'no name' is no repository"):
        push_run(tmp_path, PushOptions(push_to_hub="no name"))
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json is no JSON"):
        push_model(PushConfig(model=str(tmp_path), repo="org/name"))


def test_a_run_refuses_what_its_push_would() -> None:
    check_push_run(PushOptions())
    for options, expected in (
        ({"push_to_hub": "no name"}, "'no name' is no repository"),
        ({"push_to_hub": "org/name", "push_tag": "a b"}, "'a b' is no name of a tag"),
        ({"push_to_hub": "org/name", "push_pull_request": True, "push_revision": "dev"}, "takes no revision"),
    ):
        with pytest.raises(UserError, match=expected):
            check_push_run(PushOptions(**options))


def test_every_option_of_a_run_has_its_counterpart() -> None:
    ours = {f.name for f in dataclasses.fields(PushConfig)} - {"model", "message"}
    theirs = {f.name.removeprefix("push_") for f in dataclasses.fields(PushOptions)}
    assert {name if name != "to_hub" else "repo" for name in theirs} == ours
