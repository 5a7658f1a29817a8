"""A trained model made ready for images: its size and preprocessing, its logits, and which models are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from accelerate import Accelerator
from evaluated import CLASSES

from glmc_zoo.errors import UserError
from glmc_zoo.hub import ExportInfo, ModelSource, export_model, open_model
from glmc_zoo.scoring.model import Classifier, load_classifier, logit_batches

CPU = torch.device("cpu")


class Built(ModelSource):
    """A source that gives a network of its own, whatever is asked of timm."""

    network: Any = None

    def create(self, **kwargs: Any) -> Any:  # type: ignore[override]
        return self.network


def built(network: Any) -> ModelSource:
    source = Built(name="m", kind="timm", timm_name="m")
    object.__setattr__(source, "network", network)
    return source


def with_config(network: Any, **changes: Any) -> Any:
    network.pretrained_cfg = {**network.pretrained_cfg, **changes}
    return network


def vit(folder: Path) -> ModelSource:
    """An exported transformer, whose input size is fixed when it is made."""
    half: Any = (0.5,) * 3
    info = ExportInfo(class_names=CLASSES, mean=half, std=half, input_size=(3, 32, 32), tag="t", crop_pct=0.9)
    return open_model(str(export_model(timm.create_model("test_vit", num_classes=3, img_size=32), folder, info)))


def test_the_configuration_is_the_model_s_own(tmp_path: Path) -> None:
    classifier = load_classifier(vit(tmp_path / "m"), CPU)
    config = classifier.data_config
    assert (config["input_size"], config["crop_pct"], config["crop_mode"]) == ((3, 32, 32), 0.9, "center")
    assert classifier.num_classes == 3 and not classifier.network.training
    assert classifier.parameters == sum(p.numel() for p in classifier.network.parameters())
    assert classifier.preprocessing(torch.zeros(2, 3, 40, 50, dtype=torch.uint8)).shape == (2, 3, 32, 32)


def test_another_image_size(tmp_path: Path) -> None:
    source = vit(tmp_path / "m")
    classifier = load_classifier(source, CPU, image_size=48)
    assert classifier.data_config["input_size"] == (3, 48, 48)
    assert classifier.network(torch.zeros(1, 3, 48, 48)).shape == (1, 3)
    with pytest.raises(UserError, match=r"image_size="):
        load_classifier(source, CPU, image_size=33)


def test_the_interpolation_of_the_training_is_not_used() -> None:
    """Models trained with a random interpolation say so, and timm cannot evaluate with it."""
    network = timm.create_model("test_efficientnet", num_classes=3)
    assert (
        load_classifier(built(with_config(network, interpolation="random")), CPU).data_config["interpolation"]
        == "bicubic"
    )


def miscounted(network: Any) -> Any:
    network.num_classes = 4
    return network


@pytest.mark.parametrize(
    ("options", "change", "part"),
    [
        ({"num_classes": 0}, with_config, "Model m is an encoder without a classifier: give"),
        ({"in_chans": 1}, lambda network: with_config(network, input_size=(1, 32, 32)), "takes images of 1 channel"),
        ({"in_chans": 1}, with_config, "Model m refuses images of 160 x 160 pixels"),
        (
            {"num_classes": 3},
            miscounted,
            "Model m returns the shape (1, 3) for one image instead of one logit for each of its",
        ),
    ],
)
def test_models_that_are_refused(options: dict[str, Any], change: Callable[[Any], Any], part: str) -> None:
    with pytest.raises(UserError) as caught:
        load_classifier(built(change(timm.create_model("test_efficientnet", **options))), CPU)
    assert part in caught.value.sentence and caught.value.sentence.count(". ") == 0


def test_logits_batch_by_batch() -> None:
    """In single precision, of normalised pixels; an empty batch gives no logit."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=3).eval()
    config = {"input_size": (3, 32, 32), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    config |= {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "center"}
    classifier = Classifier.from_network(network, 3, config, CPU)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    batches: list[tuple[torch.Tensor, Any, Any]] = [(images, "a", 1), (images[:0], "b", 2)]
    (logits, *rest), (empty, *others) = logit_batches(classifier, batches, Accelerator(cpu=True))
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        torch.testing.assert_close(logits, network((images / 255 - mean) / std))
    assert logits.dtype == torch.float32 and empty.shape == (0, 3)
    assert (rest, others) == (["a", 1], ["b", 2])
