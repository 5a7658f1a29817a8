"""A trained model ready for images: the network on its device, its preprocessing, and its logits batch by batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import length_hint
from typing import Any

import torch
from accelerate import Accelerator
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from glmc_zoo.data import Normalize
from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.processes import local_batches
from glmc_zoo.scoring.preprocessing import Preprocessing
from glmc_zoo.screen import progress_bar


@dataclass(frozen=True)
class Classifier:
    """A network on its device, and how images are made into its input."""

    network: nn.Module
    num_classes: int
    preprocessing: Preprocessing
    normalize: Normalize
    data_config: dict[str, Any]
    """As timm resolves it: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``, ``crop_mode``."""

    @classmethod
    def of(
        cls, network: nn.Module, num_classes: int, data_config: dict[str, Any], device: torch.device
    ) -> "Classifier":
        """The classifier of a network that is on ``device`` already."""
        normalize = Normalize(data_config["mean"], data_config["std"]).to(device)
        return cls(network, num_classes, Preprocessing(data_config), normalize, data_config)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def load_classifier(source: ModelSource, device: torch.device, *, image_size: int | None = None) -> Classifier:
    """Build a trained model and its preprocessing; ``image_size`` pixels a side replace its own.

    Raises:
        UserError: Its weights cannot be read, it has no classifier, does not take colour images, or refuses the size.
    """
    sized = image_size is not None and source.config.get("fixed_input_size")
    options: dict[str, Any] = {"img_size": image_size} if sized else {}
    network: Any = source.create(**options).eval()
    if not getattr(network, "num_classes", 0):
        raise UserError(f"Model {source.name} has no classifier, it is an encoder: give the model with its classifier.")
    data_config = dict(resolve_model_data_config(network))
    channels = data_config["input_size"][0]
    if channels != 3:
        raise UserError(
            f"Model {source.name} takes images of {channels} channels instead of colour images: give another model."
        )
    if image_size is not None:
        data_config["input_size"] = (3, image_size, image_size)
    if data_config["interpolation"] == "random":  # of the training; timm cannot evaluate with it
        data_config["interpolation"] = "bicubic"
    _probe(network, source.name, data_config["input_size"])
    return Classifier.of(network.to(device), int(network.num_classes), data_config, device)


@torch.inference_mode()
def _probe(network: Any, name: str, size: tuple[int, int, int]) -> None:
    """Refuse a model that does not give one finite logit for each class of one image."""
    try:
        logits = network(torch.zeros(1, *size))
        shape = logits.shape
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"Model {name} refuses images of {size[1]} x {size[2]} pixels ({one_line(error)}): give an image_size= "
            "that it takes."
        ) from error
    if tuple(shape) != (1, network.num_classes):
        raise UserError(
            f"Model {name} gives {tuple(shape)} for one image instead of one logit for each class: give another model."
        )
    if not logits.isfinite().all():
        raise UserError(f"Model {name} gives logits that are not finite, so no score would mean anything.")


@torch.inference_mode()
def logit_batches(
    classifier: Classifier, loader: Iterable[tuple[Tensor, Any, Any]], accelerator: Accelerator
) -> Iterator[tuple[Tensor, Any, Any]]:
    """float32 logits (B, C) on the device, and the second and third entry of each batch of this process's share.

    The network is in evaluation mode and not wrapped, because the processes' shares may differ in length.
    """
    total = length_hint(loader) or None  # a stream has no length
    with progress_bar(total=total, desc="scoring", unit="batch", main_process=accelerator.is_main_process) as bar:
        for images, second, third in local_batches(loader, accelerator):
            with accelerator.autocast():
                pixels = classifier.normalize(images.to(accelerator.device, non_blocking=True))
                # Not every network takes an empty batch.
                logits = classifier.network(pixels) if len(pixels) else pixels.new_zeros(0, classifier.num_classes)
            bar.update()
            yield logits.float(), second, third
