"""Writes and reads the state of an object, as JSON with its tensors in safetensors. Reading it cannot run code."""

import errno
import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from glmc_zoo.building import is_full_memory
from glmc_zoo.errors import UserError

# A JSON object with one of these keys stands for a type that JSON lacks.
_TENSOR, _PAIRS, _TUPLE, _DTYPE = "$tensor", "$pairs", "$tuple", "$dtype"
_TYPE_KEYS = {_TENSOR, _PAIRS, _TUPLE, _DTYPE}


def write_state(folder: Path, name: str, state: Any) -> None:
    """Write ``folder/NAME.json``, and ``folder/NAME.safetensors`` where the state holds tensors.

    Args:
        folder: An existing folder.
        name: Name of the files, without suffix.
        state: Numbers, strings, ``None``, dtypes and tensors, in dictionaries, lists and tuples. Tensors keep their
            dtype, their values bit for bit, and their strides where they are dense.

    Raises:
        UserError: The state holds an object of another type.
    """
    tensors: dict[str, Tensor] = {}
    structure = _pack(state, name, [], tensors)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(structure) + "\n", encoding="utf-8")
    if tensors:
        weights = folder / f"{name}.safetensors"
        save_file(tensors, weights, metadata={"format": "pt"})
        weights.chmod(path.stat().st_mode)  # safetensors makes files that only the owner can read


def read_state(folder: Path, name: str) -> Any:
    """The state that `write_state` wrote, with its tensors on the CPU.

    Raises:
        UserError: A file is missing or damaged.
    """
    path = folder / f"{name}.json"
    try:
        structure = read_plain_json(path)
        with _open_tensors(folder / f"{name}.safetensors") as get_tensor:
            return _unpack(structure, get_tensor)
    except UserError:  # names the file of the tensors
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
        raise unreadable(path, error) from error  # a RecursionError is a RuntimeError


@contextmanager
def _open_tensors(path: Path) -> Iterator[Callable[[str], Tensor]]:
    """A function that reads a tensor by name; its `UserError` names this file."""

    def get_tensor(name: str) -> Tensor:
        try:
            tensor: Tensor = tensors.get_tensor(name)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        return tensor

    def miss_tensor(name: str) -> Tensor:
        raise unreadable(path, ValueError(f"it is missing, and should hold the tensor {name!r}"))

    if not path.exists():
        yield miss_tensor
        return
    with ExitStack() as stack:
        try:
            if path.is_symlink() or not path.is_file():
                raise ValueError("it is not a regular file")
            tensors = stack.enter_context(safe_open(path, framework="pt"))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise unreadable(path, error) from error
        yield get_tensor


def read_plain_json(path: Path) -> Any:
    """Content of a JSON file of a checkpoint. There is no limit of size, as it may list all images of a data set.

    Raises:
        OSError: The file cannot be opened, or is not a regular file. Reading from a pipe would wait for ever.
        ValueError, RecursionError: The file is not JSON, or is nested too deeply.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return json.loads(path.read_text(encoding="utf-8"))


def unfit_state(folder: Path, name: str, error: BaseException) -> UserError:
    """The error for a state that was read and does not fit the run: the fault may be in either of its files."""
    tensors = f"{name}.safetensors"
    return unreadable(folder / f"{name}.json", error, tensors if (folder / tensors).exists() else None)


def unreadable(path: Path, error: BaseException, other_file: str | None = None) -> UserError:
    """The error for a file of a checkpoint, or another one beside it, that is damaged or does not fit the run.

    Where the memory is full the file is not to blame, and nobody is told to remove it.
    """
    if is_full_memory(error):
        return UserError(
            f"Checkpoint {str(path.parent)!r} needs more memory than is free: free some memory, or resume the run on a "
            "machine with more."
        )
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    other = f" or {other_file} beside it" if other_file else ""
    return UserError(
        f"File {str(path)!r}{other} cannot be used ({reason}): remove that checkpoint and go on by resume='auto', or "
        "begin in another output_dir=."
    )


def _pack(value: Any, name: str, path: list[str], tensors: dict[str, Tensor]) -> Any:
    """Convert a state, or a part of it, to JSON types, and add its tensors to ``tensors``.

    Args:
        value: The state, or the part of it at ``path``.
        name: Name of the whole state.
        path: Keys and positions that lead to the part; joined by dots they name its tensor.
        tensors: Receives the tensors. In the JSON, their names stand for them.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        key = ".".join(path) or name
        while key in tensors:
            key += "~"
        detached = value.detach()
        # Always a copy, because safetensors refuses tied weights, which share memory.
        tensors[key] = detached.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return {_TENSOR: key} if detached.is_contiguous() else {_TENSOR: key, "stride": list(detached.stride())}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key not in _TYPE_KEYS for key in value):
            return {key: _pack(item, name, [*path, key], tensors) for key, item in value.items()}
        pairs = [(_pack(key, name, path, tensors), key, item) for key, item in value.items()]
        return {_PAIRS: [[key, _pack(item, name, [*path, str(raw)], tensors)] for key, raw, item in pairs]}
    if isinstance(value, list | tuple):
        items = [_pack(item, name, [*path, str(i)], tensors) for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix("torch.")}
    raise UserError(
        f"A checkpoint cannot hold the {type(value).__name__} at {'.'.join(path)!r} in the state of the {name}: choose "
        "another opt=, or a method that keeps its state in tensors and numbers."
    )


def _unpack(value: Any, get_tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, get_tensor) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        loaded = get_tensor(str(value[_TENSOR]))
        return loaded if "stride" not in value else _with_stride(loaded, value["stride"])
    if _PAIRS in value:
        return {_unpack(key, get_tensor): _unpack(item, get_tensor) for key, item in value[_PAIRS]}
    if _TUPLE in value:
        return tuple(_unpack(value[_TUPLE], get_tensor))
    if _DTYPE in value:
        dtype = getattr(torch, str(value[_DTYPE]), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{value[_DTYPE]!r} is not a dtype")
        return dtype
    return {key: _unpack(item, get_tensor) for key, item in value.items()}


def _with_stride(tensor: Tensor, stride: list[int]) -> Tensor:
    """The tensor with other strides. Fused optimisers need the state to have the strides of its parameter."""
    if len(stride) != tensor.dim() or not all(isinstance(step, int) and step >= 0 for step in stride):
        raise ValueError(f"stride {stride} does not fit a tensor of shape {list(tensor.shape)}")
    # The strides come from a file: they must not ask for more memory than the elements take.
    if sum((size - 1) * step for size, step in zip(tensor.shape, stride, strict=True)) >= max(tensor.numel(), 1):
        return tensor
    return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite number; ``True`` and ``False`` are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
