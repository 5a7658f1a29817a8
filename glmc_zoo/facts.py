"""What the results of a run say about its data: the inventory of the source that was read."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class LeftOutFacts:
    """Files of a data set that are not used, for one reason."""

    reason: str
    files: int
    examples: list[str] = field(default_factory=list)
    """Up to five, relative to the data set's folder; bytes that are not UTF-8 are escaped."""


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split of a data set, and how it was decided."""

    name: str
    """``train``, ``test`` or ``validation``."""
    source: str
    """The folder, table or column value that the images come from."""
    images: int
    how: str
    """One phrase, such as ``the folder is called test_set``."""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What reading a source gave: layout, splits, classes, groups, and what was left out."""

    layout: str
    """Such as ``class folders below split folders`` or ``CSV file``."""
    splits: list[SplitFacts] = field(default_factory=list)
    classes: int = 0
    groups: int | None = None
    """Different values of the column or pattern that keeps images together; ``None`` without one."""
    grouped_by: str | None = None
    left_out: list[LeftOutFacts] = field(default_factory=list)
    duplicates: int | None = None
    """Training images that are the same as a test image; ``None`` where they were not compared."""
    duplicates_by: str | None = None
    """``bytes`` or ``pixels``."""
    duplicate_examples: list[str] = field(default_factory=list)
    """Up to five, as ``training file = test file``."""
    intensity: str | None = None
    """How images of more than 8 bits are scaled; ``None`` where there are none."""
    fingerprint: str | None = None
    """SHA-256 over files, labels and splits."""

    @property
    def files_left_out(self) -> int:
        """Files left out for any reason."""
        return sum(one.files for one in self.left_out)
