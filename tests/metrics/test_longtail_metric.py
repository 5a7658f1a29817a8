"""The ``evaluate`` adapter: offline, in one process and in two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting import PATIENCE

from glmc_zoo.errors import UserError
from glmc_zoo.metrics import LongTailMetrics, longtail_scores

COUNTS = [500, 120, 60, 20, 4]
GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 5, 101)
PROBABILITIES = GENERATOR.dirichlet(np.ones(5), 101)
GUESS = PROBABILITIES.argmax(axis=1)

WORKER = """
import json, sys
import numpy as np
from glmc_zoo.metrics import LongTailMetrics
rank, cache, data = int(sys.argv[1]), sys.argv[2], np.load(sys.argv[3])
rows = slice(0, 40) if rank == 0 else slice(40, None)
metric = LongTailMetrics(num_process=2, process_id=rank, experiment_id="two", cache_dir=cache, timeout=500)
for part in np.array_split(np.arange(len(data["labels"]))[rows], 3):
    metric.add_batch(predictions=data["guess"][part], references=data["labels"][part])
scores = metric.compute(class_counts=data["counts"], probabilities=data["probabilities"] if rank == 0 else None)
print(json.dumps(scores))
"""


@pytest.fixture
def metric(tmp_path: Path) -> LongTailMetrics:
    return LongTailMetrics(cache_dir=str(tmp_path))


def test_one_call_is_the_plain_function(metric: LongTailMetrics) -> None:
    scores = metric.compute(predictions=GUESS, references=LABELS, class_counts=COUNTS)
    assert scores == longtail_scores(GUESS, LABELS, COUNTS)
    assert "top5" not in scores


def test_batches_options_and_lists(metric: LongTailMetrics) -> None:
    for part in np.array_split(np.arange(len(LABELS)), 4):
        metric.add_batch(predictions=GUESS[part].tolist(), references=LABELS[part].tolist())
    scores = metric.compute(class_counts=COUNTS, many=200, few=21)
    assert scores == longtail_scores(GUESS, LABELS, COUNTS, many=200, few=21)
    assert scores["few"] != longtail_scores(GUESS, LABELS, COUNTS)["few"]


def test_probabilities_with_and_without(metric: LongTailMetrics) -> None:
    inputs = {"predictions": GUESS, "references": LABELS, "class_counts": COUNTS}
    scores = metric.compute(**inputs, probabilities=PROBABILITIES)
    assert scores == longtail_scores(GUESS, LABELS, COUNTS, probabilities=PROBABILITIES)
    assert {"top5", "ece", "nll"} <= set(scores)
    assert metric.compute(**inputs, probabilities=None) == longtail_scores(GUESS, LABELS, COUNTS)


def test_tensors_are_taken(metric: LongTailMetrics) -> None:
    torch = pytest.importorskip("torch")
    metric.add_batch(predictions=torch.tensor(GUESS), references=torch.tensor(LABELS))
    scores = metric.compute(class_counts=torch.tensor(COUNTS), probabilities=torch.tensor(PROBABILITIES))
    assert scores == longtail_scores(GUESS, LABELS, COUNTS, probabilities=PROBABILITIES)


def test_usable_again_after_an_error(metric: LongTailMetrics) -> None:
    with pytest.raises(UserError, match="class_counts"):
        metric.compute(predictions=GUESS, references=LABELS)
    scores = metric.compute(predictions=GUESS, references=LABELS, class_counts=COUNTS)
    assert scores == longtail_scores(GUESS, LABELS, COUNTS)


@pytest.mark.processes
def test_two_processes_offline(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, labels=LABELS, guess=GUESS, probabilities=PROBABILITIES, counts=COUNTS)
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path), str(data)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    answers = [worker.communicate(timeout=PATIENCE) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], answers
    expected = longtail_scores(GUESS, LABELS, COUNTS, probabilities=PROBABILITIES)
    assert json.loads(answers[0][0]) == expected
    assert answers[1][0].strip() == "null"
