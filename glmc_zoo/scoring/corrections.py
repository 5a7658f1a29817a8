"""Post-hoc corrections of logits, applied batch by batch, and their search on held-out images."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from glmc_zoo.data import EvaluationData, StreamedData
from glmc_zoo.errors import UserError
from glmc_zoo.method import UnsuitableClassifier, adjust_logits, check_backbone, tau_norm_logits
from glmc_zoo.options.commands import EvaluationOptions
from glmc_zoo.results import RunResults
from glmc_zoo.scoring.classes import ClassMatch
from glmc_zoo.scoring.model import Classifier, logit_batches

GRIDS: dict[str, tuple[float, ...]] = {
    "logit_adjustment": (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "tau_norm": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}
"""Values that a search tries: around 1 for logit adjustment (Menon et al., ICLR 2021), and from 0 to 1 for
tau-normalisation (Kang et al., ICLR 2020)."""


@dataclass(frozen=True)
class Corrections:
    """The corrections of one model on one data set: tau-normalisation, then logit adjustment, then temperature.

    A correction that is ``None`` is not applied.
    """

    class_counts: Tensor
    """Training images of each class, (C,)."""
    logit_adjustment: float | None = None
    tau_norm: float | None = None
    temperature: float | None = None
    weight: Tensor | None = None
    """Rows of the classifier's weight for the data's classes, (C, D), for ``tau_norm``."""
    bias: Tensor | None = None
    """Its bias for these classes, (C,)."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Corrected logits (B, C)."""
        if self.tau_norm is not None and self.weight is not None:
            logits = tau_norm_logits(logits, self.weight, self.bias, tau=self.tau_norm)
        if self.logit_adjustment is not None:
            logits = adjust_logits(logits, self.class_counts, self.logit_adjustment)
        return logits if self.temperature is None else logits / self.temperature

    def describe(self) -> dict[str, Any]:
        """The corrections for ``results.json``."""
        description: dict[str, Any] = {
            name: None if (tau := getattr(self, name)) is None else {"tau": tau} for name in GRIDS
        }
        return description if self.temperature is None else description | {"temperature": {"value": self.temperature}}


def make_corrections(
    options: EvaluationOptions, name: str, classifier: Classifier, match: ClassMatch, class_counts: list[int]
) -> Corrections | None:
    """The corrections of the options; ``None`` for none. A value to search starts as the first of its grid.

    Args:
        options: The options of the evaluation.
        name: Name of the model, for messages.
        classifier: The model.
        match: The classes of the model that belong to those of the data.
        class_counts: Training images of each class.

    Raises:
        UserError: ``tau_norm`` is given, and the logits are not one linear layer on the features.
    """
    values = {key: value for key in GRIDS if (value := getattr(options, key)) is not None}
    if not values and options.temperature is None:
        return None
    initial: dict[str, Any] = {
        key: GRIDS[key][0] if value == "search" else float(value) for key, value in values.items()
    }
    if options.temperature is not None:
        initial["temperature"] = 1.0 if options.temperature == "search" else float(options.temperature)
    corrections = Corrections(torch.tensor(class_counts), **initial)
    if options.tau_norm is None:
        return corrections
    network: Any = classifier.network
    try:
        check_backbone(network, classifier.data_config["input_size"][-1])
    except UnsuitableClassifier as error:
        raise UserError(
            f"tau_norm= needs a model whose logits are one linear layer on its features, and {name} is not one: leave "
            "tau_norm= out, or give logit_adjustment= instead."
        ) from error
    layer = network.get_classifier()
    rows = slice(None) if match.columns is None else match.columns
    bias = None if layer.bias is None else layer.bias.detach()[rows]
    return replace(corrections, weight=layer.weight.detach()[rows], bias=bias)


@torch.inference_mode()
def search_corrections(
    options: EvaluationOptions,
    corrections: Corrections,
    classifier: Classifier,
    match: ClassMatch,
    loader: Iterable[tuple[Tensor, Any, Any]],
    accelerator: Accelerator,
) -> tuple[Corrections, dict[str, Any], list[list[float]]]:
    """Try every pair of values in one pass over held-out images, and choose the best balanced accuracy.

    Among equal scores the smallest logit adjustment wins, then the smallest tau. (A tau of 0 still drops the bias.) The
    scores are exact: they come from integer counts, summed over the processes.

    Args:
        options: Says which values are searched.
        corrections: The corrections at the start of the search.
        classifier: The model.
        match: The classes of the model that belong to those of the data.
        loader: Batches of held-out images: the share of this process.
        accelerator: The accelerator, for device and processes.

    Returns:
        The corrections with the chosen values; their description, with the best score at each value of the grids; and
        all scores, a row for each logit adjustment and a column for each tau.
    """
    searched = [name for name in GRIDS if getattr(options, name) == "search"]
    grids = [GRIDS[name] if name in searched else (getattr(corrections, name),) for name in GRIDS]
    candidates = [
        replace(corrections, logit_adjustment=adjustment, tau_norm=tau) for adjustment, tau in product(*grids)
    ]
    classes, device = len(corrections.class_counts), accelerator.device
    correct = torch.zeros(len(candidates), classes, dtype=torch.int64, device=device)
    support = torch.zeros(classes, dtype=torch.int64, device=device)
    for batch, labels, _ in logit_batches(classifier, loader, accelerator):
        logits, labels = match.select(batch), labels.to(device)
        support += torch.bincount(labels, minlength=classes)
        for row, candidate in zip(correct, candidates, strict=True):
            row += torch.bincount(labels[candidate(logits).argmax(dim=1) == labels], minlength=classes)
    support, correct = accelerator.reduce(support, "sum").cpu(), accelerator.reduce(correct, "sum").cpu()
    has_images = support > 0
    mean_recalls = (correct[:, has_images] / support[has_images].double()).mean(dim=1)
    best, scores = candidates[int(mean_recalls.argmax())], mean_recalls.reshape([len(grid) for grid in grids])
    description = best.describe()
    for axis, (name, grid) in enumerate(zip(GRIDS, grids, strict=True)):
        if name in searched:
            description[name] |= {"grid": list(grid), "scores": scores.amax(dim=1 - axis).tolist()}
    return best, description, scores.tolist()


# Two runs that agree in these facts of their data set held out the same images.
_HOLDOUT_FACTS = (
    "imbalance_factor", "imbalance_type", "selection", "data_seed", "split_rule", "train_images", "val_images",
    "skipped_images",
)  # fmt: skip


def was_held_out(results: RunResults | None, data: EvaluationData | StreamedData) -> tuple[bool, str]:
    """Whether the validation images of ``data`` were held out of a model's training, and the reason for the answer."""
    if results is None:
        return False, "it does not say what it was trained on"
    trained_data, current_data = results.data, data.facts
    if _start_may_know(results):
        start = results.model.pretrained_from
        return False, f"it was fine-tuned from {start}, which may have been trained on the same images"
    if trained_data.name != current_data.name:
        return False, f"it was trained on {trained_data.name}, which may contain the same images"
    if not trained_data.val_images:
        return False, "its training held no images out"
    differences = [name for name in _HOLDOUT_FACTS if getattr(trained_data, name) != getattr(current_data, name)]
    if differences or results.class_counts != data.class_counts:
        return False, f"its training held out other images (it differs in {', '.join(differences) or 'class_counts'})"
    return True, "its training held out the same images"


def _start_may_know(results: RunResults) -> bool:
    """Whether the weights that a training started from may have been trained on its images.

    Weights that timm publishes may have seen public images: a data set of the catalogue or the Hub. They have not seen
    those in a user's folder.
    """
    if not results.model.pretrained_from:
        return False
    is_timm = results.finetune is None or results.finetune.kind in ("timm", "package")
    is_public = results.data.in_catalogue or results.data.hub_id is not None
    return is_public or not is_timm or results.second_stage is not None
