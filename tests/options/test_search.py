"""What a search for learning rate and epochs decides, and what may not be given beside it."""

from __future__ import annotations

from typing import Any

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.options.resolve import finetuning_options
from glmc_zoo.options.run import FinetuneStage, RunOptions, flatten_options, saved_options
from glmc_zoo.options.search import SEARCHED
from glmc_zoo.options.user_options import UserOptions


def resolved(explicit: dict[str, Any], file: dict[str, Any] | None = None) -> RunOptions:
    return finetuning_options(UserOptions({"model": "resnet18", **explicit}, file or {}))


@pytest.mark.parametrize(
    ("explicit", "file", "name"),
    [
        ({"search_minutes": 5.0, "lr": 0.1}, {}, "lr"),
        ({"search_minutes": 5.0, "epochs": 3}, {}, "epochs"),
        ({"search_minutes": 5.0, "passes": 3}, {}, "passes"),
        ({"search_minutes": 5.0, "warmup_epochs": 0}, {}, "warmup_epochs"),
        ({"epochs": 3}, {"search_minutes": 5.0}, "epochs"),
        ({}, {"search_minutes": 5.0, "lr": 0.1}, "lr"),
    ],
)
def test_what_the_search_decides_is_refused(explicit: dict[str, Any], file: dict[str, Any], name: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}= is decided by the search that search_minutes=5.0 asks for: leave"):
        resolved(explicit, file)


def test_the_options_of_a_search_do_not_state_what_it_decides() -> None:
    options = resolved({"search_minutes": 5.0, "weight_decay": 0.1})
    assert isinstance(options.stage, FinetuneStage)
    assert not SEARCHED & saved_options(options).keys() and saved_options(options)["weight_decay"] == 0.1
    assert SEARCHED.isdisjoint(options.stage.defaults)


def test_the_file_of_a_searched_run_repeats_its_training() -> None:
    filed = {"search_minutes": 5.0, "lr": 0.03, "epochs": 8, "passes": None, "warmup_epochs": 0}
    options = resolved({}, filed)
    assert (options.schedule.lr, options.schedule.epochs, flatten_options(options)["search_minutes"]) == (0.03, 8, None)
    # Asked for again, it searches again.
    again = resolved({"search_minutes": 2.0}, filed)
    assert flatten_options(again)["search_minutes"] == 2.0 and "lr" not in saved_options(again)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tune": "head", "method": "ce", "search_minutes": 1.0}, "^search_minutes= is for tune='full', 'blocks', "),
        ({"tune": "lora", "freeze_bn": True}, "^freeze_bn= is for tune='full' or 'blocks' and has no effect"),
        ({"tune": "lora", "adapter": "ia3"}, "^adapter= belongs to tune='adapter'"),
        ({"tune": "adapter", "adapter": "ia3", "lora_rank": 4}, "^lora_rank= and lora_alpha= have no effect with ad"),
        ({"tune": "head", "method": "ce", "head_lr_scale": 2.0}, "^head_lr_scale= is for tune='full'"),
        ({"tune": "head", "head_init": "head"}, "^head_init='head' starts the training loop from"),
        ({"head_init": "fresh", "feature_views": 2}, "^feature_views= has no effect with head_init='fresh'"),
        ({"head_init": "mean", "head_kind": "cosine"}, "^head_kind= has no effect with head_init='mean'"),
    ],
)
def test_options_without_an_effect(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        resolved(options)
