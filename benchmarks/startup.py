"""Time until the first training step, and time of ``--help``.

    python benchmarks/startup.py --data-dir DATA/cifar10 --json FILE
    python benchmarks/startup.py --device cuda --data-dir DATA/cifar10

Each training is a separate process, started by ``accelerate launch`` with the options of recipes/train.py. Its wall
time goes from the launch to the end of the first training step: this script runs the recipe, prints a line after the
first step, and stops. `cold` starts with an empty HF_HOME, so `datasets` prepares the data set. `warm` starts with the
HF_HOME that another run left. Neither empties the page cache of the system, so the first run after a boot is slower
than both. Prints medians and ranges, and writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from _meter import alternate, spread, with_range, write_report

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "train.py"
MARK = "first training step done"


def run_to_first_step(arguments: list[str]) -> None:
    """Run recipes/train.py with these arguments, and end it after its first step."""
    from glmc_zoo.training.step import TrainStep

    original_step = TrainStep.__call__

    def step(self: TrainStep, inputs: tuple[Any, ...]) -> Any:
        result = original_step(self, inputs)
        result["loss"].item()  # waits for the device
        print(MARK, flush=True)
        raise SystemExit(0)

    TrainStep.__call__ = step  # type: ignore[method-assign]
    sys.argv = [str(RECIPE), *arguments]
    runpy.run_path(str(RECIPE), run_name="__main__")


def seconds_to(command: list[str], environment: dict[str, str], mark: str | None) -> float:
    """Wall time of a command in seconds: to the line ``mark`` on its standard output, or to its end without a mark.

    Raises:
        RuntimeError: The command failed, or ended without the line.
    """
    start, printed = time.perf_counter(), []
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line.strip() == mark:
                seconds = time.perf_counter() - start
                process.communicate()
                return seconds
    if process.returncode or mark is not None:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(printed)}")
    return time.perf_counter() - start


def seconds_to_first_step(device: str, data: list[str], folder: Path, home: Path | None) -> float:
    """Wall time to the first training step in seconds.

    Args:
        device: ``cpu`` or ``cuda``.
        data: Options that name the data set.
        folder: Where the files of the run go.
        home: ``HF_HOME`` of the run; ``None`` for an empty one.
    """
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "1", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", *(["--cpu"] if device == "cpu" else [])]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        environment = os.environ | {"HF_HOME": str(home or Path(scratch, "home"))}
        for name in ("HF_DATASETS_CACHE", "HF_HUB_CACHE"):
            environment.pop(name, None)  # they override HF_HOME
        script = [__file__, "--first-step", *data, "--output-dir", str(Path(scratch, "run"))]
        return seconds_to([sys.executable, *launch, *script], environment, MARK)


def main() -> None:
    """Measure, print, and write."""
    if sys.argv[1:2] == ["--first-step"]:
        return run_to_first_step(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="copy of the Hub's uoft-cs/cifar10; digits_lt only by default")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the step runs")
    parser.add_argument("--rounds", type=int, default=5, help="launches of each case")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    sets = {"digits_lt": ["--data", "digits_lt"]}
    if options.data_dir is not None:
        sets["cifar10_lt"] = ["--data", "cifar10_lt", "--data-dir", str(options.data_dir)]
    help_command = [sys.executable, str(RECIPE), "--help"]
    cases: dict[str, Callable[[], float]] = {"--help": partial(seconds_to, help_command, dict(os.environ), None)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for data, arguments in sets.items():
            first_step = partial(seconds_to_first_step, options.device, arguments, folder)
            first_step(folder / "warm")  # fills the HF_HOME of the warm case
            cases |= {f"{data}, cold": partial(first_step, None), f"{data}, warm": partial(first_step, folder / "warm")}
        seconds = alternate(cases, options.rounds)
    rows: list[dict[str, Any]] = [{"case": case, "seconds": spread(values)} for case, values in seconds.items()]
    for row in rows:
        print(f"{row['case']:18s} {with_range(row['seconds'], 2)} s")
    write_report(options.json, rows, device=options.device, rounds=options.rounds)


if __name__ == "__main__":
    main()
