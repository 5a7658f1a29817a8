"""A trained model ready to be fed images: its own preprocessing, its classes, and its logits batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from glmc_zoo.data import Normalize
from glmc_zoo.data.transforms import EvalTransform, Images
from glmc_zoo.engine.output import own_share
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource

__all__ = ["ClassMatch", "InferenceModel", "TimmTransform", "load_model", "logit_batches", "match_classes"]


@dataclass(frozen=True)
class InferenceModel:
    """A model in evaluation mode on its device, and how images are made into its input."""

    source: ModelSource
    model: nn.Module
    transform: Callable[[Images], Tensor]
    """From pictures to uint8 (B, 3, H, W)."""
    normalize: Normalize
    data_config: dict[str, Any]
    """As timm resolves it: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``, ``crop_mode``."""

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return int(self.model.num_classes)  # type: ignore[arg-type]  # of a module's attributes nothing is known

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


class TimmTransform:
    """timm's own evaluation transform of a model, before normalisation.

    Args:
        data_config: what ``timm.data.resolve_model_data_config`` gives.
    """

    def __init__(self, data_config: dict[str, Any]) -> None:
        names = (
            "input_size",
            "interpolation",
            "crop_pct",
            "crop_mode",
            "mean",
            "std",
        )  # mean: what a border is filled with
        self.transform = create_transform(
            **{name: data_config[name] for name in names}, is_training=False, use_prefetcher=True
        )

    def __call__(self, images: Images) -> Tensor:
        """uint8 of shape (B, 3, H, W), in the order of ``images``."""
        if isinstance(images, Tensor):
            images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        return torch.stack([torch.from_numpy(np.asarray(self.transform(image))) for image in images])


def load_model(source: ModelSource, accelerator: Accelerator, *, image_size: int | None = None) -> InferenceModel:
    """Build a model and its preprocessing.

    Args:
        source: where it is read from.
        accelerator: for the device.
        image_size: side of its images in pixels, in place of its own.

    Raises:
        UserError: its weights cannot be read, it has no classifier, takes no colour images, or refuses the size.
    """
    sized = image_size is not None and source.config.get("fixed_input_size")
    options: dict[str, Any] = {"img_size": image_size} if sized else {}
    model: Any = source.create(**options).eval()
    if not getattr(model, "num_classes", 0):
        raise UserError(f"{source.name} has no classifier, it is an encoder: give the model with its classifier.")
    data_config = resolve_model_data_config(model)
    channels, height, width = data_config["input_size"]
    if channels != 3:
        raise UserError(
            f"{source.name} takes images of {channels} channels, and not colour images: give another model."
        )
    if image_size is not None:
        height = width = image_size
        data_config["input_size"] = (3, height, width)
    if data_config["interpolation"] == "random":  # of the training; timm cannot evaluate by it
        data_config["interpolation"] = "bicubic"
    _probe(model, source.name, (height, width))
    return InferenceModel(
        source=source,
        model=model.to(accelerator.device),
        transform=_transform(data_config, trained_here=source.results is not None),
        normalize=Normalize(data_config["mean"], data_config["std"]).to(accelerator.device),
        data_config=data_config,
    )


@torch.inference_mode()
def _probe(model: Any, name: str, size: tuple[int, int]) -> None:
    try:
        shape = model(torch.zeros(1, 3, *size)).shape
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{name} refuses images of {size[0]} x {size[1]} pixels ({reason}): give an --image-size that it takes."
        ) from error
    if tuple(shape) != (1, model.num_classes):
        raise UserError(f"{name} gives {tuple(shape)} for one image, and not one logit for each class: give another.")


def _transform(data_config: dict[str, Any], *, trained_here: bool) -> Callable[[Images], Tensor]:
    """The transform that the model was scored with when it was made.

    A run's evaluation resizes tensors, and timm's PIL images: values of photographs differ by at most 1 of 255, in few
    pixels. What was trained here keeps the former, so that its published scores come out again; all else is fed as timm
    feeds it.
    """
    _, height, width = data_config["input_size"]
    plain = height == width and data_config["crop_mode"] == "center"
    if trained_here and plain and data_config["interpolation"] in ("bicubic", "bilinear"):
        return EvalTransform(height, math.floor(height / data_config["crop_pct"]), data_config["interpolation"])
    return TimmTransform(data_config)


@torch.inference_mode()
def logit_batches(
    model: InferenceModel, loader: Iterable[tuple[Tensor, Any, Any]], accelerator: Accelerator
) -> Iterator[tuple[Tensor, Any, Any]]:
    """Logits of this process's share.

    Args:
        model: what to ask.
        loader: batches of (uint8 images, and two things that are passed on).
        accelerator: for device and precision.

    Yields:
        float32 logits (B, C) on the device, and the batch's second and third entry.
    """
    for images, second, third in own_share(loader, accelerator):
        with accelerator.autocast():
            fed = model.normalize(images.to(accelerator.device, non_blocking=True))
            # Not every network takes a batch of no image.
            logits = model.model(fed) if len(fed) else fed.new_zeros(0, model.num_classes)
        yield logits.float(), second, third


@dataclass(frozen=True)
class ClassMatch:
    """Which of a model's logits belong to the classes of a data set."""

    columns: list[int] | None
    """Logit of each class of the data; ``None`` where they are the same, in the same order."""
    note: str | None = None
    """One sentence, where something was decided."""

    def select(self, logits: Tensor) -> Tensor:
        """Logits (B, C) of the data's classes, in their order."""
        return logits if self.columns is None else logits[:, self.columns]


def match_classes(
    name: str, model_names: Sequence[str] | None, num_classes: int, data_names: Sequence[str]
) -> ClassMatch:
    """Match classes by name; by position where the model names none and the numbers are equal.

    Raises:
        UserError: a class of the data is not among the model's.
    """
    if model_names is None:
        if num_classes != len(data_names):
            raise UserError(
                f"Classes that do not match: {name} has {num_classes} classes without names and the data "
                f"{len(data_names)} ({_few(data_names)}): fine-tune the model on this data first (recipes/finetune.py)."
            )
        return ClassMatch(None, f"{name} names no classes: its logits are taken for the data's classes by position.")
    if list(model_names) == list(data_names):
        return ClassMatch(None)
    place = {label: index for index, label in enumerate(model_names)}
    missing = [label for label in data_names if label not in place]
    if missing or len(place) < len(model_names):
        what = f"has no {_few(missing)}" if missing else "gives several classes one name"
        raise UserError(
            f"Classes that do not match: {name} {what} (its classes: {_few(model_names)}; the data's: "
            f"{_few(data_names)}): fine-tune the model on this data first (recipes/finetune.py)."
        )
    columns = [place[label] for label in data_names]
    if len(model_names) == len(data_names):
        return ClassMatch(
            columns, f"{name} has the data's classes in another order: its logits were re-ordered by name."
        )
    return ClassMatch(
        columns,
        f"{name} has {len(model_names)} classes: only the logits of the data's {len(data_names)} are used, so scores "
        "are higher than with all.",
    )


def _few(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
