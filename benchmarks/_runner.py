"""Start the runs of rows, as many at a time as there are slots, and copy their results to benchmarks/results/."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from _comparison import seed_range
from _rows import Row, SeedResults, compares_held_out, read_results


@dataclass
class Run:
    """One call of a recipe: a row with a seed."""

    row: Row
    seed: int
    folder: Path
    command: list[str]
    result: Path
    after: Run | None = None
    """The run whose model this one starts from."""
    needed: bool = False
    """Whether another run starts from its model. Results alone do not suffice then."""
    done: threading.Event = field(default_factory=threading.Event)
    failure: str | None = None
    """Why it is not finished; ``None`` if it is."""

    @property
    def trains(self) -> bool:
        """Whether it leaves a model. Of the recipes only ``evaluate.py`` does not."""
        return self.row.script != "evaluate.py"

    def is_stored(self) -> bool:
        """Whether nothing is to be done: the results exist, and so does the model if another run starts from it."""
        return self.result.is_file() and (not self.needed or (self.folder / "model").is_dir())

    def complete(self) -> bool:
        """Whether it ran to its end. A training writes its scores before its model."""
        return (self.folder / "results.json").is_file() and ((self.folder / "model").is_dir() or not self.trains)


class Runner:
    """Starts runs.

    Args:
        slots: Environment variables for each of the runs at a time, such as the number of its GPU.
        deadline: Value of ``time.monotonic()`` at which all runs are stopped; ``None`` for no limit.
    """

    def __init__(self, slots: list[dict[str, str]], deadline: float | None) -> None:
        self.slots, self.deadline = slots, deadline
        self.lock = threading.Lock()
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopping = False

    def run_all(self, runs: list[Run]) -> None:
        """Run all, each after the run that it starts from. Then ``failure`` of each says why it is not finished."""
        with ThreadPoolExecutor(len(self.slots)) as pool:
            try:
                futures = [pool.submit(self.run_one, run) for run in runs]
                # With a timeout, a signal that came just before the wait is handled soon.
                while wait(futures, timeout=0.5).not_done:
                    pass
                for future in futures:
                    future.result()
            except KeyboardInterrupt:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the runs in progress, whose newest checkpoints remain, and start no more."""
        with self.lock:
            self.stopping = True
            for child in self.children:
                child.terminate()

    def run_one(self, run: Run) -> None:
        """Run one, and copy its results."""
        try:
            run.failure = self._run(run)
        finally:
            run.done.set()

    def _run(self, run: Run) -> str | None:
        if run.is_stored():
            return None
        if run.after is not None:
            run.after.done.wait()
            if run.after.failure is not None:
                return f"not begun: {run.after.row.title} is not finished"
        with self.lock:
            slot = self.slots.pop()
        try:
            code = 0 if run.complete() else self._call(run, slot)
        finally:
            with self.lock:
                self.slots.append(slot)
        if code == 0:
            if not run.result.is_file():
                file_results(run)
            return None
        log = run.folder.with_suffix(".log")
        return "stopped: give the same command again" if self.stopping else f"failed with status {code}: see {log}"

    def _call(self, run: Run, slot: dict[str, str]) -> int:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.stop()
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        if not run.trains:  # an evaluation does not resume: it needs a fresh folder
            shutil.rmtree(run.folder, ignore_errors=True)
        with run.folder.with_suffix(".log").open("ab") as log:
            with self.lock:  # so that no run starts after `stop` went through the children
                if self.stopping:
                    return 1
                say(f"begin {run.row.title}, seed {run.seed}: {run.folder}")
                child = subprocess.Popen(run.command, stdout=log, stderr=log, env=os.environ | slot)
                self.children.add(child)
            try:
                left = None if self.deadline is None else max(self.deadline - time.monotonic(), 0)
                return child.wait(left)
            except subprocess.TimeoutExpired:
                self.stop()
                return child.wait() or 1
            finally:
                with self.lock:
                    self.children.discard(child)


def file_results(run: Run) -> None:
    """Copy the results of a finished run to the folder from which the tables are made."""
    stored = SeedResults(run.seed, read_results(run.folder / "results.json"), compares_held_out(run.row.suite))
    run.result.parent.mkdir(parents=True, exist_ok=True)
    stored.results.save(run.result)
    score, minutes = 100 * stored.scores.balanced_accuracy, stored.seconds / 60
    say(f"done  {run.row.title}, seed {run.seed}: {score:.2f} in {minutes:.0f} min")


def say_stored(runs: list[Run], *, trial: bool) -> None:
    """Name the results that exist already, whose runs are not started, and how they are run again."""
    stored = [run for run in runs if run.is_stored()]
    if not stored:
        return
    seeds: dict[str, list[int]] = {}
    for run in stored:
        seeds.setdefault(run.row.title, []).append(run.seed)
    rows: dict[str, list[str]] = {}
    for title, numbers in seeds.items():
        rows.setdefault(seed_range(sorted(numbers)), []).append(title)
    # Results of a trial lie in the folder of the runs, and a run that lies there would only be copied.
    folders = {"results": not trial, "work": trial or any(run.complete() for run in stored)}
    advice = " ".join(f"--{name} OTHER_FOLDER" for name, is_used in folders.items() if is_used)
    names = "; ".join(f"{', '.join(titles)} with seed {numbers}" for numbers, titles in rows.items())
    say(f"exist already, not run: {names}; {advice} runs them again")


def say(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
