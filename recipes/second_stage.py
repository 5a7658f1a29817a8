"""Train the classifier of a trained model a second time: class-balanced loss, rows within a ball (MaxNorm).

    accelerate launch recipes/second_stage.py --model runs/NAME/model
    accelerate launch recipes/second_stage.py --model runs/NAME/model --data cifar100_lt --data-dir path/to/cifar100
    accelerate launch recipes/second_stage.py --model hf_hub:ORG/NAME --data-dir path/to/images --maxnorm-threshold 0.2

What is not given is as in the model's first stage: the images, their subset, size and augmentation. Everything but the
classifier stays as it is, to the bit. It leaves what recipes/train.py leaves: config.yaml, metrics.jsonl, results.json,
checkpoints/, model/, plots/, and report.html, a page with scores, curves, classes, confusions and images (answers.json
has what it shows of them).
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import second_stage_options
from glmc_zoo.options.sections import SECOND_STAGE


def main() -> None:
    """Parse, build, train, finish."""
    # ---------------------------------------------------------------- options: recipe, first stage, file, command line
    given = read_options(SECOND_STAGE, __doc__)
    from glmc_zoo.training.first_stage import first_stage_options  # imports torch: not needed for --help

    options = second_stage_options(given, first_stage_options(given))

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
