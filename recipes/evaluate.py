"""Score trained models on a data set, one or several side by side, with post-hoc corrections on request.

    accelerate launch recipes/evaluate.py --model runs/NAME/model
    accelerate launch recipes/evaluate.py --model hf-hub:ORG/NAME resnet50.a1_in1k --data path/to/my_images
    accelerate launch recipes/evaluate.py --model runs/NAME/model --logit-adjustment search --tau-norm search

Files in --output-dir for one model: results.json, per_class.csv, predictions.parquet, plots/, and the page report.html
with scores, classes, confusions and images (its data is in answers.json). Several models get one folder each. Beside
these folders are comparison.csv, comparison.md, plots/comparison.png, and a report.html of all models.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import evaluation_options
from glmc_zoo.options.sections import EVALUATE


def main() -> None:
    """Parse, open, score each model, compare."""
    # ---------------------------------------------------------------- options: file, command line
    options = evaluation_options(read_options(EVALUATE, __doc__))

    # ---------------------------------------------------------------- data, models found and checked, output folder
    from glmc_zoo.scoring.evaluation import EvaluationRun  # imports torch: not needed for --help

    run = EvaluationRun(options)
    run.describe()

    # ---------------------------------------------------------------- corrections, scores, files of each model
    for name, model in run.models():
        run.score(name, model)

    # ---------------------------------------------------------------- comparison, table
    run.finish()


if __name__ == "__main__":
    run_recipe(main)
