"""Train the classifier of a trained model a second time: class-balanced loss, rows within a ball (MaxNorm).

    accelerate launch recipes/second_stage.py --model runs/NAME/model
    accelerate launch recipes/second_stage.py --model runs/NAME/model --data cifar100_lt --data-dir path/to/cifar100
    accelerate launch recipes/second_stage.py --model hf_hub:ORG/NAME --data-dir path/to/images --maxnorm-threshold 0.2

What is not given is as in the model's first stage: the images, their subset, size and augmentation. Everything but the
classifier stays as it is, to the bit. It leaves what recipes/train.py leaves: config.yaml, metrics.jsonl, results.json,
checkpoints/, model/, plots/.
"""

from __future__ import annotations

from glmc_zoo.engine.cli import parse_second_stage_config, run_recipe


def main() -> None:
    """Parse, build, train, finish."""
    # ---------------------------------------------------------------- options: recipe, first stage, file, command line
    config = parse_second_stage_config(description=__doc__.splitlines()[0])

    # ---------------------------------------------------------------- first stage's model, data, output folder
    from glmc_zoo.engine.second_stage_run import SecondStageRun  # imports torch: not needed for --help

    run = SecondStageRun(config)
    run.describe()
    run.resume()

    # ---------------------------------------------------------------- epochs
    for _ in run.epochs():
        losses = run.train_epoch()
        run.finish_epoch(losses)

    # ---------------------------------------------------------------- test scores, plots, exported model, card
    run.finish()


if __name__ == "__main__":
    run_recipe(main)
