"""The data sets that glmc_zoo knows by name: how each is read and trained on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glmc_zoo.data.official.facts import IMAGENET_LT, INAT18, PLACES_LT, OfficialSplit
from glmc_zoo.data.options import ImbalanceType
from glmc_zoo.errors import UserError

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
    """Classes of the complete data set."""
    max_count: int
    """Images of the first (largest) class of the long tail."""
    hub_id: str | None = None
    """Hugging Face data set with the images before thinning; ``None`` when they come with a library or in a folder."""
    folder: str | None = None
    """Folder below ``data/embedded`` that holds the images, where they come with this package."""
    hub_config: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    split_by: str | None = None
    """Column with the group of each image (camera, patient or sender); a group stays in one split."""
    train_split: str = "train"
    test_split: str = "test"
    default_imbalance_factor: float | None = None
    """``None`` where no formula thins the data: an official list makes the splits, or all images are used."""
    imbalance_type: ImbalanceType = "exp"
    mean: Statistics = IMAGENET_MEAN
    """Mean of red, green and blue, in fractions of 1."""
    std: Statistics = IMAGENET_STD
    interpolation: str | None = None
    """How images are resized, ``bilinear`` or ``bicubic``, when a backbone is trained from scratch; ``None``: as the
    backbone's own configuration says."""
    image_size: int = 224
    """Side in pixels at which the data set is trained by default."""
    augment: str = "large"
    """Kind of training augmentation: ``crop_flip``, ``shift`` or ``large`` (see `train_transform`)."""
    local_layout: str = ""
    """Content of a folder given as ``data_dir``."""
    official: OfficialSplit | None = None
    """Facts about the official lists that make the splits; ``None`` for a data set without such lists."""
    lists_repo: str | None = None
    """Hugging Face data set from which these lists are downloaded when none lie beside the data."""
    recipes: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)
    """Training options by imbalance factor; read them with `recipe`."""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """Options by which the preset ``tuned`` replaces those of the published recipe."""

    @property
    def embedded(self) -> bool:
        """Whether the images come with this package or with scikit-learn, so that nothing is downloaded."""
        return self.hub_id is None and self.official is None

    def recipe(self, imbalance_factor: float | None = None) -> dict[str, Any]:
        """Default training options by name: the recipe whose imbalance factor is nearest on a log scale.

        They are empty for a data set without recipes. ``None`` means the entry's own factor.

        Raises:
            UserError: ``imbalance_factor`` is below 1 or not finite.
        """
        if imbalance_factor is not None and not 1 <= imbalance_factor < math.inf:
            raise UserError(f"imbalance_factor={imbalance_factor!r} is not possible: give 1 (balanced) or more.")
        if not self.recipes:
            return {}
        factor_of_data = imbalance_factor or self.default_imbalance_factor or 1.0
        nearest = min(self.recipes, key=lambda factor: abs(math.log(factor) - math.log(factor_of_data)))
        return dict(self.recipes[nearest])


def _recipe(*values: Any) -> dict[str, Any]:
    """A recipe from values of the schedule, then of the switches."""
    schedule = ("backbone", "epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "image_size")
    switches = ("sampler_power", "class_weight_power", "consistency_weight")
    return dict(zip(schedule + switches, values, strict=False))


def _cifar(classes: int, label_column: str, mean: Statistics, std: Statistics, **more: Any) -> DataEntry:
    """CIFAR-10 or CIFAR-100; ``more`` are the ``hub_config`` and the rows of the published table (official GLMC)."""
    return DataEntry(
        name=f"cifar{classes}_lt",
        description=f"CIFAR-{classes} (32 x 32 images, {classes} classes), the training split thinned to a long tail.",
        license="unknown",
        num_classes=classes,
        max_count=50_000 // classes,
        hub_id=f"uoft-cs/cifar{classes}",
        image_column="img",
        label_column=label_column,
        default_imbalance_factor=100,
        mean=mean,
        std=std,
        image_size=32,
        augment="crop_flip",
        # Chosen on held-out images: every method gains from ten times the published learning rate, see docs/length.md.
        tuned={"lr": 0.1, "weight_decay": 5e-4},
        local_layout=f"the Hub repository uoft-cs/cifar{classes} as downloaded: README.md and "
        f"{more['hub_config']}/*.parquet",
        **more,
    )


def _listed(name: str, official: OfficialSplit, **more: Any) -> DataEntry:
    """A data set of large images with official lists for its splits."""
    return DataEntry(
        name=name,
        license="other",
        num_classes=sum(official.train.groups),
        max_count=official.train.largest,
        test_split="validation",
        imbalance_type="pareto",
        official=official,
        lists_repo="glmc-zoo/long-tailed-lists",
        **more,
    )


_CIFAR_ROW = ("resnet32x4_cifar", 200, 64, 0.01, 5e-3, 0, 32)

_ENTRIES = (
    DataEntry(
        name="digits_lt",
        description="Scanned handwritten digits, 8 x 8 grey, from scikit-learn (UCI Optical Recognition of Handwritten "
        "Digits, test part), thinned to a long tail; 60 images of each class are the test split.",
        license="cc-by-4.0",
        num_classes=10,
        max_count=100,
        default_imbalance_factor=20,
        mean=(0.3053, 0.3053, 0.3053),
        std=(0.3759, 0.3759, 0.3759),
        image_size=16,
        augment="shift",
        local_layout="none: the images come with scikit-learn",
        # GLMC sums the cross-entropies of two views. With twice this learning rate it fails for some seeds.
        recipes={20.0: _recipe("resnet20_cifar", 40, 64, 0.025, 5e-4, 0, 16)},
    ),
    DataEntry(
        name="clothing_small",
        description="Images of clothes by the people who own them (alexeygrigorev/clothing-dataset), 17 classes, 128 "
        "pixels on the short side: 953 training images, 200 to 5 a class, and 406 test images by other people.",
        license="cc0-1.0",
        num_classes=17,
        max_count=200,
        folder="clothing_small",
        split_by="sender",
        image_size=128,
        local_layout="none: the images come with this package",
    ),
    _cifar(
        10,
        "label",
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
        hub_config="plain_text",
        recipes={
            100.0: _recipe(*_CIFAR_ROW, 0.0, 1.2, 1.0),
            50.0: _recipe(*_CIFAR_ROW, 0.0, 1.2, 1.0),
            10.0: _recipe(*_CIFAR_ROW, 0.2, 1.0, 2.0),
        },
    ),
    _cifar(
        100,
        "fine_label",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        hub_config="cifar100",
        recipes={
            100.0: _recipe(*_CIFAR_ROW, 0.0, 1.2, 4.0),
            50.0: _recipe(*_CIFAR_ROW, 0.2, 1.2, 6.0),
            10.0: _recipe(*_CIFAR_ROW, 0.2, 1.2, 4.0),
        },
    ),
    _listed(
        "imagenet_lt",
        IMAGENET_LT,
        description="ImageNet-LT (Liu et al., 2019): 115,846 training images of 1000 classes, 1280 to 5 of each.",
        hub_id="ILSVRC/imagenet-1k",
        local_layout="train/n01440764/*.JPEG and val/n01440764/*.JPEG or val/*.JPEG (also below ILSVRC/Data/CLS-LOC), "
        "or the Hub repository ILSVRC/imagenet-1k as downloaded, with ImageNet_LT_train.txt and ImageNet_LT_test.txt",
        interpolation="bilinear",  # torchvision's default, used for the published rows
        recipes={256.0: _recipe("resnext50_32x4d", 135, 120, 0.1, 2e-4, 10, 224, 0.2, 1.0, 10.0)},
    ),
    _listed(
        "inat18",
        INAT18,
        description="iNaturalist 2018: 437,513 training images of 8142 species, 1000 to 2 of each.",
        local_layout="train_val2018/Plantae/7291/*.jpg with train2018.json and val2018.json, or with "
        "iNaturalist18_train.txt and iNaturalist18_val.txt",
        mean=(0.466, 0.471, 0.380),
        std=(0.195, 0.194, 0.192),
        interpolation="bilinear",
        recipes={500.0: _recipe("resnext50_32x4d", 120, 128, 0.1, 1e-4, 10, 224, 0.2, 1.0, 10.0)},
    ),
    _listed(
        "places_lt",
        PLACES_LT,
        description="Places-LT (Liu et al., 2019): 62,500 training images of 365 kinds of place, 4980 to 5 of each.",
        local_layout="train/airfield/*.jpg and val/airfield/*.jpg, or data_256/a/airfield/*.jpg and val_256/*.jpg, "
        "with Places_LT_train.txt and Places_LT_test.txt",
    ),
)


def list_data() -> dict[str, DataEntry]:
    """The catalogue: data sets by name."""
    return {entry.name: entry for entry in _ENTRIES}
