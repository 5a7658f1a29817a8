"""Export a trained model to ONNX or torch.export. The file is compared with torch before it gets its name.

    python recipes/export.py --model runs/NAME/model --format onnx --output cats.onnx
    python recipes/export.py --model runs/NAME/model --output exported --check-data path/to/my_images --int8
    python recipes/export.py --model hf-hub:ORG/NAME --format torch_export

Normalisation and softmax are part of the file. Labels and the rest of the preprocessing are in its metadata.
docs/export.md shows how to run it.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import export_options
from glmc_zoo.options.sections import EXPORT


def main() -> None:
    """Parse, open the model, export and check it, print a table."""
    # ---------------------------------------------------------------- options
    options = export_options(read_options(EXPORT, __doc__))

    # ---------------------------------------------------------------- packages and files checked, model, images
    from glmc_zoo.scoring.exporting.run import ExportRun  # imports torch: not needed for --help

    run = ExportRun(options)
    run.describe()

    # ---------------------------------------------------------------- write, compare with torch, time, rename
    exported = run.export()

    # ---------------------------------------------------------------- table
    run.finish(exported)


if __name__ == "__main__":
    run_recipe(main)
