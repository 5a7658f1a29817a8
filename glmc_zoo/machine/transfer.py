"""Bringing batches to the device beside the step before."""

from typing import Any

import torch
from accelerate.utils import recursively_apply, send_to_device


class Transfer:
    """Brings batches to the device; on CUDA on a stream of its own, beside the step before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Any) -> Any:
        """``batch`` with its tensors on the device, for use on the current stream; pinned ones are not waited for."""
        if self._stream is None:
            return send_to_device(batch, self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            moved = send_to_device(batch, self.device, non_blocking=True)
        current.wait_stream(self._stream)

        def used_here(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(current)  # its memory is not reused before the step is through with it
            return tensor

        return recursively_apply(used_here, moved)
