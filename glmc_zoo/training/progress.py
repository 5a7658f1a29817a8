"""State that a checkpoint holds beside the weights: progress, best epoch, optimiser, Accelerate, random numbers."""

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from glmc_zoo.training.state_files import is_finite_number

# Names of optimiser state that always has the shape of its parameter.
_LIKE_PARAMETER = frozenset(
    {"momentum_buffer", "momentum", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "lookahead_slow_buff"}
)


class Stateful(Protocol):
    """Something with a state to save: a module, an optimiser, or one of the classes of this module."""

    def state_dict(self) -> Any:
        """The state, of types that `write_state` can write."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a state from `state_dict`; a state that does not fit raises `ValueError`, `KeyError` or the like."""


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Finished epochs."""
    batch: int = 0
    """Finished batches of the current epoch."""
    step: int = 0
    """Finished batches of the whole run."""
    seconds: float = 0.0
    """Wall time up to the last checkpoint."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sum of each loss term over the batches of the current epoch."""

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        for name in ("epoch", "batch", "step"):
            if type(state_dict[name]) is not int or state_dict[name] < 0:
                raise ValueError(f"{name} is {state_dict[name]!r}, which is not a count")
        if not all(map(is_finite_number, [state_dict["seconds"], *state_dict["sums"].values()])):
            raise ValueError("seconds and sums must be numbers")
        for item in fields(self):
            setattr(self, item.name, state_dict[item.name])


class Best:
    """The epoch with the best score on the held-out images so far, and its weights.

    The weights are part of the checkpoint, so that it never depends on a file elsewhere.
    """

    def __init__(self) -> None:
        self.epoch, self.score = -1, -1.0
        self.weights: dict[str, Tensor] = {}

    def update(self, epoch: int, score: float, model: torch.nn.Module) -> None:
        """Store the weights of ``epoch`` if its score is the highest so far; among equal scores the first wins."""
        if score > self.score:
            self.epoch, self.score = epoch, score
            self.weights = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The fields as they are."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        epoch, score, weights = (state_dict[name] for name in ("epoch", "score", "weights"))
        if type(epoch) is not int or not is_finite_number(score):
            raise ValueError("epoch and score must be numbers")
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError("weights must be tensors")
        self.epoch, self.score, self.weights = epoch, score, dict(weights)


class OptimizerState:
    """The state of an optimiser. Loading checks its shapes, of which torch compares only the number of parameters."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """The state dictionary of the optimiser."""
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        groups = self.optimizer.param_groups
        for saved, group in zip(state_dict["param_groups"], groups, strict=True):
            for name, value in group.items():
                if name != "params" and not _same_kind(saved[name], value):
                    raise ValueError(f"{name} is {saved[name]!r}, and the run has {value!r}")
        parameters = [parameter for group in groups for parameter in group["params"]]
        for number, values in state_dict["state"].items():
            shape = parameters[number].shape
            for name in _LIKE_PARAMETER & set(values):
                if values[name] is not None and values[name].shape != shape:
                    raise ValueError(f"{name} of parameter {number} does not have the shape {list(shape)}")
        self.optimizer.load_state_dict(state_dict)


def _same_kind(saved: Any, current: Any) -> bool:
    if isinstance(current, list | tuple):
        return isinstance(saved, list | tuple) and len(saved) == len(current) and all(map(_same_kind, saved, current))
    if isinstance(current, Tensor):
        return isinstance(saved, Tensor) and saved.shape == current.shape
    return (is_finite_number(saved) and is_finite_number(current)) or type(saved) is type(current)


class AccelerateState:
    """Accelerate's count of accumulated batches, and in fp16 its gradient scaler."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        """The count, and the state of the scaler, which is ``None`` without one."""
        scaler = self.accelerator.scaler
        return {"step": self.accelerator.step, "scaler": None if scaler is None else scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        scaler, saved = self.accelerator.scaler, state_dict["scaler"]
        if type(state_dict["step"]) is not int:
            raise ValueError(f"step is {state_dict['step']!r}, which is not a count")
        if (scaler is None) != (saved is None):
            has, lacks = ("checkpoint", "run") if scaler is None else ("run", "checkpoint")
            raise ValueError(f"the {has} has a gradient scaler of fp16 and the {lacks} has none")
        if scaler is not None:
            if saved.keys() != scaler.state_dict().keys() or not all(map(is_finite_number, saved.values())):
                raise ValueError("the state of the gradient scaler does not consist of its numbers")
            scaler.load_state_dict(saved)
        self.accelerator.step = state_dict["step"]


class RandomState:
    """The global random generators of one process: Python's, NumPy's, torch's, and that of its device.

    Args:
        device: The device of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def state_dict(self) -> dict[str, Any]:
        """The state of each generator; ``device`` is ``None`` on a CPU."""
        numpy: Any = np.random.get_state()
        module: Any = None if self.device.type == "cpu" else torch.get_device_module(self.device)
        return {
            "python": random.getstate(),
            "numpy": {"keys": torch.from_numpy(numpy[1].astype(np.int64)), "rest": list(numpy[2:])},
            "torch": torch.get_rng_state(),
            "device": None if module is None else module.get_rng_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state from `state_dict`. A checkpoint from a CPU leaves the generator of a GPU unchanged."""
        keys = state_dict["numpy"]["keys"].numpy().astype(np.uint32)
        python_state, torch_state, device_state = (state_dict[name] for name in ("python", "torch", "device"))
        random.setstate(python_state)
        np.random.set_state(("MT19937", keys, *state_dict["numpy"]["rest"]))
        torch.set_rng_state(torch_state)
        if device_state is not None and self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(device_state)
