"""Names, folders and cards as they are checked before a push."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub import PushTarget, check_card
from glmc_zoo.hub.plain_files import exported_files

REFS = ["v1", "v1.0", "dev/one", "a-b_c", "x@y", "a b", "a..b", "-a", "a.lock", "a/.b", ".a", "a/", "/a", "a//b", "a~1"]
REFS += ["a^", "a:b", "a?", "a*", "a[b", "a\\b", "@", "a@{1}", "a.", "a.lock/b", "a\tb", "é"]


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, which the names are compared with")
def test_names_of_branches_are_those_of_git() -> None:
    for name in REFS:
        git = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, check=False)
        try:
            PushTarget(repo="org/name", revision=name)
            taken = True
        except UserError:
            taken = False
        assert taken == (git.returncode == 0), name


def test_all_files_but_hidden_ones(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "x.lock").touch()
    (folder / "plots" / ".DS_Store").touch()
    assert sorted(exported_files(folder)) == sorted(
        path.relative_to(exported).as_posix() for path in exported.rglob("*") if path.is_file()
    )


def test_pickles_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    for name in ("pytorch_model.bin", "plots/last.PT", "state.pth", "x.pkl", "last.ckpt", "a.pth.tar"):
        (folder / name).touch()
        with pytest.raises(UserError, match=f"holds {name}, a pickle, which is not pushed"):
            exported_files(folder)
        (folder / name).unlink()


def test_other_files_are_not_published(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt, which is not a file of an export"):
        exported_files(folder)


def test_the_card_of_an_export_is_good(exported: Path) -> None:
    check_card((exported / "README.md").read_text())


def test_a_card_that_lacks_something(exported: Path) -> None:
    text = (exported / "README.md").read_text()
    for old, new, expected in (
        ("---", "", "no front matter"),
        ("license: apache-2.0\n", "", "lacks license"),
        ("license: apache-2.0\n", "license:\n", "lacks license"),
        ("library_name: timm", "library_name: transformers", "'transformers': it must be timm"),
        ("model-index:", "other:", "lacks model-index"),
        ("pipeline_tag: image-classification", "pipeline_tag: [", "not valid"),
        ("pipeline_tag: image-classification", "a", "not valid"),
    ):
        assert old in text
        with pytest.raises(UserError, match=expected):
            check_card(text.replace(old, new, 1))


def test_features_have_no_scores(exported: Path) -> None:
    text = (exported / "README.md").read_text().replace("model-index:", "other:", 1)
    check_card(text.replace("pipeline_tag: image-classification", "pipeline_tag: image-feature-extraction", 1))
