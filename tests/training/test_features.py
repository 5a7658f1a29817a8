"""Features of a frozen network: which views, in which order, and which of them are taken from the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.scoring.model import Classifier
from glmc_zoo.scoring.preprocessing import Preprocessing
from glmc_zoo.training import features as module
from glmc_zoo.training.features import FeatureParts, FeatureViews, compute_features, feature_key

CONFIG = {
    "input_size": (3, 32, 32),
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "interpolation": "bicubic",
    "crop_pct": 0.875,
    "crop_mode": "center",
}


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3).eval()


def classifier(network: Any, **config: Any) -> Classifier:
    return Classifier.from_network(network, 3, {**CONFIG, **config}, torch.device("cpu"))


def test_the_views_of_an_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert torch.equal(FeatureViews(CONFIG, 2)([image])[:, 0], Preprocessing(CONFIG)([image]))
    crops = FeatureViews(CONFIG, 7)([image])
    assert crops.shape == (1, 6, 3, 32, 32) and crops.dtype == torch.uint8
    large = Preprocessing(CONFIG | {"input_size": (3, 40, 40), "crop_pct": 1.0})([image])
    assert torch.equal(crops[:, 1], large[..., :32, :32]) and torch.equal(crops[:, 4], large[..., 8:, 8:])
    assert torch.equal(crops[:, 5], large[..., 4:36, 4:36])
    assert FeatureViews(CONFIG, 7).views[:2] == ((0, False), (0, True))
    assert len(set(FeatureViews(CONFIG, 7).views)) == 7


def test_features_are_those_of_timm_in_the_order_of_the_split(
    network: Any, lab: Any, tmp_path: Path, accelerate: Callable[..., Any]
) -> None:
    data = load_data(lab.images(tmp_path / "animals"))
    parts = FeatureParts(tmp_path / "cache", "key")
    features = compute_features(classifier(network), data.train, parts, accelerate(), views=2, batch_size=5, workers=0)
    transform = timm.data.create_transform(**CONFIG, is_training=False)
    with torch.inference_mode():
        images = torch.stack([transform(image) for image in data.train.images(range(len(data.train)))])
        for view, batch in enumerate((images, images.flip(-1))):
            expected = network.forward_head(network.forward_features(batch), pre_logits=True)
            assert features is not None and torch.allclose(features[view], expected, atol=1e-5)


def test_an_interrupted_computation_goes_on_with_what_is_written(
    network: Any, lab: Any, tmp_path: Path, accelerate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, accelerator = load_data(lab.images(tmp_path / "animals")), accelerate()
    monkeypatch.setattr(module, "_PART_IMAGES", 6)
    given: dict[str, Any] = {"views": 1, "batch_size": 3, "workers": 0}
    whole = compute_features(classifier(network), data.train, FeatureParts(tmp_path / "a", "k"), accelerator, **given)

    computed, original = [0], network.forward_features

    def killed(pixels: Any) -> Any:
        computed[0] += len(pixels)
        if computed[0] > 15:
            raise KeyboardInterrupt
        return original(pixels)

    monkeypatch.setattr(network, "forward_features", killed)
    parts = FeatureParts(tmp_path / "b", "k")
    with pytest.raises(KeyboardInterrupt):
        compute_features(classifier(network), data.train, parts, accelerator, **given)
    assert len(parts.read(len(data.train), 1)[0]) == 12
    # A damaged file counts for nothing.
    broken = sorted(parts.folder.iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:100])
    assert parts.read(len(data.train), 1)[0].tolist() == list(range(6))

    computed[0] = -1000
    resumed = compute_features(classifier(network), data.train, parts, accelerator, **given)
    assert computed[0] + 1000 == len(data.train) - 6
    assert torch.equal(resumed, whole)
    computed[0] = -1000
    compute_features(classifier(network), data.train, parts, accelerator, **given)
    assert computed[0] == -1000  # all of it is there


def test_the_key_knows_data_weights_size_views_and_precision(network: Any, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "animals")
    data = load_data(folder)
    key = feature_key(classifier(network), data.train, 1, "no")
    assert key == feature_key(classifier(network), load_data(folder).train, 1, "no")
    other_size = feature_key(classifier(network, input_size=(3, 64, 64)), data.train, 1, "no")
    other_views, other_precision = (
        feature_key(classifier(network), data.train, *rest) for rest in ((2, "no"), (1, "bf16"))
    )
    (folder / "train" / "ant" / "new.png").write_bytes((folder / "train" / "bee" / "000.png").read_bytes())
    other_data = feature_key(classifier(network), load_data(folder).train, 1, "no")
    with torch.no_grad():
        network.get_classifier().weight.add_(1)
        assert feature_key(classifier(network), data.train, 1, "no") == key  # it does not touch the features
        next(network.parameters()).flatten()[0] += 1e-3
    other_weights = feature_key(classifier(network), data.train, 1, "no")
    assert len({key, other_size, other_views, other_precision, other_data, other_weights}) == 6


def test_features_of_another_key_are_not_taken(tmp_path: Path) -> None:
    one = FeatureParts(tmp_path, "a" * 64)
    one.write(torch.arange(2), torch.zeros(1, 2, 3))
    assert len(one.read(2, 1)[0]) == 2
    assert len(FeatureParts(tmp_path, "b" * 64).read(2, 1)[0]) == 0
    assert len(FeatureParts(tmp_path, "a" * 16 + "c" * 48).read(2, 1)[0]) == 0  # the same folder, another key
