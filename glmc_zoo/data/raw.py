"""A data set as it was found, before anything is chosen from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glmc_zoo.data.images import ImageSource

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RawData", "RawSplit"]


@dataclass
class RawSplit:
    """Pictures and classes of one part, before anything is chosen from it."""

    source: ImageSource
    labels: NDArray[np.int64]
    """Class of every row of ``source``, shape (rows,)."""
    rows: NDArray[np.int64]
    """The rows of ``source`` that belong to the part."""


@dataclass
class RawData:
    """A data set as it was found."""

    class_names: list[str]
    train: RawSplit
    test: RawSplit | None
    license: str = "unknown"
    notes: list[str] = field(default_factory=list)
    """Decisions taken on the user's behalf, one sentence each."""
    val: RawSplit | None = None
    """Where the set comes with a held-out part of its own, and it was asked for."""

    @property
    def parts(self) -> list[RawSplit]:
        """Those that are there."""
        return [part for part in (self.train, self.test, self.val) if part is not None]
