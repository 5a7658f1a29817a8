"""Run rows of the tables, several seeds, on what hardware there is, and put their results where the tables are made.

    python benchmarks/reproduce.py --list
    python benchmarks/reproduce.py cifar10_lt_if100 --data-root DATA --seeds 0 1 2
    python benchmarks/reproduce.py cifar10_lt_if100_resnet20_60_epochs/glmc_tuned --data-root DATA
    python benchmarks/reproduce.py cifar10_lt_if100 --data-root DATA --minutes 9.5 --options "--compile"

A row is a published one, by the name of its file in recipes/configs, or one of benchmarks/suites.yaml, as SUITE or
SUITE/ROW. Each run has a GPU to itself, or a core where there is no GPU, and as many run at a time as there are. A run
that was interrupted goes on from its newest checkpoint when the command is given again; one whose result is there
already is not done again. Results go to benchmarks/results/SUITE/ROW_seedN.json; `python benchmarks/table.py --write`
makes the tables of them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from table_rows import RESULTS, ROOT, Row, chosen_rows, published_rows, suites

# Where a data set of the catalogue lies below --data-root, unless --data-dir says otherwise.
FOLDERS = {"cifar10_lt": "cifar10", "cifar100_lt": "cifar100", "imagenet_lt": "imagenet", "inat18": "inat18"}
# The least that goes through every part of a run: for trying a command, never for a table.
TRIAL = {"train.py": "--epochs 1 --batch-size 32 --warmup-epochs 0", "second_stage.py": "--epochs 1 --batch-size 32"}


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
    """Whether another starts from its model, which a result alone does not bring."""
    done: threading.Event = field(default_factory=threading.Event)
    said: str | None = None
    """What came of it: ``None`` when it is finished."""

    def complete(self) -> bool:
        """Whether it went through to its end: the scores are written before the model is."""
        return (self.folder / "results.json").is_file() and (self.folder / "model").is_dir()


def devices() -> list[str]:
    """The GPUs, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


class Plan:
    """The runs of the rows asked for, each after what it starts from."""

    def __init__(self, args: argparse.Namespace, threads: int | None) -> None:
        self.args, self.threads = args, threads
        self.recipes = published_rows()
        self.runs: dict[str, Run] = {}
        for row, seeds in chosen_rows(args.rows):
            for seed in args.seeds if args.seeds is not None else seeds:
                self.add(row, seed)

    def add(self, row: Row, seed: int) -> Run:
        """The run of a row with a seed, and before it that of its first stage."""
        name = f"{row.suite}/{row.name}_seed{seed}"
        if name in self.runs:
            return self.runs[name]
        after = None if row.first_stage is None else self.add(self.recipes[row.first_stage], seed)
        folder = self.args.work / ("trial" if self.args.trial else "") / name
        command = [sys.executable, str(ROOT / "recipes" / row.script), *row.options, "--seed", str(seed)]
        if after is not None:
            command += ["--model", str(after.folder / "model")]
        command += shlex.split(self.args.options)
        given = {word.partition("=")[0] for word in command}
        for option, value in (("--mixed-precision", "auto"), ("--threads", self.threads)):
            if value is not None and option not in given:
                command += [option, str(value)]
        if (where := self.data_dir(row.data)) is not None:
            command += ["--data-dir", str(where)]
        if self.args.trial:
            command += shlex.split(TRIAL[row.script])
            if row.factor is not None:  # down to one image of the last class
                command += ["--max-count", f"{row.factor:g}"]
        command += ["--output-dir", str(folder), "--resume", "auto"]
        result = (folder.parent if self.args.trial else self.args.results / row.suite) / f"{row.name}_seed{seed}.json"
        self.runs[name] = Run(row, seed, folder, command, result, after)
        if after is not None and not result.is_file():
            after.needed = True
        return self.runs[name]

    def data_dir(self, data: str) -> Path | None:
        """Where a data set lies; ``None`` leaves it to the recipe, which goes to the Hub."""
        said = dict(pair.split("=", 1) for pair in self.args.data_dir or [])
        if data in said:
            return Path(said[data])
        if self.args.data_root is None or data not in FOLDERS:
            return None
        folder: Path = self.args.data_root / FOLDERS[data]
        if not folder.is_dir():
            raise SystemExit(
                f"reproduce.py: error: {data} is looked for in {folder}, which does not exist: put it there, say where "
                f"it lies by --data-dir {data}=FOLDER, or leave --data-root out to take it from the Hub."
            )
        return folder


class Runner:
    """Runs what a plan holds, as many at a time as there are places."""

    def __init__(self, places: list[dict[str, str]], deadline: float | None) -> None:
        self.places, self.deadline = places, deadline
        self.lock = threading.Lock()
        self.children: set[subprocess.Popen[bytes]] = set()
        self.stopping = False

    def all(self, runs: list[Run]) -> None:
        """Run them; what came of each stands in its ``said``."""
        with ThreadPoolExecutor(len(self.places)) as pool:
            try:
                futures = [pool.submit(self.one, run) for run in runs]
                # Waiting without end could sleep through a signal that came just before it.
                while wait(futures, timeout=0.5).not_done:
                    pass
                for future in futures:
                    future.result()
            except KeyboardInterrupt:
                self.stop()
                raise

    def stop(self) -> None:
        """End what runs now and begin nothing more; the newest checkpoints stay."""
        with self.lock:
            self.stopping = True
            for child in self.children:
                child.terminate()

    def one(self, run: Run) -> None:
        """Run one, and file its results."""
        try:
            run.said = self._one(run)
        finally:
            run.done.set()

    def _one(self, run: Run) -> str | None:
        if run.result.is_file() and (not run.needed or (run.folder / "model").is_dir()):
            return None
        if run.after is not None:
            run.after.done.wait()
            if run.after.said is not None:
                return f"not begun: {run.after.row.title} is not finished"
        with self.lock:
            place = self.places.pop()
        try:
            code = 0 if run.complete() else self._train(run, place)
        finally:
            with self.lock:
                self.places.append(place)
        if code == 0:
            if not run.result.is_file():
                file_result(run)
            return None
        log = run.folder.with_suffix(".log")
        return "stopped: give the same command again" if self.stopping else f"failed with status {code}: see {log}"

    def _train(self, run: Run, place: dict[str, str]) -> int:
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.stop()
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        with run.folder.with_suffix(".log").open("ab") as log:
            with self.lock:  # so that no run begins behind the back of what ends them all
                if self.stopping:
                    return 1
                say(f"begin {run.row.title}, seed {run.seed}: {run.folder}")
                child = subprocess.Popen(run.command, stdout=log, stderr=log, env=os.environ | place)
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


def file_result(run: Run) -> None:
    """Put a finished run's results, with the row that they are for, where the tables find them."""
    results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    text = json.dumps({"suite": run.row.suite, "row": run.row.name, "variant": run.row.label, **results}, indent=1)
    run.result.parent.mkdir(parents=True, exist_ok=True)
    scrap = run.result.with_suffix(".writing")
    scrap.write_text(text + "\n", encoding="utf-8")
    scrap.replace(run.result)
    score = 100 * results["test"]["balanced_accuracy"]
    say(f"done  {run.row.title}, seed {run.seed}: {score:.2f} in {results['wall_time_s'] / 60:.0f} min")


def say(line: str) -> None:
    """With the time of day, for who comes back to look."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def interrupt(*_: object) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


def show_list() -> None:
    """Every row, its suite's seeds, and which of them are done."""
    for row, seeds in chosen_rows([*published_rows(), *suites()]):
        found = (RESULTS / row.suite).glob(f"{row.name}_seed*.json")
        done = sorted(path.stem.rpartition("seed")[2] for path in found)
        print(f"{row.title}: {row.label}; seeds done: {', '.join(done) or 'none'} of {seeds}")


def _options_as_one_word(words: list[str]) -> list[str]:
    """With ``--options --compile`` as ``--options=--compile``: argparse takes no value that looks like an option."""
    if "--options" in words[:-1]:
        at = words.index("--options")
        return [*words[:at], f"--options={words[at + 1]}", *words[at + 2 :]]
    return words


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="published row, SUITE or SUITE/ROW")
    parser.add_argument("--list", action="store_true", help="show every row and which seeds are done")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds; those of the suite, or 0, by default")
    parser.add_argument("--data-root", type=Path, help=f"folder with {', '.join(FOLDERS.values())}; the Hub by default")
    parser.add_argument("--data-dir", action="append", metavar="NAME=FOLDER", help="where one data set lies")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="where runs and checkpoints are kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go")
    parser.add_argument("--jobs", type=int, help="runs at a time; one a GPU, or one a core, by default")
    parser.add_argument("--minutes", type=float, help="stop after this long; the same command goes on later")
    parser.add_argument("--options", default="", help="further options of every run, such as --compile")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="one epoch of few images of CIFAR, or all of a large set: a rehearsal, filed below --work",
    )
    args = parser.parse_args(_options_as_one_word(sys.argv[1:]))
    if not args.rows and not args.list:
        parser.error("name a row, or --list them")
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs} must be at least 1")
    if any("=" not in pair for pair in args.data_dir or []):
        parser.error("--data-dir takes NAME=FOLDER, for instance cifar10_lt=DATA/cifar10")
    return args


def main() -> None:
    """Run what was asked for; the exit status is 1 where something failed, 3 where something is left to do."""
    args = parse()
    if args.list:
        show_list()
        return
    gpus = devices()
    jobs = args.jobs or len(gpus) or os.cpu_count() or 1
    threads = None if gpus else max((os.cpu_count() or 1) // jobs, 1)
    plan = Plan(args, threads)
    places = [{"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {} for job in range(jobs)]
    signal.signal(signal.SIGTERM, interrupt)  # as of a batch system: the runs are not left behind
    runner = Runner(places, None if args.minutes is None else time.monotonic() + 60 * args.minutes)
    try:
        runner.all(list(plan.runs.values()))
    except KeyboardInterrupt:
        raise SystemExit("reproduce.py: interrupted; the same command goes on from the newest checkpoints.") from None
    left = [run for run in plan.runs.values() if run.said is not None]
    for run in left:
        say(f"      {run.row.title}, seed {run.seed}, {run.said}")
    if left:
        raise SystemExit(1 if any(str(run.said).startswith("failed") for run in left) else 3)


if __name__ == "__main__":
    main()
