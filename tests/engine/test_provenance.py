"""How a result came about, and that no place on this machine is told."""

from __future__ import annotations

import pytest

from glmc_zoo.engine.provenance import slug, without_place


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
    assert without_place(argument) == said


def test_a_tag_is_made_of_what_a_tag_may_hold() -> None:
    assert slug("My Beasts (2024)") == "my_beasts__2024"
    assert slug("données") == "donn_es"
    assert slug("数据") == "data"
    assert slug("org/name") == "name"
