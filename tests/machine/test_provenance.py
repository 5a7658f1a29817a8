"""How a result came about: versions, commit, hardware."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

import glmc_zoo
from glmc_zoo.machine import provenance
from glmc_zoo.machine.provenance import collect_origin, package_versions


def test_versions_are_those_that_a_result_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = package_versions()
    assert torch.__version__.startswith(versions["torch"]) and versions["python"].count(".") == 2
    assert {"glmc_zoo", "timm", "torchvision", "accelerate", "datasets", "huggingface_hub", "numpy"} < versions.keys()

    def missing(name: str) -> str:
        raise provenance.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(provenance.importlib.metadata, "version", missing)
    versions = package_versions()
    assert versions["glmc_zoo"] == f"{glmc_zoo.__version__} (not installed)" and versions["timm"] == "not installed"


def test_the_origin_of_a_run() -> None:
    facts = collect_origin(Accelerator(cpu=True), "the command")
    assert (facts.command, facts.precision, facts.processes) == ("the command", "no", 1)
    assert facts.hardware is not None and facts.hardware.endswith(f"{torch.get_num_threads()} threads a process")
    assert facts.versions == package_versions()


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path: Path) -> None:
    shutil.copytree(Path(glmc_zoo.__file__).parent, tmp_path / "glmc_zoo")

    def git(*words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")
    # In one process, which imports torch once.
    code = """
import shutil
from glmc_zoo.machine.provenance import source_commit
print(source_commit())
open("glmc_zoo/errors.py", "a").write("# changed")
print(source_commit())
shutil.rmtree(".git")
print(source_commit())
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [commit, f"{commit}-dirty", "None"]
