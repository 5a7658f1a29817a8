"""The configuration and the tensors in an exported folder, as timm reads them."""

import copy
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError
from glmc_zoo.hub.folder import CONFIG_FILE, HEADS_FILE, WEIGHTS_FILE, as_user_error, file_sha256
from glmc_zoo.results import RunResults, WeightsFacts
from glmc_zoo.text import counted

GLMC_PAPER: dict[str, Any] = {
    "paper_name": "Global and Local Mixture Consistency Cumulative Learning for Long-tailed Visual Recognitions",
    "paper_ids": "arXiv:2305.08661",
}
"""For ``ExportInfo(..., **GLMC_PAPER)``, when the model was trained with GLMC."""

_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming", "random")
_METADATA = ("tag", "license", "description", "origin_url", "paper_name", "paper_ids")
# Keys of timm's registry entry that describe the network, not the weights that timm offers for it.
_STRUCTURAL_KEYS = ("architecture", "classifier", "first_conv", "fixed_input_size", "input_size", "pool_size")


@dataclass(frozen=True, kw_only=True)
class ExportInfo:
    """What ``config.json`` says about exported weights: their classes, input and origin."""

    class_names: Sequence[str]
    """Name of each class, in the order of the logits; empty for a model without a classifier."""
    input_size: Sequence[int]
    """Channels, height and width of the images that the model was evaluated on."""
    mean: Sequence[float]
    """For each channel, over images in the range 0 to 1; likewise ``std``."""
    std: Sequence[float]
    tag: str
    """The name of the model after its dot, such as ``glmc_cifar10_lt``."""
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    """Size of the evaluation crop over the size that images were resized to."""
    license: str = "apache-2.0"
    """As the Hub spells it."""
    description: str | None = None
    origin_url: str | None = None
    paper_name: str | None = None
    paper_ids: str | None = None
    """Such as ``arXiv:2305.08661``; see `GLMC_PAPER`."""

    @classmethod
    def from_results(cls, results: RunResults) -> "ExportInfo":
        """Build the info from the results of a run."""
        model = vars(results.model)  # names the input, tag and licence as this class does
        return cls(
            class_names=[] if results.encoder_only else results.class_names,
            description=results.data.description or None,
            **{field.name: model[field.name] for field in fields(cls) if field.name in model},
            **(GLMC_PAPER if results.method == "glmc" else {}),
        )

    def check(self, num_classes: int) -> None:
        """Refuse values that timm cannot use, or that do not fit a model of ``num_classes`` classes."""
        names, size = len(self.class_names), tuple(self.input_size)
        if names != num_classes:
            raise UserError(
                f"{counted(names, 'class name')} for a model of {counted(num_classes, 'class')}: give one for each."
            )
        if len(size) != 3 or min(size) < 1:
            raise UserError(f"input_size={size} must be three positive numbers: channels first.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != size[0]:
                raise UserError(
                    f"{name}= has {counted(len(values), 'value')} for {counted(size[0], 'channel')}: give one for "
                    "each channel."
                )
        if min(self.std) <= 0:
            raise UserError(f"std={tuple(self.std)} must be positive in every channel: measure the training images.")
        if not re.fullmatch(r"[A-Za-z0-9]\w*", self.tag, flags=re.ASCII):
            raise UserError(f"tag={self.tag!r} must be letters, digits and underscores, such as glmc_cifar10_lt.")
        if self.interpolation not in _INTERPOLATIONS:
            raise UserError(f"interpolation={self.interpolation!r} must be one of {', '.join(_INTERPOLATIONS)}.")
        if not 0 < self.crop_pct <= 1:
            raise UserError(f"crop_pct={self.crop_pct} must be above 0 and at most 1.")


def checked_model(model: nn.Module, info: ExportInfo) -> Any:
    """The timm model without wrappers, after its info was checked to fit."""
    from timm.utils.model import unwrap_model

    unwrapped: Any = unwrap_model(model)
    if not hasattr(unwrapped, "pretrained_cfg") or not hasattr(unwrapped, "num_classes"):
        fix = "give what timm.create_model made, such as GLMCModel.timm_model"
        raise UserError(f"{type(unwrapped).__name__} is not a timm model: {fix}.")
    info.check(unwrapped.num_classes)
    return unwrapped


def write_model(model: Any, info: ExportInfo, folder: Path, *, half: bool = False) -> WeightsFacts:
    """Write configuration and weights of a `checked_model`, check that timm loads them, and describe the weights.

    A model that timm cannot rebuild, and with ``half`` a parameter beyond float16's range, raise a `UserError`.
    """
    _write_config(model, info, folder / CONFIG_FILE, half=half)
    weights = _save(model, folder / WEIGHTS_FILE)
    full_precision = _load_checked(folder)
    if not half:
        return weights
    weights = _save(model, folder / WEIGHTS_FILE, half=True)
    images = torch.randn(4, *info.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((full_precision(images) - _load_checked(folder)(images)).abs().max())
    if info.class_names:
        return replace(weights, max_logit_difference=difference)
    return replace(weights, max_feature_difference=difference)


def write_heads(state_dict: Mapping[str, Tensor], folder: str | Path) -> Path:
    """Write the heads that only training needs into ``glmc_heads.safetensors``, beside the exported model.

    A second file, because timm refuses a ``model.safetensors`` with keys that the model does not have. Floating-point
    tensors are stored as contiguous float32, integers as they are. Returns the file.
    """
    path = Path(folder) / HEADS_FILE
    if not path.parent.is_dir():
        raise UserError(f"folder={str(folder)!r} does not exist: export the model before its training heads.")
    if not state_dict:
        raise UserError("state_dict={} has no tensors: leave write_heads out for a model without training heads.")
    _write({name: _stored_tensor(tensor) for name, tensor in state_dict.items()}, path)
    return path


def load_exported(folder: Path, **timm_kwargs: Any) -> nn.Module:
    """Build the model from its export, ready for inference; the state of torch's random numbers does not change."""
    import timm

    with torch.random.fork_rng(devices=[]):
        return timm.create_model(f"local-dir:{folder}", pretrained=True, **timm_kwargs).eval()


def _load_checked(folder: Path) -> nn.Module:
    failures = (RuntimeError, TypeError, ValueError, KeyError, AssertionError)
    fix = "Build it with timm.create_model, and do not change its layers afterwards."
    with as_user_error("timm cannot rebuild this model from its export", *failures, fix=fix):
        return load_exported(folder)


def _write_config(model: Any, info: ExportInfo, path: Path, *, half: bool) -> None:
    from timm.models._hub import save_config_for_hf

    data_config: dict[str, Any] = {
        "input_size": tuple(info.input_size),
        "mean": tuple(map(float, info.mean)),
        "std": tuple(map(float, info.std)),
        "interpolation": info.interpolation,
        "crop_pct": float(info.crop_pct),
    }
    metadata = {name: value for name in _METADATA if (value := getattr(info, name)) is not None}
    model_config: dict[str, Any] = {
        "pretrained_cfg": {**metadata, "num_classes": model.num_classes, "crop_mode": "center"}
    }
    if info.class_names:
        model_config["label_names"] = [str(name) for name in info.class_names]
    if half:
        model_config["torch_dtype"] = "float32"  # or transformers would compute in the precision of the file
    # A shallow copy that shares the weights, so that timm writes our metadata and not its own.
    model_copy, registered_cfg = copy.copy(model), model.pretrained_cfg
    model_copy.pretrained_cfg = {key: registered_cfg[key] for key in _STRUCTURAL_KEYS if key in registered_cfg}
    failure = f"The model cannot be exported with input_size={data_config['input_size']}"
    with as_user_error(failure, ValueError, fix="Give the size and the arguments that the model was built with."):
        save_config_for_hf(model_copy, str(path), model_config=model_config, data_config=data_config)
    # num_classes stands at the root: transformers passes it beside model_args, and Python refuses it twice.
    config = json.loads(path.read_text(encoding="utf-8"))
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _save(model: nn.Module, path: Path, *, half: bool = False) -> WeightsFacts:
    """Write a model's state, under the names that it has when nothing in it is compiled.

    With ``half`` its parameters are stored as float16. Its buffers stay float32: they are small, and the variance of a
    batch-norm may lie below what float16 holds.
    """
    tensors = {name: _stored_tensor(tensor) for name, tensor in model.state_dict().items()}
    if half:
        limit = torch.finfo(torch.float16).max
        for name, _ in model.named_parameters(remove_duplicate=False):
            if name not in tensors or not tensors[name].is_floating_point() or not tensors[name].numel():
                continue
            largest = float(tensors[name].abs().max())
            if largest > limit:
                fault = f"reaches {largest:.6g}, beyond the {limit:.0f} that half precision holds"
                raise UserError(f"Weight {name!r} {fault}: export this model with half=False.")
            tensors[name] = tensors[name].to(torch.float16)
    # Blocks compiled one by one carry the wrapper in their names.
    _write({name.replace("_orig_mod.", ""): tensor for name, tensor in tensors.items()}, path)
    dtype = "float16" if half else "float32"
    return WeightsFacts(file=path.name, sha256=file_sha256(path), dtype=dtype, bytes=path.stat().st_size)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    """Write the file whole or not at all."""
    from safetensors.torch import save_file

    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.touch()
    mode = (
        temporary.stat().st_mode
    )  # as the user's umask gives it; safetensors makes files that only the owner can read
    try:
        save_file(tensors, temporary, metadata={"format": "pt"})  # transformers reads the format
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored_tensor(tensor: Tensor) -> Tensor:
    # A clone, always: tied weights share memory, which safetensors refuses.
    tensor = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return tensor.clone(memory_format=torch.contiguous_format)
