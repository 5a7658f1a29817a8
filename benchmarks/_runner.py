"""Start the runs of rows, one per slot at a time, each after the run it starts from, and file their results."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from _rows import Filed, Row, read_results


@dataclass
class Run:
    """A row with a seed: one call of a recipe."""

    row: Row
    seed: int
    folder: Path
    command: list[str]
    result: Path
    after: Run | None = None
    needed: bool = False
    """Whether another run starts from its model, which is not among the filed results."""
    done: threading.Event = field(default_factory=threading.Event)
    failure: str | None = None
    """Why it is not finished; ``None`` when it is."""

    @property
    def trains(self) -> bool:
        """Whether it leaves a model, as all recipes but ``evaluate.py`` do."""
        return self.row.script != "evaluate.py"

    def complete(self) -> bool:
        """Whether it ran to its end: the scores are written before the model is."""
        return (self.folder / "results.json").is_file() and ((self.folder / "model").is_dir() or not self.trains)


class Runner:
    """Makes the runs of a plan.

    Args:
        slots: Environment variables of each run that is made at a time, such as its GPU.
        deadline: Value of ``time.monotonic()`` at which runs are stopped.
    """

    def __init__(self, slots: list[dict[str, str]], deadline: float | None) -> None:
        self.slots, self.deadline = slots, deadline
        self.lock = threading.Lock()
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopping = False

    def all(self, runs: list[Run]) -> None:
        """Make the runs. Afterwards ``failure`` of each says why it is not finished."""
        with ThreadPoolExecutor(len(self.slots)) as pool:
            try:
                futures = [pool.submit(self.one, run) for run in runs]
                # Without a timeout, waiting could miss a signal that came just before it.
                while wait(futures, timeout=0.5).not_done:
                    pass
                for future in futures:
                    future.result()
            except KeyboardInterrupt:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the runs in progress and begin no more; their newest checkpoints stay."""
        with self.lock:
            self.stopping = True
            for child in self.children:
                child.terminate()

    def one(self, run: Run) -> None:
        """Make one run, and file its results."""
        try:
            run.failure = self._one(run)
        finally:
            run.done.set()

    def _one(self, run: Run) -> str | None:
        if run.result.is_file() and (not run.needed or (run.folder / "model").is_dir()):
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
        if not run.trains:  # an evaluation does not resume: it wants a fresh folder
            shutil.rmtree(run.folder, ignore_errors=True)
        with run.folder.with_suffix(".log").open("ab") as log:
            with self.lock:  # so that no run begins after `stop` has gone through the children
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
    """Put a finished run's results where the tables are made from."""
    filed = Filed(run.seed, read_results(run.folder / "results.json"))
    run.result.parent.mkdir(parents=True, exist_ok=True)
    filed.results.save(run.result)
    score, minutes = 100 * filed.shown.balanced_accuracy, filed.seconds / 60
    say(f"done  {run.row.title}, seed {run.seed}: {score:.2f} in {minutes:.0f} min")


def say(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
