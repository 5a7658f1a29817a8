"""The formats of an export. Each can write a graph with its metadata, and open the written file to run it."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glmc_zoo.building import outside_failures
from glmc_zoo.disk import disk_errors
from glmc_zoo.errors import UserError, missing_packages
from glmc_zoo.hub.folder import as_user_error
from glmc_zoo.scoring.exporting.graph import INPUT, OUTPUTS

Run = Callable[[Tensor], Tensor]
"""Maps float32 images (B, 3, H, W) with values of 0 to 1 to float32 probabilities (B, C)."""

OPSET = 18
"""Version of the ONNX operators: the lowest that torch's exporter writes, for older runtimes."""
METADATA_FILE = "metadata.json"
"""Name of the metadata in the extra files of a ``.pt2``."""

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Above this torch writes the weights to a second file, which would have to keep its name.
_LARGEST_ONNX = 1536 * 2**20


@dataclass(frozen=True)
class Format:
    """One format of an exported file."""

    suffix: str
    """Suffix of the file, with its dot."""
    write: Callable[[nn.Module, Tensor, Mapping[str, Any], Path], None]
    """Writes a file; called with the graph, two images, the metadata and the path."""
    open: Callable[[Path], Run]
    """Opens a file to run it on the CPU."""
    packages: tuple[str, ...] = ()
    """Packages that the format needs."""
    max_bytes: int | None = None
    """Most bytes of weights in one file; ``None`` for no limit."""

    def check(self, name: str) -> None:
        """Raise a `UserError` where a package is not installed; ``name`` is the format's name."""
        missing = [package for package in self.packages if not _is_installed(package)]
        if missing:
            raise missing_packages(f"format={name!r}", missing, extra="onnx")


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def write_onnx(graph: nn.Module, images: Tensor, metadata: Mapping[str, Any], path: Path) -> None:
    """Write an ONNX file with torch's exporter; ``metadata_props`` holds the metadata, each value as JSON."""
    with silence_exporters():
        program: Any = torch.onnx.export(
            graph,
            (images,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            verbose=False,
        )
    program.model.metadata_props.update({name: json.dumps(value) for name, value in metadata.items()})
    program.save(str(path))


def open_onnx(path: Path) -> Run:
    """Open an ONNX file for the CPU, with as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (probabilities,) = session.run(["probabilities"], {INPUT: images.numpy()})
        return torch.from_numpy(probabilities)

    return run


def write_torch_export(graph: nn.Module, images: Tensor, metadata: Mapping[str, Any], path: Path) -> None:
    """Write a ``.pt2`` file with ``torch.export``; the extra file `METADATA_FILE` holds the metadata."""
    with silence_exporters():
        program = torch.export.export(graph, (images,), dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}})
        torch.export.save(program, path, extra_files={METADATA_FILE: json.dumps(metadata)})


def open_torch_export(path: Path) -> Run:
    """Open a ``.pt2`` file for the CPU."""
    module: Any = torch.export.load(path).module()

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        probabilities: Tensor = module(images)[0]
        return probabilities

    return run


FORMATS = {
    "onnx": Format(".onnx", write_onnx, open_onnx, _ONNX_PACKAGES, _LARGEST_ONNX),
    "torch_export": Format(".pt2", write_torch_export, open_torch_export),
}


def write(name: str, model: str, graph: nn.Module, images: Tensor, metadata: Mapping[str, Any], path: Path) -> Run:
    """Write ``graph`` in the format ``name`` and open the file.

    Args:
        name: A key of `FORMATS`.
        model: Name of the model, for messages.
        graph: The module to export.
        images: Two images, float32 (2, 3, H, W).
        metadata: Metadata of the file, as values for JSON.
        path: The file.

    Raises:
        UserError: torch cannot export the model, or the file cannot be written or opened.
    """
    export_format, other_format = FORMATS[name], next(other_format for other_format in FORMATS if other_format != name)
    size = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    if export_format.max_bytes is not None and size > export_format.max_bytes:
        raise UserError(
            f"{model} cannot be exported with format={name!r}, whose file holds at most "
            f"{export_format.max_bytes / 2**30:.1f} GiB of weights, and the model has {size / 2**30:.1f} GiB: "
            f"give format={other_format!r}."
        )
    # The exporters and the runtimes raise errors of many types.
    failure, fix = f"{model} cannot be exported with format={name!r}", f"Give format={other_format!r} or another model."
    with (
        as_user_error(failure, Exception, fix=fix),
        outside_failures(f"{model} as {name}", smaller="another model"),
        disk_errors(path.parent),
    ):
        export_format.write(graph, images, metadata, path)
        return export_format.open(path)


@contextmanager
def silence_exporters() -> Iterator[None]:
    """Hide warnings and log messages of the exporters; errors are still raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
