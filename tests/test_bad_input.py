"""Bad input to recipes/train.py: one sentence on standard error, exit status 2, and no change on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Train = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--backbone", "resnet18x"], ["Unknown backbone 'resnet18x'", "Did you mean resnet18"]),
        (["--data", "cifar100lt"], ["--data cifar100lt", "cifar100_lt"]),
        (["--data", "cifar10_lt", "--data-dir", "nowhere"], ["nowhere", "cifar10_lt", "does not exist"]),
        (["--backbone", "resnet50", "--data", "imagenet_lt"], ["ILSVRC/imagenet-1k cannot be read", "--data-dir"]),
        (["--opt", "adamv"], ["--opt adamv is unknown", "Did you mean adam"]),
        (["--sched", "cosin"], ["--sched cosin"]),
        (["--tracker", "tensorbord"], ["--tracker tensorbord is unknown", "Did you mean tensorboard"]),
        (["--batch-size", 999], ["--batch-size 999 is larger than the training split of 335 images", "at most 335"]),
        (["--lr", "abc"], ["--lr abc", "a number"]),
        (["--method", "foo"], ["glmc, ce, balanced_softmax"]),
        (["--learning-rate", 1], ["Unknown option --learning-rate"]),
        (["--backbone", "test_vit", "--image-size", 33], ["33"]),
        (
            ["--backbone", "resnet20_cifar", "--drop-path-rate", 0.1],
            ["'resnet20_cifar'", "drop_path_rate", "leave it out"],
        ),
        (["--backbone", "volo_d1_224", "--image-size", 32], ["'volo_d1_224' cannot carry the heads"]),
        (["--imbalance-factor", 500], ["500"]),
        (["--resume", "nowhere"], ["--resume nowhere is not a folder"]),
        (
            ["--method", "ce", "--beta", 0.5],
            ["--beta is for mixed images", "--method ce"],
        ),
        (["--mixed-precision", "fp16"], ["fp16 needs a GPU"]),
        (["--batch-size", 1], ["--batch-size 1 is too small for the batch-norm of 'resnet20_cifar'"]),
        (["--push-to-hub", "bad name"], ["--push-to-hub bad name is not a repository", "ORG/NAME"]),
        (["--output-dir", "a_file"], ["--output-dir a_file is a file"]),
    ],
)
def test_one_sentence(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[Any], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("mine")
    sentence = train(*args).sentence
    for part in parts:
        assert part in sentence, sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.processes
def test_in_a_separate_process(lab: Any, tmp_path: Path) -> None:
    command = [lab.recipe, "--backbone", "resnet50", "--data", "imagenet_lt"]
    assert "ILSVRC/imagenet-1k cannot be read" in lab.run_python(*command, cwd=tmp_path).sentence
    (tmp_path / "bad.yaml").write_text("epoch: 3\n")
    sentence = lab.run_python(lab.recipe, "--config", "bad.yaml", cwd=tmp_path).sentence
    assert "The key epoch= is unknown" in sentence and "Did you mean epochs" in sentence


def test_folder_without_images(train: Train, tmp_path: Path) -> None:
    (tmp_path / "empty" / "train" / "ant").mkdir(parents=True)
    sentence = train("--data", tmp_path / "empty").sentence
    assert "no images" in sentence and "train/CLASS" in sentence


def test_class_without_training_images(train: Train, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "data")
    for path in (folder / "train" / "bee").iterdir():
        path.unlink()
    assert "Class 'bee' has no training image" in train("--data", folder).sentence


def test_one_class_only(train: Train, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "data", {"ant": 9})
    assert "only one class (ant)" in train("--data", folder).sentence


def test_missing_columns_are_listed(train: Train, tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    folder = tmp_path / "parquet"
    folder.mkdir()
    images = [Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(8)]
    table = datasets.Dataset.from_dict(
        {"photo": images, "species": [0, 1] * 4, "weight": [1.5] * 8},
        features=datasets.Features(
            {"photo": datasets.Image(), "species": datasets.Value("int64"), "weight": datasets.Value("float64")}
        ),
    )
    table.to_parquet(str(folder / "train.parquet"))
    sentence = train("--data", folder).sentence
    assert "label column" in sentence and "photo, species, weight" in sentence and "--label-column" in sentence
    sentence = train("--data", folder, "--label-column", "kind").sentence
    assert "--label-column kind is not a column" in sentence and "photo, species, weight" in sentence


SMALL = ["--backbone", "test_resnet", "--image-size", 32, "--epochs", 1, "--batch-size", 8, "--warmup-epochs", 0]


def test_unreadable_image_is_named_or_left_out(train: Train, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(tmp_path / "data", {"ant": 12, "bee": 8})
    broken = folder / "train" / "ant" / "003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    sentence = train("--data", folder, *SMALL, "--output-dir", tmp_path / "run").sentence
    assert "Image 3 of the training split" in sentence and "train/ant/003.png" in sentence
    assert "--skip-bad-images" in sentence
    outcome = train("--data", folder, *SMALL, "--skip-bad-images", "--output-dir", tmp_path / "good")
    assert outcome.status == 0, outcome.err
    results = lab.results(tmp_path / "good")
    assert results["data"]["skipped_images"] == 1 and results["class_counts"] == [11, 8]


def test_unreadable_image_in_a_worker(train: Train, lab: Any, tmp_path: Path) -> None:
    folder = lab.images(
        tmp_path / "data", {"ant": 12, "bee": 8}, size=70
    )  # too large to be decoded before the training
    (folder / "train" / "bee" / "002.png").write_text("no image")
    sentence = train("--data", folder, *SMALL, "--workers", 1, "--output-dir", tmp_path / "run").sentence
    assert "Image 14 of the training split" in sentence and "train/bee/002.png" in sentence


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_of_another_run_is_left_alone(train: Train, lab: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train("--epochs", 1, *lab.tiny, "--output-dir", out).status == 0
    before = contents(out)
    assert "already holds files" in train("--epochs", 1, *lab.tiny, "--output-dir", out).sentence
    options = ["--epochs", 2, *lab.tiny, "--lr", 0.3, "--output-dir", out, "--resume"]
    sentence = train(*options, "auto").sentence
    assert "epochs: 1 -> 2" in sentence and "lr: 0.025 -> 0.3" in sentence and "seed" not in sentence
    checkpoint = out / "checkpoints" / "step-000000005"
    assert "epochs: 1 -> 2" in train(*options, checkpoint).sentence
    # Also if the folder is not named, and not into the folder of another run.
    assert "epochs: 1 -> 2" in train("--epochs", 2, *lab.tiny, "--resume", checkpoint).sentence
    sentence = train("--epochs", 1, *lab.tiny, "--resume", checkpoint, "--output-dir", tmp_path / "other").sentence
    assert "belongs to the run in" in sentence and not (tmp_path / "other").exists()
    assert contents(out) == before


def test_folder_of_other_things_is_left_alone(train: Train, lab: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for resume in ([], ["--resume", "auto"]):
        assert "holds files" in train(*lab.tiny, "--output-dir", tmp_path / "mine", *resume).sentence
    (tmp_path / "loose").mkdir()
    sentence = train(*lab.tiny, "--resume", tmp_path / "loose").sentence
    assert "does not belong to a run" in sentence
    assert contents(tmp_path / "mine") == {"thesis.tex": b"years of work"}


def test_loss_that_is_not_finite(train: Train, lab: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # The first step is good and is saved. The second one is not.
    options = ["--epochs", 2, *lab.tiny, "--lr", 1e20, "--checkpoint-steps", 1, "--output-dir", out]
    outcome = train(*options)
    sentence = outcome.sentence
    assert "loss is not finite at step 2 (epoch 1; " in sentence
    for term in ("loss", "conventional", "rebalanced", "consistency"):
        assert f"{term} " in sentence
    good = out / "checkpoints" / "step-000000001"
    assert f"the last good checkpoint is {good}" in sentence
    assert sorted(path.name for path in good.parent.iterdir()) == [good.name]
    again = train(*options, "--resume", "auto")
    assert f"Resumed from {good}: epoch 1, batch 2 is next" in again.out
    assert "at step 2 (epoch 1; " in again.sentence


def test_weights_that_are_not_finite_make_no_checkpoint(
    train: Train, lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With one step, no loss is computed after the step that breaks the weights.
    original = torch.optim.SGD.step

    def broken(self: torch.optim.SGD, closure: Any = None) -> Any:
        result = original(self, closure)
        self.param_groups[0]["params"][0].data.fill_(float("nan"))
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", broken)
    sentence = train("--epochs", 1, *lab.tiny, "--batch-size", 68, "--output-dir", tmp_path / "run").sentence
    assert "weights are not finite after step 1" in sentence and "no checkpoint was written yet" in sentence
    assert not (tmp_path / "run" / "model").exists()
