"""The list of published models."""

from __future__ import annotations

from pathlib import Path

import pytest
from card_results import CONVERTED, changed, minimal_results

from glmc_zoo import list_models
from glmc_zoo.errors import UserError


def test_models_are_listed_by_name_with_their_scores(tmp_path: Path) -> None:
    for name, few in (("b.glmc_x", 0.5), ("a.glmc_x", None)):
        (tmp_path / name).mkdir()
        results = changed(minimal_results("resnet18"), test={"top1": 0.75, "few": few})
        results.save(tmp_path / name / "results.json")
    (tmp_path / "c.glmc_x").mkdir()
    CONVERTED.save(tmp_path / "c.glmc_x" / "results.json")
    (tmp_path / "card_template.md").write_text("no model")
    models = list_models(tmp_path)
    assert [m.name for m in models] == ["a.glmc_x", "b.glmc_x", "c.glmc_x"]
    assert (models[0].scores["top1"], models[0].scores["few"], models[1].scores["few"]) == (0.75, None, 0.5)
    assert (models[0].backbone, models[0].data, models[0].method, models[0].parameters) == (
        "resnet18",
        "mine",
        "glmc",
        1,
    )
    assert models[1].folder == tmp_path / "b.glmc_x" and models[2].scores == {}


def test_damaged_results_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.glmc_x").mkdir()
    (tmp_path / "a.glmc_x" / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"results\.json holds no results of glmc_zoo"):
        list_models(tmp_path)


def test_a_folder_without_models_gives_an_empty_list(tmp_path: Path) -> None:
    assert list_models(tmp_path / "absent") == []
