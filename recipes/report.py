"""Make the plots, model card, page and table of a finished run or evaluation again, from its results.

    python recipes/report.py runs/NAME
    python recipes/report.py runs/NAME runs/BASELINE runs/eval-OTHER    # page that compares the first with the others

A run ends with a warning if a plot, card or page could not be made. This script makes it when the cause is mended. The
page is report.html in the folder of the first run. Scores, weights and the folders of the other runs are not changed.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import report_options
from glmc_zoo.options.sections import REPORT


def main() -> None:
    """Parse, make plots, cards and page, print the table."""
    # ---------------------------------------------------------------- options
    options = report_options(read_options(REPORT, __doc__))

    # ---------------------------------------------------------------- plots, cards, page, table
    from glmc_zoo.training.reporting import report_folder  # imports torch: not needed for --help

    report_folder(options)


if __name__ == "__main__":
    run_recipe(main)
