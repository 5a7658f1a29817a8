"""Quantises an ONNX file to 8 bits with ONNX Runtime."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from glmc_zoo.building import outside_failures
from glmc_zoo.disk import disk_errors
from glmc_zoo.hub.folder import as_user_error
from glmc_zoo.scoring.exporting.formats import silence_exporters
from glmc_zoo.scoring.exporting.graph import INPUT

# Softmax and normalisation are not quantised: 256 steps are too coarse for a probability.
_PRODUCTS = ["MatMul", "Gemm"]
# Clip and ReLU are quantised with the convolution before them, so that the range of its output is smaller.
_LAYERS = ["Conv", "Clip", "Relu", *_PRODUCTS]


class _CalibrationReader:
    """Passes images to ONNX Runtime one by one."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image as the input of the graph; ``None`` after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}


def write_int8(source: Path, path: Path, images: Iterable[Tensor] | None) -> None:
    """Quantise an ONNX file to 8 bits.

    With images the quantisation is static: weights and activations of convolutions and matrix products have 8 bits,
    with ranges measured on the images. Without images it is dynamic: the ranges are those of each batch, and only
    matrix products are quantised, as only they have a fast kernel for it.

    Args:
        source: The ONNX file.
        path: The file to write.
        images: Images, each float32 (1, 3, H, W); ``None`` for dynamic quantisation.

    Raises:
        UserError: ONNX Runtime cannot quantise the file.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with (
        tempfile.TemporaryDirectory(prefix="glmc_zoo-") as folder,
        as_user_error("The model cannot be written with int8=True", Exception, fix="Leave int8= out."),
        outside_failures("int8=True", smaller="another model"),
        disk_errors(),  # the files before the last one are in the system's folder for temporary files
        silence_exporters(),
    ):
        preprocessed = Path(folder) / "prepared.onnx"
        quant_pre_process(source, preprocessed)
        if images is None:
            quantize_dynamic(
                preprocessed, path, op_types_to_quantize=_PRODUCTS, per_channel=True, weight_type=QuantType.QInt8
            )
            return
        quantize_static(
            preprocessed,
            path,
            _CalibrationReader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_LAYERS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
