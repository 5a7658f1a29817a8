"""The list of published models."""

from __future__ import annotations

import json

from glmc_zoo import list_models


def test_models_are_listed_by_name_with_their_scores(tmp_path):
    for name, few in (("b.glmc_x", 0.5), ("a.glmc_x", None)):
        results = {
            "model": {"name": name, "backbone": name[0], "parameters": 12},
            "data": {"name": "x"},
            "method": "glmc",
            "test": {"top1": 0.75, "few": few},
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    (tmp_path / "card_template.md").write_text("no model")
    models = list_models(tmp_path)
    assert [m.name for m in models] == ["a.glmc_x", "b.glmc_x"]
    assert models[0].scores == {"top1": 0.75, "few": None}
    assert models[1].folder == tmp_path / "b.glmc_x"


def test_a_folder_without_models_gives_an_empty_list(tmp_path):
    assert list_models(tmp_path / "absent") == []
