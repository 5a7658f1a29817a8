"""How long a user waits for the first step of training, and for ``--help``.

    python benchmarks/startup.py --data-dir DATA/cifar10 --json FILE
    python benchmarks/startup.py --device cuda --data-dir DATA/cifar10

Each is a process of its own, started as a user starts it: ``accelerate launch recipes/train.py`` (``--launcher python``
for ``python recipes/train.py``). Its wall time runs from the launch to the end of the first training step. To tell that
moment this script runs in the recipe's place: it goes on as the recipe, prints a line after the first step, and stops.
`cold` begins with an empty HF_HOME, so that `datasets` prepares the set anew; `warm` with what such a run left. Neither
empties the page cache of the system: the first run after a boot reads packages and pictures from the disk, and is
slower than both.

Rounds do every case once, in turn. Prints medians and ranges, and writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from _report import write_report

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "train.py"
MARK = "first training step done"


def run_to_first_step(arguments: list[str]) -> None:
    """Be recipes/train.py until its first step is done."""
    from glmc_zoo.engine.step import TrainStep

    whole = TrainStep.__call__

    def step(self: TrainStep, inputs: tuple[Any, ...]) -> Any:
        result = whole(self, inputs)
        result["loss"].item()  # waits for the device
        print(MARK, flush=True)
        raise SystemExit(0)

    TrainStep.__call__ = step  # type: ignore[method-assign]
    sys.argv = [str(RECIPE), *arguments]
    runpy.run_path(str(RECIPE), run_name="__main__")


def launched(options: argparse.Namespace, script: list[str]) -> list[str]:
    """The command that starts a script as the launcher that was asked for does."""
    if options.launcher == "python":
        return [sys.executable, *script]
    plain = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    device = ["--cpu"] if options.device == "cpu" else []
    return [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *plain, *device, *script]


def seconds_to(command: list[str], environment: dict[str, str], mark: str | None) -> float:
    """Wall time from the launch to the line ``mark`` on standard output, or to the end where none is given.

    Raises:
        RuntimeError: the process ended without it.
    """
    start, said = time.perf_counter(), []
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.strip() == mark:
                seconds = time.perf_counter() - start
                process.communicate()
                return seconds
    if process.returncode or mark is not None:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)}")
    return time.perf_counter() - start


def make_cases(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Each case as a function of the round, giving seconds."""
    kept = folder / "warm"

    def first_step(data: list[str], home: Path) -> float:
        environment = os.environ | {"HF_HOME": str(home)}
        for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
            environment.pop(name, None)  # they would go before HF_HOME
        if options.device == "cpu":
            environment["ACCELERATE_USE_CPU"] = "true"
        with tempfile.TemporaryDirectory(dir=folder) as out:
            script = [__file__, "--first-step", *data, "--output-dir", str(Path(out, "run"))]
            return seconds_to(launched(options, script), environment, MARK)

    def cold(data: list[str]) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as home:
            return first_step(data, Path(home))

    sets = {"digits_lt": ["--data", "digits_lt"]}
    if options.data_dir is not None:
        sets["cifar10_lt"] = ["--data", "cifar10_lt", "--data-dir", str(options.data_dir)]
    help_command = [sys.executable, str(RECIPE), "--help"]
    cases: dict[str, Any] = {"--help": lambda: seconds_to(help_command, dict(os.environ), None)}
    for name, data in sets.items():
        first_step(data, kept)  # what the warm ones find
        cases[f"{name}, cold"] = lambda data=data: cold(data)
        cases[f"{name}, warm"] = lambda data=data: first_step(data, kept)
    return cases


def main() -> None:
    """Measure, print, and write."""
    if sys.argv[1:2] == ["--first-step"]:
        return run_to_first_step(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="copy of the Hub's uoft-cs/cifar10; digits_lt alone without it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--launcher", choices=["accelerate", "python"], default="accelerate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(options, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(options.rounds):
            for name, case in cases.items():
                seconds[name].append(case())
    rows = []
    for name, taken in seconds.items():
        rows.append({"case": name, "seconds": {"median": median(taken), "range": [min(taken), max(taken)]}})
        print(f"{name:18s} {median(taken):6.2f} s ({min(taken):.2f} to {max(taken):.2f})")
    write_report(options.json, rows, device=options.device, rounds=options.rounds, launcher=options.launcher)


if __name__ == "__main__":
    main()
