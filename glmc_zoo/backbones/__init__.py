"""Backbones that timm lacks. Importing this package registers them for ``timm.create_model``."""

from .cifar_resnet import CifarResNet, resnet20_cifar, resnet32_cifar, resnet32x4_cifar, resnet56_cifar

__all__ = ["CifarResNet", "resnet20_cifar", "resnet32_cifar", "resnet32x4_cifar", "resnet56_cifar"]
