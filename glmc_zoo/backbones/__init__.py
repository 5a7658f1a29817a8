"""Backbones timm lacks. Importing this package registers them, so that ``timm.create_model`` finds them by name."""

from __future__ import annotations

from glmc_zoo.backbones.cifar_resnet import (
    CifarResNet,
    resnet20_cifar,
    resnet32_cifar,
    resnet32x4_cifar,
    resnet56_cifar,
)

__all__ = ["CifarResNet", "resnet20_cifar", "resnet32_cifar", "resnet32x4_cifar", "resnet56_cifar"]
