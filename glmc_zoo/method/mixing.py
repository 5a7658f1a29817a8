"""The two mixed views of a batch: MixUp as the global view, CutMix as the local one (GLMC, section 3.1)."""

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glmc_zoo.method.switches import TwoViews

Box = tuple[int, int, int, int]
MixKind = Literal["mixup", "cutmix"]


def area_lam(box: Box, height: int, width: int) -> float:
    """Share of a ``height`` x ``width`` image that stays outside ``box = (top, bottom, left, right)``."""
    top, bottom, left, right = box
    return 1.0 - (bottom - top) * (right - left) / (height * width)


class Mix(NamedTuple):
    """How one whole batch is mixed."""

    lam: float  # share of the first image
    box: Box  # the CutMix rectangle in pixels, ends excluded
    size: tuple[int, int] | None = None  # height and width of the images
    kind: MixKind = "mixup"  # of a batch with one view; two views are told by ``views`` of `mix_views`

    @property
    def area_lam(self) -> float:
        """Share of the first image that is left after pasting, from the clipped box; it needs the image size."""
        if self.size is None:
            raise ValueError("area_lam needs the image size: make the Mix with size=(height, width).")
        return area_lam(self.box, *self.size)


class MixedBatch(NamedTuple):
    """One mixed view of a batch: images ``(B, channels, H, W)``, and plain and re-weighted soft labels ``(B, C)``."""

    images: Tensor
    labels: Tensor
    weighted_labels: Tensor


class MixedViews(NamedTuple):
    """Both views of a batch with their soft labels: images ``(B, channels, H, W)``, labels ``(B, C)``."""

    global_images: Tensor
    local_images: Tensor
    global_labels: Tensor
    local_labels: Tensor
    global_weighted_labels: Tensor
    local_weighted_labels: Tensor


def cut_box(height: int, width: int, lam: float, centre: tuple[int, int]) -> Box:
    """The CutMix box around ``centre = (row, column)``, clipped to the image.

    Each half side is ``ceil(side * sqrt(1 - lam)) // 2`` pixels, so a ``lam`` near 1 gives an empty box.

    Returns:
        ``(top, bottom, left, right)`` in pixels, ends excluded.
    """
    ratio = math.sqrt(1.0 - lam)
    half_height, half_width = math.ceil(height * ratio) // 2, math.ceil(width * ratio) // 2
    row, column = centre
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    return top, bottom, left, right


def draw_mix(height: int, width: int, *, beta: float = 1.0, generator: torch.Generator | None = None) -> Mix:
    """Draw ``lam`` from Beta(beta, beta) and a box whose centre is uniform over the pixels.

    The random numbers come from ``generator``, a CPU generator, or else from torch's global one.
    """
    if beta <= 0:
        raise ValueError(f"beta must be positive, got {beta}.")
    # torch has no Beta distribution that takes a generator; one torch draw seeds NumPy's.
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    lam = float(rng.beta(beta, beta))
    centre = (int(rng.integers(height)), int(rng.integers(width)))
    return Mix(lam, cut_box(height, width, lam, centre), (height, width))


def _mixup(first: Tensor, second: Tensor, mix: Mix) -> Tensor:
    return first.mul(mix.lam).add_(second, alpha=1.0 - mix.lam)


def _cutmix(first: Tensor, second: Tensor, mix: Mix) -> Tensor:
    top, bottom, left, right = mix.box
    images = first.clone()
    images[..., top:bottom, left:right] = second[..., top:bottom, left:right]
    return images


_MIX = {"mixup": _mixup, "cutmix": _cutmix}


def _mix_labels(targets: Tensor, second_targets: Tensor, lam: float, weights: Tensor) -> Tensor:
    first, second = (
        F.one_hot(labels, len(weights)).to(weights.dtype) * weights for labels in (targets, second_targets)
    )
    return first.mul_(lam).add_(second, alpha=1.0 - lam)


def mix_views(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    targets: Tensor,
    second_targets: Tensor,
    mix: Mix,
    *,
    num_classes: int,
    class_weights: Tensor | None = None,
    correct_lam: bool = False,
    views: TwoViews = "mixup_cutmix",
) -> MixedViews:
    """Mix two batches into the global and the local view, with plain and re-weighted soft labels.

    The inputs are not changed. Source: GLMC, section 3.1, equations 1 to 4.

    Args:
        first: The plainly shuffled batch, as it goes into the (global, local) view: float ``(B, channels, H, W)`` each.
        second: The re-balanced batch, likewise.
        targets: Classes of ``first``, int64 ``(B,)``.
        second_targets: Those of ``second``.
        mix: ``lam`` and box, for all images of the batch.
        num_classes: ``C``.
        class_weights: Weight of each class ``(C,)`` for the re-weighted labels; all 1 when absent.
        correct_lam: Label the local view by the area that was really pasted. The published numbers keep the nominal
            ``lam`` although the box is clipped at the border.
        views: How the global and the local view are mixed; with one kind for both, only their augmentations differ.
    """
    if views not in get_args(TwoViews):
        raise ValueError(f"views must be one of {', '.join(get_args(TwoViews))}, got {views!r}.")
    kinds = ("mixup", "cutmix") if views == "mixup_cutmix" else (views, views)
    images = [_MIX[kind](image, partner, mix) for kind, image, partner in zip(kinds, first, second, strict=True)]
    cutmix_lam = area_lam(mix.box, *first[1].shape[-2:]) if correct_lam else mix.lam
    lams = [mix.lam if kind == "mixup" else cutmix_lam for kind in kinds]
    ones = torch.ones(num_classes, device=targets.device, dtype=images[0].dtype)
    weights = ones if class_weights is None else class_weights.to(ones)
    # Mostly both views have the same share, and so share their labels.
    labels = {
        lam: [_mix_labels(targets, second_targets, lam, class_scale) for class_scale in (ones, weights)]
        for lam in set(lams)
    }
    (global_labels, global_weighted), (local_labels, local_weighted) = (labels[lam] for lam in lams)
    return MixedViews(images[0], images[1], global_labels, local_labels, global_weighted, local_weighted)


def partner_share(views: str, beta: float, *, correct_lam: bool = False, unmixed_share: float = 0.0) -> float:
    """Mean share of the partners in the labels of a training, over all steps and views.

    It is 1/2 for the nominal mixing share. With ``correct_lam``, CutMix labels have the share of the area that is
    really pasted, which is less because the box is clipped: on a side of length 1, a box of side ``r`` around a uniform
    centre covers ``r - r ** 2 / 4`` on average, and ``r ** 2`` has the Beta distribution of the mixing share.

    Args:
        views: How a step mixes: ``mixup``, ``cutmix``, or both in equal parts.
        beta: Both parameters of the Beta distribution.
        correct_lam: Whether CutMix labels have the share of the pasted area.
        unmixed_share: Share of the batches that are not mixed.
    """
    pasted = 0.5
    if correct_lam:
        pasted = _beta_moment(beta, 1) - _beta_moment(beta, 1.5) / 2 + _beta_moment(beta, 2) / 16
    shares = {"mixup": 0.5, "cutmix": pasted}
    return (1 - unmixed_share) * shares.get(views, (0.5 + pasted) / 2)


def _beta_moment(beta: float, power: float) -> float:
    """Mean of ``x ** power`` for ``x`` of the distribution Beta(beta, beta)."""
    log_gamma = math.lgamma
    moment = log_gamma(beta + power) - log_gamma(beta) + log_gamma(2 * beta) - log_gamma(2 * beta + power)
    return math.exp(moment)


def mix_batch(
    first: Tensor,
    second: Tensor,
    targets: Tensor,
    second_targets: Tensor,
    mix: Mix,
    *,
    num_classes: int,
    class_weights: Tensor | None = None,
    correct_lam: bool = False,
) -> MixedBatch:
    """Mix two batches into one view by ``mix.kind``; the arguments are those of `mix_views`, with one view each.

    Sources: Zhang et al., mixup, ICLR 2018, equation 1; Yun et al., CutMix, ICCV 2019, equation 1.
    """
    images = _MIX[mix.kind](first, second, mix)
    lam = area_lam(mix.box, *first.shape[-2:]) if correct_lam and mix.kind == "cutmix" else mix.lam
    ones = torch.ones(num_classes, device=targets.device, dtype=images.dtype)
    labels = _mix_labels(targets, second_targets, lam, ones)
    weighted = labels if class_weights is None else _mix_labels(targets, second_targets, lam, class_weights.to(ones))
    return MixedBatch(images, labels, weighted)
