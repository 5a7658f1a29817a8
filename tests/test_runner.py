"""benchmarks/_runner.py: in which order and how many at a time runs are started, and which results are stored."""

from __future__ import annotations

import itertools
import subprocess
import time
from pathlib import Path

import _rows
import _runner
import pytest
from _runner import Runner
from fake_runs import FINISHED, FakeRuns, start_and_end
from waiting import wait_until

pytestmark = pytest.mark.processes


@pytest.fixture
def fake(tmp_path: Path) -> FakeRuns:
    return FakeRuns(tmp_path)


def test_as_many_runs_at_a_time_as_slots(fake: FakeRuns) -> None:
    # None ends before a second one has begun, however long a process takes to start.
    code = "while len(list(folder.parent.glob('*/begun'))) < 2: time.sleep(0.01)\ntime.sleep(0.5)"
    runs = [fake.run(f"row{number}", code) for number in range(5)]
    Runner([{"SLOT": "0"}, {"SLOT": "1"}], None).run_all(runs)
    assert all(run.failure is None for run in runs)
    spans = [start_and_end(run) for run in runs]
    at_once = [sum(begun <= moment < ended for begun, ended in spans) for moment, _ in spans]
    assert max(at_once) == 2
    by_slot: dict[str, list[tuple[float, float]]] = {}
    for run, span in zip(runs, spans, strict=True):
        by_slot.setdefault((run.folder / "slot").read_text(), []).append(span)
    assert set(by_slot) == {"0", "1"}
    for slot_spans in by_slot.values():
        pairs = itertools.pairwise(sorted(slot_spans))
        assert all(earlier[1] <= later[0] for earlier, later in pairs)


def test_results_are_copied_unchanged_and_not_made_twice(fake: FakeRuns) -> None:
    run = fake.run("row")
    Runner([{}], None).run_all([run])
    assert _rows.read_results(run.result) == _rows.read_results(FINISHED)
    before = run.result.stat().st_mtime_ns
    again = fake.run("row", "sys.exit(9)")
    Runner([{}], None).run_all([again])
    assert again.failure is None and run.result.stat().st_mtime_ns == before
    # The results of a finished run are copied, without running it again, if only the copy is missing.
    run.result.unlink()
    Runner([{}], None).run_all([again])
    assert again.failure is None and run.result.is_file()


def test_results_that_exist_are_named(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    """With what runs them again: a run that is still in the work folder would only be copied."""
    first, second, new = fake.run("first"), fake.run("second"), fake.run("new")
    for run in (first, second):
        run.result.parent.mkdir(parents=True, exist_ok=True)
        run.result.write_text("{}")
    _runner.say_stored([first, second, new], trial=False)
    names = "exist already, not run: suite/first, suite/second with seed 0"
    assert capsys.readouterr().out[9:] == f"{names}; --results OTHER_FOLDER runs them again\n"
    (second.folder / "model").mkdir(parents=True)
    (second.folder / "results.json").write_text("{}")
    _runner.say_stored([first, second, new], trial=False)
    assert capsys.readouterr().out[9:] == f"{names}; --results OTHER_FOLDER --work OTHER_FOLDER runs them again\n"
    _runner.say_stored([first, second, new], trial=True)
    assert capsys.readouterr().out[9:] == f"{names}; --work OTHER_FOLDER runs them again\n"
    first.needed = True  # its model is gone, so it is run
    _runner.say_stored([first, new], trial=False)
    assert capsys.readouterr().out == ""


def test_a_first_stage_is_run_again_if_its_model_is_gone(fake: FakeRuns) -> None:
    first = fake.run("first")
    first.result.parent.mkdir(parents=True)
    first.result.write_text("{}")
    second = fake.run("second", after=first)
    Runner([{}], None).run_all([first, second])
    assert not (first.folder / "model").exists()  # no run needs it
    first.needed = True
    second.result.unlink()
    Runner([{}], None).run_all([first, second])
    assert (first.folder / "model").is_dir() and first.result.read_text() == "{}"
    assert second.failure is None and second.result.is_file()


def test_a_run_that_ended_between_its_scores_and_its_model_is_not_finished(fake: FakeRuns) -> None:
    full = fake.run("row", export="sys.exit(1)")  # as on a full disk
    Runner([{}], None).run_all([full])
    assert full.failure is not None and not full.result.exists()
    again = fake.run("row")
    Runner([{}], None).run_all([again])
    assert again.failure is None and again.result.is_file() and again.complete()


def test_an_evaluation_leaves_no_model_and_begins_in_a_fresh_folder(fake: FakeRuns) -> None:
    score = fake.run("score", export="", script="evaluate.py")
    score.folder.mkdir(parents=True)
    (score.folder / "half").touch()
    Runner([{}], None).run_all([score])
    assert score.failure is None and score.result.is_file() and not (score.folder / "half").exists()


def test_a_failed_run_stops_only_the_runs_that_start_from_it(fake: FakeRuns) -> None:
    bad = fake.run("bad", "print('a reason'); sys.exit(2)")
    needs, other = fake.run("needs", after=bad), fake.run("other")
    Runner([{}], None).run_all([bad, needs, other])
    assert bad.failure == f"failed with status 2: see {bad.folder.with_suffix('.log')}"
    assert "a reason" in bad.folder.with_suffix(".log").read_text()
    assert needs.failure == "not begun: suite/bad is not finished"
    assert other.failure is None and other.result.is_file() and not needs.result.exists()


def test_at_the_deadline_runs_are_stopped_and_no_other_starts(fake: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    long, later = fake.run("long", "time.sleep(600)"), fake.run("later")
    waits: list[float] = []

    class Child(subprocess.Popen[bytes]):
        """The time that is left passes once the script has begun, which takes long on a busy machine."""

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                return super().wait()
            waits.append(timeout)
            wait_until((long.folder / "begun").exists, self)
            return super().wait(0)

    monkeypatch.setattr(_runner.subprocess, "Popen", Child)
    start = time.monotonic()
    runner = Runner([{}], start + 200)
    runner.run_all([long, later])
    assert len(waits) == 1 and 0 < waits[0] <= 200 and runner.stopping
    assert (long.folder / "begun").exists() and not (long.folder / "ended").exists()
    assert "give the same command again" in str(long.failure) and later.failure is not None
    assert not (later.folder / "begun").exists()
