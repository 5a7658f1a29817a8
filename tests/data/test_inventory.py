"""The inventory of a data set in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glmc_zoo.data.inventory import inventory_lines
from glmc_zoo.data.load import load_data
from glmc_zoo.facts import Inventory, LeftOutFacts, SplitFacts


def test_lines() -> None:
    inventory = Inventory(
        layout="class folders",
        splits=[
            SplitFacts(name="train", source="seg_train", images=1200, how="it is called seg_train"),
            SplitFacts(name="test", source="", images=10, how="set aside"),
        ],
        classes=3,
        groups=40,
        grouped_by="sender",
        left_out=[
            LeftOutFacts(reason="hidden", files=3, examples=[".a", ".b", ".c"]),
            LeftOutFacts(reason="not an image", files=1, examples=["notes.txt"]),
        ],
        duplicates=2,
        intensity="12-bit images are scaled by 4095",
    )
    assert inventory_lines(inventory) == [
        "data     class folders: 3 classes",
        "         train: 1,200 images from seg_train (it is called seg_train)",
        "         test: 10 images (set aside)",
        "         40 groups by sender, kept whole where a split is made",
        "         2 training images are the same as a test image",
        "         12-bit images are scaled by 4095",
        "left out 4 files: 3 hidden (.a, .b, ...); 1 not an image (notes.txt)",
    ]


def test_the_inventory_of_a_folder(write_images: Callable[..., Path], tmp_path: Path) -> None:
    for split, counts in (("Training", [6, 4]), ("test_set", [2, 2])):
        write_images(tmp_path / "set" / split, counts, names=["ant", "bee"])
    (tmp_path / "set" / "notes.txt").write_text("x")
    inventory = load_data(tmp_path / "set").facts.inventory
    assert inventory is not None
    assert (inventory.layout, inventory.classes) == ("class folders in split folders", 2)
    assert [(split.name, split.source, split.images) for split in inventory.splits] == [
        ("train", "Training", 10),
        ("test", "test_set", 4),
    ]
    assert inventory.left_out == [LeftOutFacts(reason="not an image", files=1, examples=["notes.txt"])]
    assert inventory.files_left_out == 1
