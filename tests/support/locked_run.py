"""Run a recipe that waits, once it has locked its run folder, for a file: ``SCRIPT FILE RECIPE OPTIONS``."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

from glmc_zoo.machine.lock import FolderLock


def main() -> None:
    file, recipe = Path(sys.argv[1]), sys.argv[2]
    acquire = FolderLock.acquire

    def acquire_and_wait(self: FolderLock, *given: Any) -> None:
        acquire(self, *given)
        while not file.exists():
            time.sleep(0.05)

    FolderLock.acquire = acquire_and_wait  # type: ignore[method-assign]
    sys.argv = sys.argv[2:]
    runpy.run_path(recipe, run_name="__main__")


if __name__ == "__main__":
    main()
