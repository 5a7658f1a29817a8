"""Check how much memory an exported folder would need, before its network is built.

A safetensors file runs no code, and its library checks that the header fits the file. Two risks remain, which are
checked here: a huge header, and a configuration that asks for a network far larger than the weights beside it.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glmc_zoo.documents import parse_json
from glmc_zoo.errors import UserError
from glmc_zoo.hub.config import ModelConfig
from glmc_zoo.hub.folder import as_user_error
from glmc_zoo.text import counted

_FIX = "The file is damaged: download or export the model again."
_MAX_HEADER = 16 << 20  # bytes; a network of 10,000 tensors needs one
_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
_MAX_MODULES = 15_000  # timm's largest network has 3,000
# Numbers that a network may have in addition to those in its file: computed tables, and a head of another size.
_EXTRA_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Header:
    """What the header of a safetensors file says."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    """As safetensors calls them, such as ``F32``."""

    @property
    def num_elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def check_header(file: Path, name: str) -> Header:
    """The header of a safetensors file, after it was checked; messages call the model ``name``. Reads nothing else.

    Raises:
        UserError: The file is truncated, no safetensors file, has a huge header, or a type of number that no
            classifier is stored in.
    """
    from safetensors import SafetensorError, safe_open

    failure = f"{file.name} of {name} cannot be read"
    with as_user_error(failure, SafetensorError, OSError, ValueError, struct.error, fix=_FIX):
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _MAX_HEADER or length + 8 > file.stat().st_size:
                raise ValueError(f"its header claims {length:,} bytes")
            text = stream.read(length).decode("utf-8")
        with safe_open(file, framework="pt"):  # compares the header with the size of the file
            pass
    entries: dict[str, Any] = parse_json(text, f"The header of {file.name} of {name}", fix=_FIX)
    entries.pop("__metadata__", None)
    unsupported = next((entry["dtype"] for entry in entries.values() if entry["dtype"] not in _DTYPES), None)
    if unsupported is not None:
        allowed = "float16, bfloat16, float32, float64, whole numbers or truth values"
        raise UserError(f"{file.name} of {name} holds numbers of type {unsupported}: it must hold {allowed}.")
    shapes = {key: tuple(entry["shape"]) for key, entry in entries.items()}
    return Header(shapes, {key: entry["dtype"] for key, entry in entries.items()})


def check_network(timm_name: str, config: ModelConfig, header: Header | None, name: str) -> None:
    """Refuse a configuration whose network is far larger than its weights. No memory is allocated for the network.

    Without a ``header``, for a model with random weights, the network is compared with its architecture as timm builds
    it by default. A network that timm cannot build is not refused here; the code that builds it reports the reason.

    Raises:
        UserError: The network has far more numbers than its weights, too many modules, tensors of another type than in
            the file, or another number of classes than the configuration names.
    """
    network = on_meta(timm_name, name)
    if network is None:
        return
    tensors = _tensors(network)
    size = sum(tensor.numel() for tensor in tensors.values())
    if header is None:
        default_network = on_meta(config.architecture, name)
        expected = (
            0 if default_network is None else sum(tensor.numel() for tensor in _tensors(default_network).values())
        )
    else:
        expected = header.num_elements
    if size > 2 * expected + _EXTRA_ELEMENTS:
        comparison = "its architecture has" if header is None else "its weights hold"
        fix = "give a model whose files belong together"
        raise UserError(
            f"The config.json of {name} asks for a network of {size:,} numbers, {comparison} {expected:,}: {fix}."
        )
    names, classes = config.class_names, getattr(network, "num_classes", 0)
    if names and classes and len(names) != classes:
        raise UserError(
            f"The config.json of {name} names {counted(len(names), 'class')} for a network of {classes}: export again."
        )
    for key, tensor in tensors.items():
        dtype = None if header is None else header.dtypes.get(key)
        if dtype is not None and tensor.is_floating_point() != ("F" in dtype):
            expected_type = "floating-point numbers" if tensor.is_floating_point() else "whole numbers or truth values"
            raise UserError(f"The weights of {name} hold {key[:80]!r} as {dtype}: it must be {expected_type}.")


def on_meta(timm_name: str, name: str) -> Any:
    """The network without memory, on torch's ``meta`` device; ``None`` where it cannot be built."""
    import timm
    import torch

    failures = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _limited_modules(name):
            return timm.create_model(timm_name, pretrained=False)
    except UserError:
        raise
    except (*failures, ValueError, OSError, MemoryError):
        return None


def _tensors(network: Any) -> dict[str, Any]:
    return dict([*network.named_parameters(), *network.named_buffers()])


def check_finite(tensors: Mapping[str, Any], name: str) -> None:
    """Refuse tensors that hold NaN or infinity, whose scores and probabilities would mean nothing."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"The weights of {name} hold NaN or infinity, in {key[:80]!r}: give an earlier checkpoint.")


@contextmanager
def _limited_modules(name: str) -> Iterator[None]:
    """Stop building a network once it has more modules than any network has."""
    from torch.nn.modules.module import register_module_module_registration_hook

    count = 0

    def count_module(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > _MAX_MODULES:
            raise UserError(f"The config.json of {name} asks for more than {_MAX_MODULES:,} layers: it is damaged.")

    handle = register_module_module_registration_hook(count_module)
    try:
        yield
    finally:
        handle.remove()
