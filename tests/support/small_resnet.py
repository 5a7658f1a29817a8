"""Small CIFAR ResNets for tests."""

from __future__ import annotations

from typing import Any

import timm
import torch

from glmc_zoo.backbones import CifarResNet


def small(**kwargs: Any) -> CifarResNet:
    """A network with every kind of layer that still runs in milliseconds."""
    torch.manual_seed(0)
    return CifarResNet(depth=14, width=4, **kwargs)


def create(name: str, **kwargs: Any) -> Any:
    """Call ``timm.create_model``. With the type ``Any`` tests need no casts for submodules."""
    return timm.create_model(name, **kwargs)
