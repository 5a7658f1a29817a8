"""Copying batches to the device while the previous step runs."""

from typing import Any

import torch
from accelerate.utils import recursively_apply, send_to_device


class Transfer:
    """Copies batches to the device. On CUDA a separate stream overlaps the copy with the previous step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Any) -> Any:
        """Return ``batch`` with its tensors on the device, ready for the current stream.

        The host does not wait for tensors in pinned memory.
        """
        if self._stream is None:
            return send_to_device(batch, self.device, non_blocking=True)
        current_stream = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            device_batch = send_to_device(batch, self.device, non_blocking=True)
        current_stream.wait_stream(self._stream)

        def record(tensor: torch.Tensor) -> torch.Tensor:
            tensor.record_stream(current_stream)  # its memory is not reused before the step has finished with it
            return tensor

        return recursively_apply(record, device_batch)
