"""``python -m glmc_zoo`` is ``glmc-zoo``."""

from glmc_zoo.cli import main

if __name__ == "__main__":
    main()
