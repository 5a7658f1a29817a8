"""A trained timm model as a folder that ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads."""

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.files import remove
from glmc_zoo.hub.export.card import render_card
from glmc_zoo.hub.export.model import ExportInfo, checked_model, load_exported, write_heads, write_model
from glmc_zoo.hub.folder import CARD_FILE, EXPORTED_FILES, OPTIONS_FILE, PLOTS_FOLDER, RESULTS_FILE, file_sha256
from glmc_zoo.hub.plain_files import copy_plots, read_regular_file
from glmc_zoo.results import ModelFacts, RunResults

# Names beside an export while it is written, and of the one before while it is replaced.
_UNIQUE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.(?:new|old)")


def export_model(timm_model: nn.Module, folder: str | Path, info: ExportInfo, *, half: bool = False) -> Path:
    """Write ``config.json`` and ``model.safetensors`` as timm lays them out, and check that timm loads them.

    The weights are stored as contiguous float32, whatever the model's device, precision or memory format. Tag, licence
    and normalisation come from ``info``, not from timm's entry for the architecture. The model does not change.

    Args:
        timm_model: A timm model, which ``torch.compile`` or DDP may have wrapped.
        folder: Must be absent, empty, or an earlier export. It stays as it is if the export fails.
        info: Class names, input and origin.
        half: Store the parameters as float16; timm and transformers load them as float32.

    Raises:
        UserError: ``info`` does not fit the model, the folder holds other files, timm cannot rebuild the model, or a
            parameter is beyond float16's range.
    """
    model = checked_model(timm_model, info)
    with _replace_folder(Path(folder)) as staging:
        write_model(model, info, staging, half=half)
    return Path(folder)


def export_run(
    folder: str | Path,
    timm_model: nn.Module,
    results: RunResults,
    *,
    heads: Mapping[str, Tensor] | None = None,
    plots: str | Path | None = None,
    config_yaml: str | Path | None = None,
    half: bool = False,
    encoder_only: bool = False,
    repo_id: str | None = None,
    card: bool = True,
) -> Path:
    """Write all that a finished run publishes, in one move: model, card, results, heads, plots and options.

    As `export_model`, with the metadata of the results. The ``results.json`` in the folder, which the card is rendered
    from, also describes the export: its weights, its plots, and whether the classifier was left out. Errors are those
    of `export_model`, `copy_plots` and `render_card`.

    Args:
        folder, timm_model, half: As for `export_model`.
        results: Published as they are: they must not hold paths of this machine.
        heads: Tensors that only training needs, for ``glmc_heads.safetensors``; see `write_heads`.
        plots: Folder of PNG files, copied as ``plots/``.
        config_yaml: The run's options: a file, or its text.
        encoder_only: Leave the classifier out, so that the model gives features. Its name and tag end in ``_encoder``.
        repo_id: ``ORG/NAME`` on the Hub, for the snippets of the card.
        card: Render the card; without it the model is written whatever the card may lack, see `decorate_export`.
    """
    info = ExportInfo.from_results(results)
    model = checked_model(timm_model, info)
    if encoder_only:
        with tempfile.TemporaryDirectory(prefix="glmc_zoo-") as temporary:
            # timm builds the model without its classifier, from an export of the classifier.
            write_model(model, info, Path(temporary))
            model, facts = load_exported(Path(temporary), num_classes=0), results.model
        parameters = sum(weight.numel() for weight in model.parameters())
        facts = replace(facts, name=f"{facts.name}_encoder", tag=f"{facts.tag}_encoder", parameters=parameters)
        results = replace(results, model=facts, encoder_only=True)
        info = ExportInfo.from_results(results)
    with _replace_folder(Path(folder)) as staging:
        weights = write_model(model, info, staging, half=half)
        if heads:
            weights = replace(weights, heads_sha256=file_sha256(write_heads(heads, staging)))
        names = [] if plots is None else copy_plots(Path(plots), staging / PLOTS_FOLDER)
        if config_yaml is not None:
            options = (
                read_regular_file(config_yaml, config_yaml.parent) if isinstance(config_yaml, Path) else config_yaml
            )
            (staging / OPTIONS_FILE).write_bytes(options if isinstance(options, bytes) else options.encode())
        results = replace(results, model=_with_base_model(results.model), weights=weights, plots=names)
        results = replace(results, sample_image=None)  # `decorate_export` puts it there
        results.save(staging / RESULTS_FILE)
        if card:
            (staging / CARD_FILE).write_text(render_card(results, repo_id=repo_id), encoding="utf-8")
    return Path(folder)


def repair_exports(parent: Path) -> None:
    """Clean up after exports into this folder that were killed; no export may be in progress.

    An export that was killed between its two renames was complete and gets its name. Other temporary files are removed.
    """
    for old_folder in parent.glob(".*.old"):
        if match := _UNIQUE.fullmatch(old_folder.name):
            folder, staging = parent / match["name"], old_folder.with_suffix(".new")
            if not folder.exists():
                (staging if staging.exists() else old_folder).rename(folder)
    for leftover in (*parent.glob(".*.new"), *parent.glob(".*.old")):
        if _UNIQUE.fullmatch(leftover.name):
            remove(leftover)


@contextmanager
def _replace_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder``, which it replaces when the block succeeds; it is removed when the block fails."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"{folder} is a link or a file, not a folder: export into another folder.")
    replaceable = EXPORTED_FILES | {PLOTS_FOLDER, ".cache", ".gitattributes"}
    other_files = sorted({path.name for path in folder.glob("*")} - replaceable)
    if other_files:
        fault = f"holds {other_files[0]!r}, which an export would delete"
        raise UserError(f"Folder {folder} {fault}: export into an empty folder.")
    folder, unique = folder.absolute(), uuid.uuid4().hex
    staging = folder.with_name(f".{folder.name}.{unique}.new")
    old_folder = folder.with_name(f".{folder.name}.{unique}.old")
    staging.mkdir(parents=True)
    try:
        yield staging
        try:
            if folder.exists():
                folder.rename(old_folder)
            staging.rename(folder)
        except BaseException:  # an interruption between the two renames must not leave the user without a folder
            if old_folder.exists() and not folder.exists():
                old_folder.rename(folder)
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(old_folder, ignore_errors=True)


def _with_base_model(model: ModelFacts) -> ModelFacts:
    """The facts with the Hub id of the weights that training started from, where timm's name lacks a tag.

    timm chooses the repository of such a name; the card, which does not import timm, cannot look it up.
    """
    start = model.pretrained_from
    if start is None or model.base_model is not None or {":", "/", "."} & set(start):
        return model
    from timm.models import get_pretrained_cfg, is_model

    config = get_pretrained_cfg(start, allow_unregistered=False) if is_model(start) else None
    return replace(model, base_model=config.hf_hub_id or None) if config else model
