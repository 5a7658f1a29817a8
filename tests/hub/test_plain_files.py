"""Only plain files leave: links, folders behind links, pipes and devices are refused, and nothing of them is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glmc_zoo.errors import UserError
from glmc_zoo.hub.plain_files import copy_plots, exported_files, read_regular_file

SECRET = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside of the export that must not leave."""
    path = tmp_path / "outside" / "id_key"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def plots(tmp_path: Path) -> Path:
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "training.png").write_bytes(b"drawn")
    return folder


def linked_file(folder: Path, secret: Path) -> None:
    (folder / "extra.png").symlink_to(secret)


def linked_folder(folder: Path, secret: Path) -> None:
    (folder / "extra").symlink_to(secret.parent)


def dangling_link(folder: Path, secret: Path) -> None:
    (folder / "extra.png").symlink_to(secret.parent / "absent")


def hard_link(folder: Path, secret: Path) -> None:
    os.link(secret, folder / "extra.png")


def pipe(folder: Path, secret: Path) -> None:
    os.mkfifo(folder / "extra.png")


def device(folder: Path, secret: Path) -> None:
    (folder / "extra.png").symlink_to("/dev/zero")


SPOILED: list[Callable[[Path, Path], None]] = [linked_file, linked_folder, dangling_link, hard_link, pipe, device]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_what_is_no_plain_file_is_neither_copied_nor_pushed(
    spoil: Callable[[Path, Path], None], plots: Path, secret: Path, exported: Path, tmp_path: Path
) -> None:
    spoil(plots, secret)
    with pytest.raises(UserError, match=r"plots holds extra.*(link|pipe)") as caught:
        copy_plots(plots, tmp_path / "copied")
    assert "\n" not in str(caught.value) and not (tmp_path / "copied").exists()

    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    spoil(folder / "plots", secret)
    with pytest.raises(UserError, match=r"model holds plots/extra.*(link|pipe)"):
        exported_files(folder)


def test_a_folder_of_plots_that_is_a_link(plots: Path, secret: Path, exported: Path, tmp_path: Path) -> None:
    (secret.parent / "key.png").write_bytes(SECRET)
    (tmp_path / "linked").symlink_to(secret.parent)
    with pytest.raises(UserError, match=r"Folder .*linked is a link"):
        copy_plots(tmp_path / "linked", tmp_path / "copied")
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    shutil.rmtree(folder / "plots")
    (folder / "plots").symlink_to(secret.parent)
    with pytest.raises(UserError, match="holds plots, which is a link"):
        exported_files(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "README.md", "config.yaml"])
def test_every_file_of_an_export_is_looked_at(file: str, exported: Path, secret: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    (folder / file).unlink()
    (folder / file).symlink_to(secret)
    with pytest.raises(UserError, match=f"holds {file}, which is a link"):
        exported_files(folder)


def test_names_and_sizes(plots: Path, tmp_path: Path) -> None:
    for name in ("notes.txt", "deeper/training.png", "key"):
        path = plots / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        with pytest.raises(UserError, match=f"holds {name}, which is not a PNG file of this folder"):
            copy_plots(plots, tmp_path / "copied")
        path.unlink()
    with (plots / "huge.png").open("wb") as file:
        file.truncate(17 << 20)
    with pytest.raises(UserError, match=r"holds huge\.png, which has more than 16 MiB"):
        copy_plots(plots, tmp_path / "copied")


def test_plots_are_copied_and_hidden_files_are_not(plots: Path, tmp_path: Path) -> None:
    (plots / ".DS_Store").write_bytes(b"x")
    (plots / "deeper").mkdir()  # empty
    assert copy_plots(plots, tmp_path / "copied") == ["training.png"]
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["training.png"]
    assert (tmp_path / "copied" / "training.png").read_bytes() == b"drawn"


def test_a_file_that_became_a_link_after_it_was_looked_at(plots: Path, secret: Path) -> None:
    (plots / "training.png").unlink()
    (plots / "training.png").symlink_to(secret)
    with pytest.raises(UserError, match=r"holds training\.png, which cannot be read"):
        read_regular_file(plots / "training.png", plots)


def test_contents_are_read_once_and_tensors_are_paths(exported: Path) -> None:
    files = exported_files(exported)
    assert {name for name, content in files.items() if isinstance(content, Path)} == {
        "model.safetensors", "glmc_heads.safetensors",
    }  # fmt: skip
    assert files["config.json"] == (exported / "config.json").read_bytes()
