"""Images of more than 8 bits a channel: the values that become black and white."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmc_zoo.results import DataFacts

# Depths that cameras and scanners have.
_DEPTHS = (8, 10, 12, 14, 16)
_TABLE = 1 << 16


@dataclass(frozen=True)
class Intensity:
    """The values that become black and white, for images of more than 8 bits a channel."""

    low: float
    high: float
    by_user: bool = False
    """Whether the user set the range: then values beyond it become black or white. Otherwise an image with values
    beyond it is scaled by a wider range of its own, so that nothing is cut off."""

    @classmethod
    def of(cls, facts: DataFacts | None) -> "Intensity | None":
        """The range that a run stored with the facts about its data; ``None`` where it stored none."""
        if facts is None or facts.intensity_range is None:
            return None
        low, high = facts.intensity_range
        return cls(low, high, by_user=facts.intensity_given)

    def facts(self) -> dict[str, Any]:
        """The fields of `DataFacts` that store the range."""
        return {"intensity_range": [self.low, self.high], "intensity_given": self.by_user}

    @property
    def note(self) -> str:
        """One sentence for the user."""
        return f"Images of more than 8 bits are scaled from {_number(self.low)}..{_number(self.high)} to 0..255."

    def scale(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """``values`` of any shape, integers or floats, as 0..255, rounded; values that are not finite become black."""
        low, high = self.low, self.high
        if not self.by_user and (limits := finite_limits(values)) is not None:
            low, high = min(low, limits[0]), max(high, limits[1])
        if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
            pixels: NDArray[np.uint8] = _table(low, high)[values]
            return pixels
        return _scaled(values, low, high)


@dataclass
class ValueRange:
    """The smallest and largest values of some images."""

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    """Whether all values are integers by their type."""

    def add(self, values: NDArray[Any], *, full: bool = False) -> None:
        """Take the values of one image in; with ``full``, its format has scaled them to 0..65535 already."""
        self.whole &= values.dtype.kind in "ui"
        limits = finite_limits(values)
        if limits is not None:
            self.low, self.high = min(self.low, limits[0]), max(self.high, limits[1])
        if full:
            self.low, self.high = min(self.low, 0), max(self.high, _TABLE - 1)

    def intensity(self) -> Intensity:
        """The range that these images are scaled by.

        For integers the smallest depth of 8, 10, 12, 14, 16 or more bits that holds the largest value; for floats 0..1
        or 0..255 where all values lie there; else the smallest to the largest value.
        """
        low, high = self.low, self.high
        if low > high:  # no finite value at all
            return Intensity(0, 1)
        if self.whole and low >= 0:
            bits = int(high).bit_length()
            return Intensity(0, (1 << next((depth for depth in _DEPTHS if depth >= bits), bits)) - 1)
        if not self.whole and low >= 0 and high <= 255:
            return Intensity(0, 1 if high <= 1 else 255)
        return Intensity(low, high)


def image_intensity(values: NDArray[Any], *, full: bool) -> Intensity:
    """The range of a single image, used if the range of its data set is not known."""
    values_range = ValueRange()
    values_range.add(values, full=full)
    return values_range.intensity()


def finite_limits(values: NDArray[Any]) -> tuple[float, float] | None:
    """Smallest and largest value, without NaN and infinities; ``None`` without any value."""
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else None


@lru_cache(maxsize=8)
def _table(low: float, high: float) -> NDArray[np.uint8]:
    """The result for each value of 16 bits."""
    return _scaled(np.arange(_TABLE), low, high)


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    above = np.nan_to_num(values.astype(np.float64), nan=low, posinf=low, neginf=low) - low
    # An image of one value everywhere has no range: it becomes black.
    pixels: NDArray[np.uint8] = np.rint(above * 255 / (high - low or 1)).clip(0, 255).astype(np.uint8)
    return pixels


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.6g}"
