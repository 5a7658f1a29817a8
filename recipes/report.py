"""Make plots, model card, page and table of a finished run or evaluation again, from its results.

    python recipes/report.py runs/NAME
    python recipes/report.py runs/NAME runs/BASELINE runs/eval-OTHER    # the page compares the first with the others

What could not be made at the end of a run is a warning there; this makes it once the cause is mended. The page is
report.html in the folder of the first run. Scores and weights are not touched, nor the folders of the other runs.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import report_options
from glmc_zoo.options.sections import REPORT


def main() -> None:
    """Parse, draw, show."""
    # ---------------------------------------------------------------- options
    options = report_options(read_options(REPORT, __doc__))

    # ---------------------------------------------------------------- plots, cards, page, table
    from glmc_zoo.training.reporting import report_folder  # imports torch: not needed for --help

    report_folder(options)


if __name__ == "__main__":
    run_recipe(main)
