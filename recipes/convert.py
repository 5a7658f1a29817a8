"""Convert a checkpoint in the layout that GLMC's authors published into a folder that timm loads.

    python recipes/convert.py --checkpoint cifar10.pth.tar --data cifar10_lt --output-dir converted/cifar10
    python recipes/convert.py --checkpoint imagenet.pth.tar --class-names names.txt --output-dir converted/imagenet

The file is read as tensors alone: nothing in it is run.
"""

from __future__ import annotations

from glmc_zoo.engine.cli import parse_options, run_recipe
from glmc_zoo.engine.convert import ConvertConfig, convert


def main() -> None:
    """Parse, convert, say where it lies."""
    # ---------------------------------------------------------------- options
    config = parse_options(ConvertConfig, description=__doc__.splitlines()[0])

    # ---------------------------------------------------------------- checkpoint, model, exported folder
    folder = convert(config)
    print(f'model   {folder}\nload    glmc_zoo.create_model("{folder}")')


if __name__ == "__main__":
    run_recipe(main)
