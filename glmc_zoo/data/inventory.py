"""The inventory of a data set in words: what a run prints before it starts."""

from glmc_zoo.data.reading.split import ImageSplit, RawData
from glmc_zoo.facts import Inventory, LeftOutFacts, SplitFacts

_EXAMPLES_SHOWN = 2


def make_inventory(raw: RawData, splits: dict[str, ImageSplit | None]) -> Inventory | None:
    """The inventory of a source that was read, with the splits (by name) that came out of it.

    ``None`` where a library or an official list decides all of it.
    """
    if not raw.layout:
        return None
    read = {split.name: split for split in raw.sources}
    facts = []
    for name, split in splits.items():
        if split is None:
            continue
        origin = read.get(name) or SplitFacts(name=name, source="", images=0, how=_SET_ASIDE[name])
        facts.append(SplitFacts(name=name, source=origin.source, images=len(split), how=origin.how))
    groups = None if raw.train.groups is None else len(set(raw.train.groups.tolist()))
    return Inventory(
        layout=raw.layout,
        splits=facts,
        classes=len(raw.class_names),
        groups=groups,
        grouped_by=raw.grouped_by if groups is not None else None,
        left_out=raw.left_out.facts(),
        intensity=None if raw.intensity is None else raw.intensity.note,
    )


_SET_ASIDE = {
    "train": "all that is there",
    "test": "a fifth of each class, set aside",
    "validation": "held out of the training split",
}


def inventory_lines(inventory: Inventory) -> list[str]:
    """The inventory in a few lines, for the screen."""
    lines = [f"data     {inventory.layout}: {inventory.classes} classes"]
    for split in inventory.splits:
        origin = f" from {split.source}" if split.source not in ("", ".") else ""
        lines.append(f"         {split.name}: {split.images:,} images{origin} ({split.how})")
    if inventory.groups is not None:
        lines.append(f"         {inventory.groups:,} groups by {inventory.grouped_by}, each whole in one split")
    if inventory.duplicates:
        lines.append(f"         {inventory.duplicates:,} training images are the same as a test image")
    if inventory.intensity:
        lines.append(f"         {inventory.intensity}")
    if inventory.left_out:
        lines.append(f"left out {inventory.files_left_out:,} files: {'; '.join(map(_reason, inventory.left_out))}")
    return lines


def _reason(one: LeftOutFacts) -> str:
    examples = ", ".join(one.examples[:_EXAMPLES_SHOWN])
    return f"{one.files:,} {one.reason} ({examples}{', ...' if one.files > _EXAMPLES_SHOWN else ''})"
