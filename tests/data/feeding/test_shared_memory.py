"""Workers whose batches do not fit into shared memory, and workers that give no batch."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from waiting import PATIENCE

from glmc_zoo.data.feeding import loaders, shared_memory
from glmc_zoo.data.feeding.loaders import eval_loader, train_loader
from glmc_zoo.data.feeding.transforms import train_transform
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError
from glmc_zoo.machine.processes import local_batches


def make_split(count: int = 50, side: int = 16) -> ImageSplit:
    pixels = np.zeros((count, side, side, 3), np.uint8)
    split = ImageSplit(ArrayImages(pixels, "training"), np.arange(count), np.arange(count) % 5, "abcde")
    split.pixels = pixels
    return split


_FULL = """
import sys
import numpy as np
import torch
from glmc_zoo.data.feeding import loaders
from glmc_zoo.data.feeding.loaders import eval_loader, train_loader
from glmc_zoo.data.feeding.transforms import train_transform
from glmc_zoo.data.reading.images import ArrayImages
from glmc_zoo.data.reading.split import ImageSplit
from glmc_zoo.errors import UserError

images = ArrayImages(np.zeros((32, 256, 256, 3), np.uint8), "training")
split = ImageSplit(images, np.arange(32), np.arange(32) % 2, "ab")
if sys.argv[2] == "unchecked":
    loaders.check_shared_memory = lambda *_: None
try:
    if sys.argv[1] == "train":
        transform = train_transform("crop_flip", 256)
        loader = train_loader(split, transform, batch_size=16, second_weights=torch.ones(32), workers=1)
    else:
        loader = eval_loader(split, lambda images: images, batch_size=16, workers=1)
    list(loader)
except UserError as error:
    print(error.sentence)
"""


@pytest.mark.processes
@pytest.mark.parametrize("checked", ["checked", "unchecked"])
@pytest.mark.parametrize("kind", ["train", "eval"])
def test_a_full_shared_memory_is_a_sentence_and_no_endless_wait(
    lab: Any, tmp_path: Path, kind: str, checked: str
) -> None:
    """With a shared memory of 1 MiB, in a namespace of its own, where the machine allows one.

    The check comes before a worker starts; without it the worker that fills the memory tells.
    """
    unshare = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs a mount namespace")
    (tmp_path / "load.py").write_text(_FULL)
    command = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {shlex.quote(sys.executable)} load.py {kind} {checked}"
    done = subprocess.run(
        [*unshare, "sh", "-c", command], cwd=tmp_path, env=lab.environment(), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    sentence = "A batch cannot be passed on by the process that loaded it (unable to allocate shared memory(shm)"
    if checked == "checked":
        sentence = "With workers=1, each worker loads 2 batches of 16 images ahead, which takes "
    assert done.stdout.startswith(sentence), done.stderr
    assert "more shared memory (" in done.stdout and done.stdout.endswith("--shm-size in Docker).\n")


def test_shared_memory_is_compared_with_the_batches_that_are_loaded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two views of 3 x 16 x 16 bytes each, of an image and its partner; 2 x 2 + 1 batches of 8."""
    needed = 2 * 2 * 3 * 16 * 16 * 8 * 5
    split, transform = make_split(), train_transform("crop_flip", 16)
    options: Any = {"batch_size": 8, "second_weights": torch.ones(50), "workers": 2}
    monkeypatch.setattr(shared_memory, "FOLDER", "/tmp")
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed))
    assert train_loader(split, transform, **options).timeout == loaders.LONGEST_WAIT
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(UserError, match="With workers=2, each worker loads 2 batches of 8 images ahead, which takes"):
        train_loader(split, transform, **options)
    assert train_loader(split, transform, **{**options, "workers": 0}).timeout == 0
    # A loader of two batches never holds more.
    assert eval_loader(split, lambda _: torch.zeros(needed // 50, dtype=torch.uint8), batch_size=25, workers=2)


def test_a_worker_that_gives_no_batch_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "LONGEST_WAIT", 1)
    split = make_split()
    loader = eval_loader(split, _Sleepy(), batch_size=25, workers=1)
    with pytest.raises(UserError, match="gave no batch for 1 second: copy the images"):
        list(local_batches(loader, Accelerator(cpu=True)))


class _Sleepy:
    """A transform that hangs in a worker alone."""

    def __call__(self, images: Any) -> torch.Tensor:
        if torch.utils.data.get_worker_info() is not None:
            time.sleep(60)
        return torch.zeros(len(images), 1)
