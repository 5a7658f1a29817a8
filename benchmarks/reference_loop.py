"""The loop that speed.py times the package against: GLMC in the plain style of research code of 2023.

It exists for timing only; read recipes/minimal.py to learn the method. It takes from the package only the backbones,
through timm, and the data, so that both train on the same images. It has two loaders of PIL images with worker
processes, augments each image twice by torchvision, does two forward passes in single precision, reads every loss by
`.item()` in every step, and uses the default SGD of torch. A folder has its images in train/CLASS/ and test/CLASS/.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

import glmc_zoo  # noqa: F401  # registers the CIFAR networks with timm
from glmc_zoo.data import LongTailData


@dataclass
class Settings:
    """Settings of the loop; the defaults are those published for CIFAR-10-LT, imbalance factor 100."""

    backbone: str = "resnet32x4_cifar"
    device: str = "cpu"
    image_size: int = 32
    augment: str = "crop_flip"
    batch_size: int = 64
    workers: int = 2  # of each of the two loaders
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-3
    sampler_power: float = 0.0  # q
    class_weight_power: float = 1.2  # k
    gamma: float = 1.0
    projection_dim: int = 128


# ---------------------------------------------------------------- images
class ArrayImages(Dataset[Any]):
    """Decoded images, which are converted to PIL images when they are loaded."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


class TwoViews:
    """A transform applied twice."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.transform(image), self.transform(image)


class Blur:
    """Gaussian blur by PIL's filter, common in code of that time: eight times as fast as torchvision's."""

    def __call__(self, image: Image.Image) -> Image.Image:  # noqa: D102
        return image.filter(ImageFilter.GaussianBlur(np.random.uniform(0.1, 2.0)))


def train_transform(augment: str, size: int, native: int | None, mean: Any, std: Any) -> Any:
    """The published augmentation of one view, on a PIL image."""
    last = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    if augment == "large":
        jitter, grey = transforms.ColorJitter(0.4, 0.4, 0.4), transforms.RandomGrayscale(p=0.2)
        steps = [transforms.RandomResizedCrop(size), jitter, grey, transforms.RandomApply([Blur()], p=0.5)]
        return transforms.Compose([*steps, transforms.RandomHorizontalFlip(), *last])
    first = [] if native == size else [transforms.Resize((size, size))]
    flip = [transforms.RandomHorizontalFlip()] if augment == "crop_flip" else []
    return transforms.Compose([*first, transforms.RandomCrop(size, padding=size // 8), *flip, *last])


def test_transform(augment: str, size: int, native: int | None, mean: Any, std: Any) -> Any:
    """The transform of test images, on a PIL image."""
    if augment == "large":
        first: list[Any] = [transforms.Resize(int(size / 0.875)), transforms.CenterCrop(size)]
    else:
        first = [] if native == size else [transforms.Resize((size, size))]
    return transforms.Compose([*first, transforms.ToTensor(), transforms.Normalize(mean, std)])


def make_loaders(data: LongTailData, folder: str, settings: Settings) -> list[DataLoader[Any]]:
    """Loaders of shuffled, re-balanced and test images. ``folder`` is read if ``data`` has no decoded images."""
    pixels, labels = data.train.pixels, data.train.labels
    native = None if pixels is None else pixels.shape[1]
    shape, statistics = (settings.augment, settings.image_size, native), (data.mean, data.std)
    augment = TwoViews(train_transform(*shape, *statistics))
    plain = test_transform(*shape, *statistics)
    if pixels is not None:
        assert data.test.pixels is not None
        train: Any = ArrayImages(pixels, labels, augment)
        test: Any = ArrayImages(data.test.pixels, data.test.labels, plain)
    else:
        train, test = (ImageFolder(str(Path(folder, part)), how) for part, how in (("train", augment), ("test", plain)))
        labels = np.array(train.targets)
    weights = np.bincount(labels).astype(float)[labels] ** -settings.sampler_power
    sampler = WeightedRandomSampler(weights.tolist(), len(labels), replacement=True)
    shared: dict[str, Any] = {"num_workers": settings.workers, "pin_memory": settings.device.startswith("cuda")}
    return [
        DataLoader(train, batch_size=settings.batch_size, shuffle=True, **shared),
        DataLoader(train, batch_size=settings.batch_size, sampler=sampler, **shared),
        DataLoader(test, batch_size=max(settings.batch_size, 128), **shared),
    ]


# ---------------------------------------------------------------- network and formulas
class Network(nn.Module):
    """A timm model whose own classifier is the re-balanced one, and the three heads of training."""

    encoder: Any

    def __init__(self, settings: Settings, classes: int) -> None:
        super().__init__()
        size: dict[str, Any] = {"img_size": settings.image_size} if _fixed_size(settings.backbone) else {}
        self.encoder = timm.create_model(settings.backbone, num_classes=classes, **size)
        width = self.encoder.get_classifier().in_features
        self.classifier = nn.Linear(width, classes)
        self.projector = nn.Linear(width, settings.projection_dim)
        self.predictor = nn.Linear(settings.projection_dim, settings.projection_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Conventional logits, re-balanced logits, projection and prediction of images (B, 3, S, S)."""
        features = self.encoder.forward_head(self.encoder.forward_features(x), pre_logits=True)
        projection = self.projector(features)
        balanced = self.encoder.get_classifier()(features)
        return self.classifier(features), balanced, projection, self.predictor(projection)


def _fixed_size(backbone: str) -> bool:
    config = timm.models.get_pretrained_cfg(backbone, allow_unregistered=False)
    return config is not None and config.fixed_input_size


def random_mix(size: int) -> tuple[float, tuple[int, int, int, int]]:
    """A uniform mixing share, and the box to paste: top, bottom, left, right."""
    lam = np.random.beta(1.0, 1.0)
    half = math.ceil(size * math.sqrt(1 - lam)) // 2
    row, column = np.random.randint(size), np.random.randint(size)
    return lam, (max(row - half, 0), min(row + half, size), max(column - half, 0), min(column + half, size))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, classes) with soft labels (B, classes), mean over the batch."""
    return -(labels * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def consistency(prediction: Tensor, projection: Tensor) -> Tensor:
    """Negative cosine similarity, without gradient to the projection, mean over the batch."""
    return -F.cosine_similarity(prediction, projection.detach(), dim=1).mean()


class ReferenceLoop:
    """One run: network, loaders, optimiser and the training step."""

    def __init__(self, data: LongTailData, folder: str, settings: Settings) -> None:
        self.settings, self.device = settings, torch.device(settings.device)
        self.classes = len(data.class_names)
        self.first, self.second, self.test = make_loaders(data, folder, settings)
        self.model = Network(settings, self.classes).to(self.device)
        weights = torch.tensor(data.class_counts).float() ** -settings.class_weight_power
        self.weights = (weights / weights.sum() * self.classes).to(self.device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.alpha = 1.0

    def batches(self) -> Iterator[Any]:
        """Batches of one epoch, on the CPU: both views and the class of each image."""
        return zip(self.first, self.second, strict=True)

    def to_device(self, batch: Any) -> list[Tensor]:
        """Both views and the classes of the shuffled images, then those of the re-balanced ones, on the device."""
        ((global_i, local_i), y_i), ((global_j, local_j), y_j) = batch
        parts = (global_i, local_i, y_i, global_j, local_j, y_j)
        return [part.to(self.device, non_blocking=True) for part in parts]

    def losses(self, batch: list[Tensor], lam: float, box: tuple[int, int, int, int]) -> dict[str, Tensor]:
        """The total loss and its terms for a batch on the device."""
        global_i, local_i, y_i, global_j, local_j, y_j = batch
        mixed = lam * global_i + (1 - lam) * global_j
        top, bottom, left, right = box
        pasted = local_i.clone()
        pasted[:, :, top:bottom, left:right] = local_j[:, :, top:bottom, left:right]
        hot_i, hot_j = F.one_hot(y_i, self.classes).float(), F.one_hot(y_j, self.classes).float()
        label = lam * hot_i + (1 - lam) * hot_j
        weighted = lam * self.weights[y_i][:, None] * hot_i + (1 - lam) * self.weights[y_j][:, None] * hot_j

        logits_g, balanced_g, h_g, u_g = self.model(mixed)
        logits_l, balanced_l, h_l, u_l = self.model(pasted)
        conventional = cross_entropy(logits_g, label) + cross_entropy(logits_l, label)
        rebalanced = cross_entropy(balanced_g, weighted) + cross_entropy(balanced_l, weighted)
        consistent = consistency(u_g, h_l) + consistency(u_l, h_g)
        loss = self.alpha * conventional + (1 - self.alpha) * rebalanced + self.settings.gamma * consistent
        return {"loss": loss, "conventional": conventional, "rebalanced": rebalanced, "consistency": consistent}

    def step(self, batch: list[Tensor]) -> dict[str, float]:
        """Train on one batch on the device."""
        terms = self.losses(batch, *random_mix(batch[0].shape[-1]))
        self.optimizer.zero_grad()
        terms["loss"].backward()
        self.optimizer.step()
        return {name: value.item() for name, value in terms.items()}

    @torch.no_grad()
    def evaluate(self, loader: DataLoader[Any]) -> float:
        """Accuracy of the re-balanced classifier (0 to 1)."""
        self.model.eval()
        correct = total = 0
        for images, targets in loader:
            images, targets = images.to(self.device), targets.to(self.device)
            correct += (self.model.encoder(images).argmax(dim=1) == targets).sum().item()
            total += len(targets)
        return correct / total
