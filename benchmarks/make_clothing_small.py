"""Make the embedded data set ``clothing_small`` from the clothing images.

    python benchmarks/make_clothing_small.py DATA/clothing

The classes keep their order by size, and their sizes become a long tail from 200 down to 5 training images. The test
part keeps at most 30 images of a class. Where a class has more images than are kept, the senders take turns, so that
few images show many backgrounds. Images are scaled to 128 pixels on the short side.

The two files of the repository were made with Pillow 13.0.0. Another version may write other bytes for the same pixels;
which images are taken does not depend on it.
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
"""SHA-256 of the files that this script wrote."""
LARGEST, SMALLEST, MOST_TESTED = 200, 5, 30
SIDE, QUALITY = 128, 60


def file_name(split: str) -> str:
    """Name of the file of a split, as the Hub names parquet files."""
    return f"{split}-00000-of-00001.parquet"


def tail_counts(classes: int) -> list[int]:
    """Training images of each class, the largest first: each class has the same share of the one before."""
    steps = np.linspace(0, 1, classes)
    return [round(float(count)) for count in LARGEST * (SMALLEST / LARGEST) ** steps]


def take_turns(rows: list[int], senders: list[int], digests: list[str], count: int) -> list[int]:
    """``count`` of the rows: the senders take turns, and images of one sender come in the order of their digests."""
    queues = defaultdict(list)
    for row in sorted(rows, key=digests.__getitem__):
        queues[senders[row]].append(row)
    in_turns = [(turn, digests[row], row) for queue in queues.values() for turn, row in enumerate(queue)]
    return sorted(row for *_, row in sorted(in_turns)[:count])


def small_image(encoded: bytes) -> bytes:
    """The image with 128 pixels on its short side, as WebP."""
    from PIL import Image

    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    scale = SIDE / min(image.size)
    width, height = (max(SIDE, round(side * scale)) for side in image.size)
    out = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(out, "WEBP", quality=QUALITY, method=6)
    return out.getvalue()


def make_split(table: Any, limits: list[int]) -> Any:
    """The rows that are kept of a table, at most ``limits`` of each class, with small images."""
    from datasets import Dataset, Features

    encoded = [image["bytes"] for image in table.cast_column("image", _raw()).with_format(None)["image"]]
    labels, senders = list(table["label"]), list(table["sender"])
    digests = [hashlib.sha256(image).hexdigest() for image in encoded]
    kept: list[int] = []
    for label, limit in enumerate(limits):
        rows = [row for row in range(len(labels)) if labels[row] == label]
        kept += take_turns(rows, senders, digests, limit)
    kept.sort()
    columns = {
        "image": [{"bytes": small_image(encoded[row]), "path": None} for row in kept],
        "label": [labels[row] for row in kept],
        "sender": [senders[row] for row in kept],
    }
    return Dataset.from_dict(columns, features=Features(table.features))


def _raw() -> Any:
    from datasets import Image

    return Image(decode=False)


def main() -> None:
    """Read, choose, scale, write, and compare with the files of the repository."""
    from datasets import Dataset

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the clothing images, with data/*.parquet")
    parser.add_argument("--output", type=Path, default=TARGET, help="folder that gets the two files")
    args = parser.parse_args()
    tables = {split: Dataset.from_parquet(str(args.source / "data" / file_name(split))) for split in ("train", "test")}
    counts = np.bincount(tables["train"]["label"])
    limits = np.zeros(len(counts), dtype=int)
    limits[np.argsort(-counts, kind="stable")] = tail_counts(len(counts))
    args.output.mkdir(parents=True, exist_ok=True)
    for split, most in (("train", limits.tolist()), ("test", [MOST_TESTED] * len(counts))):
        path = args.output / file_name(split)
        small = make_split(tables[split], most)
        small.to_parquet(str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        same = "as in the repository" if digest == SHA256[split] else "not the file of the repository"
        print(f"{path}: {len(small)} images, {path.stat().st_size} bytes, SHA-256 {digest}, {same}")


if __name__ == "__main__":
    main()
