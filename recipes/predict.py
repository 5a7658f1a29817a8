"""Classify images with a trained model: labels with probabilities, on the screen and as CSV.

    python recipes/predict.py --model runs/NAME/model --images photo.jpg path/to/folder
    python recipes/predict.py --model hf_hub:ORG/NAME --images path/to/folder --top 3 --output labels.csv
    python recipes/predict.py --model resnet50 --images list.csv 'photos/**/2024/*.jpg'

The pixels are those of recipes/evaluate.py. The CSV has a row for each image: file, label, probability, label_2, ...
Rows are written as they come, to NAME.partial, which is renamed at the end. A file that cannot be read does not end the
run: its row, file and problem, is in NAME.problems.csv.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import prediction_options
from glmc_zoo.options.sections import PREDICT


def main() -> None:
    """Parse, open, classify and write, show."""
    # ---------------------------------------------------------------- options: file, command line
    options = prediction_options(read_options(PREDICT, __doc__))

    # ---------------------------------------------------------------- output file checked, images found, model
    from glmc_zoo.scoring.prediction import PredictionRun  # imports torch: not needed for --help

    run = PredictionRun(options)
    run.describe()

    # ---------------------------------------------------------------- labels with probabilities, written as they come
    predictions = run.predict()

    # ---------------------------------------------------------------- table, and what could not be read
    run.finish(predictions)


if __name__ == "__main__":
    run_recipe(main)
