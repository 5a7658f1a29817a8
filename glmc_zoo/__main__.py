"""``python -m glmc_zoo`` is ``glmc-zoo``."""

from __future__ import annotations

from glmc_zoo.engine.console import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
