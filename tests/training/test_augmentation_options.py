"""``auto_augment``, ``random_erasing`` and ``cutout`` in a run: recorded, refused early, resumed, inherited."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from glmc_zoo.options.resolve import second_stage_options
from glmc_zoo.options.user_options import UserOptions
from glmc_zoo.training import assemble

Train = Callable[..., Any]
POLICY = ["--auto-augment", "augmix-m3-w3", "--random-erasing", 0.5]


def test_a_run_records_them_and_resumes_bit_for_bit_in_each_placement(
    train: Train, interrupted_at: Callable[[int], AbstractContextManager[None]], lab: Any, tmp_path: Path
) -> None:
    options = [*lab.tiny, *POLICY, "--epochs", 2, "--checkpoint-steps", 2]
    assert train(*options, "--output-dir", tmp_path / "whole").status == 0
    with interrupted_at(7):
        train(*options, "--output-dir", tmp_path / "resumed")
    resumed = train(*options, "--no-resident", "--output-dir", tmp_path / "resumed", "--resume", "auto")
    assert resumed.status == 0, resumed.err
    weights = [lab.weights(tmp_path / name) for name in ("whole", "resumed")]
    assert lab.same_weights(*weights)
    config = yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())
    for recorded in (config, lab.results(tmp_path / "whole")["config"]):
        assert (recorded["auto_augment"], recorded["random_erasing"]) == ("augmix-m3-w3", 0.5)
        assert recorded.get("cutout") is None


def test_off_changes_nothing(train: Train, lab: Any, tmp_path: Path) -> None:
    for name, more in {"plain": [], "zero": ["--random-erasing", 0, "--cutout", 0], "on": ["--cutout", 6]}.items():
        assert train(*lab.tiny, *more, "--epochs", 1, "--output-dir", tmp_path / name).status == 0
    plain, zero, on = (lab.weights(tmp_path / name) for name in ("plain", "zero", "on"))
    assert lab.same_weights(plain, zero) and not lab.same_weights(plain, on)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--auto-augment", "rand-x3"], "--auto-augment rand-x3 is not a policy of timm that can be used"),
        (["--random-erasing", 2], "--random-erasing 2.0 is not a probability: give a number from 0 to 1."),
        (["--random-erasing", -1], "--random-erasing -1.0 is too small"),
        (
            ["--random-erasing", 0.5, "--cutout", 4],
            "--random-erasing 0.5 and --cutout 4 both erase part of each image: set one of them to 0.",
        ),
    ],
)
def test_a_bad_value_is_refused_before_images_are_read(
    options: list[Any], sentence: str, train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "load_split_data", lambda options: pytest.fail("images were read"))
    outcome = train(*lab.tiny, *options, "--output-dir", tmp_path / "run")
    assert outcome.status != 0 and sentence in outcome.err
    assert not (tmp_path / "run").exists()


def test_a_second_stage_augments_as_the_first_did() -> None:
    first = {"data": "digits_lt", "auto_augment": "original", "cutout": 8, "random_erasing": None}
    same = second_stage_options(UserOptions({"model": "m"}, {}), first).images
    assert (same.auto_augment, same.cutout, same.random_erasing) == ("original", 8, None)
    other = second_stage_options(UserOptions({"model": "m", "cutout": 0}, {}), first).images
    assert (other.auto_augment, other.cutout) == ("original", 0)
