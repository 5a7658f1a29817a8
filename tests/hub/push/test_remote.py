"""How a model in a repository differs from the one that is pushed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from glmc_zoo.hub.config import ModelConfig
from glmc_zoo.hub.push import remote
from glmc_zoo.hub.push.remote import Remote, difference


@pytest.mark.parametrize(
    ("uploaded", "pushed", "expected"),
    [
        (3, 3, None),
        (1, 3, "holds a model of 1 class, not of 3 classes"),
        (None, 3, "holds a model of an unknown number of classes, not of 3 classes"),
        (1000, None, "holds a model of 1,000 classes, not of an unknown number of classes"),
    ],
)
def test_the_number_of_classes(
    uploaded: int | None, pushed: int | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (ModelConfig("resnet18", number, None, {}) for number in (uploaded, pushed))
    monkeypatch.setattr(remote, "_read_config", lambda *_: old)
    repository = Remote("commit", False, {"config.json": SimpleNamespace(size=1)})
    assert difference(None, "org/name", repository, new) == expected
