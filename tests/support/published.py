"""The published rows of GLMC, copied by hand, to compare the recipe files with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "configs"

# Top-1 of GLMC, of GLMC with MaxNorm and with SAM, and of GLMC when others ran it again.
CIFAR: dict[tuple[str, int], tuple[float, float, float | None, float]] = {
    ("cifar10_lt", 100): (88.50, 89.58, 89.18, 88.24),
    ("cifar10_lt", 50): (91.04, 92.04, 91.56, 90.89),
    ("cifar10_lt", 10): (94.87, 95.00, None, 95.12),
    ("cifar100_lt", 100): (57.97, 58.41, 59.01, 57.20),
    ("cifar100_lt", 50): (63.78, 64.57, 65.28, 62.99),
    ("cifar100_lt", 10): (73.40, 74.28, None, 74.08),
}
# Top-1, many, medium and few; then top-1 when others ran it again.
LARGE: dict[str, tuple[float, float, float, float, list[float]]] = {
    "imagenet_lt": (56.3, 70.1, 52.4, 30.4, [54.95, 55.31]),
    "imagenet_lt_maxnorm": (56.7, 60.8, 55.9, 45.5, []),
    "imagenet_lt_balanced_softmax": (57.2, 64.8, 55.7, 42.2, []),
    "inat18": (72.2, 64.6, 73.2, 73.0, []),
}
# q, k, gamma.
SWITCHES = {
    "cifar10_lt_if100": (0.0, 1.2, 1.0),
    "cifar10_lt_if50": (0.0, 1.2, 1.0),
    "cifar10_lt_if10": (0.2, 1.0, 2.0),
    "cifar100_lt_if100": (0.0, 1.2, 4.0),
    "cifar100_lt_if50": (0.2, 1.2, 6.0),
    "cifar100_lt_if10": (0.2, 1.2, 4.0),
    "imagenet_lt": (0.2, 1.0, 10.0),
    "inat18": (0.2, 1.0, 10.0),
}
# Backbone, its parameters in millions with the classifier of the data set, learning rate, batch size, epochs, weight
# decay, warm-up epochs, width of projection and prediction.
SCHEDULE = {
    "cifar10_lt": ("resnet32x4_cifar", 7.4, 0.01, 64, 200, 5e-3, 0, 128),
    "cifar100_lt": ("resnet32x4_cifar", 7.4, 0.01, 64, 200, 5e-3, 0, 128),
    "imagenet_lt": ("resnext50_32x4d", 25.0, 0.1, 120, 135, 2e-4, 10, 256),
    "inat18": ("resnext50_32x4d", 39.7, 0.1, 128, 120, 1e-4, 10, 256),
}
CLASSES = {"cifar10_lt": 10, "cifar100_lt": 100, "imagenet_lt": 1000, "inat18": 8142}
IMAGES = {"imagenet_lt": 115_846, "inat18": 437_513}
PLAIN = sorted(SWITCHES)
# Files of one stage that no other file starts from; then files of two stages.
ALONE = sorted([f"{name}_sam" for name in PLAIN if "cifar" in name] + ["imagenet_lt_balanced_softmax", "inat18"])
CHAINS = sorted(f"{name}_maxnorm" for name in PLAIN if name != "inat18")
NAMES = sorted([*PLAIN, *CHAINS, *(name for name in ALONE if name != "inat18")])


def about(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["about"]


def options(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in loaded.items() if key != "about"}


def base_of(name: str) -> str:
    """Name of the plain GLMC file that a variant is based on."""
    for suffix in ("_maxnorm", "_sam", "_balanced_softmax"):
        name = name.removesuffix(suffix)
    return name


def training_images(name: str) -> int:
    """Size of the training split, from the official list or by the formula of CIFAR for class c of C."""
    data, _, factor = base_of(name).rpartition("_if")
    if not data:
        return IMAGES[base_of(name)]
    classes = CLASSES[data]
    largest = {10: 5000, 100: 500}[classes]
    return sum(int(largest * int(factor) ** (-c / (classes - 1))) for c in range(classes))
