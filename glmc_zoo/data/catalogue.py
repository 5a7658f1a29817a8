"""The data sets that glmc_zoo knows by name, with what each needs to be read and trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from glmc_zoo.data.official import IMAGENET_LT, INAT18, PLACES_LT, OfficialSplit
from glmc_zoo.errors import UserError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "DataEntry", "list_data"]

Statistics = tuple[float, float, float]

IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataEntry:
    """One data set of the catalogue."""

    name: str
    description: str
    license: str
    num_classes: int
    """Classes of the complete set."""
    max_count: int
    """Images of the first (largest) class of the long tail."""
    hub_id: str | None = None
    """Hugging Face data set that holds the images before thinning, ``None`` when they come with a library or only from
    a folder."""
    hub_config: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    train_split: str = "train"
    test_split: str = "test"
    default_imbalance_factor: float | None = None
    """``None`` where an official list, not a formula, says which images are kept."""
    profile: str = "exp"
    mean: Statistics = IMAGENET_MEAN
    """Mean of red, green and blue, in fractions of 1."""
    std: Statistics = IMAGENET_STD
    image_size: int = 224
    """Side in pixels at which the set is trained by default."""
    augment: str = "large"
    """Kind of training augmentation: ``crop_flip``, ``shift`` or ``large`` (see ``build_transforms``)."""
    local_layout: str = ""
    """What a folder given as ``data_dir`` must hold."""
    official: OfficialSplit | None = None
    """Facts of the lists that make the set, where no formula does."""
    lists_repo: str | None = None
    """Hugging Face data set that is asked for these lists when there are none at hand."""
    recipes: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)
    """Training options by imbalance factor; read them with `recipe`."""

    def recipe(self, imbalance_factor: float | None = None) -> dict[str, Any]:
        """Default training options, by the names of the run's configuration fields.

        Args:
            imbalance_factor: of the long tail; the published row with the nearest factor (on a log scale) is taken.
                ``None`` means the factor of the entry.

        Returns:
            A fresh dictionary; empty for a set without a published recipe.

        Raises:
            UserError: a factor below 1, infinite, or not a number.
        """
        if imbalance_factor is not None and not 1 <= imbalance_factor < math.inf:
            raise UserError(f"The imbalance factor {imbalance_factor} is not possible: give 1 (balanced) or more.")
        if not self.recipes:
            return {}
        wanted = imbalance_factor or self.default_imbalance_factor or 1.0
        nearest = min(self.recipes, key=lambda factor: abs(math.log(factor) - math.log(wanted)))
        return dict(self.recipes[nearest])


def _cifar(sampler_power: float, class_weight_power: float, consistency_weight: float) -> dict[str, Any]:
    """A CIFAR row of the published table (official GLMC settings), with the three numbers that differ between rows."""
    return {
        "backbone": "resnet32x4_cifar",
        "epochs": 200,
        "batch_size": 64,
        "lr": 0.01,
        "weight_decay": 5e-3,
        "sampler_power": sampler_power,
        "class_weight_power": class_weight_power,
        "consistency_weight": consistency_weight,
        "warmup_epochs": 0,
        "image_size": 32,
    }


def _large(epochs: int, batch_size: int, weight_decay: float) -> dict[str, Any]:
    """A row of the published table for photographs."""
    return {
        "backbone": "resnext50_32x4d",
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": 0.1,
        "weight_decay": weight_decay,
        "sampler_power": 0.2,
        "class_weight_power": 1.0,
        "consistency_weight": 10.0,
        "warmup_epochs": 10,
        "image_size": 224,
    }


_DIGITS_RECIPE: dict[str, Any] = {
    "backbone": "resnet20_cifar",
    "epochs": 40,
    "batch_size": 64,
    "lr": 0.025,  # twice that makes GLMC, whose cross-entropies of two views are summed, fail with some seeds
    "weight_decay": 5e-4,
    "warmup_epochs": 0,
    "image_size": 16,
}

_LISTS_REPO = "glmc-zoo/long-tailed-lists"

_ENTRIES = (
    DataEntry(
        name="digits_lt",
        description="Scanned handwritten digits, 8 x 8 grey, from scikit-learn (UCI Optical Recognition of Handwritten "
        "Digits, test part), thinned to a long tail; 60 images of each class are the test part.",
        license="cc-by-4.0",
        num_classes=10,
        max_count=100,
        default_imbalance_factor=20,
        mean=(0.3053, 0.3053, 0.3053),
        std=(0.3759, 0.3759, 0.3759),
        image_size=16,
        augment="shift",
        local_layout="none: the images come with scikit-learn",
        recipes={20.0: _DIGITS_RECIPE},
    ),
    DataEntry(
        name="cifar10_lt",
        description="CIFAR-10 (32 x 32 photographs, 10 classes), the training part thinned to a long tail.",
        license="unknown",
        num_classes=10,
        max_count=5000,
        hub_id="uoft-cs/cifar10",
        hub_config="plain_text",
        image_column="img",
        default_imbalance_factor=100,
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
        image_size=32,
        augment="crop_flip",
        local_layout="the Hub repository uoft-cs/cifar10 as downloaded: README.md and plain_text/*.parquet",
        recipes={100.0: _cifar(0.0, 1.2, 1.0), 50.0: _cifar(0.0, 1.2, 1.0), 10.0: _cifar(0.2, 1.0, 2.0)},
    ),
    DataEntry(
        name="cifar100_lt",
        description="CIFAR-100 (32 x 32 photographs, 100 classes), the training part thinned to a long tail.",
        license="unknown",
        num_classes=100,
        max_count=500,
        hub_id="uoft-cs/cifar100",
        hub_config="cifar100",
        image_column="img",
        label_column="fine_label",
        default_imbalance_factor=100,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        image_size=32,
        augment="crop_flip",
        local_layout="the Hub repository uoft-cs/cifar100 as downloaded: README.md and cifar100/*.parquet",
        recipes={100.0: _cifar(0.0, 1.2, 4.0), 50.0: _cifar(0.2, 1.2, 6.0), 10.0: _cifar(0.2, 1.2, 4.0)},
    ),
    DataEntry(
        name="imagenet_lt",
        description="ImageNet-LT (Liu et al., 2019): 115,846 training images of 1000 classes, 1280 to 5 of each.",
        license="other",
        num_classes=1000,
        max_count=1280,
        hub_id="ILSVRC/imagenet-1k",
        test_split="validation",
        profile="pareto",
        local_layout="train/n01440764/*.JPEG and val/n01440764/*.JPEG or val/*.JPEG (also below ILSVRC/Data/CLS-LOC), "
        "or the Hub repository ILSVRC/imagenet-1k as downloaded, with ImageNet_LT_train.txt and ImageNet_LT_test.txt",
        official=IMAGENET_LT,
        lists_repo=_LISTS_REPO,
        recipes={256.0: _large(135, 120, 2e-4)},
    ),
    DataEntry(
        name="inat18",
        description="iNaturalist 2018: 437,513 training images of 8142 species, 1000 to 2 of each.",
        license="other",
        num_classes=8142,
        max_count=1000,
        test_split="validation",
        profile="pareto",
        local_layout="train_val2018/Plantae/7291/*.jpg with train2018.json and val2018.json, or with "
        "iNaturalist18_train.txt and iNaturalist18_val.txt",
        official=INAT18,
        lists_repo=_LISTS_REPO,
        recipes={500.0: _large(120, 128, 1e-4)},
    ),
    DataEntry(
        name="places_lt",
        description="Places-LT (Liu et al., 2019): 62,500 training images of 365 kinds of place, 4980 to 5 of each.",
        license="other",
        num_classes=365,
        max_count=4980,
        test_split="validation",
        profile="pareto",
        local_layout="train/airfield/*.jpg and val/airfield/*.jpg, or data_256/a/airfield/*.jpg and val_256/*.jpg, "
        "with Places_LT_train.txt and Places_LT_test.txt",
        official=PLACES_LT,
        lists_repo=_LISTS_REPO,
    ),
)

_CATALOGUE = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def list_data() -> dict[str, DataEntry]:
    """The catalogue: data sets by name."""
    return dict(_CATALOGUE)
