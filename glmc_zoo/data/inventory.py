"""The inventory of a data set in words: what a run prints before it starts."""

from glmc_zoo.data.duplicates import Duplicates, same_images
from glmc_zoo.data.groups import GroupFacts
from glmc_zoo.data.reading.inventory import reason_text
from glmc_zoo.data.reading.split import ImageSplit, RawData
from glmc_zoo.facts import Inventory, SplitFacts
from glmc_zoo.text import counted, printable


def make_inventory(
    raw: RawData,
    splits: dict[str, ImageSplit | None],
    groups: GroupFacts | None = None,
    duplicates: Duplicates | None = None,
) -> Inventory | None:
    """The inventory of a data set that was read and of the splits (by name) that were made from it.

    ``None`` for a data set whose splits a library or an official list defines.
    """
    if not raw.layout:
        return None
    sources = {split.name: split for split in raw.sources}
    duplicates = duplicates or Duplicates()
    aside = _SET_ASIDE if groups is None else _SET_ASIDE_WHOLE
    facts = []
    for name, split in splits.items():
        if split is None:
            continue
        origin = sources.get(name) or SplitFacts(name=name, source="", images=0, how=aside[name])
        facts.append(SplitFacts(name=name, source=origin.source, images=len(split), how=origin.how))
    return Inventory(
        layout=raw.layout,
        splits=facts,
        classes=len(raw.class_names),
        groups=None if groups is None else groups.groups,
        grouped_by=None if groups is None else raw.grouped_by,
        left_out=raw.left_out.facts(),
        intensity=None if raw.intensity is None else raw.intensity.note,
        duplicates=duplicates.images,
        duplicates_by=duplicates.by,
        duplicate_examples=duplicates.examples,
    )


_SET_ASIDE = {
    "train": "all that is there",
    "test": "about a fifth, set aside by the content of the images",
    "validation": "held out of the training split",
}
_SET_ASIDE_WHOLE = _SET_ASIDE | {"test": "about a fifth, set aside in whole groups"}


def inventory_lines(inventory: Inventory) -> list[str]:
    """The inventory in a few lines, for the screen."""
    lines = [f"data     {inventory.layout}: {counted(inventory.classes, 'class')}"]
    for split in inventory.splits:
        origin = f" from {split.source}" if split.source not in ("", ".") else ""
        lines.append(f"         {split.name}: {counted(split.images, 'image')}{origin} ({split.how})")
    if inventory.groups is not None:
        lines.append(
            f"         {counted(inventory.groups, 'group')} by {inventory.grouped_by}, kept whole where a split is made"
        )
    if inventory.duplicates:
        lines.append(f"         {same_images(inventory.duplicates)}")
    if inventory.intensity:
        lines.append(f"         {inventory.intensity}")
    if inventory.left_out:
        lines.append(
            f"left out {counted(inventory.files_left_out, 'file')}: {'; '.join(map(reason_text, inventory.left_out))}"
        )
    return list(map(printable, lines))
