"""A trained model that is ready for inference: network, preprocessing, and logits batch by batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import length_hint
from typing import Any

import torch
from accelerate import Accelerator
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from glmc_zoo.building import outside_failures
from glmc_zoo.data import Normalize
from glmc_zoo.data.reading.decoding import one_line
from glmc_zoo.errors import UserError
from glmc_zoo.hub import ModelSource
from glmc_zoo.machine.processes import local_batches
from glmc_zoo.scoring.preprocessing import Preprocessing
from glmc_zoo.screen import progress_bar
from glmc_zoo.text import counted


@dataclass(frozen=True)
class Classifier:
    """A network on its device, with the preprocessing of its images."""

    network: nn.Module
    num_classes: int
    preprocessing: Preprocessing
    """From images to uint8 (B, 3, H, W), on the CPU."""
    normalize: Normalize
    """From uint8 to the float32 input of the network, on its device."""
    data_config: dict[str, Any]
    """timm's configuration: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct``, ``crop_mode``."""

    @classmethod
    def from_network(
        cls, network: nn.Module, num_classes: int, data_config: dict[str, Any], device: torch.device
    ) -> "Classifier":
        """The `Classifier` of a network that is on ``device`` already."""
        normalize = Normalize(data_config["mean"], data_config["std"]).to(device)
        return cls(network, num_classes, Preprocessing(data_config), normalize, data_config)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def load_classifier(source: ModelSource, device: torch.device, *, image_size: int | None = None) -> Classifier:
    """Build a trained model and its preprocessing.

    Args:
        source: The model.
        device: Device of the network.
        image_size: Side of the images in pixels; ``None`` for the model's own size.

    Raises:
        UserError: The weights cannot be read, or the model has no classifier, does not take colour images, or refuses
            the size.
    """
    needs_size = image_size is not None and source.config.get("fixed_input_size")
    options: dict[str, Any] = {"img_size": image_size} if needs_size else {}
    network: Any = source.create(**options).eval()
    if not getattr(network, "num_classes", 0):
        raise UserError(f"Model {source.name} is an encoder without a classifier: give a model with a classifier.")
    data_config = dict(resolve_model_data_config(network))
    channels = data_config["input_size"][0]
    if channels != 3:
        raise UserError(
            f"Model {source.name} takes images of {counted(channels, 'channel')}, and images are read in colour: give "
            "a model "
            "that takes 3 channels."
        )
    if image_size is not None:
        data_config["input_size"] = (3, image_size, image_size)
    if data_config["interpolation"] == "random":  # a setting for training, which timm cannot evaluate with
        data_config["interpolation"] = "bicubic"
    _probe(network, source.name, data_config["input_size"])
    return Classifier.from_network(network.to(device), int(network.num_classes), data_config, device)


@torch.inference_mode()
def _probe(network: Any, name: str, size: tuple[int, int, int]) -> None:
    """Try the model on one image, and refuse it unless it returns one finite logit for each class."""
    try:
        with outside_failures(
            f"Model {name} for images of {size[1]} x {size[2]} pixels", smaller="a smaller image_size="
        ):
            logits = network(torch.zeros(1, *size))
            shape = logits.shape
    except UserError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"Model {name} refuses images of {size[1]} x {size[2]} pixels ({one_line(error)}): give an image_size= "
            "that it takes."
        ) from error
    if tuple(shape) != (1, network.num_classes):
        raise UserError(
            f"Model {name} returns the shape {tuple(shape)} for one image instead of one logit for each of its "
            f"{network.num_classes} classes: give another model."
        )
    if not logits.isfinite().all():
        raise UserError(f"Model {name} returns logits that are not finite: give another model.")


@torch.inference_mode()
def logit_batches(
    classifier: Classifier, loader: Iterable[tuple[Tensor, Any, Any]], accelerator: Accelerator
) -> Iterator[tuple[Tensor, Any, Any]]:
    """Compute the logits of each batch of this process.

    Args:
        classifier: Its network is in evaluation mode, and not wrapped for several processes, because their shares may
            differ in length.
        loader: Batches of uint8 images (B, 3, H, W) and two more entries.
        accelerator: The accelerator, for device and precision.

    Yields:
        float32 logits (B, C) on the device, and the two other entries of the batch.
    """
    total = length_hint(loader) or None  # the length of a stream is not known
    with progress_bar(total=total, desc="scoring", unit="batch", main_process=accelerator.is_main_process) as bar:
        for images, labels, positions in local_batches(loader, accelerator):
            with accelerator.autocast():
                pixels = classifier.normalize(images.to(accelerator.device, non_blocking=True))
                # Some networks fail on an empty batch.
                logits = classifier.network(pixels) if len(pixels) else pixels.new_zeros(0, classifier.num_classes)
            bar.update()
            yield logits.float(), labels, positions
