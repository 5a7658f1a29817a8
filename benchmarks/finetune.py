"""Fine-tuning against training from scratch, on 20 classes of CIFAR-100 that a model of CIFAR-10-LT has never seen.

    python benchmarks/finetune.py --cifar100 DATA/cifar100 --model hub_cards/NAME --seeds 0 1 2
    python benchmarks/finetune.py --cifar100 DATA/cifar100 --model hub_cards/NAME --set held_out --more "--lr 0.03"

The sets: ``cifar100_20_lt`` has every fifth class (0, 5, ..., 95), thinned to 200 images in the first class and 5 in
the last (imbalance factor 40, 1,100 in all), and their 100 test images a class. ``held_out`` has the same training
images and, to choose settings by, 40 training images a class that the thinning left over. ``held_out_small`` is
likewise of the classes 2, 7, ..., 97, with 60 to 6 images, 468 in all. ``--results`` puts each run's ``results.json``
where benchmarks/table.py reads it.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HELD_OUT = 40  # images a class
# First class (every fifth from there on), images of the largest class, imbalance factor, scored on held-out images.
SETS = {"cifar100_20_lt": (0, 200, 40, False), "held_out": (0, 200, 40, True), "held_out_small": (2, 60, 10, True)}

# The same steps for all. From scratch lr 0.01 was better on the held-out images than 0.05 as well.
SHARED = "--epochs 40 --batch-size 32 --lr 0.01 --warmup-epochs 1 --weight-decay 5e-4"
SHARED += " --image-size 32 --augment crop_flip --mixed-precision bf16 --eval-every 20"
SCRATCH = f"train.py --backbone resnet20_cifar {SHARED}"
TUNED = f"finetune.py --model MODEL {SHARED}"
SETTINGS = {
    "fine-tuned glmc": TUNED,
    "fine-tuned ce": f"{TUNED} --method ce",
    "fine-tuned balanced_softmax": f"{TUNED} --method balanced_softmax",
    "fine-tuned glmc head": f"{TUNED} --tune head",
    "scratch glmc": f"{SCRATCH} --sampler-power 1.5",  # as fine-tuning has it, so that only the start differs
    "scratch ce": f"{SCRATCH} --method ce",
    "scratch balanced_softmax": f"{SCRATCH} --method balanced_softmax",
}


def write_subset(
    source: Path, folder: Path, *, first: int, max_count: int, imbalance_factor: int, held_out: bool
) -> Path:
    """Write 20 classes as parquet files with a train and a test split into ``folder``."""
    import datasets
    import numpy as np

    from glmc_zoo import longtail_counts
    from glmc_zoo.data.sources import open_folder

    tables = open_folder(source, "cifar100")
    names = tables["train"].features["fine_label"].names[first::5]
    counts = longtail_counts(len(names), max_count, imbalance_factor)
    order = np.random.RandomState(0).permutation(len(tables["train"]))
    labels = np.asarray(tables["train"].with_format("numpy")["fine_label"][:])
    train, left = [], []
    for index, count in enumerate(counts):
        members = order[labels[order] == first + 5 * index]
        train += members[:count].tolist()
        left += members[count : count + HELD_OUT].tolist()
    test_labels = np.asarray(tables["test"].with_format("numpy")["fine_label"][:])
    test = np.flatnonzero(test_labels % 5 == first).tolist()
    parts = {"train": ("train", train), "test": ("train", left) if held_out else ("test", test)}
    folder.mkdir(parents=True)
    for split, (origin, rows) in parts.items():
        part = (
            tables[origin]
            .select(rows)
            .select_columns(["img", "fine_label"])
            .rename_columns({"img": "image", "fine_label": "label"})
        )
        classes = datasets.ClassLabel(names=names)
        part = part.map(lambda row: {"label": row["label"] // 5}).cast_column("label", classes)
        part.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder


def main() -> None:
    """Run the settings asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cifar100", type=Path, required=True, help="copy of the Hub's uoft-cs/cifar100")
    parser.add_argument("--model", required=True, help="what is fine-tuned")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", choices=SETS, default="cifar100_20_lt", help="which images (see above)")
    parser.add_argument("--only", default="", help="settings whose name starts with this")
    parser.add_argument("--more", default="", help="options added to every setting")
    parser.add_argument("--work", type=Path, default=Path("runs/finetune_benchmark"), help="where runs are kept")
    parser.add_argument("--results", type=Path, help="where the results.json of each run goes, as SETTING_SEED.json")
    args = parser.parse_args()
    chosen = {name: command for name, command in SETTINGS.items() if name.startswith(args.only)}
    if not chosen:
        parser.error(f"--only {args.only!r} is the start of no setting; they are {', '.join(map(repr, SETTINGS))}")

    data = args.work / args.set
    if not data.is_dir():
        first, max_count, factor, held_out = SETS[args.set]
        write_subset(args.cifar100, data, first=first, max_count=max_count, imbalance_factor=factor, held_out=held_out)
    for seed in args.seeds:
        for name, command in chosen.items():
            slug = "_".join(f"{name} {args.more.replace('--', '')}".split()) + f"_seed{seed}"
            run = args.work / f"{data.name}.{slug}"
            if not (run / "results.json").is_file():
                shutil.rmtree(run, ignore_errors=True)
                script, *options = shlex.split(command.replace("MODEL", args.model))
                where = ["--data", str(data), "--seed", str(seed), "--output-dir", str(run)]
                arguments = [str(ROOT / "recipes" / script), *options, *where, *shlex.split(args.more)]
                subprocess.run([sys.executable, *arguments], check=True)
            if args.results is not None:
                args.results.mkdir(parents=True, exist_ok=True)
                shutil.copy(run / "results.json", args.results / f"{slug}.json")


if __name__ == "__main__":
    main()
