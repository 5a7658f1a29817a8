"""Networks in plain PyTorch, whose state dicts have the keys and shapes of the published checkpoints."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn


class Heads(nn.Module):
    """A network with the four heads, by their published names."""

    def add_heads(self, width: int, classes: int, dim: int, sequential: bool = False) -> None:
        """Add the heads; ``sequential`` puts projection and prediction into a ``Sequential`` each."""
        self.fc = nn.Linear(width, classes)
        self.fc_cb = nn.Linear(width, classes)
        projection, contrast = nn.Linear(width, dim), nn.Linear(dim, dim)
        self.projection_head = nn.Sequential(projection) if sequential else projection
        self.contrast_head = nn.Sequential(contrast) if sequential else contrast

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def all_heads(self, x: Tensor) -> dict[str, Tensor]:
        features = self.features(x)
        projection = self.projection_head(features)
        return {
            "logits": self.fc(features),
            "balanced_logits": self.fc_cb(features),
            "projection": projection,
            "prediction": self.contrast_head(projection),
        }


class Block(nn.Module):
    """Two convolutions with a shortcut that skips pixels and pads channels (He et al., option A)."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if out.shape != x.shape:
            side = (out.shape[1] - x.shape[1]) // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return F.relu(out + x)


class CifarNet(Heads):
    """ResNet for CIFAR in plain PyTorch."""

    def __init__(self, blocks: int, width: int, classes: int, sequential: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for stage in range(3):
            wide = width * 2**stage
            layers = [Block(before if i == 0 else wide, wide, 2 if stage and i == 0 else 1) for i in range(blocks)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            before = wide
        self.add_heads(before, classes, 128, sequential)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        return x.mean((2, 3))


class TorchvisionNet(Heads):
    """A ResNet of torchvision, whose layers are attributes of this module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        network: Any = getattr(torchvision.models, name)()
        width = network.fc.in_features
        for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"):
            setattr(self, layer, getattr(network, layer))
        self.add_heads(width, classes=5, dim=16)

    def features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.avgpool(x).flatten(1)


def randomize_batch_norm(network: Heads) -> Heads:
    """Give the batch-norm layers random statistics and scales, so that a test notices if they are lost."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                for tensor, low, high in (
                    (module.weight, 0.5, 1.0), (module.bias, -0.2, 0.2),
                    (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5),
                ):  # fmt: skip
                    tensor.uniform_(low, high, generator=generator)
    return network.eval()


def tiny(classes: int = 3) -> Heads:
    torch.manual_seed(0)
    return randomize_batch_norm(CifarNet(3, 16, classes))
