"""Run rows of the tables with several seeds, and store their results.

    python benchmarks/reproduce.py --list
    python benchmarks/reproduce.py cifar10_lt_if100 --data-root DATA --seeds 0 1 2
    python benchmarks/reproduce.py cifar10_lt_if100_resnet20_60_epochs/glmc_tuned --data-root DATA
    python benchmarks/reproduce.py cifar10_lt_if100 --data-root DATA --minutes 9.5 --options="--compile"

The name of a published row is its file in recipes/configs. SUITE/ROW is a row of benchmarks/suites.yaml, and SUITE
stands for all its rows. Each run has one GPU, or one core on a machine without GPUs, and there are as many runs at a
time as GPUs or cores. A published row has the precision of its file, and a row of a suite has `--mixed-precision auto`
unless it names another one. The same command, given again, resumes interrupted runs from their newest checkpoints and
skips finished runs. Results go to benchmarks/results/SUITE/ROW_seedN.json; `python benchmarks/render.py --write` puts
them into the tables.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from _clothing import CLOTHING, POOLED, START, write_pooled, write_start
from _rows import PUBLISHED, RESULTS, ROOT, Row, all_rows, chosen_rows
from _runner import Run, Runner, say, say_stored
from _subsets import SUBSETS, write_subset

# Folder of a data set below --data-root, unless --data-dir gives another folder.
FOLDERS = {"cifar10_lt": "cifar10", "cifar100_lt": "cifar100", "imagenet_lt": "imagenet", "inat18": "inat18"}
FOLDERS |= {POOLED: "clothing", CLOTHING: "clothing"}
# Data sets that a recipe downloads if it gets no --data-dir.
ON_HUB = ("cifar10_lt", "cifar100_lt", "imagenet_lt")
# Options of --trial: a short run with every stage. They try a command, and never make a result for a table.
SHORT = "--batch-size 32"
TRIAL = {
    "train.py": f"{SHORT} --warmup-epochs 0",
    "finetune.py": f"{SHORT} --warmup-epochs 0",
    "second_stage.py": SHORT,
}


class Plan:
    """The runs of the chosen rows. A run comes after the run that it starts from.

    Args:
        args: What `parse` returns.
        threads: Threads of each run; ``None`` for the default of the recipes.
    """

    def __init__(self, args: argparse.Namespace, threads: int | None) -> None:
        self.args, self.threads = args, threads
        self.rows = all_rows()
        self.runs: dict[str, Run] = {}
        for row in chosen_rows(args.rows):
            for seed in args.seeds if args.seeds is not None else row.seeds:
                self.add(row, seed)

    def add(self, row: Row, seed: int) -> Run:
        """Add the run of a row with a seed, after the run that it starts from, and return it."""
        name = f"{row.suite}/{row.name}_seed{seed}"
        if name in self.runs:
            return self.runs[name]
        after = None if row.after is None else self.add(self.rows[row.after], seed)
        folder = self.args.work / ("trial" if self.args.trial else "") / name
        result = (folder.parent if self.args.trial else self.args.results / row.suite) / f"{row.name}_seed{seed}.json"
        run = self.runs[name] = Run(row, seed, folder, [], result, after)
        run.command += [sys.executable, str(ROOT / "recipes" / row.script), *map(self._start, row.options)]
        if after is not None:
            run.command += ["--model", str(after.folder / "model")]
            after.needed |= not result.is_file()
        if run.trains:
            run.command += self._training_options(run)
        run.command += self._data_options(row)
        if self.args.trial:
            run.command += shlex.split(SHORT if row.on_features else TRIAL.get(row.script, ""))
            if run.trains and not row.on_features:
                if "--mix-off-epochs" in run.command:
                    run.command += ["--mix-off-epochs", "1"]
                # An epoch of two views takes two passes.
                run.command += ["--passes", "2"] if "--passes" in run.command else ["--epochs", "1"]
            if row.factor is not None:  # down to one image of the last class
                run.command += ["--max-count", f"{row.factor:g}"]
        run.command += ["--output-dir", str(folder)]
        return run

    def _start(self, word: str) -> str:
        return str(self.args.work / "models" / START) if word == START else word

    def _training_options(self, run: Run) -> list[str]:
        options = ["--seed", str(run.seed), "--resume", "auto", *shlex.split(self.args.options)]
        present = {word.partition("=")[0] for word in (*run.command, *options)}
        precision = None if run.row.suite == PUBLISHED else "auto"  # the file of a published row has its precision
        for option, value in (("--mixed-precision", precision), ("--threads", self.threads)):
            if value is not None and option not in present:
                options += [option, str(value)]
        return options

    def _data_options(self, row: Row) -> list[str]:
        if row.data in (*SUBSETS, POOLED):
            return ["--data", str(self.subset_folder(row.data))]
        folder = self.data_dir(row.data)
        if row.data == CLOTHING:  # it is not in the catalogue
            return ["--data", str(folder or CLOTHING)]
        return [] if folder is None else ["--data-dir", str(folder)]

    def data_dir(self, data: str, *, local: bool = False) -> Path | None:
        """Folder of a data set; ``None`` if no option names one, so that the recipe downloads it.

        Args:
            data: Name of the data set.
            local: Whether the caller reads the files itself, so that a download is no way out.

        Raises:
            SystemExit: The folder below --data-root does not exist.
        """
        folders = dict(pair.split("=", 1) for pair in self.args.data_dir or [])
        if data in folders:
            return Path(folders[data])
        if self.args.data_root is None or data not in FOLDERS:
            return None
        folder: Path = self.args.data_root / FOLDERS[data]
        if not folder.is_dir():
            download = "" if local or data not in ON_HUB else ", or leave out --data-root to download it from the Hub"
            raise SystemExit(
                f"reproduce.py: error: the folder of {data}, {folder}, does not exist: put the data set there, or give "
                f"--data-dir {data}=FOLDER{download}."
            )
        return folder

    def subset_folder(self, name: str) -> Path:
        """Folder of a data set that _subsets.py or _clothing.py writes."""
        folder: Path = self.args.work / "data" / name
        return folder

    def clothing_dir(self, data: str) -> Path:
        """Folder of the clothing images, which cannot be downloaded.

        Raises:
            SystemExit: No option names the folder.
        """
        folder = self.data_dir(data)
        if folder is None:
            raise SystemExit(
                f"reproduce.py: error: {data} needs the clothing images, which are not on the Hub: give --data-root or "
                f"--data-dir {data}=FOLDER."
            )
        return folder

    def write_inputs(self) -> None:
        """Write the data sets and the pretrained network that the runs need, if they do not exist yet."""
        self.write_subsets()
        data, start = self.subset_folder(POOLED), Path(self._start(START))
        if any(run.row.data == CLOTHING for run in self.runs.values()):
            self.clothing_dir(CLOTHING)  # raises here if it is missing, before any run starts
        if any(run.row.data == POOLED for run in self.runs.values()) and not data.is_dir():
            write_pooled(self.clothing_dir(POOLED), data)
        if any(START in run.row.options for run in self.runs.values()) and not start.is_dir():
            write_start(start)

    def write_subsets(self) -> None:
        """Write the data sets of _subsets.py that the runs need, if they do not exist yet."""
        for name in sorted({run.row.data for run in self.runs.values()} & SUBSETS.keys()):
            folder = self.subset_folder(name)
            if folder.is_dir():
                continue
            source = self.data_dir("cifar100_lt", local=True)
            if source is None:
                raise SystemExit(
                    f"reproduce.py: error: {name} is made from a local copy of CIFAR-100: give --data-root, or "
                    "--data-dir cifar100_lt=FOLDER."
                )
            write_subset(source, folder, SUBSETS[name])


def devices() -> list[str]:
    """The GPUs, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def interrupt(*_: object) -> None:
    """Handler of a signal: stop as on Ctrl-C."""
    raise KeyboardInterrupt


def show_list() -> None:
    """Print every row with its seeds, and which of them have results."""
    for row in all_rows().values():
        paths = (RESULTS / row.suite).glob(f"{row.name}_seed*.json")
        done = sorted(path.stem.rpartition("seed")[2] for path in paths)
        print(f"{row.title}: {row.label}; seeds done: {', '.join(done) or 'none'} of {list(row.seeds)}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="published row, SUITE or SUITE/ROW")
    parser.add_argument("--list", action="store_true", help="show every row and which seeds are done")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="seeds (default: those of the suite, and 0 for a published row)"
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help=f"folder with {', '.join(sorted({*FOLDERS.values()}))}; by default data comes from the Hub",
    )
    parser.add_argument(
        "--data-dir", action="append", metavar="NAME=FOLDER", help="folder of a data set; can be repeated"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="folder of runs and checkpoints")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one per GPU, or one per core)")
    parser.add_argument("--minutes", type=float, help="stop after this many minutes; the same command resumes the runs")
    parser.add_argument("--options", default="", help="further options of every training, such as --options=--compile")
    parser.add_argument(
        "--trial",
        action="store_true",
        help="try the runs with one epoch, and CIFAR with few images; results go below --work",
    )
    args = parser.parse_args()
    if not args.rows and not args.list:
        parser.error("give the name of a row, or --list to see all rows")
    if args.jobs is not None and args.jobs < 1:
        parser.error(f"--jobs {args.jobs} must be at least 1")
    if any("=" not in pair for pair in args.data_dir or []):
        parser.error("--data-dir needs NAME=FOLDER, for example cifar10_lt=DATA/cifar10")
    if unknown := [name for name, _, _ in (pair.partition("=") for pair in args.data_dir or []) if name not in FOLDERS]:
        parser.error(f"--data-dir {unknown[0]}=... does not name a data set: the name is one of {', '.join(FOLDERS)}")
    return args


def main() -> None:
    """Run the rows. The exit status is 1 if a run failed, and 3 if time was up before all runs were done."""
    args = parse()
    if args.list:
        show_list()
        return
    gpus = devices()
    jobs = args.jobs or len(gpus) or os.cpu_count() or 1
    threads = None if gpus else max((os.cpu_count() or 1) // jobs, 1)
    plan = Plan(args, threads)
    say_stored(list(plan.runs.values()), trial=args.trial)
    plan.write_inputs()
    slots = [{"CUDA_VISIBLE_DEVICES": gpus[job % len(gpus)]} if gpus else {} for job in range(jobs)]
    signal.signal(signal.SIGTERM, interrupt)  # batch systems send it; no child process is left running
    runner = Runner(slots, None if args.minutes is None else time.monotonic() + 60 * args.minutes)
    try:
        runner.run_all(list(plan.runs.values()))
    except KeyboardInterrupt:
        raise SystemExit("reproduce.py: interrupted; the same command resumes from the newest checkpoints.") from None
    unfinished = [run for run in plan.runs.values() if run.failure is not None]
    for run in unfinished:
        say(f"      {run.row.title}, seed {run.seed}, {run.failure}")
    if unfinished:
        raise SystemExit(1 if any(str(run.failure).startswith("failed") for run in unfinished) else 3)


if __name__ == "__main__":
    main()
