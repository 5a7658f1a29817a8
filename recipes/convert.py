"""Convert a checkpoint in the layout that GLMC's authors published into a folder that timm loads.

    python recipes/convert.py --checkpoint cifar10.pth.tar --data cifar10_lt --output-dir converted/cifar10
    python recipes/convert.py --checkpoint imagenet.pth.tar --class-names names.txt --output-dir converted/imagenet

The file is read as tensors alone: nothing in it is run.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.conversion import convert
from glmc_zoo.options.resolve import conversion_options
from glmc_zoo.options.sections import CONVERT
from glmc_zoo.text import printable


def main() -> None:
    """Parse, convert, say where it lies."""
    # ---------------------------------------------------------------- options
    given = read_options(CONVERT, __doc__)
    options = conversion_options(given)

    # ---------------------------------------------------------------- checkpoint, model, exported folder
    folder = convert(options, given.command)
    shown = printable(str(folder))
    print(f'model   {shown}\nload    glmc_zoo.create_model("{shown}")')


if __name__ == "__main__":
    run_recipe(main)
