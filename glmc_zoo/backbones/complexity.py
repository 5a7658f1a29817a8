"""Number of operations and activations of a network for one image."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_MATRIX_PRODUCTS = frozenset({"convolution", "mm", "addmm", "bmm", "baddbmm"})


class _Activations(TorchDispatchMode):
    """Counts the output values of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name.startswith("_scaled_dot_product"):
            queries, keys = args[:2]
            self.values += queries.shape[:-1].numel() * keys.shape[-2] + result[0].numel()
        elif name in _MATRIX_PRODUCTS:
            self.values += result.numel()
        return result


def count_operations(model: nn.Module, input_size: tuple[int, ...]) -> dict[str, Any]:
    """Count the operations of a timm model with its classifier for one image, in the units of timm's tables.

    A copy of the model runs on torch's meta device, which computes no values. The model itself is not changed. Only
    convolutions and matrix products count, not normalisation or activation functions. Attention counts whether it is
    fused or not; timm's tables leave out fused attention.

    >>> import timm
    >>> count_operations(timm.create_model("resnet18"), (3, 224, 224))
    {'gmacs': 1.81..., 'mactivations': 2.48...}

    Args:
        model: The weights do not matter.
        input_size: Channels, height, width.

    Returns:
        ``gmacs``, billions of multiply-add operations, and ``mactivations``, millions of output values, both of
        convolutions and matrix products. Empty if the model cannot be counted, for instance because its computation
        depends on the values of its input.
    """
    try:
        # The counter adds hooks to parameters with a gradient, and they fail where a layer takes one as its input.
        network = copy.deepcopy(model).requires_grad_(False).to("meta").eval()
        image = torch.empty(1, *input_size, device="meta")
        with torch.no_grad(), FlopCounterMode(display=False) as operations, _Activations() as activations:
            network(image)
    except Exception:  # whatever fails in a stranger's network: a trained model is not lost for want of these figures
        return {}
    return {"gmacs": operations.get_total_flops() / 2e9, "mactivations": activations.values / 1e6}
