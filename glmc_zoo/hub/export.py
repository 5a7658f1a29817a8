"""A trained timm model as a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads.

The folder holds exactly the timm model, so it needs timm alone where the architecture is timm's own. What only training
needs (the other heads of GLMC) lies in a file of its own beside it, which timm does not look at.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub._folder import (
    CARD_FILE,
    HEADS_FILE,
    OPTIONS_FILE,
    PLOTS_FOLDER,
    RESULTS_FILE,
    check_replaceable,
    replacing,
)
from glmc_zoo.hub._model import ModelExport, checked_export
from glmc_zoo.hub._results import GLMC_PAPER, export_arguments, with_encoder, with_facts
from glmc_zoo.hub._weights import load_exported, save_tensors
from glmc_zoo.hub.card import render_card

__all__ = ["GLMC_PAPER", "export_model", "export_run", "write_heads"]


def export_model(
    timm_model: nn.Module,
    folder: str | Path,
    *,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    input_size: tuple[int, int, int],
    tag: str,
    interpolation: str = "bicubic",
    crop_pct: float = 1.0,
    license: str = "apache-2.0",
    description: str | None = None,
    origin_url: str | None = None,
    paper_name: str | None = None,
    paper_ids: str | None = None,
    half: bool = False,
) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as timm lays them out, and check that timm loads them.

    The weights are float32, contiguous and on the CPU, whatever the model's device, precision or memory format; the
    model itself is not changed. The metadata is what the arguments say: of the registry's entry for the architecture
    (its tag, licence, paper, test size, normalisation) nothing stays. The folder is built beside ``folder`` and moved
    into place whole, so that a failure leaves an earlier export as it was; what an earlier export held is replaced.

    Args:
        timm_model: a model made by ``timm.create_model``, also when wrapped by ``torch.compile`` or DDP.
        folder: where to write; absent, empty, or an earlier export.
        class_names: the name of each class, in the order of the logits; none for a model without a classifier.
        mean: per channel, of images in the range 0 to 1.
        std: per channel, of images in the range 0 to 1.
        input_size: (channels, height, width) of the images that the model was evaluated on.
        tag: what comes after the dot in the model's name, such as ``glmc_cifar10_lt``.
        interpolation: how images were resized for evaluation.
        crop_pct: size of the evaluation crop over the size resized to.
        license: identifier of the weights' licence, as the Hub spells it.
        description: one line about the weights.
        origin_url: where the weights come from.
        paper_name: title of the paper to credit; see ``GLMC_PAPER``.
        paper_ids: its identifier, such as ``arXiv:2305.08661``.
        half: store the parameters as float16. timm and transformers load them into float32.

    Returns:
        The folder.

    Raises:
        UserError: an argument does not fit the model, the folder holds something else, timm cannot rebuild the model,
            or a parameter is beyond float16's range.
    """
    export = checked_export(
        timm_model,
        class_names=class_names,
        mean=mean,
        std=std,
        input_size=input_size,
        tag=tag,
        interpolation=interpolation,
        crop_pct=crop_pct,
        license=license,
        description=description,
        origin_url=origin_url,
        paper_name=paper_name,
        paper_ids=paper_ids,
    )
    folder = Path(folder)
    check_replaceable(folder)
    with replacing(folder) as staging:
        export.write(staging, half=half)
    return folder


def export_run(
    folder: str | Path,
    timm_model: nn.Module,
    results: Mapping[str, Any],
    *,
    heads: Mapping[str, Tensor] | None = None,
    plots: str | Path | None = None,
    config_yaml: str | Path | None = None,
    half: bool = False,
    encoder_only: bool = False,
    repo_id: str | None = None,
) -> Path:
    """Write all that a finished run publishes, in one move: model, card, results, and what else is given.

    As `export_model`, but with the metadata out of the results. The ``results.json`` in the folder, which the card is
    rendered from, says in addition what was written: ``weights`` (file, SHA-256, type, size, and in half precision the
    largest difference of the logits), ``plots`` (names of the files) and, where it is so, ``encoder_only``.

    Args:
        folder: where to write; absent, empty, or an earlier export.
        timm_model: the trained classifier, as `export_model` takes it.
        results: the content of the run's ``results.json``, as `render_card` takes it, with ``class_names`` and
            ``model.tag``, ``model.mean`` and ``model.std``. It goes out as it is: free it of places on this machine.
        heads: what only training needs, for ``glmc_heads.safetensors`` (see `write_heads`).
        plots: a folder of pictures, copied as ``plots/``.
        config_yaml: the run's options: a file, or its text.
        half: store the parameters as float16.
        encoder_only: leave the classifier out, so that the model gives features. Name and tag then end in ``_encoder``.
        repo_id: ``ORG/NAME`` on the Hub, for the snippets of the card.

    Returns:
        The folder.

    Raises:
        UserError: as `export_model`, or the results lack something.
    """
    folder = Path(folder)
    export = checked_export(timm_model, **export_arguments(results))
    if encoder_only:
        encoder = _encoder(export)
        results = with_encoder(results, parameters=sum(weight.numel() for weight in encoder.parameters()))
        export = checked_export(encoder, **export_arguments(results))
    check_replaceable(folder)
    with replacing(folder) as staging:
        weights = export.write(staging, half=half)
        if heads:
            write_heads(heads, staging)
        if plots is not None:
            shutil.copytree(plots, staging / PLOTS_FOLDER)
        if config_yaml is not None:
            text = config_yaml.read_text(encoding="utf-8") if isinstance(config_yaml, Path) else config_yaml
            (staging / OPTIONS_FILE).write_text(text, encoding="utf-8")
        shown = sorted(path.name for path in (staging / PLOTS_FOLDER).glob("*")) if plots is not None else []
        results = with_facts(results, weights=weights, plots=shown)
        (staging / RESULTS_FILE).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (staging / CARD_FILE).write_text(render_card(results, repo_id=repo_id), encoding="utf-8")
    return folder


def write_heads(state_dict: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write what only training needs into ``glmc_heads.safetensors``, beside the exported model.

    A second file, since one key too many in ``model.safetensors`` makes timm refuse the model.

    Args:
        state_dict: tensors by name, of any device and precision; stored as contiguous float32 (integers as they are).
        folder: an exported model.

    Returns:
        The file.

    Raises:
        UserError: the folder is not there, or there is nothing to write.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} for the training heads: export the model into it first.")
    if not state_dict:
        raise UserError("The training heads have no tensors: leave write_heads out for a model without them.")
    path = folder / HEADS_FILE
    partial = folder / f".{HEADS_FILE}.{uuid.uuid4().hex}"
    try:
        save_tensors(state_dict, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _encoder(export: ModelExport) -> nn.Module:
    """The model without its classifier, built as timm builds it from the classifier's own export."""
    with tempfile.TemporaryDirectory(prefix="glmc_zoo-") as scratch:
        export.write(Path(scratch))
        return load_exported(Path(scratch), num_classes=0)
