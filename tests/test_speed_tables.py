"""The tables of docs/speed.md can be made from the reports that the benchmark scripts write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import _speed_tables
import augment
import growth
import index
import inventory
import pytest
import soak
import speed
import startup
import step
from _meter import write_report
from _rows import ROOT, Links

LINKS = Links(ROOT)


@pytest.fixture(autouse=True)
def reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder that the tables are made from."""
    monkeypatch.setattr(_speed_tables, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``run_main(script, "--option value", file)`` runs a script in this process, with its report in ``file``."""

    def run(script: Any, options: str, file: Path) -> None:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *options.split(), "--json", str(file)])
        script.main()

    return run


def table_rows(name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in _speed_tables.speed_table(name, LINKS).splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[1:]]


def test_steps_with_many_classes(run_main: Callable[..., None], reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "make_step", lambda options, classes: lambda: classes / 1000)
    monkeypatch.setattr(step, "peak_memory", lambda classes: 2000.0)
    for name in ("step_classes", "step_classes_bf16"):
        run_main(step, "--classes 1000 3000 --rounds 2", reports / f"{name}.json")
    rows = [["1,000", "float32", "1,000", "1.00", "2,000"], ["3,000", "float32", "3,000", "3.00", "2,000"]]
    assert table_rows("classes")[:2] == rows


def test_growth_of_an_epoch(reports: Path) -> None:
    data = SimpleNamespace(train=range(30), test=range(20))
    settings: Any = [
        SimpleNamespace(
            panel=panel, value=value, run=SimpleNamespace(data=data), training=[9, value, value], evaluation=[9, 1, 1]
        )
        for panel in ("images", "classes")
        for value in (10, 20, 40)
    ]
    write_report(reports / "growth.json", growth.summarise(settings))
    rows = table_rows("growth")
    assert rows[1] == ["training, 20 images", "20.0", "2.00"] and rows[-1] == ["evaluation, 40 classes", "1.0", "1.00"]


def test_every_way_of_augmentation_has_a_row(run_main: Callable[..., None], reports: Path) -> None:
    run_main(augment, "--batch-size 2 --rounds 1 --image-size 32", reports / "augment.json")
    labels = [row[0] for row in table_rows("augment")]
    assert labels[-1] == "both parts, RandAugment in place of the jitter" and len(set(labels)) == 5
    assert table_rows("augment")[0][2] == "1.0 (1.0 to 1.0)"


def test_finding_images(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = index.SIZES["imagenet_lt"]
    run = {"seconds": 2.0, "peak_mib": 300.0, "train_images": size.listed, "test_images": 3, "classes": size.classes}
    monkeypatch.setattr(index, "make_imagenet", lambda folder, form: None)
    monkeypatch.setattr(index, "in_a_child", lambda *_: run | {"largest_smallest": [5, 2]})
    write_report(reports / "index.json", [index.measure_form("imagenet_lt", "hub", reports, 2)])
    assert table_rows("index") == [["`imagenet_lt`, hub", "1,331,167", "2.0", "2.0", "300"]]

    run = {"seconds": 2.0, "peak_mib": 300.0, "images": 200_000, "classes": 1000}
    monkeypatch.setattr(inventory, "make_form", lambda form, folder: folder.mkdir() or folder)
    monkeypatch.setattr(inventory, "in_a_child", lambda source: run)
    write_report(reports / "inventory.json", [inventory.measure_form("csv", reports, 2)])
    assert table_rows("inventory") == [["csv", "200,000", "2.00 (2.00 to 2.00)", "300"]]


def test_time_to_the_first_step(run_main: Callable[..., None], reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "seconds_to", lambda *_: 1.0)
    monkeypatch.setattr(startup, "seconds_to_first_step", lambda *_: 3.0)
    run_main(startup, "--rounds 1", reports / "startup.json")
    assert [row[0] for row in table_rows("startup")] == ["`--help`", "`digits_lt, cold`", "`digits_lt, warm`"]


def test_training_beside_the_reference(reports: Path) -> None:
    """Sides that answer without measuring: the package takes half the time of the reference."""

    def side(name: str, seconds: float) -> Any:
        measured = {"seconds": seconds, "processor_seconds": 2 * seconds, "warmup_seconds": 1.0, "steps": 10}
        measured |= {"samples": 100, "median_step_seconds": seconds / 10, "workers_mib": 7.0, "peak_mib": 1000.0}
        answers = {"matmul": {"gflops": 8.0}, "flops": {"flops": 10**9}}
        about = {"threads": 2, "workers": 0, "precision": "no"}
        return SimpleNamespace(name=name, about=about, ask=lambda task, **_: answers.get(task, measured))

    sides = [side("reference", 4.0), side("ours", 2.0)]
    memory, jpegs = ("speed_memory",), ("speed_input_jpegs", "speed_input_jpegs_one_thread")
    for name in (*_speed_tables.LOOPS, *memory, *jpegs):
        measurement = name.split("_")[1].replace("memory", "loop")
        options = argparse.Namespace(measurement=measurement, steps=10, warmup=1, rounds=2, device="cpu")
        write_report(reports / f"{name}.json", speed.measure(options, sides))
    row = table_rows("loop")[0]
    assert row[1:4] == ["25", "50", "2.00 (2.00 to 2.00)"] and row[5] == "1.000 (1.000 to 1.000)"
    assert table_rows("arithmetic")[0][1:] == ["2", "8", "0.31"]
    assert table_rows("memory") == [["reference", "1,000", "7"], ["ours", "1,000", "7"]]
    assert table_rows("jpegs")[1][:4] == ["ours, threads: 2", "50", "2.0", "2.00 (2.00 to 2.00)"]


def test_a_killed_training_beside_a_whole_one(reports: Path) -> None:
    attempts = []
    for name, out in (("whole", ""), ("killed", "Resumed from step-2")):
        (folder := reports / name / "model").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        lines = [json.dumps({"epoch": epoch, "images_per_second": len(name)}) for epoch in (1, 2)]
        (reports / name / "metrics.jsonl").write_text("\n".join(lines))
        memory = [(checkpoints, 900.0) for checkpoints in range(10)]
        attempts.append(soak.Attempt([], reports / name, seconds=5.0, memory=memory, out=out))
    arguments = argparse.Namespace(epochs=2, processes=1, checkpoint_steps=5)
    result = soak.compare(arguments, attempts[0], attempts[1:])
    assert result["one_line_of_epochs"] and result["memory_flat"] and not result["left_over"]
    write_report(reports / "soak.json", [result])
    assert table_rows("soak") == [["0", "1", "1", "2", "yes", "900 and 900", "5 and 5"]]
