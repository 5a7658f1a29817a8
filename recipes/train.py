"""Train a timm backbone on long-tailed images with GLMC, or with a baseline on the same loop, data and schedule.

    accelerate launch recipes/train.py                                    # embedded digits, about a minute on two cores
    accelerate launch recipes/train.py --backbone resnet50 --data path/to/my_images --image-size 224
    accelerate launch recipes/train.py --data cifar10_lt --data-dir path/to/cifar10 --imbalance-factor 100
    accelerate launch recipes/train.py --config runs/NAME/config.yaml     # the same run again

Files in --output-dir: config.yaml, metrics.jsonl, results.json, checkpoints/, model/, plots/, and report.html, a page
with scores, curves, classes, confusions and images (its data is in answers.json).
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import training_options
from glmc_zoo.options.sections import TRAIN


def main() -> None:
    """Parse, build, train, finish."""
    # ---------------------------------------------------------------- options: preset, recipe, file, command line
    options = training_options(read_options(TRAIN, __doc__))

    # ---------------------------------------------------------------- data, model, optimiser, output folder
    from glmc_zoo.training.dry_run import print_estimate  # imports torch: not needed for --help
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
