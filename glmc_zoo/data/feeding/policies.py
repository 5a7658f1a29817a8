"""timm's augmentation policies (AutoAugment, RandAugment, AugMix, 3-Augment) for batches on any device.

timm reads the configuration and chooses the operations of an image and their strength. This happens on the CPU and
depends on the sample seed of the image. `apply_policy` then applies the operations to a batch on its device.
"""

import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.data import auto_augment as timm_policies
from torch import Tensor

from glmc_zoo.data.feeding.operations import Step, apply_operation, blend, has_step, make_step
from glmc_zoo.errors import UserError

_EXAMPLES = "'original', '3a', 'rand-m9-mstd0.5-inc1' or 'augmix-m3-w3'"


class PolicyParams(NamedTuple):
    """The operations of one view of a batch of B images, as tensors.

    `apply_policy` never has to read a value back from the device.
    """

    groups: tuple[tuple[str, int, int], ...]
    """Operations in order: name, and first and last position (exclusive) in the two tensors below."""
    positions: Tensor
    """Image that each operation changes, int64 of shape (N,). With AugMix, chain c of image i has number c * B + i."""
    arguments: Tensor
    """Arguments of each operation, float32 of shape (N, 6), see `Step`."""
    interpolation: str
    shares: Tensor | None = None
    """Share of each chain of AugMix, float32 of shape (B, chains); ``None`` for other policies."""
    amount: Tensor | None = None
    """Share of the mixed chains in the result, float32 (B,); ``None`` where chains are blended one after the other."""


class _ImageParams(NamedTuple):
    """The parameters of one image: chains of operations, several with AugMix, else one."""

    chains: list[list[Step]]
    shares: list[float] | None = None
    amount: float | None = None


@dataclass(frozen=True)
class Policy:
    """A policy of timm for images of one size; see `make_policy`."""

    name: str
    """timm's configuration string."""
    size: int
    interpolation: str
    transform: Any
    """timm's own object. Its operations are replaced by functions that record their arguments."""

    @property
    def keeps_jitter(self) -> bool:
        """Whether the colour jitter is still applied: only with 3-Augment, as in timm's training transform."""
        return "3a" in self.name

    def sample_params(self, sample_seeds: Sequence[int], view: int) -> PolicyParams:
        """Choose the operations of one view of each image; they depend on its seed and the number of the view alone."""
        chosen = []
        with _restored_random_state():
            for sample_seed in sample_seeds:
                random.seed(sample_seed << 16 | view)
                chosen.append(self._choose())
        return self._stack(chosen)

    def _choose(self) -> _ImageParams:
        transform = self.transform
        if isinstance(transform, timm_policies.AutoAugment):
            steps: list[tuple[str, float]] = []
            transform(steps)
            return _ImageParams([self._steps(steps)])
        if isinstance(transform, timm_policies.RandAugment):
            return _ImageParams([self._chain(_choices(transform.ops, transform.num_layers, transform.choice_weights))])
        # Sample from a Dirichlet distribution: normalised gamma variables.
        parts = [random.gammavariate(transform.alpha, 1) for _ in range(transform.width)]
        shares = [part / sum(parts) for part in parts]
        amount = random.betavariate(transform.alpha, transform.alpha)
        depths = [transform.depth if transform.depth > 0 else random.randint(1, 3) for _ in shares]
        chains = [self._chain(_choices(transform.ops, depth, None)) for depth in depths]
        if not transform.blended:
            return _ImageParams(chains, shares, amount)
        return _ImageParams(chains, _blended(shares, amount))

    def _chain(self, operations: Sequence[Any]) -> list[Step]:
        steps: list[tuple[str, float]] = []
        for operation in operations:
            operation(steps)
        return self._steps(steps)

    def _steps(self, recorded: list[tuple[str, float]]) -> list[Step]:
        return [make_step(function, value, self.size) for function, value in recorded]

    def _stack(self, chosen: Sequence[_ImageParams]) -> PolicyParams:
        """Put all operations into a few tensors, because each tensor in shared memory takes a file."""
        members: dict[tuple[int, str], list[tuple[int, tuple[float, ...]]]] = {}
        for number, image in enumerate(chosen):
            for chain, steps in enumerate(image.chains):
                for turn, step in enumerate(steps):
                    row = (chain * len(chosen) + number, step.arguments)
                    members.setdefault((turn, step.operation), []).append(row)
        groups: list[tuple[str, int, int]] = []
        rows: list[tuple[int, tuple[float, ...]]] = []
        for turn, operation in sorted(members):
            first = len(rows)
            rows += members[turn, operation]
            groups.append((operation, first, len(rows)))
        return PolicyParams(
            groups=tuple(groups),
            positions=torch.tensor([position for position, _ in rows], dtype=torch.int64),
            arguments=torch.tensor([values for _, values in rows], dtype=torch.float32).view(-1, 6),
            interpolation=self.interpolation,
            shares=None if chosen[0].shares is None else torch.tensor([image.shares for image in chosen]),
            amount=None if chosen[0].amount is None else torch.tensor([image.amount for image in chosen]),
        )


def make_policy(auto_augment: str, size: int, interpolation: str) -> Policy:
    """The policy of a configuration string of timm, as timm's own training transform sets it up.

    Args:
        auto_augment: For instance ``original``, ``rand-m9-mstd0.5-inc1`` or ``augmix-m3-w3``.
        size: Side of the images in pixels.
        interpolation: Where pixels are moved: ``bicubic``, ``bilinear`` or ``nearest``.

    Raises:
        UserError: timm does not know the string, or would ignore a part of it.
    """
    hparams: dict[str, Any] = {"translate_const": int(size * 0.45)}
    create = timm_policies.auto_augment_transform
    if auto_augment.startswith("rand"):
        create = timm_policies.rand_augment_transform
    elif auto_augment.startswith("augmix"):
        create, hparams["translate_pct"] = timm_policies.augment_and_mix_transform, 0.3
    try:
        transform = create(auto_augment, hparams)
    except (AssertionError, ValueError) as error:
        raise _refusal(auto_augment, " ".join(str(error).split()) or "unknown policy") from error
    problem = _problem(auto_augment, transform)
    if problem:
        raise _refusal(auto_augment, problem)
    for operation in _operations(transform):
        operation.aug_fn = partial(_record, operation.aug_fn.__name__)
    return Policy(auto_augment, size, interpolation, transform)


def apply_policy(images: Tensor, params: PolicyParams, fill: Tensor) -> Tensor:
    """One view of a batch after the operations of its policy.

    ``images`` are uint8 of shape (B, 3, S, S) in any layout and are not changed. ``fill`` is the colour that comes in
    at the border, float32 of shape (1, 3, 1, 1), from 0 to 255. Returns uint8 of the same shape and layout.
    """
    chains = 1 if params.shares is None else params.shares.shape[1]
    out = images.clone() if chains == 1 else images.repeat(chains, 1, 1, 1)
    for operation, first, last in params.groups:
        positions, arguments = params.positions[first:last], params.arguments[first:last]
        part = out.index_select(0, positions).contiguous()
        out.index_copy_(0, positions, apply_operation(part, operation, arguments, fill, params.interpolation))
    if params.shares is None:
        return out
    return torch.empty_like(images).copy_(_mixed(images, out.chunk(chains), params.shares, params.amount))


def _mixed(images: Tensor, chains: Sequence[Tensor], shares: Tensor, amount: Tensor | None) -> Tensor:
    """AugMix's blend of the image with its chains."""
    weights = shares.view(*shares.shape, 1, 1, 1)
    if amount is None:
        for chain, weight in zip(chains, weights.unbind(1), strict=True):
            images = blend(images, chain, weight)
        return images
    mixed = torch.zeros_like(images, dtype=torch.float32)
    for chain, weight in zip(chains, weights.unbind(1), strict=True):
        mixed += weight * chain
    return blend(images, mixed.clamp_(0, 255).to(torch.uint8), amount.view(-1, 1, 1, 1))


@contextmanager
def _restored_random_state() -> Iterator[None]:
    """Restore the state of Python's ``random`` at the end of the block.

    timm's policies draw from it, and `Policy.sample_params` seeds it for each image.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _record(function: str, steps: list[tuple[str, float]], *arguments: float, **_: Any) -> list[tuple[str, float]]:
    """Replaces a function of timm and records its name and argument."""
    value = float(arguments[0]) if arguments else 0.0
    if function == "gaussian_blur_rand":  # timm chooses the radius in this function
        function, value = "gaussian_blur", random.uniform(0.1, 2.0 * value)
    steps.append((function, value))
    return steps


def _choices(operations: Sequence[Any], count: int, weights: Any) -> list[Any]:
    """Choose operations as timm does: with replacement if all have equal weight, else without."""
    if weights is None:
        return random.choices(operations, k=count)
    # Weighted sampling without replacement takes the largest of these keys (Efraimidis and Spirakis, 2006).
    keys = [random.random() ** (1 / weight) for weight in weights]
    order = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    return [operations[index] for index in order[:count]]


def _blended(shares: Sequence[float], amount: float) -> list[float]:
    """Weights for blending one chain after the other, with the same result as ``shares`` and ``amount``."""
    weights, left = [], 1.0
    for share in reversed(shares):
        weights.append(share * amount / left)
        left *= 1 - weights[-1]
    return weights[::-1]


def _operations(transform: Any) -> list[Any]:
    if isinstance(transform, timm_policies.AutoAugment):
        return [operation for operations in transform.policy for operation in operations]
    return list(transform.ops)


def _problem(auto_augment: str, transform: Any) -> str | None:
    """Problems of a configuration that timm would ignore, or notice only when an image is augmented."""
    for section in auto_augment.split("-")[1:]:
        if auto_augment.startswith("rand") and section.startswith("t"):
            # timm uses its default for an unknown set of operations.
            if timm_policies.rand_augment_choices(section[1:]) is timm_policies.rand_augment_choices(""):
                return f"it has no set of operations {section[1:]!r}"
        elif not re.search(r"\d", section):
            return f"the part {section!r} has no number"
    operations = _operations(transform)
    if any(operation.prob > 1 for operation in operations):
        return "a probability exceeds 1"
    layers = getattr(transform, "num_layers", 1)
    weighted = getattr(transform, "choice_weights", None) is not None
    if layers < 1 or (weighted and layers > len(operations)):
        return f"{layers} operations cannot be chosen out of {len(operations)}"
    if getattr(transform, "width", 1) < 1 or getattr(transform, "alpha", 1) <= 0:
        return "AugMix needs a width of 1 or more and an alpha above 0"
    unknown = [operation.name for operation in operations if not _known(operation.aug_fn.__name__)]
    return f"the operation {unknown[0]} has no version for batches here" if unknown else None


def _known(function: str) -> bool:
    return function == "gaussian_blur_rand" or has_step(function)


def _refusal(auto_augment: str, problem: str) -> UserError:
    return UserError(
        f"auto_augment={auto_augment!r} is not a policy of timm that can be used ({problem}): give for instance "
        f"{_EXAMPLES}."
    )
