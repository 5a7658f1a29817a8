"""The speed measurements: their reports, the reference loop, and the meter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _meter
import pytest
import reference_loop
import torch
from waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[1]


def run_script(name: str, *arguments: Any, cwd: Path) -> str:
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    process = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.processes
@pytest.mark.parametrize("script", ["speed.py", "startup.py", "predict.py", "export.py"])
def test_a_measurement_has_a_help(script: str, tmp_path: Path) -> None:
    assert "--json" in run_script(script, "--help", cwd=tmp_path)


@pytest.mark.processes
def test_speed_writes_a_report(tmp_path: Path) -> None:
    file = tmp_path / "loop.json"
    options = "--data digits_lt --batch-size 8 --rounds 2 --steps 2 --warmup 1 --threads 1 --reference-workers 0"
    printed = run_script("speed.py", "loop", *options.split(), "--json", file, cwd=tmp_path)
    report = json.loads(file.read_text(encoding="utf-8"))
    assert report["versions"]["torch"] and str(tmp_path) not in report["command"]
    rows = {row["side"]: row for row in report["results"]}
    assert list(rows) == ["reference", "ours"] and all(side in printed for side in rows)
    assert rows["reference"]["times_reference"]["range"] == [1.0, 1.0]
    for row in rows.values():
        assert row["threads"] == 1 and row["steps"] == 2
        assert row["images_per_second"]["median"] == pytest.approx(2 * row["samples_per_second"]["median"])
        step_ms = [1000 * 8 / speed for speed in row["samples_per_second"]["range"]]
        assert sorted(step_ms) == pytest.approx(row["ms_per_step"]["range"])
    assert rows["ours"]["resident"] and rows["ours"]["loop_over_bare_step"]["median"] > 0


@pytest.mark.processes
def test_startup_stops_the_recipe_after_its_first_step(tmp_path: Path) -> None:
    arguments = ["--first-step", "--epochs", 1, "--batch-size", 8, "--output-dir", tmp_path / "run"]
    assert run_script("startup.py", *arguments, cwd=tmp_path).splitlines()[-1] == "first training step done"
    assert (tmp_path / "run" / "config.yaml").exists() and not (tmp_path / "run" / "results.json").exists()


@pytest.mark.processes
def test_predictions_are_timed_with_both_numbers_of_threads(tmp_path: Path) -> None:
    file = tmp_path / "predict.json"
    printed = run_script("predict.py", "--images", 5, "--rounds", 1, "--json", file, cwd=tmp_path)
    report = json.loads(file.read_text(encoding="utf-8"))
    assert str(tmp_path) not in report["command"]
    rows = {row["threads"]: row for row in report["results"]}
    assert list(rows) == ["its own choice", "1"] and all(name in printed for name in rows)
    assert all(row["images"] == 5 and row["processor_seconds"]["median"] > 1 < row["peak_mib"] for row in rows.values())


def test_reference_loop_trains_as_the_package_does() -> None:
    from glmc_zoo import GLMCModel, GLMCTask, Mix
    from glmc_zoo.data import load_data
    from glmc_zoo.method import preset_switches

    data = load_data("digits_lt")
    torch.manual_seed(0)
    settings = reference_loop.Settings(
        backbone="resnet20_cifar", image_size=16, augment="shift", batch_size=16, workers=0, gamma=2.0, lr=0.05
    )
    loop = reference_loop.ReferenceLoop(data, "digits_lt", settings)
    loop.alpha = 1 - (50 / 200) ** 2
    model = GLMCModel("resnet20_cifar", 10, image_size=16, projection_dim=128)
    model.timm_model.load_state_dict(loop.model.encoder.state_dict())
    for name, reference_name in (("conventional_classifier", "classifier"), ("projector",) * 2, ("predictor",) * 2):
        getattr(model, name).load_state_dict(getattr(loop.model, reference_name).state_dict())
    counts = data.class_counts
    switches = preset_switches("official", consistency_weight=2.0, class_weight_power=1.2, sampler_power=0.0)
    task = GLMCTask(model, class_counts=counts, epochs=200, switches=switches, verbose=False)
    task.set_epoch(50)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
    loop.model.train()
    task.train()
    batches = loop.batches()
    for lam, box in ((0.3, (0, 9, 4, 16)), (0.9, (5, 9, 5, 9)), (0.5, (2, 12, 0, 7))):
        a, b, first, c, d, second = batch = loop.to_device(next(batches))
        assert not torch.equal(a, b)  # two augmentations of the same images
        expected = loop.losses(batch, lam, box)
        ours = task(task.mix((a, b), (c, d), first, second, mix=Mix(lam, box)))
        for name, value in expected.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
        for loss, its_optimizer in ((expected["loss"], loop.optimizer), (ours["loss"], optimizer)):
            its_optimizer.zero_grad()
            loss.backward()
            its_optimizer.step()


def test_reference_draws_boxes_of_the_published_size() -> None:
    areas, shares = [], []
    for _ in range(4000):
        lam, (top, bottom, left, right) = reference_loop.random_mix(32)
        assert 0 <= top <= bottom <= 32 and 0 <= left <= right <= 32
        areas.append((bottom - top) * (right - left) / 32**2)
        shares.append(lam)
    assert sum(shares) / 4000 == pytest.approx(0.5, abs=0.03)
    assert sum(areas) / 4000 == pytest.approx(0.32, abs=0.03)  # clipped at the border


def test_meter_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_meter, "children_mib", lambda: 7.0)
    meter = _meter.Meter(torch.device("cpu"), 2)
    for pause in (0.05, 0.05, 0.0, 0.0, 0.0):
        meter.begin()
        time.sleep(pause)
        meter.count(4)
    measured = meter.stop()
    assert (measured["steps"], measured["samples"], measured["workers_mib"]) == (3, 12, 7.0)
    assert measured["warmup_seconds"] >= 0.1 and 0 <= measured["median_step_seconds"] <= measured["seconds"]


def test_overlapping_kernels_count_once_as_busy_time() -> None:
    kernels = [(0, 10), (5, 10), (6, 2), (100, 1)]
    events = [{"ph": "X", "cat": "kernel", "ts": start, "dur": length} for start, length in reversed(kernels)]
    events += [{"ph": "X", "cat": "gpu_memcpy", "ts": 50, "dur": 20}, {"ph": "M", "name": "process_name"}]
    assert _meter.busy_seconds(events) == pytest.approx(16e-6)


def test_arithmetic_of_a_product_counts_additions_too() -> None:
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    assert _meter.count_flops(lambda: left @ right) == 2 * 3 * 5 * 7
