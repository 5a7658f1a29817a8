"""The augmentation of each view after its crop: chosen on the CPU by sample seeds, applied on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from glmc_zoo.data.feeding.augmentation import BatchParams
from glmc_zoo.data.feeding.erasing import Eraser, make_eraser, sample_boxes
from glmc_zoo.data.feeding.policies import Policy, PolicyParams, make_policy


class ViewParams(NamedTuple):
    """The augmentation that one view of a batch still needs, in the order in which it is applied."""

    policy: PolicyParams | None = None
    """Operations of a policy of timm, on uint8 images."""
    augmentation: BatchParams | None = None
    """Colour jitter, grey, blur and mirroring of large images, and normalisation."""
    erased: Tensor | None = None
    """Rectangles that are erased after the normalisation, int64 of shape (B, 4), see `Box`."""


@dataclass(frozen=True)
class ViewAugmentation:
    """The augmentations that come after the crop for images of any kind; see `train_transform`."""

    policy: Policy | None = None
    eraser: Eraser | None = None

    def sample_params(
        self, sample_seeds: Sequence[int], views: int, size: int, augmentation: Sequence[BatchParams] | None = None
    ) -> tuple[ViewParams, ...] | None:
        """Draw the augmentation of each view of a batch.

        Args:
            sample_seeds: A seed for each of the B images. The result depends on it and on the number of the view alone.
            views: Number of views of each image.
            size: Height and width of the square crops in pixels.
            augmentation: For images that are not decoded to one small size: the parameters of `LargeTrainTransform`
                for each view.

        Returns:
            The parameters of each view; ``None`` if nothing is applied after the crop.
        """
        if self.policy is None and self.eraser is None and augmentation is None:
            return None
        return tuple(
            ViewParams(
                policy=None if self.policy is None else self.policy.sample_params(sample_seeds, view),
                augmentation=None if augmentation is None else augmentation[view],
                erased=None if self.eraser is None else sample_boxes(self.eraser, sample_seeds, view, size),
            )
            for view in range(views)
        )


NO_MORE = ViewAugmentation()
"""No augmentation by a policy or by erasing."""


def make_view_augmentation(
    size: int,
    *,
    interpolation: str = "bicubic",
    auto_augment: str | None = None,
    random_erasing: float | None = None,
    cutout: int | None = None,
) -> ViewAugmentation:
    """Make the augmentation after the crop; for the arguments see `train_transform`.

    Raises:
        UserError: A value is not possible.
    """
    policy = None if auto_augment is None else make_policy(auto_augment, size, interpolation)
    return ViewAugmentation(policy, make_eraser(random_erasing, cutout))
