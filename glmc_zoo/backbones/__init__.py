"""Backbones that timm lacks. Importing this package registers them with timm, so ``timm.create_model`` knows them."""

from .cifar_resnet import CifarResNet, resnet20_cifar, resnet32_cifar, resnet32x4_cifar, resnet56_cifar

__all__ = ["CifarResNet", "resnet20_cifar", "resnet32_cifar", "resnet32x4_cifar", "resnet56_cifar"]
