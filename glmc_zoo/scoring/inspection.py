"""The command ``glmc-zoo inspect``: describes a data set on the screen, and on a page with some of its images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glmc_zoo.data import ImageSplit
from glmc_zoo.data.contents import DataContents, ImageFacts, read_contents, read_headers
from glmc_zoo.data.duplicates import same_images
from glmc_zoo.data.near_duplicates import NearDuplicate, near_duplicates
from glmc_zoo.data.reading.images import image_name
from glmc_zoo.data.thumbnails import make_thumbnails
from glmc_zoo.errors import UserError, for_screen
from glmc_zoo.facts import Inventory
from glmc_zoo.files import text_table
from glmc_zoo.metrics import GROUPS, group_of_classes, tercile_thresholds
from glmc_zoo.notebook import table_html
from glmc_zoo.options.commands import InspectionOptions, InspectOptions
from glmc_zoo.options.images import ShotOptions
from glmc_zoo.results import Thresholds
from glmc_zoo.scoring.inspection_page import write_page
from glmc_zoo.scoring.report import one_group_note
from glmc_zoo.text import counted, printable

_PAGE = "inspection.html"
_MAX_PAIRS = 50
_PAIRS_SHOWN = 5  # on the screen


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The content of a data set, as `glmc_zoo.inspect` returns it."""

    name: str
    """Name of the data set."""
    inventory: Inventory
    """Layout, splits, and the files that were left out."""
    class_names: list[str]
    class_counts: dict[str, list[int]]
    """Number of images of each class, by split: those of ``train``, ``validation`` and ``test`` that exist."""
    thresholds: Thresholds
    """Thresholds of the shot groups."""
    groups: list[str] | None
    """Shot group of each class; ``None`` without a training split."""
    images: ImageFacts
    """Formats, modes and sizes of the images."""
    near_duplicates: int | None
    """Number of pairs of images that look alike; ``None`` where they were not searched."""
    near_duplicate_examples: list[str]
    """Up to fifty such pairs, as ``file = file (2 bits differ)``, the most similar first."""
    notes: list[str]
    """Notes on the data, a sentence each."""
    refusal: str | None
    """Why training would refuse the data set, in one sentence; ``None`` where it would not."""
    page: Path | None
    """The HTML page; ``None`` where none was written."""

    @property
    def order(self) -> list[int]:
        """The classes in the order of their images, the largest first, in the training split or else the first one."""
        counts = self.class_counts.get("train") or next(iter(self.class_counts.values()))
        return sorted(range(len(counts)), key=lambda label: -counts[label])

    def _repr_html_(self) -> str:
        """The table that a notebook shows: images of each class in each split."""
        rows = [
            [self.class_names[label], *(f"{counts[label]:,}" for counts in self.class_counts.values())]
            for label in self.order
        ]
        return table_html(["class", *self.class_counts], rows, caption=f"Images of {self.name}, by class")


def inspect_data(options: InspectOptions, *, write: bool = True) -> Inspection:
    """Read a data set, print its content, and write the page if ``write`` is true.

    Raises:
        UserError: The data set cannot be read, an option does not fit it, or the page exists or cannot be written.
    """
    page = _free_page(options.inspection) if write else None
    contents = read_contents(options.data)
    inspection = _inspect(contents, options, page)
    for line in inspection_lines(inspection):
        print(line)
    if page is not None:
        thumbnails = make_thumbnails(list(contents.splits.values()), inspection.order, options.inspection.examples)
        write_page(page, inspection, thumbnails)
        print(printable(f"page     {page}"))
    return inspection


def _free_page(options: InspectionOptions) -> Path:
    """The file of the page: without ``output`` the first that does not exist; else an existing file is refused."""
    if options.output is None:
        name = Path(_PAGE)
        numbered = (name.with_stem(f"{name.stem}-{number}") for number in range(2, 10_000))
        if options.overwrite and not name.is_dir():
            return name
        return next(page for page in (name, *numbered) if not page.exists())
    page = Path(options.output)
    if page.is_dir() or page.suffix.lower() not in (".html", ".htm"):
        page = page / _PAGE
    if page.exists() and not (options.overwrite and page.is_file()):
        advice = "give another output=, or overwrite=True" if page.is_file() else "give another output="
        raise UserError(f"output={str(page)!r} exists already: {advice}.")
    return page


def _inspect(contents: DataContents, options: InspectOptions, page: Path | None) -> Inspection:
    counts = {name: split.class_counts for name, split in contents.splits.items()}
    train = counts.get("train")
    thresholds = Thresholds(many=options.shots.many_threshold, few=options.shots.few_threshold)
    if train is not None and options.shots.groups == "terciles":
        many, few = tercile_thresholds(train)
        thresholds = Thresholds(many=many, few=few)
    similar_pairs, distance, notes = None, options.inspection.near_duplicates, list(contents.notes)
    if distance is not None:
        similar_pairs = near_duplicates(contents.splits, distance=distance, limit=_MAX_PAIRS)
        if similar_pairs.unreadable:
            unreadable = counted(similar_pairs.unreadable, "image")
            notes.append(f"The search for near-duplicates leaves out {unreadable} that cannot be read.")
    groups = None
    if train is not None:
        group_indices = group_of_classes(train, many=thresholds.many, few=thresholds.few)
        groups = [GROUPS[number] for number in group_indices.tolist()]
    return Inspection(
        name=contents.name,
        inventory=contents.inventory,
        class_names=contents.class_names,
        class_counts=counts,
        thresholds=thresholds,
        groups=groups,
        images=read_headers(list(contents.splits.values())),
        near_duplicates=None if similar_pairs is None else similar_pairs.total,
        near_duplicate_examples=[]
        if similar_pairs is None
        else [_pair_text(pair, contents.splits) for pair in similar_pairs.pairs],
        notes=[*notes, *_group_note(train, options.shots)],
        refusal=contents.refusal,
        page=page,
    )


def _pair_text(pair: NearDuplicate, splits: Mapping[str, ImageSplit]) -> str:
    images = [(splits[name], position) for name, position in (pair.first, pair.second)]
    first, second = (image_name(split.source, int(split.rows[position])) for split, position in images)
    return f"{first} = {second} ({pair.distance} {'bit differs' if pair.distance == 1 else 'bits differ'})"


def _group_note(class_counts: list[int] | None, shots: ShotOptions) -> list[str]:
    return [] if class_counts is None else one_group_note(class_counts, shots)


def inspection_lines(inspection: Inspection) -> list[str]:
    """The lines of the inspection for the screen."""
    inventory = inspection.inventory
    lines = [f"data     {printable(inspection.name)}: {inventory.layout}, {counted(inventory.classes, 'class')}"]
    for split in inventory.splits:
        source_text = f" from {split.source}" if split.source not in ("", ".") else ""
        lines.append(printable(f"         {split.name}: {counted(split.images, 'image')}{source_text} ({split.how})"))
    for heading, fact in image_lines(inspection):
        lines.append(f"{heading:<9}{printable(fact)}")
    lines += ["", *class_table(inspection).splitlines(), ""]
    if inventory.files_left_out:
        lines.append(f"left out {counted(inventory.files_left_out, 'file')}")
    for group in inventory.left_out:
        ellipsis = ", ..." if group.files > len(group.examples) else ""
        lines.append(printable(f"         {group.files:,} {group.reason}: {', '.join(group.examples)}{ellipsis}"))
    lines += [f"note: {printable(for_screen(note))}" for note in inspection.notes]
    if inspection.refusal is not None:
        lines.append(f"training would refuse this data set: {printable(for_screen(inspection.refusal))}")
    return lines


def class_table(inspection: Inspection) -> str:
    """The table of the classes for the screen: name, images in each split and shot group, the largest class first."""
    rows = [["class", *inspection.class_counts, *([] if inspection.groups is None else ["shot group"])]]
    for label in inspection.order:
        numbers = [f"{counts[label]:,}" for counts in inspection.class_counts.values()]
        group = [] if inspection.groups is None else [inspection.groups[label]]
        rows.append([printable(inspection.class_names[label]), *numbers, *group])
    return text_table(rows)


def image_lines(inspection: Inspection, pairs: int = _PAIRS_SHOWN) -> list[tuple[str, str]]:
    """Headings and facts about the images: formats, modes, sizes, groups, duplicates and ``pairs`` that look alike."""
    images, inventory = inspection.images, inspection.inventory
    header_note = f" (headers of {images.images:,} of {images.total:,} images)" if images.images < images.total else ""
    lines = [("formats", f"{_counts_text(images.formats)}{header_note}"), ("modes", _counts_text(images.modes))]
    if images.widths is not None and images.heights is not None:
        width, height = (f"{low} to {high} (median {middle})" for low, middle, high in (images.widths, images.heights))
        lines.append(("sizes", f"width {width}, height {height} pixels"))
    if images.unreadable:
        unless = for_screen("skip_bad_images=True")
        problem = f"cannot be read, and a training stops at them unless it has {unless}"
        examples_text = ", ".join(images.unreadable_examples)
        lines.append(
            ("damaged", f"{images.unreadable:,} of {counted(images.images, 'image')} {problem}: {examples_text}")
        )
    if inventory.intensity:
        lines.append(("range", inventory.intensity))
    if inventory.groups is not None:
        lines.append(("groups", f"{inventory.groups:,} by {inventory.grouped_by}, each whole in one split"))
    if inventory.duplicates is not None:
        lines.append(("same", _duplicates_text(inventory)))
    if inspection.near_duplicates is not None:
        examples = inspection.near_duplicate_examples[:pairs]
        listed = [*examples, *(["..."] if inspection.near_duplicates > len(examples) else [])]
        examples_text = f": {'; '.join(listed)}" if listed else ""
        verb = "looks" if inspection.near_duplicates == 1 else "look"
        lines.append(("alike", f"{counted(inspection.near_duplicates, 'pair')} of images {verb} alike{examples_text}"))
    return lines


def _duplicates_text(inventory: Inventory) -> str:
    assert inventory.duplicates is not None
    text = same_images(inventory.duplicates, by=inventory.duplicates_by)
    return text + (f": {'; '.join(inventory.duplicate_examples)}" if inventory.duplicate_examples else "")


def _counts_text(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "none"
