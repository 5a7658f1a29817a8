"""Streams give what `load_data` gives: the same images, classes and counts, each image in one share."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from glmc_zoo.data import StreamedData, StreamSplit, eval_loader, load_data, load_stream, train_loader
from glmc_zoo.errors import UserError

TRAIN, TEST = [0] * 6 + [2] * 3, [2, 0, 0, 2, 0, 2, 2]  # no image of class 1


@pytest.fixture
def parquet(tmp_path: Path, make_table: Callable[..., Any]) -> Path:
    """A folder in the layout of the Hub, its test part in three files of unequal length."""
    folder = tmp_path / "set" / "data"
    folder.mkdir(parents=True)
    names = ["ant", "bee", "cat"]
    make_table(TRAIN, names).to_parquet(folder / "train-00000-of-00001.parquet")
    test = make_table(TEST, names)
    for part, rows in enumerate((range(3), range(3, 4), range(4, 7))):
        test.select(rows).to_parquet(folder / f"test-{part:05d}-of-00003.parquet")
    return folder.parent


def as_tensors(images: list[Image.Image]) -> torch.Tensor:
    return torch.stack([pil_to_tensor(image) for image in images])


def passed(split: StreamSplit, batch_size: int = 2) -> tuple[list[np.ndarray], list[int], list[int]]:
    """Images, classes and positions of one pass, in their order."""
    images, labels, positions = [], [], []
    for some, classes, places in split.batches(batch_size):
        assert 1 <= len(some) <= batch_size
        images += [np.asarray(image) for image in some]
        labels += classes.tolist()
        positions += places.tolist()
    return images, labels, positions


def as_loaded(folder: Path, streamed: StreamedData) -> None:
    """The stream holds what `load_data` does, in the same order, in every pass."""
    loaded = load_data(folder)
    assert streamed.class_names == loaded.class_names and streamed.class_counts == loaded.class_counts
    assert streamed.train is not None
    for part, whole in ((streamed.train, loaded.train), (streamed.test, loaded.test)):
        for _ in range(2):
            images, labels, positions = passed(part)
            assert labels == whole.labels.tolist() and positions == list(range(len(whole)))
            expected = whole.images(range(len(whole)))
            assert all(np.array_equal(one, other) for one, other in zip(images, expected, strict=True))


def test_parquet_as_load_data_gives_it(parquet: Path) -> None:
    streamed = load_stream(parquet)
    as_loaded(parquet, streamed)
    assert (streamed.class_names, streamed.class_counts) == (["ant", "cat"], [6, 3])
    # The test images of a class are counted only once all were scored.
    assert streamed.notes == [note for note in load_data(parquet).notes if "only 1 to 4 test images" not in note]
    assert streamed.facts.class_counts_from == "training split"
    thinned = {"imbalance_factor": 3.0, "max_count": 4}
    assert load_stream(parquet, **thinned).class_counts == load_data(parquet, **thinned).class_counts == [4, 1]


def test_an_image_folder_as_load_data_gives_it(tmp_path: Path, write_images: Callable[..., Path]) -> None:
    for split, counts in (("train", [4, 2]), ("test", [2, 3])):
        write_images(tmp_path / "set" / split, counts)
    streamed = load_stream(tmp_path / "set")
    as_loaded(tmp_path / "set", streamed)
    assert streamed.test.num_images == 5


def test_labels_as_text(tmp_path: Path, make_table: Callable[..., Any]) -> None:
    import datasets

    for split, labels in (("train", TRAIN), ("test", TEST)):
        table = make_table(labels, ["b", "x", "a"]).remove_columns("label")
        words = datasets.Dataset.from_dict({"kind": [["b", "x", "a"][label] for label in labels]})
        datasets.concatenate_datasets([table, words], axis=1).to_parquet(tmp_path / f"{split}.parquet")
    streamed = load_stream(tmp_path, label_column="kind")
    loaded = load_data(tmp_path, label_column="kind")
    assert streamed.class_names == loaded.class_names == ["a", "b"] and streamed.class_counts == [3, 6]
    assert passed(streamed.test)[1] == loaded.test.labels.tolist()


@pytest.mark.parametrize("readers", [2, 3, 5])  # whole files, a file each, and fewer files than readers
def test_shares_hold_every_image_once_and_in_order(parquet: Path, readers: int) -> None:
    split = load_stream(parquet).test
    found = [passed(split.shard(rank, readers)) for rank in range(readers)]
    rows = sorted(
        (place, label, image.tobytes())
        for images, labels, places in found
        for image, label, place in zip(images, labels, places, strict=True)
    )
    images, labels, _ = passed(split)
    assert len({place for place, _, _ in rows}) == len(TEST)
    assert [row[1:] for row in rows] == [(y, x.tobytes()) for x, y in zip(images, labels, strict=True)]


def test_the_loader_with_workers(parquet: Path) -> None:
    split = load_stream(parquet).test
    loader = eval_loader(split, as_tensors, batch_size=2, workers=2)
    batches = list(loader)
    assert all(images.shape[1:] == (3, 16, 16) and len(images) == len(labels) for images, labels, _ in batches)
    places = np.concatenate([positions for _, _, positions in batches])
    labels = np.concatenate([labels for _, labels, _ in batches])
    assert len(set(places)) == len(TEST)
    assert labels[np.argsort(places)].tolist() == [int(label == 2) for label in TEST]


def test_counting_opens_no_image(tmp_path: Path, make_table: Callable[..., Any]) -> None:
    """A file that holds no image is found by the pass that decodes it, and named there."""
    import datasets

    broken = {"image": [{"bytes": b"no image", "path": "odd.png"}] * 3, "label": [0, 1, 1]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict(broken, features=features).to_parquet(tmp_path / "train.parquet")
    make_table([0, 1]).to_parquet(tmp_path / "test.parquet")
    streamed = load_stream(tmp_path)
    assert streamed.class_counts == [1, 2] and streamed.train is not None
    with pytest.raises(UserError, match=r"Image 0 of the training split \(odd.png\) cannot be read: not an image"):
        passed(streamed.train)


def test_counting_reads_the_label_column_alone(tmp_path: Path, make_table: Callable[..., Any]) -> None:
    """The column of the images is damaged on disk, so that reading it at all would fail."""
    from pyarrow import parquet as pq

    buffer = io.BytesIO()
    make_table([0, 1, 1]).to_parquet(buffer)
    content, row_group = bytearray(buffer.getvalue()), pq.ParquetFile(buffer).metadata.row_group(0)
    for index in range(row_group.num_columns):
        column = row_group.column(index)
        if column.path_in_schema.startswith("image"):
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (tmp_path / "train.parquet").write_bytes(content)
    make_table([0, 1]).to_parquet(tmp_path / "test.parquet")
    streamed = load_stream(tmp_path)
    assert streamed.class_counts == [1, 2] and streamed.train is not None
    with pytest.raises(UserError, match="stream of the training split broke off"):
        passed(streamed.train)


def test_a_thinned_catalogue_set(tmp_path: Path, make_table: Callable[..., Any]) -> None:
    """Its test part is that of the complete set, and its counts are the published ones."""
    names = [f"c{index}" for index in range(10)]
    for split in ("train", "test"):
        path = tmp_path / "plain_text" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        make_table(range(10), names, image="img").to_parquet(path)
    streamed = load_stream("cifar10_lt", data_dir=tmp_path)
    assert streamed.class_counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert streamed.facts.class_counts_from == "formula" and passed(streamed.test)[1] == list(range(10))
    assert load_stream("cifar10_lt", data_dir=tmp_path, imbalance_factor=10).class_counts[-1] == 500


def test_what_cannot_be_streamed(tmp_path: Path, make_table: Callable[..., Any], parquet: Path) -> None:
    with pytest.raises(UserError, match="digits_lt is not on the Hub: leave it out"):
        load_stream("digits_lt")
    for name, value in (("val_fraction", 0.1), ("skip_bad_images", True), ("selection", "first"), ("data_seed", 3)):
        with pytest.raises(UserError, match=rf"^{name}={value!r} has no effect with streaming=True"):
            load_stream(parquet, **{name: value})
    with pytest.raises(UserError, match="max_count=3 shapes a long tail"):
        load_stream(parquet, max_count=3)
    with pytest.raises(UserError, match="test_split='nowhere' is not a split: give one of"):
        load_stream(parquet, test_split="nowhere")
    (tmp_path / "one").mkdir()
    make_table([0, 1]).to_parquet(tmp_path / "one" / "train.parquet")
    with pytest.raises(UserError, match="There is no test split to stream, only train"):
        load_stream(tmp_path / "one")
    make_table([0, 1]).add_column("Split", ["train", "test"]).to_parquet(tmp_path / "one" / "train.parquet")
    with pytest.raises(UserError, match="column Split names the split of each image, which streaming"):
        load_stream(tmp_path / "one")
    make_table([0, 0]).to_parquet(tmp_path / "one" / "train.parquet")
    make_table([0, 1]).to_parquet(tmp_path / "one" / "test.parquet")
    with pytest.raises(UserError, match="only one class"):
        load_stream(tmp_path / "one")
    with pytest.raises(UserError, match="A stream cannot be trained on"):
        train_loader(load_stream(parquet).train, as_tensors, batch_size=2)  # type: ignore[arg-type]


def test_options_that_a_stream_would_ignore_are_refused(
    tmp_path: Path, make_table: Callable[..., Any], write_images: Callable[..., Path]
) -> None:
    import datasets

    write_images(tmp_path / "set", [2, 2])
    rows = [f"{path.relative_to(tmp_path / 'set')},{path.parent.name}" for path in (tmp_path / "set").rglob("*.png")]
    (tmp_path / "set" / "list.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(UserError, match=r"^class_level=2 is for class folders, and .* has none: leave it out"):
        load_stream(tmp_path / "set" / "list.csv", class_level=2)
    datasets.DatasetDict({name: make_table([0, 1]) for name in ("train", "test")}).save_to_disk(str(tmp_path / "saved"))
    for name, value in (("split_column", "part"), ("class_level", 2)):
        with pytest.raises(UserError, match=f"^{name}={value!r} has no effect on tables with streaming=True"):
            load_stream(tmp_path / "saved", **{name: value})
    make_table([0, 1]).add_column("split", ["train", "test"]).save_to_disk(str(tmp_path / "one"))
    with pytest.raises(UserError, match="column split names the split of each image, which streaming"):
        load_stream(tmp_path / "one", test_split="train")


def test_a_test_part_alone_has_no_counts(tmp_path: Path, make_table: Callable[..., Any]) -> None:
    make_table([0, 1, 1]).to_parquet(tmp_path / "test-00000-of-00001.parquet")
    streamed = load_stream(tmp_path)
    assert streamed.train is None and streamed.class_counts is None and streamed.class_names == ["a", "b"]
    assert passed(streamed.test)[1] == [0, 1, 1]
