"""Convert a checkpoint of GLMC's published code into a folder that timm loads.

    python recipes/convert.py --checkpoint cifar10.pth.tar --data cifar10_lt --output-dir converted/cifar10
    python recipes/convert.py --checkpoint imagenet.pth.tar --class-names names.txt --output-dir converted/imagenet

Only tensors and plain values are read from the file. No code in it is run.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.conversion import convert
from glmc_zoo.options.resolve import conversion_options
from glmc_zoo.options.sections import CONVERT
from glmc_zoo.text import printable


def main() -> None:
    """Parse, convert, print where the model is."""
    # ---------------------------------------------------------------- options
    user_options = read_options(CONVERT, __doc__)
    options = conversion_options(user_options)

    # ---------------------------------------------------------------- checkpoint, model, exported folder
    folder = convert(options, user_options.command)
    folder_text = printable(str(folder))
    print(f'model   {folder_text}\nload    glmc_zoo.create_model("{folder_text}")')


if __name__ == "__main__":
    run_recipe(main)
