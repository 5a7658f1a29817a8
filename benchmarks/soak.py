"""Kill a training on the embedded digits many times, and compare its result with an uninterrupted training.

    python benchmarks/soak.py --epochs 200 --kills 40 --processes 2 --out benchmarks/results
    python benchmarks/soak.py --epochs 4 --kills 3

SIGKILL ends the run with all its processes at a random moment: usually after a random number of new checkpoints, one
time in ``_EARLY`` while it starts. Then the same command resumes it with ``--resume auto``. The result is printed as
JSON. The exit status is 1 if the two trainings differ, a resumed run failed, files were left over, or memory grew.

- ``equal_weights``: whether the exported weights of both trainings are equal bit for bit.
- ``one_line_of_epochs``: whether ``metrics.jsonl`` has one line for each epoch, with the same losses and scores.
- ``left_over``: hidden files and folders in the run folder at the end, which should not exist.
- ``memory_mib``: resident memory of the largest process: medians of the four quarters of the uninterrupted training,
  and peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from _meter import write_report

_RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "train.py"
_EARLY = 8  # one of so many runs is killed while it starts
_MAX_GROWTH = 1.05  # of memory, from the second quarter to the last
_LIMIT = 900.0  # seconds without a new checkpoint


@dataclass
class Attempt:
    """One start of the training, to its end or until it is killed."""

    words: list[str]
    folder: Path
    killed: bool = False
    seconds: float = 0.0
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Pairs of new checkpoints so far and resident memory of the largest process in MiB, many times a second."""
    out: str = ""

    def run(self, checkpoints: int | None = None, seconds: float | None = None) -> int:
        """Run it and return its exit status. It is killed after so many new checkpoints or seconds, if given."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
        start, before, seen, newest = time.monotonic(), self._steps(), 0, time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            child = subprocess.Popen(self.words, env=environment, stdout=output, stderr=subprocess.STDOUT)
            while child.poll() is None:
                now = time.monotonic()
                if fresh := self._steps() - before:
                    seen, before, newest = seen + len(fresh), before | fresh, now
                self._measure(child.pid, seen)
                late = seconds is not None and now - start > seconds
                if now - newest > _LIMIT:
                    kill(child)
                    raise SystemExit(f"soak.py: error: no new checkpoint in {_LIMIT:.0f} s: {shlex.join(self.words)}")
                if late or (checkpoints is not None and seen >= checkpoints):
                    # Not always at the same time after a checkpoint.
                    time.sleep(random.uniform(0, 0.5))
                    kill(child)
                    self.killed = True
                    break
                threading.Event().wait(0.05)
            status = child.wait()
            output.seek(0)
            self.out = output.read()
        self.seconds = time.monotonic() - start
        return status

    def _steps(self) -> set[str]:
        folder = self.folder / "checkpoints"
        return {path.name for path in folder.glob("step-*")} if folder.is_dir() else set()

    def _measure(self, process: int, checkpoints: int) -> None:
        try:
            family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
            self.memory.append((checkpoints, max(member.memory_info().rss for member in family) / 2**20))
        except psutil.NoSuchProcess:
            pass  # it has just ended

    @property
    def peak(self) -> float:
        """Peak of the measured memory in MiB."""
        return max((mib for _, mib in self.memory), default=0.0)


def kill(child: subprocess.Popen[Any]) -> None:
    """Send SIGKILL to a process and to all processes that it started."""
    try:
        family = psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in [child, *family]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family)


def command(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """The command of the training, with a launcher if it has several processes. Its last word is the run folder."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(arguments.processes), "--standalone"]
    options = {
        "epochs": arguments.epochs, "checkpoint-steps": arguments.checkpoint_steps, "views": arguments.views,
        "seed": arguments.seed, "threads": 1, "ema-decay": 0.99, "drop-rate": 0.1, "output-dir": folder,
    }  # fmt: skip
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    return [sys.executable, *(launcher if arguments.processes > 1 else []), str(_RECIPE), *words]


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without the speed, which differs from run to run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in rows]


def quarters(attempt: Attempt) -> list[float]:
    """Median memory in MiB in each quarter of a training, from its first checkpoint to its last."""
    last = attempt.memory[-1][0]
    parts: list[list[float]] = [[], [], [], []]
    for checkpoints, mib in attempt.memory:
        if 0 < checkpoints < last:
            parts[4 * (checkpoints - 1) // (last - 1)].append(mib)
    return [round(median(part), 1) if part else 0.0 for part in parts]


def soak(arguments: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run both trainings and compare them.

    Raises:
        SystemExit: A training failed, or wrote no checkpoint for a long time.
    """
    whole, folder = Attempt(command(arguments, work / "whole"), work / "whole"), work / "killed"
    if whole.run():
        raise SystemExit(f"soak.py: error: the uninterrupted run failed:\n{whole.out[-2000:]}")
    print(f"uninterrupted: {whole.seconds:.0f} s", file=sys.stderr)
    # 335 training images in batches of 64. With several processes, images that do not fill all batches are left out.
    steps = arguments.epochs * (335 // (64 * arguments.processes) if arguments.processes > 1 else 6)
    checkpoints = max(steps // arguments.checkpoint_steps, arguments.epochs)
    between_kills = max(checkpoints / (arguments.kills + 1), 1)
    attempts: list[Attempt] = []
    while not attempts or attempts[-1].killed:
        attempts.append(Attempt([*whole.words[:-1], str(folder), "--resume", "auto"], folder))
        limits: dict[str, Any] = {}
        if len(attempts) <= arguments.kills:
            early = random.random() < 1 / _EARLY
            most = max(int(1.6 * between_kills), 1)
            limits = {"seconds": random.uniform(0, 15)} if early else {"checkpoints": random.randint(1, most)}
        status = attempts[-1].run(**limits)
        print(f"run {len(attempts)}: {limits or 'to its end'}, status {status}", file=sys.stderr)
    if status:
        raise SystemExit(f"soak.py: error: a resumed run failed:\n{attempts[-1].out[-2000:]}")
    return compare(arguments, whole, attempts)


def compare(arguments: argparse.Namespace, whole: Attempt, attempts: list[Attempt]) -> dict[str, Any]:
    """Compare the uninterrupted training with the one that was killed."""
    folder, parts = attempts[-1].folder, quarters(whole)
    weights = [(path / "model" / "model.safetensors").read_bytes() for path in (whole.folder, folder)]
    peaks = [round(attempt.peak, 1) for attempt in attempts]
    left_over = [path.relative_to(folder).as_posix() for path in folder.rglob(".*")]
    return {
        "epochs": arguments.epochs,
        "processes": arguments.processes,
        "checkpoint_steps": arguments.checkpoint_steps,
        "kills": sum(attempt.killed for attempt in attempts),
        "resumed": sum("Resumed from" in attempt.out for attempt in attempts),
        "equal_weights": weights[0] == weights[1],
        "one_line_of_epochs": lines(whole.folder) == lines(folder)
        and [row["epoch"] for row in lines(folder)] == list(range(1, arguments.epochs + 1)),
        "left_over": left_over,
        "memory_mib": {"quarters_of_whole": parts, "peak_of_whole": round(whole.peak, 1), "peaks_between_kills": peaks},
        "memory_flat": parts[3] <= _MAX_GROWTH * parts[1] and max(peaks) <= _MAX_GROWTH * whole.peak,
        "seconds": {"whole": round(whole.seconds, 1), "killed": round(sum(attempt.seconds for attempt in attempts), 1)},
    }


def main() -> None:
    """Run, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=200, help="epochs of the training")
    parser.add_argument("--kills", type=int, default=40, help="how often the run is killed")
    parser.add_argument("--checkpoint-steps", type=int, default=5, help="steps from one checkpoint to the next")
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2), help="processes of the training")
    parser.add_argument("--views", default="alternate", help="views of the training, as in recipes/train.py")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training and of the moments")
    parser.add_argument("--work", type=Path, help="new folder for the two runs; by default a temporary one")
    parser.add_argument("--out", type=Path, help="folder for soak.json")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    if arguments.work is None:
        with tempfile.TemporaryDirectory() as work:
            result = soak(arguments, Path(work))
    else:
        result = soak(arguments, arguments.work)
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        write_report(arguments.out / "soak.json", [result])
    if not all(result[name] for name in ("equal_weights", "one_line_of_epochs", "memory_flat")) or result["left_over"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
