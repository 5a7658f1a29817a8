"""A split: its images, classes and files, its file format, and its use by loaders of other libraries."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from glmc_zoo.data import LongTailData, load_data
from glmc_zoo.data.catalogue import IMAGENET_MEAN, IMAGENET_STD
from glmc_zoo.data.reading.images import ArrayImages, ArrowImages, FileImages
from glmc_zoo.data.reading.split import ImageSplit, decode_small, readable_rows

KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("PNG", {}, "PNG"),
    ("JPEG", {}, "JPEG"),
    ("WEBP", {"lossless": True}, "WebP lossless"),
    ("WEBP", {"quality": 80}, "WebP lossy"),
]
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize(("kind", "options", "expected"), KINDS, ids=[expected for *_, expected in KINDS])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_format(kind: str, options: dict[str, Any], expected: str, in_a_file: bool, tmp_path: Path) -> None:
    file = io.BytesIO()
    NOISE.save(file, kind, **options)
    path = tmp_path / "image"
    path.write_bytes(file.getvalue())
    cell = {"bytes": None, "path": str(path)} if in_a_file else {"bytes": file.getvalue(), "path": None}
    table = datasets.Dataset.from_dict({"image": [cell]}, features=datasets.Features({"image": datasets.Image()}))
    split = ImageSplit(ArrowImages(table, "image", "training", tmp_path), np.array([0]), np.array([0]), ["a"])
    assert split.image_format() == expected


def test_arrays_and_damaged_files_have_none() -> None:
    arrays = ImageSplit(ArrayImages(np.zeros((1, 8, 8, 3), np.uint8), "training"), np.array([0]), np.array([0]), ["a"])
    assert arrays.image_format() is None
    table = datasets.Dataset.from_dict({"image": [b"no image"]})
    assert (
        ImageSplit(ArrowImages(table, "image", "training"), np.array([0]), np.array([0]), ["a"]).image_format() is None
    )


def test_a_loaded_set_says_it(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            NOISE.save(tmp_path / part / name / "0.png")
    assert load_data(tmp_path).facts.image_format == "PNG"
    assert load_data("digits_lt").facts.image_format is None


def arrow(images: Sequence[np.ndarray]) -> ArrowImages:
    features = datasets.Features({"image": datasets.Image()})
    records = [{"bytes": encoded(image), "path": None} for image in images]
    return ArrowImages(datasets.Dataset.from_dict({"image": records}, features=features), "image", "training")


def encoded(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (5, 6, 4, 3)).astype(np.uint8)


def test_split_of_decoded_images(images: np.ndarray) -> None:
    split = ImageSplit(ArrayImages(images, "training"), np.array([4, 1]), np.array([1, 0]), ["a", "b"])
    assert len(split) == 2
    assert split.labels.tolist() == [1, 0]
    assert split.pixels is not None
    assert (split.pixels == images[[4, 1]]).all()
    assert (np.asarray(split.images([1])[0]) == images[1]).all()


def test_small_images_are_decoded_once(images: np.ndarray) -> None:
    source = arrow(images)
    train = ImageSplit(source, np.array([4, 1]), np.array([1, 0]), ["a", "b"])
    test = ImageSplit(source, np.array([0]), np.array([0]), ["a", "b"])
    decode_small([train, test], 3 * 6 * 4 * 3 - 1)
    assert train.pixels is None
    decode_small([train, test], 3 * 6 * 4 * 3)
    assert train.pixels is not None
    assert test.pixels is not None
    assert train.pixels.dtype == np.uint8
    assert (train.pixels == images[[4, 1]]).all()
    assert (test.pixels == images[[0]]).all()
    assert (np.asarray(train.images([0])[0]) == images[4]).all()


@pytest.mark.parametrize("shapes", [[(6, 4), (6, 5)], [(65, 8), (65, 8)]])
def test_other_images_stay_as_they_are(shapes: list[tuple[int, int]]) -> None:
    source = arrow([np.zeros((*shape, 3), np.uint8) for shape in shapes])
    split = ImageSplit(source, np.array([0, 1]), np.array([0, 1]), ["a", "b"])
    decode_small([split], 1 << 30)
    assert split.pixels is None
    assert [image.size for image in split.images([0, 1])] == [shape[::-1] for shape in shapes]


def test_images_of_one_split_only_decode_nothing_else(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    source = arrow(images)
    read: list[int] = []
    original: Callable = ArrowImages.read

    def spy(self: ArrowImages, rows: np.ndarray) -> list[Image.Image]:
        read.extend(rows.tolist())
        return original(self, rows)

    monkeypatch.setattr(ArrowImages, "read", spy)
    decode_small([ImageSplit(source, np.array([4, 1]), np.array([1, 0]), ["a", "b"])], 1 << 30)
    assert set(read) == {1, 4}


def test_files_are_named_relative_to_the_data_folder(write_images, tmp_path: Path) -> None:
    folder = write_images(tmp_path / "data", [6, 5])
    split = load_data(folder).train
    paths = split.paths()
    assert len(paths) == len(split) and set(paths) <= {f"class_{c}/{i:03d}.png" for c in range(2) for i in range(6)}
    assert [int(path[6]) for path in paths] == split.labels.tolist()


def test_images_that_are_no_files_have_no_paths() -> None:
    assert load_data("digits_lt").test.paths() is None


# ------------------------------------------------------------------ a split as a torch dataset
@pytest.fixture(scope="module")
def digits() -> LongTailData:
    return load_data("digits_lt", val_fraction=0.1)


def test_items_are_images_and_labels(digits: LongTailData) -> None:
    assert digits.val is not None
    for split in (digits.train, digits.val, digits.test):
        assert isinstance(split, torch.utils.data.Dataset)
        assert split.class_names == digits.class_names
        assert split.class_counts == np.bincount(split.labels, minlength=10).tolist()
        assert split.pixels is not None
        for index in (0, 7, -1):
            image, label = split[index]
            assert (image.mode, type(label), label) == ("RGB", int, split.labels[index])
            assert (np.asarray(image) == split.pixels[index]).all()
        with pytest.raises(IndexError):
            split[len(split)]
    assert digits.train.class_counts == digits.class_counts
    assert [label for _, label in digits.val] == digits.val.labels.tolist()


def test_items_of_files(images: np.ndarray) -> None:
    split = ImageSplit(arrow(images), np.array([4, 1]), np.array([1, 0]), ["a", "b", "c"])
    assert split.class_counts == [1, 1, 0]
    assert all((np.asarray(image) == images[row]).all() for (image, _), row in zip(split, (4, 1), strict=True))
    split.transform = lambda image: image.size
    assert list(split) == [((4, 6), 1), ((4, 6), 0)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_plain_loader_with_a_torchvision_transform(digits: LongTailData, workers: int) -> None:
    split = ImageSplit(digits.train.source, digits.train.rows, digits.train.labels, digits.class_names)
    split.transform = transforms.Compose([transforms.Resize(16), transforms.ToTensor()])
    batches = list(torch.utils.data.DataLoader(split, batch_size=50, num_workers=workers))
    assert torch.cat([labels for _, labels in batches]).tolist() == split.labels.tolist()
    expected = transforms.functional.to_tensor(split.images([3])[0].resize((16, 16), Image.Resampling.BILINEAR))
    assert torch.equal(batches[0][0][3], expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_loader_of_timm(digits: LongTailData, training: bool) -> None:
    from timm.data import create_loader

    split = ImageSplit(digits.test.source, digits.test.rows, digits.test.labels, digits.class_names)
    loader = create_loader(
        split, (3, 16, 16), 32, is_training=training, num_workers=0, device=torch.device("cpu"), crop_pct=1.0
    )
    images, labels = next(iter(loader))
    assert (images.shape, images.dtype, labels.shape) == ((32, 3, 16, 16), torch.float32, (32,))
    if not training:
        assert labels.tolist() == split.labels[:32].tolist()
        small = split.images([5])[0].resize((16, 16), Image.Resampling.BILINEAR)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        torch.testing.assert_close(images[5] * std + mean, transforms.functional.to_tensor(small), rtol=0, atol=1e-5)


def test_the_trainer_of_transformers(digits: LongTailData, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3 * 8 * 8, 10)

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.layer(pixel_values.flatten(1))
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def collate(samples: list[tuple[Image.Image, int]]) -> dict[str, torch.Tensor]:
        images, labels = zip(*samples, strict=True)
        return {
            "pixel_values": torch.stack([transforms.functional.to_tensor(image) for image in images]),
            "labels": torch.tensor(labels),
        }

    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=8, use_cpu=True, report_to=[], save_strategy="no",
        remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=Classifier(), args=arguments, data_collator=collate, train_dataset=digits.train, eval_dataset=digits.test
    )
    assert trainer.train().global_step == 2
    assert trainer.evaluate()["eval_loss"] > 0


def test_empty_files_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 of them would take minutes."""
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    NOISE.save(tmp_path / "d.png")
    source = FileImages(tmp_path, ["a.png", "b.png", "c.png", "d.png"], "training")
    read, decode = list[int](), FileImages.read
    monkeypatch.setattr(FileImages, "read", lambda self, rows: read.extend(rows.tolist()) or decode(self, rows))
    assert readable_rows(source, np.arange(4)).tolist() == [3] and read == [3]
