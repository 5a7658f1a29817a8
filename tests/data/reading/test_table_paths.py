"""A table of a stranger opens no file outside of its own folder: not by its path, and not through a link."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from glmc_zoo.data import load_data
from glmc_zoo.data.reading.label_files import MISSING
from glmc_zoo.data.reading.table_paths import OutsideFolder, TablePaths
from glmc_zoo.data.reading.tables import OUTSIDE_TABLE
from glmc_zoo.data.streaming import load_stream
from glmc_zoo.errors import UserError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, and beside it one that its tables must not name."""
    rng = np.random.default_rng(0)
    inside, outside = tmp_path / "data", tmp_path / "secret"
    for place in (inside / "images", outside):
        place.mkdir(parents=True)
        for number in range(6):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{number}.png")
    (inside / "images" / "link.png").symlink_to(outside / "0.png")
    (inside / "linked").symlink_to(outside)
    return inside


def write(folder: Path, paths: list[str], kind: str) -> None:
    cells: Any = [{"bytes": None, "path": path} for path in paths] if kind == "struct" else paths
    column = pa.array(cells, STRUCT if kind == "struct" else pa.string())
    labels = ["a", "b"] * (len(paths) // 2)
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": column, "label": labels}), folder / f"{split}.parquet")


@pytest.mark.parametrize("kind", ["struct", "text"])
@pytest.mark.parametrize(
    "bad", ["SECRET", "../secret/0.png", "images/../../secret/0.png", "images/link.png", "linked/1.png"]
)
def test_a_path_out_of_the_folder_is_refused(
    folder: Path, kind: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = str(folder.parent / "secret" / "0.png") if bad == "SECRET" else bad
    opened = list[str]()
    opener = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *more, **named: opened.append(str(path)) or opener(path, *more, **named)
    )
    write(folder, ["images/0.png", "images/1.png", bad, "images/3.png"], kind)
    options: Any = {"image_column": "image", "allow_duplicates": True}
    with pytest.raises(UserError, match=r"outside of (its|the) folder"):
        data = load_data(folder, **options)
        data.train.images(range(4))
    assert not [path for path in opened if "secret" in path or "link" in path]
    data = load_data(folder, **options, skip_bad_images=True)
    assert len(data.train) == 3
    if "link" in bad:
        assert len(load_data(folder, **options, follow_links=True).train) == 4


@pytest.mark.parametrize("kind", ["struct", "text"])
def test_paths_in_the_folder_are_read(folder: Path, kind: str) -> None:
    """Relative to the folder, or absolute."""
    write(folder, ["images/0.png", str(folder / "images" / "1.png"), "./images/2.png", "images/../images/3.png"], kind)
    data = load_data(folder, image_column="image", allow_duplicates=True)
    expected = [np.asarray(Image.open(folder / "images" / f"{number}.png")) for number in range(4)]
    assert all(
        (np.asarray(one) == other).all() for one, other in zip(data.train.images(range(4)), expected, strict=True)
    )


def test_a_stream_keeps_to_the_folder_too(folder: Path) -> None:
    write(folder, ["images/0.png", "images/1.png", "../secret/0.png", "images/3.png"], "struct")
    with pytest.raises(UserError, match="outside of the folder"):
        list(load_stream(folder).test.batches(4))


def test_what_a_table_of_the_hub_may_name(tmp_path: Path) -> None:
    """The files that ``datasets`` downloaded, and none else."""
    import datasets

    cached = Path(datasets.config.HF_DATASETS_CACHE) / "x" / "a.png"
    assert (
        TablePaths.cached().locate(str(cached)) == os.path.realpath(cached.parent) + "/a.png"
        or cached.parent.is_symlink()
    )
    for path in (str(tmp_path / "a.png"), "/etc/hostname", f"{cached.parent}/../../../../../../etc/hostname", "hf://x"):
        with pytest.raises(OutsideFolder):
            TablePaths.cached().open(path)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("missing", [0, 2])
def test_every_file_of_a_split_is_left_out(folder: Path, split: str, missing: int) -> None:
    """The sentence gives the reasons that were counted, and the label column is not one of them."""
    write(folder, [f"images/{number}.png" for number in range(4)], "text")
    good = pq.read_table(folder / f"{split}.parquet")
    paths = ["gone.png"] * missing + ["../secret/1.png"] * (4 - missing)
    pq.write_table(good.set_column(0, "image", pa.array(paths)), folder / f"{split}.parquet")
    options: Any = {"image_column": "image", "allow_duplicates": True, "skip_bad_images": True}
    with pytest.raises(UserError) as caught:
        load_data(folder, **options)
    name = "training" if split == "train" else "test"
    reasons = [f"2 {MISSING} (gone.png, gone.png)", f"2 {OUTSIDE_TABLE} (../secret/1.png, ../secret/1.png)"]
    assert str(caught.value) == (
        f"No image of the {name} split can be used, as these are left out: "
        f"{'; '.join(reasons) if missing else f'4 {OUTSIDE_TABLE} (../secret/1.png, ../secret/1.png, ...)'}; copy the "
        "images into the data folder, and write the path and the class of each into the table."
    )
    if not missing:  # there is nothing that the option would leave
        with pytest.raises(UserError, match=r"or list them in a CSV file instead\.$"):
            load_data(folder, **(options | {"skip_bad_images": False}))
    pq.write_table(good, folder / f"{split}.parquet")
    assert load_data(folder, **options).class_counts == [2, 2]
