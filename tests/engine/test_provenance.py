"""How a result came about, and that no place on this machine is told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import glmc_zoo
from glmc_zoo.engine.provenance import slug, without_place


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--data", "--data"),
        ("cifar10_lt", "cifar10_lt"),
        ("runs/here", "runs/here"),
        ("/home/me/images", "path/to/images"),
        ("--data=/home/me/images", "--data=path/to/images"),
        ("local-dir:/home/me/model", "local-dir:path/to/model"),
        ("--backbone=local-dir:/home/me/model", "--backbone=local-dir:path/to/model"),
        ("hf-hub:org/name", "hf-hub:org/name"),
    ],
)
def test_no_place_on_this_machine_is_told(argument: str, said: str) -> None:
    assert without_place(argument) == said


def test_a_tag_is_made_of_what_a_tag_may_hold() -> None:
    assert slug("My Beasts (2024)") == "my_beasts__2024"
    assert slug("données") == "donn_es"
    assert slug("数据") == "data"
    assert slug("org/name") == "name"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_checkout_and_whether_it_was_changed(tmp_path: Path) -> None:
    shutil.copytree(Path(glmc_zoo.__file__).parent, tmp_path / "glmc_zoo")

    def git(*words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    def said() -> str:
        code = "from glmc_zoo.engine.provenance import source_commit; print(source_commit())"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert said() == commit
    (tmp_path / "glmc_zoo" / "errors.py").open("a").write("# changed\n")
    assert said() == f"{commit}-dirty"
    shutil.rmtree(tmp_path / ".git")
    assert said() == "None"
