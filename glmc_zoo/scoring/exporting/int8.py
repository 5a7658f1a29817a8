"""An ONNX file with numbers of 8 bits, by ONNX Runtime."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from glmc_zoo.hub.folder import explaining
from glmc_zoo.scoring.exporting.formats import quiet
from glmc_zoo.scoring.exporting.graph import INPUT

# Not the softmax and not the normalisation: 256 steps are too coarse for a probability.
_PRODUCTS = ["MatMul", "Gemm"]
# With what cuts the output of a convolution off: its range is that after the cut then, and the steps are finer.
_LAYERS = ["Conv", "Clip", "Relu", *_PRODUCTS]


class _Reader:
    """Hands images to ONNX Runtime one by one."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image as the input of the graph; ``None`` after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT: image.numpy()}


def write_int8(source: Path, path: Path, images: Iterable[Tensor] | None) -> None:
    """Write ``source`` with weights of 8 bits, and with ``images`` with activations of 8 bits too.

    Static quantisation takes the range of each activation from the images (one each, float32 (1, 3, H, W)), and covers
    convolutions and matrix products. Without images it is dynamic: the range is that of each batch, and only matrix
    products have a fast kernel for it.

    Raises:
        UserError: ONNX Runtime cannot quantise the file.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with (
        tempfile.TemporaryDirectory(prefix="glmc_zoo-") as scratch,
        explaining("The model cannot be written with int8=True", Exception, fix="Leave int8= out."),
        quiet(),
    ):
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(source, prepared)
        if images is None:
            quantize_dynamic(
                prepared, path, op_types_to_quantize=_PRODUCTS, per_channel=True, weight_type=QuantType.QInt8
            )
            return
        quantize_static(
            prepared,
            path,
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_LAYERS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
