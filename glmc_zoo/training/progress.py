"""What a checkpoint holds beside weights and optimiser: progress, best epoch, random numbers, accumulated batches."""

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from glmc_zoo.training.state_files import is_number

# State that has the shape of its parameter in every optimiser that has it.
_LIKE_PARAMETER = frozenset(
    {"momentum_buffer", "momentum", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "lookahead_slow_buff"}
)


class Stateful(Protocol):
    """What can be saved: a module, an optimiser, or one of the classes here."""

    def state_dict(self) -> Any:
        """The state, as `write_state` takes it."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore what `state_dict` gave; another state raises a `ValueError` or one of its kind."""


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        for name in ("epoch", "batch", "step"):
            if type(state_dict[name]) is not int or state_dict[name] < 0:
                raise ValueError(f"{name} is {state_dict[name]!r}, which is no count")
        if not all(map(is_number, [state_dict["seconds"], *state_dict["sums"].values()])):
            raise ValueError("seconds and sums must be numbers")
        for f in fields(self):
            setattr(self, f.name, state_dict[f.name])


class Best:
    """The best epoch so far on the held-out images, with its weights.

    The weights are inside the checkpoint, so that it never refers to a file that is gone.
    """

    def __init__(self) -> None:
        self.epoch, self.score = -1, -1.0
        self.weights: dict[str, Tensor] = {}

    def offer(self, epoch: int, score: float, model: torch.nn.Module) -> None:
        """Take ``epoch`` when its score is the highest so far; among equal scores the first wins."""
        if score > self.score:
            self.epoch, self.score = epoch, score
            self.weights = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The fields as they are."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        epoch, score, weights = (state_dict[name] for name in ("epoch", "score", "weights"))
        if type(epoch) is not int or not is_number(score):
            raise ValueError("epoch and score must be numbers")
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError("weights must be tensors")
        self.epoch, self.score, self.weights = epoch, score, dict(weights)


class OptimizerState:
    """The state of an optimiser, compared with its parameters before it is loaded: torch compares only their number."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's own."""
        state: dict[str, Any] = self.optimizer.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        groups = self.optimizer.param_groups
        for saved, group in zip(state_dict["param_groups"], groups, strict=True):
            for name, value in group.items():
                if name != "params" and not _same_kind(saved[name], value):
                    raise ValueError(f"{name} is {saved[name]!r}, where the run has {value!r}")
        parameters = [parameter for group in groups for parameter in group["params"]]
        for number, values in state_dict["state"].items():
            shape = parameters[number].shape
            for name in _LIKE_PARAMETER & set(values):
                if values[name] is not None and values[name].shape != shape:
                    raise ValueError(f"{name} of parameter {number} does not have the shape {list(shape)}")
        self.optimizer.load_state_dict(state_dict)


def _same_kind(one: Any, other: Any) -> bool:
    if isinstance(other, list | tuple):
        return isinstance(one, list | tuple) and len(one) == len(other) and all(map(_same_kind, one, other))
    if isinstance(other, Tensor):
        return isinstance(one, Tensor) and one.shape == other.shape
    return (is_number(one) and is_number(other)) or type(one) is type(other)


class AccelerateState:
    """How many batches Accelerate has accumulated, and its gradient scaler in fp16."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        """Count of batches, and the scaler's state; ``None`` without a scaler."""
        scaler = self.accelerator.scaler
        return {"step": self.accelerator.step, "scaler": None if scaler is None else scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        scaler, saved = self.accelerator.scaler, state_dict["scaler"]
        if type(state_dict["step"]) is not int:
            raise ValueError(f"step is {state_dict['step']!r}, which is no count")
        if (scaler is None) != (saved is None):
            raise ValueError("the gradient scaler of fp16 is in one of run and checkpoint alone")
        if scaler is not None:
            if saved.keys() != scaler.state_dict().keys() or not all(map(is_number, saved.values())):
                raise ValueError("the state of the gradient scaler is not one of numbers")
            scaler.load_state_dict(saved)
        self.accelerator.step = state_dict["step"]


class RandomState:
    """The global random numbers of one process: Python's, NumPy's, torch's, and those of its device.

    Args:
        device: That of the process.
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
        """Restore what `state_dict` gave; a checkpoint of another kind of device leaves that of the device as it is."""
        keys = state_dict["numpy"]["keys"].numpy().astype(np.uint32)
        python, on_cpu, on_device = (state_dict[name] for name in ("python", "torch", "device"))
        random.setstate(python)
        np.random.set_state(("MT19937", keys, *state_dict["numpy"]["rest"]))
        torch.set_rng_state(on_cpu)
        if on_device is not None and self.device.type != "cpu":
            torch.get_device_module(self.device).set_rng_state(on_device)
