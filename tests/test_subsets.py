"""benchmarks/_subsets.py: classes of CIFAR-100, thinned, with test images that no run trains on."""

from __future__ import annotations

from pathlib import Path

import _subsets
import numpy as np

from glmc_zoo import longtail_counts


def test_a_subset_is_thinned_and_tested_on_other_images(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image, Value
    from PIL import Image as Pil

    features = Features({"img": Image(), "fine_label": ClassLabel(names=[f"class {c}" for c in range(100)])})
    features["coarse_label"] = Value("int64")
    for split, each in (("train", 30), ("test", 2)):
        rows = [(Pil.new("RGB", (1, 1), (c, i, 0)), c, 0) for c in range(100) for i in range(each)]
        table = Dataset.from_dict(dict(zip(features, zip(*rows, strict=True), strict=True)), features=features)
        table.to_parquet(str(tmp_path / "source" / "cifar100" / f"{split}-00000-of-00001.parquet"))
    for held_out in (True, False):
        subset = _subsets.Subset(first=2, max_count=20, imbalance_factor=10, held_out=held_out)
        folder = tmp_path / f"written {held_out}"
        _subsets.write_subset(tmp_path / "source", folder, subset)
        tables = {s: Dataset.from_parquet(str(next(folder.glob(f"{s}-*.parquet")))) for s in ("train", "test")}
        assert tables["train"].features["label"].names == [f"class {c}" for c in range(2, 100, 5)]
        assert np.bincount(tables["train"]["label"]).tolist() == longtail_counts(20, 20, 10)
        assert all(row["image"].getpixel((0, 0))[0] == 2 + 5 * row["label"] for row in tables["train"])
        left_over = [30 - count for count in longtail_counts(20, 20, 10)]  # fewer than 40 of each class
        assert np.bincount(tables["test"]["label"]).tolist() == (left_over if held_out else [2] * 20)
        if held_out:
            colours = {s: {row["image"].getpixel((0, 0)) for row in tables[s]} for s in tables}
            assert not colours["train"] & colours["test"]
