"""Classify images with a trained model. Labels and probabilities are printed, or written as CSV.

    python recipes/predict.py --model runs/NAME/model --images photo.jpg path/to/folder
    python recipes/predict.py --model hf-hub:ORG/NAME --images path/to/folder --top 3 --output labels.csv
    python recipes/predict.py --model resnet50 --images list.csv 'photos/**/2024/*.jpg'

The preprocessing is that of recipes/evaluate.py. The CSV file has a row for each image: file, label, probability,
label_2, ... Rows are written to NAME.partial during the run, which is renamed at the end. A file that cannot be read
does not stop the run: it gets a row with file and problem in NAME.problems.csv.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import prediction_options
from glmc_zoo.options.sections import PREDICT


def main() -> None:
    """Parse, open the model, classify and write, print a table."""
    # ---------------------------------------------------------------- options: file, command line
    options = prediction_options(read_options(PREDICT, __doc__))

    # ---------------------------------------------------------------- output file, list of images, model
    from glmc_zoo.scoring.prediction import PredictionRun  # imports torch: not needed for --help

    run = PredictionRun(options)
    run.describe()

    # ---------------------------------------------------------------- labels with probabilities, written during the run
    predictions = run.predict()

    # ---------------------------------------------------------------- table, and files that could not be read
    run.finish(predictions)


if __name__ == "__main__":
    run_recipe(main)
