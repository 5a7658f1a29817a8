"""Classify images with a trained model: labels with probabilities, on the screen and as CSV.

    python recipes/predict.py --model runs/NAME/model --images photo.jpg path/to/folder
    python recipes/predict.py --model hf_hub:ORG/NAME --images path/to/folder --top 3 --output labels.csv
    python recipes/predict.py --model resnet50 --images path/to/folder --skip-bad-images

The pixels are those of recipes/evaluate.py. The CSV has a line an image: file, label, probability, label_2, ...
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import prediction_options
from glmc_zoo.options.sections import PREDICT


def main() -> None:
    """Parse, open, classify, write."""
    # ---------------------------------------------------------------- options: file, command line
    options = prediction_options(read_options(PREDICT, __doc__))

    # ---------------------------------------------------------------- output file checked, images found, model
    from glmc_zoo.scoring.prediction import PredictionRun  # imports torch: not needed for --help

    run = PredictionRun(options)
    run.describe()

    # ---------------------------------------------------------------- labels with probabilities
    predictions = run.predict()

    # ---------------------------------------------------------------- CSV, table
    run.finish(predictions)


if __name__ == "__main__":
    run_recipe(main)
