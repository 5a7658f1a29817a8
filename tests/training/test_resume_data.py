"""A resumed run knows its images: what changed is refused in a sentence, accepted when asked, or expected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from glmc_zoo.files import HOLDER_FILE, LOCK_FILE

pytestmark = pytest.mark.slow

Train = Callable[..., Any]
Interrupt = Callable[[int], AbstractContextManager[None]]

OPTIONS = [
    *("--backbone", "test_resnet", "--image-size", 32, "--method", "ce", "--workers", 0, "--batch-size", 4),
    *("--epochs", 2, "--warmup-epochs", 0, "--checkpoint-steps", 1),
]
COUNTS = {"ant": 12, "bee": 8, "cat": 4}  # 6 batches of 4


def image(path: Path, size: int = 70) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (size, size, 3), np.uint8)).save(path)


@pytest.fixture
def data(lab: Any, tmp_path: Path) -> Path:
    folder: Path = lab.images(tmp_path / "data", COUNTS, size=70)
    return folder


@pytest.fixture
def interrupted(train: Train, interrupted_at: Interrupt, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """A run that stopped after batch 2 of 6, with the checkpoint of batch 1; the call goes on with it."""
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    with interrupted_at(2):
        train(*options)
    return lambda *more: train(*options, "--resume", "auto", *more)


def files(folder: Path) -> dict[str, bytes]:
    """All files but those of the lock, which lasts as long as the run that was interrupted within this process."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [path for path in paths if path.name not in (LOCK_FILE, HOLDER_FILE)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def add(data: Path) -> None:
    image(data / "train" / "bee" / "new.png")


def remove(data: Path) -> None:
    (data / "train" / "ant" / "003.png").unlink()


def replace(data: Path) -> None:
    image(data / "train" / "ant" / "003.png", size=80)


def move(data: Path) -> None:
    (data / "train" / "ant" / "003.png").rename(data / "train" / "cat" / "x.png")


def change_the_test_split(data: Path) -> None:
    (data / "test" / "cat" / "000.png").unlink()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (add, "class bee has 9 training images instead of 8"),
        (remove, "class ant has 11 training images instead of 12"),
        (replace, "1 training image of class ant was replaced"),
        (move, "class ant has 11 training images instead of 12; class cat has 5 training images instead of 4"),
        (change_the_test_split, "class cat has 4 test images instead of 5"),
    ],
)
def test_a_change_is_refused_and_then_accepted(
    interrupted: Callable[..., Any], lab: Any, data: Path, tmp_path: Path, change: Callable[[Path], None], text: str
) -> None:
    change(data)
    before = files(tmp_path / "run")
    sentence = interrupted().sentence
    assert f"({text}): restore it, go on with the new data by --accept-new-data, or give another --out" in sentence
    assert files(tmp_path / "run") == before
    outcome = interrupted("--accept-new-data")
    assert outcome.status == 0 and "Resumed from" in outcome.out, outcome.err
    note = f"From step 1 on the run uses other images than before: {text}."
    assert f"note: {note}" in outcome.out
    results = lab.results(tmp_path / "run")
    few_images = "1 class has only 4 test images (cat): its recall moves in steps of 25 points."
    assert results["data"]["notes"] == [few_images] * (change is change_the_test_split) + [note]
    assert sum(results["class_counts"]) == len(list((data / "train").rglob("*.png")))
    assert "accept_new_data" not in results["config"]
    assert [row["epoch"] for row in lab.rows(tmp_path / "run")] == [1, 2]


def test_other_classes_are_refused_in_any_case(interrupted: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    (data / "train" / "cat").rename(data / "train" / "dog")
    (data / "test" / "cat").rename(data / "test" / "dog")
    before = files(tmp_path / "run")
    for more in ([], ["--accept-new-data"]):
        sentence = interrupted(*more).sentence
        assert "class dog is new (4 training images); class cat is gone" in sentence
        assert "restore the data, or give another --output-dir" in sentence and "--accept-new-data" not in sentence
    image(data / "train" / "emu" / "000.png")
    image(data / "test" / "emu" / "000.png")
    assert "class emu is new (1 training image)" in interrupted("--accept-new-data").sentence
    assert files(tmp_path / "run") == before


def test_a_data_folder_in_another_place_is_the_same(
    train: Train, interrupted_at: Interrupt, lab: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    data.rename(tmp_path / "one" / "data")
    options = ["--data", "data", *OPTIONS, "--output-dir", tmp_path / "run"]
    monkeypatch.chdir(tmp_path / "one")
    with interrupted_at(2):
        train(*options)
    shutil.copytree("data", tmp_path / "two" / "data", copy_function=shutil.copyfile)
    shutil.rmtree("data")
    monkeypatch.chdir(tmp_path / "two")
    outcome = train(*options, "--resume", "auto")
    assert outcome.status == 0 and "Resumed from" in outcome.out, outcome.err
    assert lab.results(tmp_path / "run")["data"]["notes"] == []


def test_accepted_and_stopped_again(
    interrupted: Callable[..., Any], interrupted_at: Interrupt, lab: Any, data: Path, tmp_path: Path
) -> None:
    add(data)
    with interrupted_at(3):
        interrupted("--accept-new-data")
    # The newest checkpoint has the new images: they need no second permission, and the note is not lost.
    outcome = interrupted()
    assert outcome.status == 0, outcome.err
    (note,) = lab.results(tmp_path / "run")["data"]["notes"]
    assert "class bee has 9 training images instead of 8" in note and f"note: {note}" in outcome.out
    # A checkpoint is not older than the images that it names.
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        assert json.loads((checkpoint / "data.json").read_text())["notes"] == [note]
    remove(data)
    assert "class ant has 11 training images instead of 12)" in interrupted().sentence
    assert interrupted("--accept-new-data").status == 0
    assert len(lab.results(tmp_path / "run")["data"]["notes"]) == 2


def test_an_epoch_that_became_shorter_than_what_is_done_of_it(
    train: Train, interrupted_at: Interrupt, lab: Any, data: Path, tmp_path: Path
) -> None:
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    with interrupted_at(6):  # 5 of 6 batches are in the checkpoint
        train(*options)
    for path in sorted((data / "train" / "ant").iterdir())[2:]:
        path.unlink()  # 14 images are left, in 4 batches
    outcome = train(*options, "--resume", "auto", "--accept-new-data")
    assert outcome.status == 0 and "epoch 1, batch 6 is next" in outcome.out, outcome.err
    first, second = lab.rows(tmp_path / "run")
    assert first["images_per_second"] == 0 and second["images_per_second"] > 0
    assert 0 < first["loss"] < 10
    newest = max((tmp_path / "run" / "checkpoints").iterdir())
    assert newest.name == "step-000000009"


def test_fewer_images_than_a_step_takes(interrupted: Callable[..., Any], data: Path) -> None:
    for name in COUNTS:
        for path in sorted((data / "train" / name).iterdir())[1:]:
            path.unlink()
    sentence = interrupted("--accept-new-data").sentence
    assert "now has 3 images, and a step of the run takes 4: restore the data, or give another" in sentence


def test_what_the_images_decided_at_the_beginning_stays(
    train: Train, interrupted_at: Interrupt, lab: Any, tmp_path: Path
) -> None:
    """New images of another size change neither the network's input nor the augmentation, and terciles follow."""
    data = lab.images(tmp_path / "data", COUNTS, size=20)
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run", "--groups", "terciles"]
    del options[options.index("--image-size") : options.index("--image-size") + 2]
    with interrupted_at(2):
        train(*options)
    before = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    for name in "xyz":
        image(data / "train" / "cat" / f"{name}.png", size=90)
        image(data / "train" / "bee" / f"{name}.png", size=90)
    assert "class bee has 11 training images instead of 8" in train(*options, "--resume", "auto").sentence
    outcome = train(*options, "--resume", "auto", "--accept-new-data")
    assert outcome.status == 0, outcome.err
    after = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert before["image_size"] == after["image_size"] == 20 and before["augment"] == after["augment"] == "crop_flip"
    assert after["many_threshold"] != before["many_threshold"]
    assert lab.results(tmp_path / "run")["thresholds"]["many"] == after["many_threshold"]


def test_a_checkpoint_without_a_fingerprint_is_noted(
    interrupted: Callable[..., Any], lab: Any, data: Path, tmp_path: Path
) -> None:
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    (checkpoint / "data.json").unlink()
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    del manifest["sha256"]["data.json"]
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))
    assert interrupted().status == 0
    assert "does not state its data set" in lab.results(tmp_path / "run")["data"]["notes"][0]


def test_new_data_is_accepted_by_a_resumed_run_alone(train: Train, data: Path) -> None:
    assert "--accept-new-data has no effect without --resume" in train("--data", data, "--accept-new-data").sentence


# ------------------------------------------------------------------------- advice that is followed in the same folder
def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def test_skipping_bad_images_before_the_first_checkpoint(train: Train, lab: Any, data: Path, tmp_path: Path) -> None:
    spoil(data / "train" / "bee" / "002.png")
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run", "--checkpoint-steps", 0]
    assert "--skip-bad-images" in train(*options).sentence
    outcome = train(*options, "--resume", "auto", "--skip-bad-images")
    assert outcome.status == 0 and "starts at its beginning" in outcome.out, outcome.err
    results = lab.results(tmp_path / "run")
    assert results["class_counts"] == [12, 7, 4] and results["config"]["skip_bad_images"] is True
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["skip_bad_images"] is True


@pytest.mark.parametrize("split", ["train", "test"])
def test_skipping_bad_images_after_a_checkpoint(train: Train, lab: Any, data: Path, tmp_path: Path, split: str) -> None:
    spoil(data / split / "bee" / "002.png")
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    assert "--skip-bad-images" in train(*options, "--seed", 1).sentence
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
    options += ["--seed", 1, "--resume", "auto"]
    outcome = train(*options, "--skip-bad-images")
    assert outcome.status == 0 and "Resumed from" in outcome.out, outcome.err
    notes = lab.results(tmp_path / "run")["data"]["notes"]
    assert [note.startswith("1 class has only 4 test images (bee)") for note in notes[:-1]] == [True] * (
        split == "test"
    )
    note = notes[-1]
    assert "on the run leaves out 1 image that cannot be read: class bee has" in note
    # It is not taken back without a word.
    assert "(skip_bad_images: True -> False)" in train(*options).sentence


def test_skipping_hides_no_other_change(train: Train, data: Path, tmp_path: Path) -> None:
    spoil(data / "test" / "bee" / "002.png")
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    assert "--skip-bad-images" in train(*options).sentence
    remove(data)
    sentence = train(*options, "--resume", "auto", "--skip-bad-images").sentence
    assert "class ant has 11 training images instead of 12; class bee has 4 test images instead of 5" in sentence
    assert train(*options, "--resume", "auto", "--skip-bad-images", "--accept-new-data").status == 0


def test_what_is_advised_against_a_loss_that_is_not_finite_works(train: Train, data: Path, tmp_path: Path) -> None:
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    sentence = train(*options, "--lr", 1e38).sentence
    assert "lower --lr" in sentence and "--clip-grad 1" in sentence and "in another --output-dir" in sentence
    options[options.index("--output-dir") + 1] = tmp_path / "another"
    assert train(*options, "--lr", 0.01, "--clip-grad", 1).status == 0


def test_advice_for_a_checkpoint_by_name_works(train: Train, interrupted: Any, data: Path, tmp_path: Path) -> None:
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    options = ["--data", data, *OPTIONS]
    sentence = train(*options, "--resume", checkpoint, "--lr", 0.5).sentence
    assert "give the same options, or leave --resume out and give another --output-dir" in sentence
    (checkpoint / "model.safetensors").write_bytes(b"")
    sentence = train(*options, "--resume", checkpoint).sentence
    assert f"try --resume auto with --output-dir {tmp_path / 'run'}" in sentence
    assert train(*options, "--resume", "auto", "--output-dir", tmp_path / "run").status == 0


def test_config_keeps_the_old_options_until_the_checkpoint_is_loaded(
    interrupted: Callable[..., Any], tmp_path: Path
) -> None:
    config = tmp_path / "run" / "config.yaml"
    before = config.read_bytes()
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    manifest = (checkpoint / "manifest.json").read_text()
    (checkpoint / "manifest.json").write_text(json.dumps({**json.loads(manifest), "processes": 4}))
    assert "and this run has 1" in interrupted("--keep-checkpoints", 7).sentence
    assert config.read_bytes() == before
    (checkpoint / "manifest.json").write_text(manifest)
    assert interrupted("--keep-checkpoints", 7).status == 0
    assert yaml.safe_load(config.read_text())["keep_checkpoints"] == 7


# ---------------------------------------------------------------------------------------------------- two processes
@pytest.mark.processes
def test_two_processes_refuse_and_accept_together(lab: Any, data: Path, tmp_path: Path) -> None:
    options = ["--data", data, *OPTIONS, "--output-dir", tmp_path / "run"]
    assert lab.torchrun(lab.recipe, *options, cwd=tmp_path).status == 0
    last = max((tmp_path / "run" / "checkpoints").iterdir())
    shutil.rmtree(last)  # as if it had stopped in the middle of its second epoch
    for path in sorted((data / "train" / "ant").iterdir())[4:]:
        path.unlink()  # 16 images are left, in 2 steps instead of 3
    refused = lab.torchrun(lab.recipe, *options, "--resume", "auto", cwd=tmp_path)
    reports = [line for line in refused.err.splitlines() if "train.py: error:" in line]
    assert refused.status != 0 and len(reports) == 1 and "class ant has 4 training images instead of 12" in reports[0]
    outcome = lab.torchrun(lab.recipe, *options, "--resume", "auto", "--accept-new-data", cwd=tmp_path)
    assert outcome.status == 0 and outcome.out.count("Resumed from") == 1, outcome.err
    assert "epoch 2, batch 3 is next." in outcome.out
    assert lab.results(tmp_path / "run")["class_counts"] == [4, 8, 4]
    assert len(lab.rows(tmp_path / "run")) == 2
