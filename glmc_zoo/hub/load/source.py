"""Open a trained model from the zoo, an exported folder, the Hub, a package or timm, and check it before use.

Each file from the Hub is compared with its hash in the repository, which the Hub's client does not do. Every folder,
downloaded or local, may have been made by a stranger and is checked by `open_folder`. Weights are read only as
safetensors. A timm name is loaded by timm, which compares no hashes.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glmc_zoo.building import outside_failures, reach_weights
from glmc_zoo.documents import read_json
from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.hub.config import ModelConfig, check_config
from glmc_zoo.hub.folder import (
    CONFIG_FILE,
    HEADS_FILE,
    RESULTS_FILE,
    WEIGHTS_FILE,
    as_user_error,
    backbone_plugin,
    cards_folder,
    file_sha256,
    read_results,
)
from glmc_zoo.hub.load.download import download
from glmc_zoo.hub.load.packaged import PACKAGED_MODEL, packaged_folder
from glmc_zoo.hub.load.weights import check_finite, check_header, check_network, on_meta
from glmc_zoo.hub.load.zoo import published_names
from glmc_zoo.results import RunResults
from glmc_zoo.text import counted

Kind = Literal["timm", "folder", "hub", "zoo", "package"]


@dataclass(frozen=True)
class ModelSource:
    """A model that was located and checked by `open_model`, and can be built."""

    name: str
    kind: Kind
    timm_name: str
    """What ``timm.create_model`` accepts for it."""
    folder: Path | None = None
    """Where its files lie; ``None`` for a timm model."""
    class_names: list[str] | None = None
    """In the order of the logits, where the model holds them."""
    results: RunResults | None = None
    """The results of its training, where glmc_zoo trained it."""
    config: dict[str, Any] = field(default_factory=dict)
    """timm's pretrained configuration: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct`` ..."""
    commit: str | None = None
    """Commit of the repository, of a model from the Hub."""

    def create(self, *, pretrained: bool = True, **timm_kwargs: Any) -> Any:
        """The timm model.

        Raises:
            UserError: The weights cannot be downloaded, do not fit or are not finite; or timm refuses an argument.
        """
        import timm

        self.check_plugin()
        if not pretrained and self.folder is not None:
            config = ModelConfig(self.config["architecture"], None, self.class_names, self.config)
            check_network(self.timm_name, config, None, self.name)
        refusals = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError)
        with (
            as_user_error(f"{self.name} cannot be built", *refusals, ValueError),
            outside_failures(f"Model {self.name}", smaller="a smaller network", weights_of=self.name),
        ):
            if pretrained and self.folder is None:
                reach_weights(self.config, timm_kwargs)
            model = timm.create_model(self.timm_name, pretrained=pretrained, **timm_kwargs)
        if pretrained:
            check_finite(model.state_dict(), self.name)
        return model

    @property
    def plugin(self) -> str | None:
        """Name of the plug-in's file that registers the architecture with timm; ``None`` where none has to."""
        return backbone_plugin(self.results, str(self.config.get("architecture")))

    def check_plugin(self) -> None:
        """Refuse a model whose architecture is registered by a plug-in that was not loaded.

        Raises:
            UserError: The sentence names the file of the plug-in.
        """
        import timm

        architecture = str(self.config.get("architecture"))
        if self.plugin is not None and not timm.is_model(architecture):
            raise UserError(
                f"{self.name} has the architecture {architecture!r}, which the file {self.plugin} registers with timm: "
                f"give plugin={self.plugin!r}, with its folder."
            )

    def check_uncorrected(self, purpose: str, *, fix: str = "") -> None:
        """Refuse a model that an evaluation with ``save=`` corrected: its classifier is not the one that was trained.

        A correction cannot be undone: tau-normalisation drops the bias, and the results no longer hold the temperature
        of the training.

        Args:
            purpose: What needs the trained classifier, as the subject of a sentence: ``"A second stage"``.
            fix: A way out beside the model before the correction, as the end of a sentence.

        Raises:
            UserError: The sentence names the model before the correction.
        """
        correction = None if self.results is None else self.results.correction
        if correction is not None:
            raise UserError(
                f"{purpose} needs the classifier as it was trained, and that of {self.name} was corrected afterwards: "
                f"give the model before the correction, {correction.source}{fix}."
            )

    def skeleton(self) -> Any:
        """The network without its weights, on torch's ``meta`` device where timm can build it there."""
        import torch

        network = on_meta(self.timm_name, self.name)
        if network is not None:
            return network
        with torch.random.fork_rng(devices=[]):  # the random numbers of the run must not change
            return self.create(pretrained=False)

    def training_heads(self) -> dict[str, Any] | None:
        """Tensors of the heads that GLMC trains beside the model, by name; ``None`` where they were not exported.

        Raises:
            UserError: The file is damaged, or not the one that was exported with the model.
        """
        if self.folder is None or not (self.folder / HEADS_FILE).is_file():
            return None
        from safetensors.torch import load_file

        _check_heads(self.folder, self.name, self.results)
        heads = load_file(self.folder / HEADS_FILE)
        check_finite(heads, self.name)
        return heads


def open_model(name: str, *, weights: bool = True) -> ModelSource:
    """Locate a model, download it if it is on the Hub, and check its files.

    Args:
        name: A published model (see `list_models`), ``hf-hub:ORG/NAME`` with an optional ``@REVISION``, an exported
            folder with or without ``local-dir:`` before it, a package with weights (see `packaged_folder`), or a timm
            model.
        weights: Whether to download and check the weights too.

    Raises:
        UserError: The model does not exist, cannot be read, is not an export, or has damaged files.
    """
    scheme, colon, reference = name.partition(":")
    if colon and scheme in ("hf-hub", "hf_hub"):  # timm still accepts the second spelling, which is deprecated
        files = [CONFIG_FILE, RESULTS_FILE, *([WEIGHTS_FILE, HEADS_FILE] if weights else [])]
        folder = download(name, reference, files)
        return open_folder(name, folder, "hub", weights, commit=folder.name)  # the cache names snapshots by commit
    if colon and scheme == "local-dir":
        return open_folder(name, Path(reference), "folder", weights)
    if name in published_names():
        return open_folder(name, cards_folder() / name, "zoo", weights)
    if os.path.isdir(folder_name := os.path.expanduser(name)):
        return open_folder(name, Path(folder_name), "folder", weights)
    if name == PACKAGED_MODEL:
        return open_folder(name, packaged_folder(), "package", weights)
    return _open_timm(name, weights)


def create_model(name: str, *, pretrained: bool = True, **timm_kwargs: Any) -> Any:
    """``timm.create_model`` for published models, and for everything else that `open_model` accepts.

    Files from the Hub (``hf-hub:ORG/NAME``) are compared with their hash in the repository, which timm does not do.

    Args:
        name: See `open_model`.
        pretrained: Load the trained weights; without them the weights are random.
        timm_kwargs: Passed to ``timm.create_model``: ``num_classes=0`` gives the encoder.

    Raises:
        UserError: See `open_model`; or timm refuses an argument.
    """
    return open_model(name, weights=pretrained).create(pretrained=pretrained, **timm_kwargs)


def source_license(source: ModelSource | None, backbone: str) -> str:
    """Licence of the weights of ``source``, else of the timm model ``backbone``; ``unknown`` where none is recorded."""
    config = open_model(backbone, weights=False).config if source is None else source.config
    return str(config.get("license") or "unknown")


def _open_timm(name: str, weights: bool) -> ModelSource:
    import timm

    if not timm.is_model(name):
        if "/" in name and ":" not in name:
            fix = f"write hf-hub:{name}, else give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}"
            raise UserError(f"Folder {name} does not exist: for a model on the Hub {fix}.")
        suggestion = did_you_mean(name, [*published_names(), *timm.list_models(pretrained=True)])
        fix = "give a published model, hf-hub:ORG/NAME, an exported folder or a timm model"
        raise UserError(f"Unknown model {name!r}: {fix}.{suggestion}")
    try:
        config = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        raise UserError(
            f"Model {name!r} has an unknown pretrained tag {tag!r}; leave it out, or take a name that "
            f"timm.list_pretrained({architecture + '*'!r}) gives.{did_you_mean(name, published_names())}"
        ) from error
    if weights and not (config and config.has_weights):
        fix = "give a trained one, such as an exported folder, hf-hub:ORG/NAME or a name of timm.list_pretrained()"
        raise UserError(f"Model {name!r} has no pretrained weights: {fix}.")
    return ModelSource(name, "timm", name, config=config.to_dict() if config is not None else {})


def open_folder(
    name: str, folder: Path, kind: Kind = "folder", weights: bool = True, *, commit: str | None = None
) -> ModelSource:
    """The model in an exported folder, after its files were checked; messages call it ``name``."""
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, this takes names of any length
        raise UserError(f"Folder {folder} does not exist: give one that holds {CONFIG_FILE} and {WEIGHTS_FILE}.")
    required = [CONFIG_FILE, WEIGHTS_FILE] if weights else [CONFIG_FILE]
    missing = [file for file in required if not (folder / file).is_file()]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        hint = " (its folder model/ is one)" if (folder / "model" / CONFIG_FILE).is_file() else ""
        pickled = any((folder / file).exists() for file in ("pytorch_model.bin", "model.bin"))
        fix = "pickled weights are not loaded, save them as safetensors" if pickled else "give an exported folder"
        raise UserError(f"{name} is not an exported model, {' and '.join(missing)} {verb} missing{hint}: {fix}.")
    label = f"{CONFIG_FILE} of {name}"
    config = check_config(read_json(folder / CONFIG_FILE, label), label)
    results = read_results(folder, name)
    names = None if results is None or results.encoder_only else results.class_names
    if names and config.class_names and len(names) != len(config.class_names):
        fault = f"have {len(names)} and {counted(len(config.class_names), 'class')}"
        raise UserError(f"{RESULTS_FILE} and {CONFIG_FILE} of {name} {fault}: give the files of one export.")
    if weights:
        weights_facts = results.weights if results is not None else None
        if weights_facts is not None and file_sha256(folder / WEIGHTS_FILE) != weights_facts.sha256:
            fault = f"is damaged, its SHA-256 is not the one in {RESULTS_FILE}"
            raise UserError(f"{WEIGHTS_FILE} of {name} {fault}: download or export the model again.")
        check_network(f"local-dir:{folder}", config, check_header(folder / WEIGHTS_FILE, name), name)
        if (folder / HEADS_FILE).is_file():
            _check_heads(folder, name, results)
    return ModelSource(
        name=name,
        kind=kind,
        timm_name=f"local-dir:{folder}",
        folder=folder,
        class_names=config.class_names,
        results=results,
        config=config.pretrained,
        commit=commit,
    )


def _check_heads(folder: Path, name: str, results: RunResults | None) -> None:
    """Refuse a file of training heads that is no safetensors file, or another one than was exported."""
    weights = results.weights if results is not None else None
    expected = weights.heads_sha256 if weights is not None else None  # older exports do not state it
    if expected is not None and file_sha256(folder / HEADS_FILE) != expected:
        fault = f"is damaged, its SHA-256 is not the one in {RESULTS_FILE}"
        raise UserError(f"{HEADS_FILE} of {name} {fault}: download or export the model again.")
    check_header(folder / HEADS_FILE, name)
