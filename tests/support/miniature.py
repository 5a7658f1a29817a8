"""The large data sets in miniature, each with the folder and file names, split files and columns of the real one.

Every image is noise around the colour of its class, so a test can see from the pixels whether a label is right
(`class_of`). Images and split files are the same in each call and in each layout. The complete set has ``FULL``
training images of each class, and the training list names ``LISTED`` of them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LISTED = (9, 30, 2, 14, 5)
"""Images of each class on the training list."""
VAL = 2
"""Images of each class on the validation list, and on the test list (iNaturalist's test list has three)."""
FULL = 36
"""Training images of each class in the complete set, of ImageNet and Places."""

_WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
_WNID_NAMES = (
    "tench, Tinca tinca",
    "goldfish, Carassius auratus",
    "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias",
    "tiger shark, Galeocerdo cuvieri",
    "hammerhead, hammerhead shark",
)
# In numeric order, which differs from the order of the folder names as text.
_CATEGORIES = ((13, "Amphibia"), (673, "Insecta"), (3184, "Aves"), (7228, "Plantae"), (7291, "Plantae"))
# As in the split files; "-" stands for a folder in a folder in the original archive.
_PLACES = ("airfield", "apartment_building-outdoor", "arena-hockey", "train_station-platform", "zen_garden")
_PLACES_LABELS = (0, 8, 15, 337, 364)

_LIST_NAMES = {
    "imagenet_lt": ("ImageNet_LT_train.txt", "ImageNet_LT_val.txt", "ImageNet_LT_test.txt"),
    "inat18": ("iNaturalist18_train.txt", None, "iNaturalist18_val.txt"),
    "places_lt": ("Places_LT_train.txt", "Places_LT_val.txt", "Places_LT_test.txt"),
}


@dataclass(frozen=True)
class MiniatureImage:
    """One image, and the list that names it."""

    index: int
    """Position of its class among the five."""
    number: int
    """Number of the image, which no other image of the set has."""
    listed: str | None
    """``train``, ``val`` or ``test``; ``None`` for an image that no list names."""
    mode: str = "RGB"

    @property
    def data(self) -> bytes:
        """The encoded JPEG."""
        rng = np.random.default_rng(self.number)
        width, height = int(rng.integers(44, 53)), int(rng.integers(36, 45))
        colour = 30 + 48 * self.index + np.array([15, -10, 10])
        pixels = rng.normal(colour, 12, (height, width, 3)).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(self.mode).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


@dataclass(frozen=True)
class Miniature:
    """A miniature on disk, and its expected content."""

    name: str
    """Name of the catalogue entry."""
    folder: Path
    """The ``data_dir``."""
    class_names: list[str]
    """Names of the classes, in the order of the labels."""
    lists: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Path and label of each line of the ``train``, ``val`` and ``test`` list."""

    @property
    def counts(self) -> list[int]:
        """Images of each class on the training list."""
        return list(LISTED)

    def write_lists(self, folder: Path, *, gz: bool = False, which: Iterable[str] = ("train", "val", "test")) -> Path:
        """Write the official list files into ``folder``, under their official names."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind, name in zip(("train", "val", "test"), _LIST_NAMES[self.name], strict=True):
            if name is None or kind not in which:
                continue
            text = "".join(f"{path} {label}\n" for path, label in self.lists[kind]).encode()
            if gz:
                (folder / f"{name}.gz").write_bytes(gzip.compress(text, mtime=0))
            else:
                (folder / name).write_bytes(text)
        return folder


def class_of(image: Image.Image) -> int:
    """Which of the five classes an image shows, by its brightness. The colour does not count: one image is grey."""
    grey = np.asarray(image.convert("RGB").convert("L"), dtype=float)
    return int(np.argmin([abs(grey.mean() - (30 + 48 * index)) for index in range(5)]))


def imagenet(
    folder: Path, *, flat_val: bool = False, cls_loc: bool = False, lists: Path | None = None, gz: bool = False
) -> Miniature:
    """Write ``train/WNID/*.JPEG`` and ``val/WNID/*.JPEG``, or a flat ``val/*.JPEG``.

    Args:
        folder: Root of the data set; created.
        flat_val: Whether ``val`` has no class folders.
        cls_loc: Whether both are below ``ILSVRC/Data/CLS-LOC``.
        lists: Folder for the official lists; none are written by default.
        gz: Whether the lists are compressed.
    """
    root = folder / "ILSVRC" / "Data" / "CLS-LOC" if cls_loc else folder
    for image in _thinned_images():
        path = _imagenet_path(image)
        if flat_val and image.listed == "test":
            path = f"val/{Path(path).name}"
        _write(root / path, image)
    return _with_lists(_imagenet_miniature(folder), lists, gz)


def imagenet_hub(folder: Path, *, shards: int = 2, lists: Path | None = None, gz: bool = False) -> Miniature:
    """Write the Hub repository ``ILSVRC/imagenet-1k`` as downloaded: a card, and parquet files below ``data``.

    As on the Hub, rows are shuffled, file names end in the class (``n01440764_10026_n01440764.JPEG``), and the test
    split has no labels (-1).
    """
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(_WNID_NAMES))})
    splits: dict[str, list[tuple[dict[str, Any], int]]] = {"train": [], "validation": [], "test": []}
    for image in _thinned_images():
        stem = Path(_imagenet_path(image)).stem
        record = {"bytes": image.data, "path": f"{stem}_{_WNIDS[image.index]}.JPEG"}
        splits["validation" if image.listed == "test" else "train"].append((record, image.index))
    for number in range(1, 4):
        data = MiniatureImage(2, 90_000 + number, None).data
        splits["test"].append(({"bytes": data, "path": f"ILSVRC2012_test_{number:08d}.JPEG"}, -1))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        order = np.random.default_rng(5).permutation(len(rows))
        parts = shards if split == "train" else 1
        for part, positions in enumerate(np.array_split(order, parts)):
            columns = {"image": [rows[i][0] for i in positions], "label": [rows[i][1] for i in positions]}
            table = datasets.Dataset.from_dict(columns, features=features)
            table.to_parquet(str(folder / "data" / f"{split}-{part:05d}-of-{parts:05d}.parquet"))
    (folder / "README.md").write_text(_hub_card({split: len(rows) for split, rows in splits.items()}), encoding="utf-8")
    return _with_lists(_imagenet_miniature(folder, list(_WNID_NAMES)), lists, gz)


def inat18(folder: Path, *, json_files: bool = True, lists: Path | None = None, gz: bool = False) -> Miniature:
    """Write ``train_val2018/SUPER/CATEGORY/HASH.jpg`` of both splits, and the annotation files of the competition."""
    entries: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for index, (category, parent) in enumerate(_CATEGORIES):
        for position in range(LISTED[index] + 3):
            kind = "train" if position < LISTED[index] else "test"
            image = MiniatureImage(index, 50_000 + 1000 * index + position, kind)
            name = hashlib.md5(str(image.number).encode()).hexdigest()
            path = f"train_val2018/{parent}/{category}/{name}.jpg"
            _write(folder / path, image)
            entries[kind].append((path, category))
    for kind, rows in entries.items():
        entries[kind] = [rows[i] for i in np.random.default_rng(6).permutation(len(rows))]
    if json_files:
        for kind, name in (("train", "train2018.json"), ("test", "val2018.json")):
            (folder / name).write_text(json.dumps(_coco(entries[kind])), encoding="utf-8")
    mini = Miniature("inat18", folder, [str(category) for category, _ in _CATEGORIES], entries)
    return _with_lists(mini, lists, gz)


def places_lt(
    folder: Path, *, prefix: str = "train", nested: bool = False, lists: Path | None = None, gz: bool = False
) -> Miniature:
    """Write Places365 in one of its two forms. The paths of the lists begin like those of the folders.

    Args:
        folder: Root of the data set; created.
        prefix: ``train`` for ``train/airfield/00004851.jpg`` and ``val/airfield/Places365_val_00003597.jpg``, or
            ``data_256`` for ``data_256/a/airfield/00004851.jpg`` and ``val_256/Places365_val_00003597.jpg``.
        nested: Whether folders are ``apartment_building/outdoor`` instead of ``apartment_building-outdoor``; with
            ``data_256`` they always are.
        lists: Folder for the official lists; none are written by default.
        gz: Whether the lists are compressed.
    """
    archive = prefix == "data_256"
    entries: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    for image in _thinned_images():
        place = _PLACES[image.index]
        inner = place.replace("-", "/", 1) if archive or nested else place
        if image.listed == "test":
            name = f"Places365_val_{image.number:08d}.jpg"
            path = f"val_256/{name}" if archive else f"val/{inner}/{name}"
        else:
            # Numbers start again in each class, so a file name alone does not identify an image.
            name = f"{image.number % 1000 + 1:08d}.jpg"
            path = f"data_256/{place[0]}/{inner}/{name}" if archive else f"train/{inner}/{name}"
        _write(folder / path, image)
        if image.listed:
            # The lists for this form always have a dash in the class, even if the folders are nested.
            listed = path.replace(inner, place) if nested and not archive else path
            entries[image.listed].append((listed, _PLACES_LABELS[image.index]))
    return _with_lists(Miniature("places_lt", folder, list(_PLACES), entries), lists, gz)


def _thinned_images() -> list[MiniatureImage]:
    """Images of ImageNet and Places: in each class the training images, listed or not, then the test images."""
    images = []
    for index, count in enumerate(LISTED):
        kinds = ["train"] * count + ["val"] * VAL + [None] * (FULL - VAL - count)
        for position, kind in enumerate(np.random.default_rng(index).permutation(FULL)):
            images.append(MiniatureImage(index, 10_000 + 1000 * index + position, kinds[kind]))
        images += [MiniatureImage(index, 20_000 + 1000 * index + position, "test") for position in range(VAL)]
    # The real data set has grey and CMYK images too.
    modes = {next(i for i, p in enumerate(images) if p.index == 1 and p.listed == "train"): "L"}
    modes[next(i for i, p in enumerate(images) if p.index == 3 and p.listed == "train")] = "CMYK"
    return [MiniatureImage(p.index, p.number, p.listed, modes.get(i, "RGB")) for i, p in enumerate(images)]


def _imagenet_path(image: MiniatureImage) -> str:
    wnid = _WNIDS[image.index]
    if image.listed == "test":
        return f"val/{wnid}/ILSVRC2012_val_{image.number:08d}.JPEG"
    return f"train/{wnid}/{wnid}_{image.number}.JPEG"


def _imagenet_miniature(folder: Path, class_names: list[str] | None = None) -> Miniature:
    entries: dict[str, list[tuple[str, int]]] = {"train": [], "val": [], "test": []}
    for image in _thinned_images():
        if image.listed:
            entries[image.listed].append((_imagenet_path(image), image.index))
    return Miniature("imagenet_lt", folder, class_names or list(_WNIDS), entries)


def _with_lists(mini: Miniature, lists: Path | None, gz: bool) -> Miniature:
    if lists is not None:
        mini.write_lists(lists, gz=gz)
    return mini


def _write(path: Path, image: MiniatureImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image.data)


def _coco(entries: list[tuple[str, int]]) -> dict[str, Any]:
    """The annotation file of the competition. Images and annotations are in different orders."""
    return {
        "info": {"description": "This is the 2018 FGVC Competition dataset.", "year": 2018},
        "images": [
            {"id": 7000 + i, "file_name": path, "width": 48, "height": 40, "license": 1, "rights_holder": "somebody"}
            for i, (path, _) in enumerate(entries)
        ],
        "licenses": [{"id": 1, "name": "CC BY-NC"}],
        "annotations": [
            {"id": 7000 + i, "image_id": 7000 + i, "category_id": label}
            for i, (_, label) in reversed(list(enumerate(entries)))
        ],
        "categories": [{"id": number, "name": str(number), "supercategory": parent} for number, parent in _CATEGORIES],
    }


def _hub_card(rows: dict[str, int]) -> str:
    """The card of the data set on the Hub, with its front matter."""
    import yaml

    names = {str(index): name for index, name in enumerate(_WNID_NAMES)}
    features = [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": names}}},
    ]
    info = {
        "features": features,
        "splits": [{"name": split, "num_bytes": 1000 * count, "num_examples": count} for split, count in rows.items()],
    }
    configs = [
        {"config_name": "default", "data_files": [{"split": s, "path": f"data/{s}-*"} for s in rows]},
    ]
    head = {
        "license": "other",
        "task_categories": ["image-classification"],
        "pretty_name": "ImageNet",
        "dataset_info": info,
        "configs": configs,
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# Dataset Card for ImageNet\n"


def check_images(data: Any) -> None:
    """Assert that every label is the class that its image shows."""
    for split in filter(None, (data.train, data.test, data.val)):
        assert [class_of(image) for image in split.images(range(len(split)))] == split.labels.tolist()
