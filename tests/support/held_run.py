"""Run a recipe until it has written one checkpoint, and then wait to be killed: ``SCRIPT CHECKPOINT RECIPE OPTIONS``.

Without the wait, the run of a few steps may end before a busy machine lets the test kill it.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from glmc_zoo.training.checkpoint import Checkpoints
from glmc_zoo.training.progress import Progress


def main() -> None:
    name, recipe = sys.argv[1:3]
    save = Checkpoints.save

    def save_and_wait(self: Checkpoints, progress: Progress) -> Path:
        path = save(self, progress)
        while path.name == name:
            time.sleep(1)
        return path

    Checkpoints.save = save_and_wait  # type: ignore[method-assign]
    sys.argv = sys.argv[2:]
    runpy.run_path(recipe, run_name="__main__")


if __name__ == "__main__":
    main()
