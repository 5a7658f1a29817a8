"""Where a trained model is read from: the zoo, an exported folder, the Hub, or timm itself; checked before it is used.

What comes from the Hub by ``hf_hub:ORG/NAME`` is downloaded, its weights are compared with the repository's SHA-256
(the Hub's own client does not do that), and from then on it is a local folder; its weights are read as safetensors
only. A pretrained model by timm's own name (``resnet50.a1_in1k``) is left to timm, which compares nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glmc_zoo.errors import UserError, did_you_mean
from glmc_zoo.hub._folder import CONFIG_FILE, HEADS_FILE, RESULTS_FILE, WEIGHTS_FILE, one_line
from glmc_zoo.hub._weights import file_sha256
from glmc_zoo.hub.download import download
from glmc_zoo.hub.zoo import list_models, published_names

__all__ = ["ModelSource", "create_model", "open_folder", "open_model", "source_license"]

_HUB_PREFIXES = ("hf_hub:", "hf-hub:")
_FOLDER_PREFIX = "local-dir:"


@dataclass(frozen=True)
class ModelSource:
    """A model that can be built: `open_model` makes it, once everything that can be checked has been."""

    name: str
    """As it was asked for."""
    kind: Literal["timm", "folder", "hub", "zoo"]
    timm_name: str
    """What ``timm.create_model`` takes for it."""
    folder: Path | None = None
    """Where its files lie; ``None`` for a model of timm's own."""
    class_names: list[str] | None = None
    """Name of each class in the order of the logits, where the model says them."""
    results: dict[str, Any] | None = None
    """The ``results.json`` of its training, where there is one."""
    config: dict[str, Any] = field(default_factory=dict)
    """timm's pretrained configuration: ``input_size``, ``mean``, ``std``, ``interpolation``, ``crop_pct`` ..."""
    commit: str | None = None
    """The repository's commit that was read, of a model from the Hub."""

    def create(self, *, pretrained: bool = True, **timm_kwargs: Any) -> Any:
        """The timm model; the arguments are those of ``timm.create_model``.

        Raises:
            UserError: the weights cannot be read or do not fit, or timm refuses an argument.
        """
        import timm

        try:
            return timm.create_model(self.timm_name, pretrained=pretrained, **timm_kwargs)
        except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{self.name} cannot be built: {one_line(error)}") from error

    def training_heads(self) -> dict[str, Any] | None:
        """The heads that GLMC trains beside the model, as ``name -> tensor``; ``None`` where they were not exported.

        Raises:
            UserError: the file is damaged.
        """
        if self.folder is None or not (self.folder / HEADS_FILE).is_file():
            return None
        from safetensors.torch import load_file

        _check_header(self.folder / HEADS_FILE, self.name)
        return load_file(self.folder / HEADS_FILE)


def open_model(name: str, *, weights: bool = True) -> ModelSource:
    """Find a model, download it where it lies on the Hub, and check its files.

    Args:
        name: of a published model (see `list_models`), ``hf_hub:ORG/NAME`` or ``hf-hub:ORG/NAME`` with an optional
            ``@REVISION``, an exported folder with or without ``local-dir:`` before it, or a model of timm's own.
        weights: also get and check the weights.

    Raises:
        UserError: there is no such model, it cannot be had, is no export, or its weights are damaged.
    """
    for prefix in _HUB_PREFIXES:
        if name.startswith(prefix):
            return _open_hub(name, name.removeprefix(prefix), weights)
    if name.startswith(_FOLDER_PREFIX):
        return open_folder(name, Path(name.removeprefix(_FOLDER_PREFIX)), "folder", weights)
    published = {model.name: model for model in list_models()}
    if name in published:
        return open_folder(name, published[name].folder, "zoo", weights)
    if Path(name).expanduser().is_dir():
        return open_folder(name, Path(name).expanduser(), "folder", weights)
    return _open_timm(name, weights)


def create_model(name: str, *, pretrained: bool = True, **timm_kwargs: Any) -> Any:
    """``timm.create_model`` over the zoo: by the name of a published model, or by what else `open_model` takes.

    Weights from the Hub by ``hf_hub:ORG/NAME`` are compared with the repository's SHA-256, which timm itself does not
    do; a name of timm's own goes to timm as it is.

    Args:
        name: see `open_model`.
        pretrained: load the weights; ``False`` gives the architecture with fresh ones.
        timm_kwargs: ``num_classes``, ``drop_rate`` and so on; ``num_classes=0`` gives the encoder.

    Returns:
        The timm model, in training mode as timm's own function gives it.

    Raises:
        UserError: as `open_model`, or timm refuses an argument.
    """
    return open_model(name, weights=pretrained).create(pretrained=pretrained, **timm_kwargs)


def source_license(source: ModelSource | None, backbone: str) -> str:
    """Licence of the weights that training started from, as the Hub spells it; ``unknown`` where nothing says it.

    Args:
        source: where they came from, when they were found by `open_model`.
        backbone: else timm's name of the pretrained model.
    """
    config = open_model(backbone, weights=False).config if source is None else source.config
    return str(config.get("license") or "unknown")


def _open_timm(name: str, weights: bool) -> ModelSource:
    import timm

    if not timm.is_model(name):
        if "/" in name and ":" not in name:
            raise UserError(
                f"There is no folder {name}: for a model on the Hub write hf_hub:{name}, else give the folder that "
                "holds config.json and model.safetensors."
            )
        raise UserError(
            f"Unknown model {name!r}: give a published model, hf_hub:ORG/NAME, an exported folder or a timm model."
            f"{did_you_mean(name, [*published_names(), *timm.list_models(pretrained=True)])}"
        )
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        architecture, _, tag = name.partition(".")
        raise UserError(
            f"Model {name!r} has an unknown pretrained tag {tag!r}; leave it out, or take a name that "
            f"timm.list_pretrained({architecture + '*'!r}) gives.{did_you_mean(name, published_names())}"
        ) from error
    if weights and not (config and config.has_weights):
        raise UserError(
            f"Model {name!r} has no pretrained weights: give a trained one, such as an exported folder, "
            "hf_hub:ORG/NAME or a name of timm.list_pretrained()."
        )
    return ModelSource(name, "timm", name, config={} if config is None else config.to_dict())


def open_folder(
    name: str,
    folder: Path,
    kind: Literal["folder", "hub", "zoo"] = "folder",
    weights: bool = True,
    *,
    commit: str | None = None,
) -> ModelSource:
    """The model in an exported folder, its files checked.

    Args:
        name: what messages call it.
        folder: where it lies.
        kind: where the folder came from.
        weights: also check the weights.
        commit: of the repository, of a folder from the Hub.

    Raises:
        UserError: the folder is no export, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: give one that holds {CONFIG_FILE} and {WEIGHTS_FILE}.")
    missing = [n for n in (CONFIG_FILE, *([WEIGHTS_FILE] if weights else [])) if not (folder / n).is_file()]
    if missing:
        missing[-1] += " is" if len(missing) == 1 else " are"
        run = " (its folder model/ is one)" if (folder / "model" / CONFIG_FILE).is_file() else ""
        pickle = any((folder / n).exists() for n in ("pytorch_model.bin", "model.bin"))
        raise UserError(
            f"{name} is no exported model, {' and '.join(missing)} missing{run}: "
            + ("pickled weights are not loaded, save them as safetensors." if pickle else "give an exported folder.")
        )
    config = _read_json(folder / CONFIG_FILE, name)
    if "architecture" not in config:
        raise UserError(f"{name} is no timm model, its {CONFIG_FILE} names no architecture: give an exported folder.")
    results = _our_results(folder / RESULTS_FILE, name)
    expected = ((results or {}).get("weights") or {}).get("sha256")
    if weights and expected is not None and file_sha256(folder / WEIGHTS_FILE) != expected:
        raise UserError(
            f"{WEIGHTS_FILE} of {name} is damaged, its SHA-256 is not the one in {RESULTS_FILE}: get or export the "
            "model again."
        )
    if weights:
        _check_header(folder / WEIGHTS_FILE, name)
    names = config.get("label_names")
    return ModelSource(
        name=name,
        kind=kind,
        timm_name=f"{_FOLDER_PREFIX}{folder}",
        folder=folder,
        class_names=[str(label) for label in names] if names else None,
        results=results,
        config={"architecture": config["architecture"], **(config.get("pretrained_cfg") or {})},
        commit=commit,
    )


def _open_hub(name: str, rest: str, weights: bool) -> ModelSource:
    wanted = [CONFIG_FILE, RESULTS_FILE, *([WEIGHTS_FILE, HEADS_FILE] if weights else [])]
    folder = download(name, rest, wanted)
    return open_folder(name, folder, "hub", weights, commit=folder.name)  # the cache keeps a snapshot by its commit


def _our_results(path: Path, name: str) -> dict[str, Any] | None:
    """What a run of ours wrote; ``None`` where there is no such file, or somebody else's of that name."""
    if not path.is_file():
        return None
    results = _read_json(path, name)
    ours = all(isinstance(results.get(key, {}), dict) for key in ("data", "model", "weights"))
    return results if ours and (results.get("model") or results.get("weights")) else None


def _read_json(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path.name} of {name} cannot be read: {one_line(error)} Get or export it again.") from error
    if not isinstance(value, dict):
        if path.name == RESULTS_FILE:  # then it is somebody else's
            return {}
        raise UserError(f"{path.name} of {name} holds no JSON object: get or export it again.")
    return value


def _check_header(file: Path, name: str) -> None:
    """Refuse a file that is cut short or no safetensors file; reads its header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{file.name} of {name} cannot be read: {one_line(error)} The file is damaged, so get or export the model "
            "again."
        ) from error
