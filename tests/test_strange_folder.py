"""A model folder from somebody else: every function that opens it makes the same checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from card_results import minimal_results

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.hub import PushTarget, export_run, list_models, open_model
from glmc_zoo.hub.push.push import push_model


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, lab: Any) -> Path:
    return lab.images(tmp_path_factory.mktemp("images"), {"one": 4, "two": 3}, test=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=2)
    return export_run(tmp_path / "zoo" / "model", model, minimal_results("test_resnet"))


USES: dict[str, Callable[[Path, Path], Any]] = {
    "create_model": lambda folder, images: glmc_zoo.create_model(str(folder)),
    "features": lambda folder, images: glmc_zoo.create_model(str(folder), num_classes=0),
    "evaluate": lambda folder, images: glmc_zoo.evaluate(model=folder, data=images, output_dir=folder.parent / "out"),
    "predict": lambda folder, images: glmc_zoo.predict(model=folder, images=images, output=None),
    "finetune": lambda folder, images: glmc_zoo.finetune(model=folder, data=images, output_dir=folder.parent / "out"),
    "second_stage": lambda folder, images: glmc_zoo.second_stage(
        model=folder, data=images, output_dir=folder.parent / "out"
    ),
    "push": lambda folder, images: push_model(folder, PushTarget(repo="org/name")),
}


def damage(folder: Path, file: str, **values: Any) -> None:
    content = json.loads((folder / file).read_text())
    content.update(values)
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("file", "values", "reason"),
    [
        ("config.json", {"architecture": 7}, r"config\.json of .* has architecture 7: it must be text"),
        ("results.json", {"class_counts": [-1, 3]}, r"results\.json of .*class_counts is -1"),
        ("config.json", {"model_args": {"layers": "abc"}}, "cannot be built"),
    ],
)
def test_every_function_makes_the_checks(
    use: str, file: str, values: dict[str, Any], reason: str, folder: Path, images: Path
) -> None:
    damage(folder, file, **values)
    if reason == "cannot be built" and use == "push":
        pytest.skip("a push builds no model")
    with pytest.raises(UserError, match=reason) as caught:
        USES[use](folder, images)
    assert "\n" not in str(caught.value) and not (folder.parent / "out" / "model").exists()


def test_list_models_makes_the_same_checks(folder: Path) -> None:
    assert [model.name for model in list_models(folder.parent)] == ["model"]
    damage(folder, "results.json", schema=True)
    with pytest.raises(UserError, match="holds no results of glmc_zoo"):
        list_models(folder.parent)


def test_files_of_two_exports_are_refused(folder: Path, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=3)
    results = minimal_results("test_resnet", classes=["a", "b", "c"])
    other = export_run(tmp_path / "other", model, results)
    (folder / "results.json").write_bytes((other / "results.json").read_bytes())
    with pytest.raises(UserError, match=r"results\.json and config\.json of .* have 3 and 2 classes"):
        open_model(str(folder))
