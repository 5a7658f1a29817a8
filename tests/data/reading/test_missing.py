"""What an error suggests for data that does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmc_zoo.data import list_data, load_data
from glmc_zoo.data.reading.dataset_errors import errors_as_sentence
from glmc_zoo.data.reading.missing import suggest_paths
from glmc_zoo.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two folders, one in another, a list, and files that cannot be data."""
    for name in ("my_images/train", "birds", ".my_image_cache"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("my_labels.csv", "my_image.py"):
        (tmp_path / name).touch()
    (tmp_path / "lost.csv").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "suggestions"),
    [
        ("my_image", " Did you mean my_images?"),
        ("my_images/trian", " Did you mean my_images/train?"),
        ("my_image/train", " Did you mean my_images?"),  # the first part that is missing
        ("my_label.csv", " Did you mean my_labels.csv?"),
        ("my_images/train/birds", ""),
        ("nothing_like_it", ""),
        ("lost.csv", ""),  # a link to a file that does not exist is not suggested for itself
        ("birds2/train/more", " Did you mean birds?"),
    ],
)
def test_neighbours(folder: Path, path: str, suggestions: str) -> None:
    assert suggest_paths(path) == suggestions
    assert suggest_paths(folder / path) == suggestions.replace("mean ", f"mean {folder}/")


def test_a_name_without_a_slash_is_one_sentence(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_data("my_image")
    assert str(caught.value) == (
        "data='my_image' is neither an existing folder or file nor a data set of the catalogue "
        f"({', '.join(list_data())}): give one of these, the path of a folder or a CSV file, or a Hub id (org/name). "
        "Did you mean my_images?"
    )


def test_names_of_the_catalogue_and_of_folders_together(folder: Path) -> None:
    (folder / "digits").mkdir()
    with pytest.raises(UserError, match=r"Did you mean digits_lt, digits(, \w+)?\?$"):
        load_data("digit_lt")


def test_paths_and_copies_of_the_catalogue(folder: Path) -> None:
    with pytest.raises(UserError, match=r"The data folder \./my_image does not exist: .* Did you mean my_images\?$"):
        load_data("./my_image")
    with pytest.raises(UserError, match=r"^data_dir='my_image' does not exist: .* Did you mean my_images\?$"):
        load_data("cifar10_lt", data_dir="my_image")


def test_a_folder_that_looks_like_an_id_of_the_hub(folder: Path) -> None:
    with pytest.raises(UserError, match=r"my_images/trian cannot be read .* Did you mean my_images/train\?$"):
        load_data("my_images/trian")
    with pytest.raises(UserError, match=r"nobody/nothing cannot be read .*data=FOLDER\)\.$"):
        load_data("nobody/nothing")
    name = f"{'a' * 300}/nothing"  # longer than the name of a folder may be
    with pytest.raises(UserError, match=rf"{name} cannot be read .*data=FOLDER\)\.$"), errors_as_sentence(name):
        raise OSError("no answer")
