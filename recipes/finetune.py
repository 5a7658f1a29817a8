"""Fine-tune a trained model on an imbalanced data set, which may have other classes.

    accelerate launch recipes/finetune.py --model hf-hub:ORG/NAME --data path/to/my_images
    accelerate launch recipes/finetune.py --model runs/NAME/model --data my_images --method ce
    accelerate launch recipes/finetune.py --model resnet50 --data my_images --tune head --feature-views 2
    accelerate launch recipes/finetune.py --model vit_small_patch16_224 --data my_images --tune lora
    accelerate launch recipes/finetune.py --model resnet50 --data my_images --tune full --layer-decay 0.75
    accelerate launch recipes/finetune.py --model resnet50 --data my_images --search-minutes 10

The files in --output-dir are those of recipes/train.py: config.yaml, metrics.jsonl, results.json, checkpoints/, model/,
plots/, and report.html, a page with scores, curves, classes, confusions and images (its data is in answers.json).
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import finetuning_options
from glmc_zoo.options.run import HeadStage
from glmc_zoo.options.sections import FINETUNE


def main() -> None:
    """Parse, build, train, finish."""
    # ---------------------------------------------------------------- options: preset, recipe, file, command line
    options = finetuning_options(read_options(FINETUNE, __doc__))

    # ---------------------------------------------------------------- model, data, tuned parameters, output folder
    from glmc_zoo.training.dry_run import print_estimate, print_head_estimate  # imports torch: not needed for --help
    from glmc_zoo.training.head_run import HeadRun
    from glmc_zoo.training.run import TrainingRun
    from glmc_zoo.training.search import search_settings

    # ---------------------------------------------------------------- only the classifier: features once, no epochs
    if isinstance(options.stage, HeadStage):
        head = HeadRun(options)
        head.describe()
        if options.output.dry_run:
            print_head_estimate(head)
            return
        head.train()
        head.finish()
        return

    # ---------------------------------------------------------------- learning rate and epochs, with --search-minutes
    data = None
    if not options.output.dry_run:
        options, data = search_settings(options)

    run = TrainingRun(options, data)
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
