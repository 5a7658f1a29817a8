"""Make the embedded data set ``clothing_small`` from the clothing images.

    python benchmarks/make_clothing_small.py DATA/clothing

The classes keep their order by size, and get from 200 down to 5 training images. The test split gets at most 30 images
of each class. If a class has more images than are taken, the senders take turns, so that a few images show many
backgrounds. Images are scaled to 128 pixels on the short side.

The two files of the repository were made with Pillow 13.0.0. Another version may write other bytes, but it takes the
same images.
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).resolve().parents[1] / "glmc_zoo" / "data" / "embedded" / "clothing_small" / "data"
SHA256 = {
    "train": "afd63d1ba94980cc7546ac0f8670e3f2134f512b36f45b9dd0f11ea20b774c9a",
    "test": "20f53609df0bd4362b8b7d6bb159c500355d61174b30c7b6adb76b762248bdfd",
}
"""SHA-256 of the two files of the repository."""
LARGEST, SMALLEST, MAX_TEST_IMAGES = 200, 5, 30  # images of a class
SHORT_SIDE, QUALITY = 128, 60


def file_name(split: str) -> str:
    """Name of the parquet file of a split, as on the Hub."""
    return f"{split}-00000-of-00001.parquet"


def tail_counts(classes: int) -> list[int]:
    """Training images of each class, the largest first, with the same ratio between neighbours."""
    steps = np.linspace(0, 1, classes)
    return [round(float(count)) for count in LARGEST * (SMALLEST / LARGEST) ** steps]


def take_turns(rows: list[int], senders: list[int], digests: list[str], count: int) -> list[int]:
    """Choose ``count`` of the rows: the senders take turns, and rows of one sender are ordered by digest."""
    queues = defaultdict(list)
    for row in sorted(rows, key=digests.__getitem__):
        queues[senders[row]].append(row)
    candidates = [(turn, digests[row], row) for queue in queues.values() for turn, row in enumerate(queue)]
    return sorted(row for *_, row in sorted(candidates)[:count])


def small_image(encoded: bytes) -> bytes:
    """Scale an image file to 128 pixels on the short side, and return it as WebP."""
    from PIL import Image

    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    width, height = (max(SHORT_SIDE, round(side * scale)) for side in image.size)
    out = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


def make_split(table: Any, limits: list[int]) -> Any:
    """Choose at most ``limits[label]`` rows of each class of a table, and scale their images."""
    from datasets import Dataset, Features

    encoded = [image["bytes"] for image in table.cast_column("image", _raw()).with_format(None)["image"]]
    labels, senders = list(table["label"]), list(table["sender"])
    digests = [hashlib.sha256(image).hexdigest() for image in encoded]
    chosen: list[int] = []
    for label, limit in enumerate(limits):
        rows = [row for row in range(len(labels)) if labels[row] == label]
        chosen += take_turns(rows, senders, digests, limit)
    chosen.sort()
    columns = {
        "image": [{"bytes": small_image(encoded[row]), "path": None} for row in chosen],
        "label": [labels[row] for row in chosen],
        "sender": [senders[row] for row in chosen],
    }
    return Dataset.from_dict(columns, features=Features(table.features))


def _raw() -> Any:
    from datasets import Image

    return Image(decode=False)


def main() -> None:
    """Write both splits, and compare them with the files of the repository."""
    from datasets import Dataset

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the clothing images, with data/*.parquet")
    parser.add_argument("--output", type=Path, default=TARGET, help="folder for the two files")
    args = parser.parse_args()
    tables = {split: Dataset.from_parquet(str(args.source / "data" / file_name(split))) for split in ("train", "test")}
    counts = np.bincount(tables["train"]["label"])
    limits = np.zeros(len(counts), dtype=int)
    limits[np.argsort(-counts, kind="stable")] = tail_counts(len(counts))
    args.output.mkdir(parents=True, exist_ok=True)
    for split, maxima in (("train", limits.tolist()), ("test", [MAX_TEST_IMAGES] * len(counts))):
        path = args.output / file_name(split)
        small = make_split(tables[split], maxima)
        small.to_parquet(str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        same = "as in the repository" if digest == SHA256[split] else "not the file of the repository"
        print(f"{path}: {len(small)} images, {path.stat().st_size} bytes, SHA-256 {digest}, {same}")


if __name__ == "__main__":
    main()
