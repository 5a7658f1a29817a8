"""The state of an object on disk, as JSON with tensors in safetensors: nothing in it can run code when it is read."""

import errno
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glmc_zoo.errors import UserError

# A JSON object with one key of these stands for what JSON lacks.
_TENSOR, _PAIRS, _TUPLE, _DTYPE = "$tensor", "$pairs", "$tuple", "$dtype"
_MARKS = {_TENSOR, _PAIRS, _TUPLE, _DTYPE}


def write_state(folder: Path, name: str, state: Any) -> None:
    """Write ``folder/NAME.json``, and ``folder/NAME.safetensors`` where the state holds tensors.

    Args:
        folder: It exists.
        name: Name of the files, without suffix.
        state: Numbers, texts, ``None``, dtypes and tensors, in dictionaries, lists and tuples. Tensors keep their
            dtype, their values bit for bit, and their strides where they are dense.

    Raises:
        UserError: Something else is in it.
    """
    tensors: dict[str, Tensor] = {}
    structure = _packed(state, name, [], tensors)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(structure) + "\n", encoding="utf-8")
    if tensors:
        weights = folder / f"{name}.safetensors"
        save_file(tensors, weights, metadata={"format": "pt"})
        weights.chmod(path.stat().st_mode)  # safetensors makes files that only the owner can read


def read_state(folder: Path, name: str) -> Any:
    """What `write_state` wrote, with its tensors on the CPU.

    Raises:
        UserError: A file is missing, or it is damaged.
    """
    path = folder / f"{name}.json"
    try:
        structure = read_plain_json(path)
        path = folder / f"{name}.safetensors"
        if not path.exists():
            return _unpacked(structure, _no_tensor)
        if path.is_symlink() or not path.is_file():
            raise ValueError("it is not a regular file")
        with safe_open(path, framework="pt") as file:
            return _unpacked(structure, file.get_tensor)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise unreadable(path, error) from error  # a RecursionError is a RuntimeError


def read_plain_json(path: Path) -> Any:
    """Content of a JSON file of a checkpoint, which may be as large as the data set's list of images.

    Raises:
        OSError: It cannot be opened, or is not a regular file: a pipe would be waited for.
        ValueError, RecursionError: It is not JSON, or is nested too deeply.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return json.loads(path.read_text(encoding="utf-8"))


def unreadable(path: Path, error: BaseException) -> UserError:
    """The error of a file of a checkpoint that does not hold what the run needs."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"File {str(path)!r} cannot be used ({reason}): remove that checkpoint and go on by resume='auto', or begin "
        "in another output_dir=."
    )


def _packed(value: Any, name: str, path: list[str], tensors: dict[str, Tensor]) -> Any:
    """``value`` for JSON; its tensors are added to ``tensors`` under names made of their keys."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        key = ".".join(path) or name
        while key in tensors:
            key += "~"
        detached = value.detach()
        # A copy, always: tied weights share memory, which safetensors refuses.
        tensors[key] = detached.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {_TENSOR: key} if detached.is_contiguous() else {_TENSOR: key, "stride": list(detached.stride())}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key not in _MARKS for key in value):
            return {key: _packed(item, name, [*path, key], tensors) for key, item in value.items()}
        pairs = [(_packed(key, name, path, tensors), key, item) for key, item in value.items()]
        return {_PAIRS: [[key, _packed(item, name, [*path, str(raw)], tensors)] for key, raw, item in pairs]}
    if isinstance(value, list | tuple):
        items = [_packed(item, name, [*path, str(i)], tensors) for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix("torch.")}
    raise UserError(
        f"A checkpoint cannot hold a {type(value).__name__}, which the state of the {name} has at {'.'.join(path)!r}: "
        "choose another opt=, or a method without it."
    )


def _unpacked(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        loaded = tensor(str(value[_TENSOR]))
        return loaded if "stride" not in value else _with_stride(loaded, value["stride"])
    if _PAIRS in value:
        return {_unpacked(key, tensor): _unpacked(item, tensor) for key, item in value[_PAIRS]}
    if _TUPLE in value:
        return tuple(_unpacked(value[_TUPLE], tensor))
    if _DTYPE in value:
        dtype = getattr(torch, str(value[_DTYPE]), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{value[_DTYPE]!r} is not a dtype")
        return dtype
    return {key: _unpacked(item, tensor) for key, item in value.items()}


def _with_stride(tensor: Tensor, stride: list[int]) -> Tensor:
    """The tensor with other strides; an optimiser that works on whole lists needs those of its parameters."""
    if len(stride) != tensor.dim() or not all(isinstance(step, int) and step >= 0 for step in stride):
        raise ValueError(f"stride {stride} does not fit a tensor of shape {list(tensor.shape)}")
    # The last element must lie inside the memory of so many elements: a larger stride would ask for more.
    if sum((size - 1) * step for size, step in zip(tensor.shape, stride, strict=True)) >= max(tensor.numel(), 1):
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def _no_tensor(name: str) -> Tensor:
    raise ValueError(f"tensor {name!r} is missing")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; ``True`` and ``False`` are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
