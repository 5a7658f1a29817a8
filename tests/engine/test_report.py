"""What a run says of itself."""

from __future__ import annotations

import pytest

from glmc_zoo.engine.report import _slug, _without_place, percent


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--data", "--data"),
        ("cifar10_lt", "cifar10_lt"),
        ("runs/here", "runs/here"),
        ("/home/me/images", "path/to/images"),
        ("--data=/home/me/images", "--data=path/to/images"),
        ("local-dir:/home/me/model", "local-dir:path/to/model"),
        ("--backbone=local-dir:/home/me/model", "--backbone=local-dir:path/to/model"),
        ("hf-hub:org/name", "hf-hub:org/name"),
    ],
)
def test_no_place_on_this_machine_is_told(argument: str, said: str) -> None:
    assert _without_place(argument) == said


def test_a_tag_is_made_of_what_a_tag_may_hold() -> None:
    assert _slug("My Beasts (2024)") == "my_beasts__2024"
    assert _slug("données") == "donn_es"
    assert _slug("数据") == "data"
    assert _slug("org/name") == "name"


def test_percent() -> None:
    assert percent(None) == "-" and percent(0.1234) == "12.3" and percent(0.0) == "0.0"
