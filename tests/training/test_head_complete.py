"""A classifier on features that is complete: it is not trained again, and may still be pushed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import glmc_zoo
from glmc_zoo.errors import UserError
from glmc_zoo.hub import PushResult
from glmc_zoo.results import RunResults
from glmc_zoo.training import head_run, scored_run
from glmc_zoo.training.head_run import HeadRun

Recipe = Callable[..., Any]

pytestmark = [pytest.mark.usefixtures("own_cache")]


@pytest.fixture
def complete(lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The keywords of a run that is complete, with ``resume="auto"``."""
    lab.leave_plots_empty(monkeypatch)
    options: dict[str, Any] = {"model": source, "data": animals, "tune": "head", "feature_views": 1}
    options["output_dir"] = tmp_path / "run"
    glmc_zoo.finetune(**options)
    return {**options, "resume": "auto"}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_complete_run_is_not_repeated(
    complete: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, results = tmp_path / "run", RunResults.load(tmp_path / "run" / "results.json")
    with pytest.raises(UserError, match=r"already holds files .*; choose another folder, as its run is complete\.$"):
        glmc_zoo.finetune(**{**complete, "resume": None})
    before = contents(run)
    for name in ("compute_features", "search_head"):
        monkeypatch.setattr(head_run, name, lambda *given, **named: pytest.fail("computed again"))
    monkeypatch.setattr(HeadRun, "_score", lambda *given, **named: pytest.fail("scored again"))
    again = glmc_zoo.finetune(**complete, threads=1)  # what may differ changes nothing
    assert again == results and again.folder == run and contents(run) == before
    out = capsys.readouterr().out
    assert f"The run in {run} is complete: nothing is computed again.\n" in out
    assert f"{100 * results.test.top1:.1f} [" in out and f"scores  {run}/results.json" in out


def test_a_complete_run_is_pushed_where_a_repository_is_named(
    complete: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[Any] = []

    def push(folder: Path, target: Any) -> PushResult:
        pushed.append((folder.name, target.repo))
        return PushResult("https://example.org", "commit")

    monkeypatch.setenv("HF_TOKEN", "hf_0")
    monkeypatch.setattr(head_run, "check_login", lambda: None)
    monkeypatch.setattr(scored_run, "push_model", push)
    glmc_zoo.finetune(**complete, push_to_hub="org/name")
    assert pushed == [("model", "org/name")]


def test_a_push_that_failed_is_repeated_alone(
    lab: Any, source: Path, animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.leave_plots_empty(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_0")
    monkeypatch.setattr(head_run, "check_login", lambda: None)
    pushed: list[str] = []

    def push(folder: Path, target: Any) -> PushResult:
        pushed.append(folder.name)
        if len(pushed) == 1:
            raise UserError("The Hub refuses the push.")
        return PushResult("https://example.org", "commit")

    monkeypatch.setattr(scored_run, "push_model", push)
    options: dict[str, Any] = {"model": source, "data": animals, "tune": "head", "feature_views": 1}
    options |= {"output_dir": tmp_path / "run", "push_to_hub": "org/name"}
    with pytest.raises(UserError, match="refuses the push"):
        glmc_zoo.finetune(**options)
    for name in ("compute_features", "search_head"):
        monkeypatch.setattr(head_run, name, lambda *given, **named: pytest.fail("computed again"))
    glmc_zoo.finetune(**options, resume="auto")
    assert pushed == ["model", "model"] and not (tmp_path / "run" / "features").exists()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ({"calibrate": "never"}, "is done again, because its outputs have other options (calibrate: auto -> never)."),
        ("finished.json", ""),
        ("results.json", ""),
        ("model/model.safetensors", ""),
    ],
    ids=str,
)
def test_a_run_that_is_not_complete_is_done_again(
    damage: Any, line: str, complete: dict[str, Any], lab: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, before = tmp_path / "run", lab.weights(tmp_path / "run")
    changes = damage if isinstance(damage, dict) else {}
    if not changes:
        (run / damage).write_text("{")
    glmc_zoo.finetune(**complete, **changes)
    out = capsys.readouterr().out
    assert "is complete: nothing" not in out and line in out and "* chosen" in out
    assert bool(changes) or lab.same_weights(lab.weights(run), before)
    glmc_zoo.finetune(**complete, **changes)  # and is complete after that
    assert "is complete: nothing" in capsys.readouterr().out


def test_a_complete_run_of_other_images_is_not_taken_for_this_one(
    complete: dict[str, Any], animals: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (32, 32), "red").save(animals / "train" / "bee" / "new.png")
    before = contents(tmp_path / "run")
    with pytest.raises(UserError, match=r"^The data changed after the run in .* was complete: restore it, or give"):
        glmc_zoo.finetune(**complete)
    assert contents(tmp_path / "run") == before
