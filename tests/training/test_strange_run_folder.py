"""A run folder from somebody else: nothing outside of it is written or removed, and nothing in it is waited for."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.files import HOLDER_FILE, LOCK_FILE, remove, replace_file, write_json
from glmc_zoo.machine.lock import lock_folder
from glmc_zoo.scoring.decoration import Decorations
from glmc_zoo.scoring.prediction_files import RowFile
from glmc_zoo.training.checkpoint import newest_checkpoint
from glmc_zoo.training.features import FeatureParts
from glmc_zoo.training.folder import check_layout, initial_options, lock_run
from glmc_zoo.training.search_file import SearchFile

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and named pipes")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """A test that waits at a pipe fails after two minutes."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A file outside of the run folder that nothing may change."""
    path = tmp_path / "precious"
    path.write_text("PRECIOUS")
    yield path
    assert path.read_text() == "PRECIOUS"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


# ------------------------------------------------------------------------------------------------ writing
def test_a_link_under_the_name_of_a_half_written_file_is_not_followed(run: Path, precious: Path) -> None:
    (run / ".writing-x.json").symlink_to(precious)
    write_json(run / "x.json", 1)
    assert (run / "x.json").read_text() == "1\n"
    for left in ("pipe", "folder"):
        partial = run / ".writing-y.txt"
        os.mkfifo(partial) if left == "pipe" else (partial / "more").mkdir(parents=True)
        replace_file(run / "y.txt", lambda file: file.write("y"))
        assert (run / "y.txt").read_text() == "y" and not partial.exists()


def test_a_plot_is_not_drawn_through_a_link(run: Path, precious: Path) -> None:
    (run / ".writing-a.png").symlink_to(precious)
    (run / "a.png").symlink_to(precious)
    Decorations().plot(run / "a.png", lambda path: path.write_text("plot"))
    assert (run / "a.png").read_text() == "plot" and not (run / "a.png").is_symlink()
    (run / "plots").write_text("a file")
    decorations = Decorations()
    decorations.plot(run / "plots" / "b.png", lambda path: path.write_text("plot"))
    assert len(decorations.warnings) == 1 and "The plot b.png was not made" in decorations.warnings[0]


def test_a_lock_is_not_written_through_a_link(run: Path, precious: Path) -> None:
    (run / f".writing-{HOLDER_FILE}").symlink_to(precious)
    (run / HOLDER_FILE).symlink_to(precious)
    lock = lock_folder(run)
    assert json.loads((run / HOLDER_FILE).read_text())["process"] == os.getpid()
    lock.release()
    assert not (run / HOLDER_FILE).exists()
    (run / HOLDER_FILE).mkdir()
    with pytest.raises(UserError, match=r"cannot be locked \(Is a directory\): give a folder that you may write to"):
        lock_folder(run)
    (run / HOLDER_FILE).rmdir()
    lock_folder(run).release()


@pytest.mark.parametrize("number", [2**62, -1, 0])
def test_a_holder_with_an_impossible_process_blocks_nobody(run: Path, number: int) -> None:
    (run / HOLDER_FILE).write_text(json.dumps({"process": number, "host": "x"}))
    lock_folder(run).release()


def test_rows_of_a_prediction_do_not_go_through_a_link(run: Path, precious: Path) -> None:
    (run / "p.csv.partial").symlink_to(precious)
    file = RowFile(run / "p.csv", ["file"], overwrite=True)
    file.finish()
    assert (run / "p.csv").read_text() == "file\n" and not (run / "p.csv").is_symlink()


def test_features_are_not_written_through_a_link(run: Path, precious: Path) -> None:
    parts = FeatureParts(run, "k" * 64)
    parts.folder.mkdir()
    (parts.folder / ".writing-part-000000000.safetensors").symlink_to(precious)
    parts.write(torch.arange(2), torch.zeros(1, 2, 3))
    assert parts.read(2, 1)[0].tolist() == [0, 1]


def test_removing_takes_the_link_and_not_its_target(run: Path, precious: Path) -> None:
    (run / "file").symlink_to(precious)
    (run / "folder").symlink_to(precious.parent)
    os.mkfifo(run / "pipe")
    (run / "real" / "deep").mkdir(parents=True)
    for name in ("file", "folder", "pipe", "real", "absent"):
        remove(run / name)
    assert not list(run.iterdir())


# ------------------------------------------------------------------------------------------------ what lies in the way
@pytest.mark.parametrize(
    "name", ["config.yaml", "metrics.jsonl", "results.json", "search.jsonl", LOCK_FILE, HOLDER_FILE]
)
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_something_else_in_place_of_a_file(run: Path, precious: Path, name: str, kind: str) -> None:
    path = run / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(precious if kind == "link" else run / "nowhere")
    expected = (
        "is a link, and a run does not write through links" if "link" in kind else "is not a regular file: move it"
    )
    with pytest.raises(UserError, match=f"{name} {expected}"):
        lock_run(run)
    assert [one.name for one in run.iterdir()] == [name]


@pytest.mark.parametrize("name", ["checkpoints", "model", "plots", "features"])
def test_a_link_in_place_of_a_folder_keeps_what_it_points_to(run: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    (other / ".writing-step-000000001").mkdir(parents=True)
    (run / name).symlink_to(other)
    with pytest.raises(UserError, match=f"{name} is a link"):
        lock_run(run)
    assert (other / ".writing-step-000000001").is_dir()
    (run / name).unlink()
    (run / name).write_text("x")
    with pytest.raises(UserError, match=f"{name} is not a folder"):
        check_layout(run)
    (run / name).unlink()
    check_layout(run)


def test_pipes_are_not_waited_for(run: Path, accelerate: Callable[..., Any]) -> None:
    os.mkfifo(run / "config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml cannot be read: It is not a regular file\. Give another output"):
        initial_options(run, "auto")
    checkpoint = run / "checkpoints" / "step-000000001"
    checkpoint.mkdir(parents=True)
    os.mkfifo(checkpoint / "manifest.json")
    os.mkfifo(run / "checkpoints" / "step-000000002")
    accelerate()
    assert newest_checkpoint(run / "checkpoints") is None
    parts = FeatureParts(run, "k" * 64)
    parts.folder.mkdir()
    os.mkfifo(parts.folder / "part-000000000.safetensors")
    assert parts.read(4, 1)[1] is None


def test_an_evaluation_among_pipes_is_reported(run: Path) -> None:
    (run / "a").mkdir()
    os.mkfifo(run / "a" / "results.json")
    os.mkfifo(run / "comparison.csv")
    with pytest.raises(UserError, match=r"has no results\.json"):
        glmc_zoo.report(run=str(run))


def test_a_report_waits_for_no_other_process_and_meets_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glmc_zoo.training import reporting

    def used(folder: Path, *, option: str) -> Any:
        raise UserError(f"{option}={str(folder)!r} is used by process 7 on a")

    monkeypatch.setattr(reporting, "lock_folder", used)
    with pytest.raises(UserError, match=r"^run='.*' is used by process 7"):
        glmc_zoo.report(run=str(run))


# ------------------------------------------------------------------------------------------------ what a file holds
@pytest.mark.parametrize(
    "tensors",
    [
        {"positions": torch.tensor([0, 9]), "features": torch.zeros(1, 2, 3)},
        {"positions": torch.tensor([0, -1]), "features": torch.zeros(1, 2, 3)},
        {"positions": torch.tensor([0, 0]), "features": torch.zeros(1, 2, 3)},
        {"positions": torch.tensor([0.0, 1.0]), "features": torch.zeros(1, 2, 3)},
        {"positions": torch.tensor([0, 1]), "features": torch.zeros(2, 2, 3)},
        {"positions": torch.tensor([0, 1]), "features": torch.zeros(1, 2)},
        {"positions": torch.tensor([0, 1]), "features": torch.full((1, 2, 3), float("nan"))},
        {"positions": torch.tensor([0, 1])},
    ],
)
def test_features_that_do_not_fit_are_computed_again(run: Path, tensors: dict[str, torch.Tensor]) -> None:
    parts = FeatureParts(run, "k" * 64)
    parts.folder.mkdir()
    save_file(tensors, parts.folder / "part-000000000.safetensors", metadata={"key": parts.key})
    assert parts.read(4, 1)[0].tolist() == []
    parts.write(torch.arange(1, 4), torch.ones(1, 3, 3))
    assert parts.read(4, 1)[0].tolist() == [1, 2, 3]


PLAN: dict[str, Any] = {"rates": [0.1], "epochs": 2, "images": 10}


@pytest.mark.parametrize(
    ("line", "ask"),
    [
        ("5", lambda file: file.seconds_so_far()),
        ("[" * 5000, lambda file: file.seconds_so_far()),
        ('{"spent": Infinity}', lambda file: file.seconds_so_far()),
        ('{"trial": {}}', lambda file: file.trials()),
        ('{"trial": {"lr": "x"}, "spent": 1}', lambda file: file.trials()),
        (json.dumps({"plan": PLAN | {"rates": [-1]}, "key": "k", "spent": 1}), lambda file: file.plan("k")),
        (json.dumps({"plan": PLAN | {"epochs": 10**9}, "key": "k", "spent": 1}), lambda file: file.plan("k")),
        (json.dumps({"plan": [], "key": "k", "spent": 1}), lambda file: file.plan("k")),
        ('{"search": {"chosen": null}, "spent": 1}', lambda file: file.facts()),
    ],
)
def test_a_search_file_that_no_search_writes(run: Path, line: str, ask: Callable[[SearchFile], Any]) -> None:
    file = SearchFile(run)
    file.path.write_text(line + "\n")
    with pytest.raises(UserError, match=r"search\.jsonl"):
        ask(file)
    file.path.write_text(json.dumps({"plan": PLAN, "key": "k", "spent": 1}) + '\n{"half')
    plan = file.plan("k")
    assert plan is not None and plan.rates == [0.1] and file.seconds_so_far() == 1.0
