"""Pack .gpu/ (wheels and the runner) and .gpu-NAME/ (a thinned data set) for a GPU machine without network.

    python benchmarks/gpu/pack.py cifar10 cifar100 --data-root DATA [--factor 100]

Run it in the root of the checkout, with the Python in which the project is installed. README.md describes the rest.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = {  # folder of the parquet files, label column, classes, images of the largest class
    "cifar10": ("plain_text", "label", 10, 5000),
    "cifar100": ("cifar100", "fine_label", 100, 500),
}
# Packages that the Python of the GPU machine does not have, or has in another version.
WHEELS = ["datasets==5.2.0", "evaluate==0.4.6", "timm==1.0.31", "dill<0.4.2", "multiprocess<0.70.20"]
PYTHON = "3.12"  # of the GPU machine


def pack_wheels(folder: Path) -> None:
    """Download the wheels, and build the wheel of this checkout."""
    tags = [f"manylinux{tag}_x86_64" for tag in ("_2_28", "_2_27", "_2_17", "2014", "1")]
    platform = [word for tag in tags for word in ("--platform", tag)]
    download = ["download", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp", *platform]
    for words in ([*download, "-d", str(folder), *WHEELS], ["wheel", "-w", str(folder), "."]):
        subprocess.run([sys.executable, "-m", "pip", *words, "-q", "--no-deps"], check=True)


def pack_set(source: Path, folder: Path, factor: float) -> None:
    """Copy a data set, with its training split thinned to an imbalance factor."""
    import numpy as np
    import pyarrow.parquet as pq

    from glmc_zoo import longtail_counts, longtail_indices

    config, column, classes, largest = SETS[source.name]
    (folder / config).mkdir(parents=True)
    shutil.copy(source / "README.md", folder)
    train = pq.read_table(next((source / config).glob("train-*.parquet")))
    rows = longtail_indices(train[column].to_numpy(), longtail_counts(classes, largest, factor), seed=0)
    pq.write_table(train.take(np.sort(rows)), folder / config / "train-00000-of-00001.parquet", compression="brotli")
    shutil.copy(next((source / config).glob("test-*.parquet")), folder / config / "test-00000-of-00001.parquet")


def main() -> None:
    """Remove what was packed before, pack, and print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="data sets to pack")
    parser.add_argument("--data-root", type=Path, help=f"folder with {', '.join(SETS)}, copies of the Hub's data sets")
    parser.add_argument("--factor", type=float, default=100, help="imbalance factor")
    args = parser.parse_args()
    if not Path("pyproject.toml").is_file():
        parser.error("pyproject.toml is missing here: run the script in the root of the checkout")
    if args.sets and args.data_root is None:
        parser.error(f"--data-root is missing: give the folder with {', '.join(args.sets)}")
    for old in Path().glob(".gpu*"):
        shutil.rmtree(old)
    pack_wheels(Path(".gpu", "whl"))
    shutil.copy(HERE / "day.sh", ".gpu")
    for name in args.sets:
        pack_set(args.data_root / name, Path(f".gpu-{name}", name), args.factor)
    for folder in sorted(Path().glob(".gpu*")):
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
