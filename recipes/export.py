"""Write a trained model for other runtimes: ONNX, or torch.export; checked against torch before it gets its name.

    python recipes/export.py --model runs/NAME/model --format onnx --output cats.onnx
    python recipes/export.py --model runs/NAME/model --output exported --check-data path/to/my_images --int8
    python recipes/export.py --model hf_hub:ORG/NAME --format torch_export

Normalisation and softmax are in the file, labels and the other preprocessing in its metadata. docs/export.md shows how
to run it.
"""

from __future__ import annotations

from glmc_zoo.cli import read_options, run_recipe
from glmc_zoo.options.resolve import export_options
from glmc_zoo.options.sections import EXPORT


def main() -> None:
    """Parse, open, export and check, show."""
    # ---------------------------------------------------------------- options
    options = export_options(read_options(EXPORT, __doc__))

    # ---------------------------------------------------------------- packages and files checked, model, images
    from glmc_zoo.scoring.exporting.run import ExportRun  # imports torch: not needed for --help

    run = ExportRun(options)
    run.describe()

    # ---------------------------------------------------------------- written, compared with torch, timed, renamed
    exported = run.export()

    # ---------------------------------------------------------------- table
    run.finish(exported)


if __name__ == "__main__":
    run_recipe(main)
