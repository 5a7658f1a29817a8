"""A disk that is full, read-only or limited: one sentence that names the folder, and no file is lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import SafetensorError
from waiting import PATIENCE

from glmc_zoo import disk
from glmc_zoo.disk import check_free_space, disk_error, disk_errors, name_folder_in_errors
from glmc_zoo.errors import UserError
from glmc_zoo.files import replace_file


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (OSError(errno.EFBIG, "File too large"), "larger than allowed"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), "too long"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk is full"),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "larger than allowed"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), "disk is full"),
    ],
)
def test_one_sentence_names_folder_and_fix(error: Exception, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, disk_errors(tmp_path):
        raise error
    sentence = caught.value.sentence
    assert sentence.startswith(f"The folder {tmp_path} cannot be written, ") and reason in sentence
    assert sentence.endswith("what was whole before is still there.") and "give" in sentence
    assert (" are free: free some space" in sentence) == ("disk is full" in sentence)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), KeyError("x"), UserError("x")])
def test_other_errors_are_unchanged(error: Exception, tmp_path: Path) -> None:
    assert disk_error(error) is None
    with pytest.raises(type(error)) as caught, disk_errors(tmp_path):
        raise error
    assert caught.value is error


def test_a_method_of_a_run_names_its_folder(tmp_path: Path) -> None:
    class Run:
        folder = SimpleNamespace(path=tmp_path)

        @name_folder_in_errors
        def save(self, *, full: bool) -> str:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return "saved"

    assert Run().save(full=False) == "saved"
    with pytest.raises(UserError, match=f"^The folder {tmp_path} cannot be written, the disk is full"):
        Run().save(full=True)


def test_free_space_is_checked_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_500_000))
    check_free_space(tmp_path / "not" / "made", 2_500_000)
    with pytest.raises(UserError, match=r"needs 2\.6 MB for a checkpoint, and 2\.5 MB are free: free some space"):
        check_free_space(tmp_path / "not" / "made", 2_600_000)


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """A limit of the process stops the writing in the middle of the file."""
    path = tmp_path / "results.json"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UserError, match="larger than allowed here"), disk_errors(tmp_path):
            replace_file(path, lambda file: file.write("x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["results.json"]


_SCRIPT = """
import os, pathlib, subprocess, sys
command = [sys.executable, "-m", "glmc_zoo", "train", "--data", "digits_lt", "--backbone", "resnet20_cifar"]
command += ["--epochs", "2", "--max-count", "20", "--imbalance-factor", "2", "--batch-size", "32"]
process = subprocess.run([*command, "--output-dir", "full/run"], capture_output=True, text=True)
print(process.returncode, process.stderr.splitlines()[-1])
print(sorted(path.name for path in pathlib.Path("full/run").glob("*/*/*")))
"""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("size", "sentence"),
    [("1500k", "for a checkpoint, and"), ("3500k", "full/run cannot be written, the disk is full, ")],
)
def test_a_training_on_a_full_disk(lab: Any, tmp_path: Path, size: str, sentence: str) -> None:
    """A run on a small file system, if the machine allows mount namespaces. It is full at the start, or later."""
    unshare = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("needs a mount namespace")
    (tmp_path / "full").mkdir()
    (tmp_path / "run.py").write_text(_SCRIPT)
    command = f"mount -t tmpfs -o size={size} tmpfs full && exec {sys.executable} run.py"
    process = subprocess.run(
        [*unshare, "sh", "-c", command], cwd=tmp_path, env=lab.environment(), capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    status, *_ = process.stdout.partition("\n")
    assert status.startswith("2 glmc-zoo train: error: The folder full/run ") and sentence in status, process.stdout
    if "cannot be written" in status:
        assert "manifest.json" in process.stdout  # the first checkpoint is complete
