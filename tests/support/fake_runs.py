"""Runs of the benchmarks whose commands are small scripts instead of recipes."""

from __future__ import annotations

import sys
from pathlib import Path

import _rows
from _runner import Run

FINISHED = _rows.RESULTS / "digits_lt" / "ce_seed0.json"
"""The results that every fake run writes."""


class FakeRuns:
    """Makes fake runs below one folder.

    The script of a run writes the files ``begun``, ``slot`` (the environment variable SLOT), ``ended`` and
    ``results.json`` into the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        name: str,
        code: str = "",
        after: Run | None = None,
        export: str = "(folder / 'model').mkdir(exist_ok=True)",
        script: str = "train.py",
    ) -> Run:
        """A run of the row ``suite/NAME``.

        Args:
            name: Name of the row.
            code: Python that runs in the middle of the script.
            after: The run that it starts from.
            export: Python that runs at the end and stands for the export of the model.
            script: The recipe that it stands for.
        """
        row = _rows.Row(suite="suite", name=name, script=script, options=(), data="digits_lt", label=name.upper())
        folder = self.folder / "work" / "suite" / f"{name}_seed0"
        program = f"""
import os, pathlib, shutil, sys, time
folder = pathlib.Path({str(folder)!r})
folder.mkdir(parents=True, exist_ok=True)
(folder / "begun").write_text(str(time.time()))
{code}
(folder / "slot").write_text(os.environ.get("SLOT", ""))
(folder / "ended").write_text(str(time.time()))
shutil.copy({str(FINISHED)!r}, folder / "results.json")
{export}
"""
        result = self.folder / "results" / "suite" / f"{name}_seed0.json"
        return Run(row, 0, folder, [sys.executable, "-c", program], result, after)


def start_and_end(run: Run) -> tuple[float, float]:
    """When the script of a run began and ended, in seconds since the epoch."""
    begun, ended = ((run.folder / name).read_text() for name in ("begun", "ended"))
    return float(begun), float(ended)
