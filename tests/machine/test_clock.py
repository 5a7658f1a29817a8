"""Where the time of a run goes, by stage, and the trace of a few of its steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from glmc_zoo.machine.clock import STAGES, StageClock


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_without_a_folder_nothing_is_counted(accelerator: Accelerator) -> None:
    clock = StageClock(accelerator)
    with clock.stage("forward"):
        time.sleep(0.01)
    assert list(clock.batches([1, 2])) == [1, 2]
    clock.step_done()
    times = clock.times()
    assert times["steps"] == 0 and not any(times["seconds"][name] for name in STAGES)


def test_times_are_those_of_the_stages_and_sum_to_all(tmp_path: Path, accelerator: Accelerator) -> None:
    clock = StageClock(accelerator, tmp_path / "profile")

    def slow() -> Any:
        for batch in range(3):
            time.sleep(0.02)
            yield batch

    for _ in clock.batches(slow()):
        with clock.stage("forward"):
            time.sleep(0.04)
        clock.step_done()
    time.sleep(0.03)
    report = clock.report()
    times = json.loads((tmp_path / "profile" / "stages.json").read_text())
    seconds = times["seconds"]
    assert times["steps"] == 3 and list(seconds) == [*STAGES, "other"]
    assert seconds["input"] >= 0.06 and seconds["forward"] >= 0.12 and seconds["other"] >= 0.03
    assert abs(sum(seconds.values()) - times["total_s"]) < 1e-6
    assert not seconds["backward"]
    lines = report.splitlines()
    assert [line[:16].strip() for line in lines[1:-1]] == [*STAGES, "other"]
    assert f"{1000 * seconds['forward'] / 3:.2f}" in next(line for line in lines if line.startswith("forward"))


def test_a_trace_of_few_steps_shows_the_stages(tmp_path: Path, accelerator: Accelerator) -> None:
    clock, weight = StageClock(accelerator, tmp_path), torch.ones(8, 8)
    for _ in clock.batches(range(9)):
        with clock.stage("forward"):
            weight = weight @ weight / 8
        clock.step_done()
    clock.report()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [event.get("name") for event in events if event.get("cat") != "gpu_user_annotation"]
    assert names.count("glmc_zoo: forward") == 4 and "aten::mm" in names


def test_a_fault_within_a_stage_is_passed_on(tmp_path: Path, accelerator: Accelerator) -> None:
    clock = StageClock(accelerator, tmp_path)
    with pytest.raises(KeyError), clock.stage("backward"):
        raise KeyError("a")
    assert clock.seconds["backward"] > 0


def test_a_short_run_has_a_trace_too(tmp_path: Path, accelerator: Accelerator) -> None:
    clock = StageClock(accelerator, tmp_path)
    for _ in clock.batches(range(4)):
        with clock.stage("forward"):
            torch.ones(4, 4).mm(torch.ones(4, 4))
        clock.step_done()
    assert "trace.json" in clock.report()
    assert "aten::mm" in (tmp_path / "trace.json").read_text()


def test_a_run_of_one_step_has_times_alone(tmp_path: Path, accelerator: Accelerator) -> None:
    clock = StageClock(accelerator, tmp_path)
    clock.step_done()
    assert "trace" not in clock.report()
    assert [path.name for path in tmp_path.iterdir()] == ["stages.json"]
