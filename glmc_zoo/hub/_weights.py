"""Tensors on disk: contiguous safetensors in single or half precision, and what is said about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.errors import UserError

__all__ = ["describe_weights", "file_sha256", "largest_difference", "load_exported", "save_model", "save_tensors"]

# Blocks compiled one by one carry the wrapper in their names.
_COMPILED = "_orig_mod."


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors of any device, precision and layout as contiguous float32 (integers as they are)."""
    _write({name: _plain(tensor) for name, tensor in tensors.items()}, path)


def save_model(model: nn.Module, path: Path, *, half: bool = False) -> None:
    """Write a model's state, under the names that it has when nothing in it is compiled.

    With ``half`` its parameters are stored as float16. Its buffers stay float32: they take next to no room, and a
    batch-norm's variance may lie below what float16 holds.

    Raises:
        UserError: a parameter is beyond float16's range.
    """
    tensors = {name: _plain(tensor) for name, tensor in model.state_dict().items()}
    if half:
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        for name in parameters & tensors.keys():
            tensors[name] = _halved(name, tensors[name])
    _write({name.replace(_COMPILED, ""): tensor for name, tensor in tensors.items()}, path)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode  # what the user's umask gives; safetensors makes files that the owner alone can read
    save_file(tensors, path, metadata={"format": "pt"})  # transformers reads the format
    path.chmod(mode)


def _plain(tensor: Tensor) -> Tensor:
    # A clone, always: tied weights share memory, which safetensors refuses.
    tensor = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return tensor.clone(memory_format=torch.contiguous_format)


def _halved(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    most, limit = float(tensor.abs().max()), torch.finfo(torch.float16).max
    if most > limit:
        raise UserError(
            f"Weight {name!r} reaches {most:.6g}, beyond the {limit:.0f} that half precision holds: export this model"
            " in single precision."
        )
    return tensor.to(torch.float16)


def load_exported(folder: Path, **arguments: Any) -> nn.Module:
    """Build the model anew from its export, ready for inference, without moving the random numbers of a run under way.

    Raises:
        RuntimeError, TypeError, ValueError, KeyError, AssertionError: whatever timm raises when it cannot.
    """
    import timm

    with torch.random.fork_rng(devices=[]):
        return timm.create_model(f"local-dir:{folder}", pretrained=True, **arguments).eval()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def describe_weights(path: Path, *, half: bool = False) -> dict[str, Any]:
    """What ``results.json`` says of a weight file: its SHA-256 is how a load notices a flipped byte."""
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "dtype": "float16" if half else "float32",
        "bytes": path.stat().st_size,
    }


@torch.no_grad()
def largest_difference(model: nn.Module, other: nn.Module, input_size: tuple[int, int, int]) -> float:
    """Largest absolute difference of what two models put out, over four fixed images of normal noise."""
    images = torch.randn(4, *input_size, generator=torch.Generator().manual_seed(0))
    return float((model(images) - other(images)).abs().max())
