"""Train the classifier of a trained model a second time, with a class-balanced loss and MaxNorm.

    accelerate launch recipes/second_stage.py --model runs/NAME/model
    accelerate launch recipes/second_stage.py --model runs/NAME/model --data cifar100_lt --data-dir path/to/cifar100
    accelerate launch recipes/second_stage.py --model hf-hub:ORG/NAME --data-dir path/to/images --maxnorm-threshold 0.2

Options that are not given are taken from the first stage of the model: the data, its subset, image size and
augmentation. All weights but those of the classifier stay the same, bit for bit. MaxNorm limits the norm of each row of
the classifier. The files in --output-dir are those of recipes/train.py: config.yaml, metrics.jsonl, results.json,
checkpoints/, model/, plots/, and report.html, a page with scores, curves, classes, confusions and images (its data is
in answers.json).
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import second_stage_options
from glmc_zoo.options.sections import SECOND_STAGE


def main() -> None:
    """Parse, build, train, finish."""
    # ---------------------------------------------------------------- options: recipe, first stage, file, command line
    user_options = read_options(SECOND_STAGE, __doc__)
    from glmc_zoo.training.first_stage import first_stage_options  # imports torch: not needed for --help

    options = second_stage_options(user_options, first_stage_options(user_options))

    # ---------------------------------------------------------------- first stage's model, data, output folder
    from glmc_zoo.training.dry_run import print_estimate
    from glmc_zoo.training.run import TrainingRun

    run = TrainingRun(options)
    run.describe()
    if options.output.dry_run:
        print_estimate(run)
        return
    run.resume()

    # ---------------------------------------------------------------- epochs
    for _ in run.epochs():
        losses = run.train_epoch()
        run.finish_epoch(losses)

    # ---------------------------------------------------------------- test scores, plots, exported model, card
    run.finish()


if __name__ == "__main__":
    run_recipe(main)
