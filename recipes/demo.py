"""Show a trained model in the browser: give it an image, and see its answer and similar training images.

    python recipes/demo.py --model runs/NAME/model
    python recipes/demo.py --model hf-hub:ORG/NAME --data path/to/my_images --port 8000

The pixels and probabilities are those of recipes/predict.py. The page is for this machine alone, unless --host or
--share say otherwise. Ctrl-C ends it.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import demo_options
from glmc_zoo.options.sections import DEMO


def main() -> None:
    """Parse, open, show until Ctrl-C."""
    # ---------------------------------------------------------------- options: file, command line
    options = demo_options(read_options(DEMO, __doc__))

    # ---------------------------------------------------------------- model, training images of rare classes
    from glmc_zoo.scoring.demo.app import DemoRun  # imports torch: not needed for --help

    run = DemoRun(options)
    run.describe()

    # ---------------------------------------------------------------- page, until Ctrl-C
    run.launch().wait()


if __name__ == "__main__":
    run_recipe(main)
