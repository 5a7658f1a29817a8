"""A run on each large set in miniature: trained, evaluated and exported by the recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
import yaml
from miniature import LISTED, VAL

from glmc_zoo.data.feeding.transforms import Normalize
from glmc_zoo.scoring.preprocessing import Preprocessing

Recipe = Callable[..., Any]

MAKE: dict[str, Callable[..., miniature.Miniature]] = {
    "imagenet_lt": miniature.imagenet,
    "inat18": miniature.inat18,
    "places_lt": miniature.places_lt,
}
# From scratch, by the published recipes; for Places-LT nobody published one.
INPUT: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {
    "imagenet_lt": ("bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inat18": ("bilinear", (0.466, 0.471, 0.380), (0.195, 0.194, 0.192)),
    "places_lt": ("bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
SHORT = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 16]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", MAKE)
def test_one_epoch_of_each_set(name: str, train: Recipe, recipe: Recipe, lab: Any, tmp_path: Path) -> None:
    mini = MAKE[name](tmp_path / "set")
    lists = mini.write_lists(tmp_path / "lists")
    words = ["--data", name, "--data-dir", mini.folder, "--split-file", lists]
    # A backbone whose own configuration says bicubic, and other statistics.
    outcome = train(*words, *SHORT, "--backbone", "test_vit", "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    assert "is not the official list: it has 60 images of 5 classes" in outcome.out
    results = lab.results(tmp_path / "run")
    per_class = len(mini.lists["test"]) // len(LISTED)
    assert results["class_counts"] == list(LISTED)
    assert results["class_names"] == mini.class_names
    assert results["data"]["official_split"] is False
    assert results["data"]["split_file"].keys() == {"name", "sha256"}
    assert (results["data"]["train_images"], results["data"]["test_images"]) == (sum(LISTED), 5 * per_class)
    assert results["data"]["imbalance_factor"] is None
    assert np.isfinite(lab.rows(tmp_path / "run")[0]["loss"])
    # The published recipe of the set, or the generic one, where the command line gives nothing else.
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["imbalance_type"], config["imbalance_factor"]) == (None, None)
    assert str(tmp_path) not in (tmp_path / "run" / "model" / "README.md").read_text()
    assert str(tmp_path) not in (tmp_path / "run" / "model" / "results.json").read_text()

    model = tmp_path / "run" / "model"
    check_input(outcome.run, model, name)
    outcome = recipe("evaluate", "--model", model, *words, "--output-dir", tmp_path / "scores")
    assert outcome.status == 0, outcome.err
    scored = lab.results(tmp_path / "scores")
    assert scored["data"]["split_file"] == results["data"]["split_file"]
    assert scored["test"]["top1"] == pytest.approx(results["test"]["top1"])


def check_input(run: Any, model: Path, name: str) -> None:
    """Training, scores of the run and the exported model resize and normalise alike."""
    import timm
    from torchvision import transforms

    interpolation, mean, std = INPUT[name]
    assert run.loader.dataset.transform.interpolation.value == interpolation
    config = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{model}", pretrained=True))
    for described in (run.spec.data_config, config):
        stated = (described["interpolation"], tuple(described["mean"]), tuple(described["std"]))
        assert stated == (interpolation, mean, std)
    expected = transforms.Compose(
        [
            transforms.Resize(36, transforms.InterpolationMode(interpolation)),  # 32 / 0.875, as timm rounds it
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    [image] = run.data.test.images([0])
    by_timm = timm.data.create_transform(**config, is_training=False)(image)
    assert np.allclose(by_timm, expected(image), atol=1e-6)
    classifier_input = Preprocessing(run.spec.data_config)([image])
    assert np.allclose(Normalize(mean, std)(classifier_input)[0], expected(image), atol=1e-6)


def test_tables_of_the_hub_and_the_best_epoch_by_the_official_list(train: Recipe, lab: Any, tmp_path: Path) -> None:
    mini = miniature.imagenet_hub(tmp_path / "set")
    mini.write_lists(mini.folder)
    words = ["--data", "imagenet_lt", "--data-dir", mini.folder, "--official-val", "--select", "best"]
    outcome = train(*words, *SHORT, "--epochs", 2, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    results = lab.results(tmp_path / "run")
    assert (results["class_counts"], results["data"]["val_images"]) == (list(LISTED), 5 * VAL)
    assert results["data"]["hub_id"] == "ILSVRC/imagenet-1k"
    assert all("validation" in row for row in lab.rows(tmp_path / "run"))


def test_another_long_tail_is_marked_in_the_results(train: Recipe, lab: Any, tmp_path: Path) -> None:
    mini = miniature.places_lt(tmp_path / "set")
    words = ["--data", "places_lt", "--data-dir", mini.folder, "--max-count", 30, "--imbalance-factor", 15]
    outcome = train(*words, *SHORT, "--output-dir", tmp_path / "run")
    assert outcome.status == 0, outcome.err
    data = lab.results(tmp_path / "run")["data"]
    assert (data["official_split"], data["imbalance_type"], data["imbalance_factor"]) == (False, "pareto", 15)
    assert "thinned as asked for: it is not the official split" in outcome.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--split-file", "x.txt"], "--split-file x.txt is for data sets with official lists"),
        (["--official-val"], "--official-val is for data sets with an official validation list"),
        (["--official-val", "--val-fraction", "0.1"], "both hold images out: give one of them."),
        (["--select", "best"], "give --val-fraction, e.g. 0.1, or --official-val"),
        (["--data", "inat18"], "are not on the Hub: give train_val2018/Plantae/7291/*.jpg"),
    ],
)
def test_one_sentence(words: list[str], sentence: str, train: Recipe, tmp_path: Path) -> None:
    outcome = train(*words, "--output-dir", tmp_path / "run")
    assert sentence in outcome.sentence
