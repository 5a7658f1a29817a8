"""Show the splits, classes, sizes and formats of a data set, and what is left out, on the screen and as a page.

    python recipes/inspect_data.py --data path/to/my_images
    python recipes/inspect_data.py --data labels.csv --output page.html --examples 8
    python recipes/inspect_data.py --data path/to/my_images --near-duplicates 4

The data is read as in training; no model is needed. If training would refuse the data, the reason is shown.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import inspection_options
from glmc_zoo.options.sections import INSPECT


def main() -> None:
    """Parse, read the data, print, write the page."""
    # ---------------------------------------------------------------- options: file, command line
    options = inspection_options(read_options(INSPECT, __doc__))

    # ---------------------------------------------------------------- data, headers of images, text, page
    from glmc_zoo.scoring.inspection import inspect_data  # imports torch: not needed for --help

    inspect_data(options)


if __name__ == "__main__":
    run_recipe(main)
