"""Fine-tuning without a model: one is chosen, named, stored, and kept by a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate import Accelerator

from glmc_zoo.errors import UserError
from glmc_zoo.options.resolve import finetuning_options
from glmc_zoo.options.run import RunOptions, saved_options
from glmc_zoo.options.sections import FINETUNE
from glmc_zoo.options.user_options import parse_options
from glmc_zoo.training import default_model
from glmc_zoo.training.default_model import with_default_model


def options(**values: Any) -> RunOptions:
    return finetuning_options(parse_options(FINETUNE, values, ""))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that the Hub's answer leads to, one a call."""
    answers = ["first", "second", "third"]
    monkeypatch.setattr(default_model, "choose_default", lambda: answers.pop(0))
    return answers


@pytest.mark.parametrize("tune", ["full", "head"])
def test_a_model_is_chosen_where_none_is_named(hub: list[str], tune: str) -> None:
    settled, notes = with_default_model(Accelerator(), options(tune=tune))
    assert saved_options(settled)["model"] == "first"
    assert notes == ["model= was not given: fine-tuning starts from first, the model of the resumed run."]
    named, notes = with_default_model(Accelerator(), options(tune=tune, model="resnet18"))
    assert saved_options(named)["model"] == "resnet18" and notes == []
    assert hub == ["second", "third"]


def test_a_run_that_goes_on_keeps_its_model(hub: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": "that", "data": "digits_lt"}))
    again = options(output_dir=str(folder), resume="auto")
    assert saved_options(with_default_model(Accelerator(), again)[0])["model"] == "that"
    empty = options(output_dir=str(tmp_path / "other"), resume="auto")
    assert saved_options(with_default_model(Accelerator(), empty)[0])["model"] == "first"
    assert saved_options(with_default_model(Accelerator(), options(output_dir=str(folder)))[0])["model"] == "second"


def test_without_a_folder_it_is_that_of_the_newest_run_of_the_data(
    hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, data in (("one.finetuned.ce_a", "digits_lt"), ("two.finetuned.ce_b", "clothing_small")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text(yaml.safe_dump({"model": name[:3], "data": data}))
    assert saved_options(with_default_model(Accelerator(), options(resume="auto"))[0])["model"] == "one"
    other = options(resume="auto", data="cifar10_lt")
    assert saved_options(with_default_model(Accelerator(), other)[0])["model"] == "first"


def test_no_model_at_all_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise UserError("model= was not given.")

    monkeypatch.setattr(default_model, "choose_default", none)
    with pytest.raises(UserError, match=r"^model= was not given\.$"):
        with_default_model(Accelerator(), options())
