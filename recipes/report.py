"""Make plots, model card and table of a finished run or evaluation again, from its results.

    python recipes/report.py runs/NAME
    python recipes/report.py --run runs/eval-NAME

A plot or card that could not be made at the end of a run is a warning there; this makes it once the cause is mended.
Scores and weights are not touched.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import report_options
from glmc_zoo.options.sections import REPORT


def main() -> None:
    """Parse, draw, show."""
    # ---------------------------------------------------------------- options
    options = report_options(read_options(REPORT, __doc__))

    # ---------------------------------------------------------------- plots, cards, table
    from glmc_zoo.training.reporting import report_folder  # imports torch: not needed for --help

    report_folder(options)


if __name__ == "__main__":
    run_recipe(main)
