"""Put a finished run among the published models: hub_cards/NAME/ is exactly what its Hub repository holds.

    python benchmarks/publish.py runs/NAME [--data-dir DATA/cifar10]

The exported model is scored anew with recipes/evaluate.py in single precision, whatever it was trained and scored in,
so that the card's scores are those that anybody gets from the published weights. NAME is the model's name in the run's
results. The results are filed as benchmarks/results/models/NAME.json as well.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from _rows import RESULTS, ROOT, Filed

from glmc_zoo.hub import export_run, open_model
from glmc_zoo.hub.plain_files import exported_files, read_plain
from glmc_zoo.results import EvaluationResults, RunResults

SCORED = ("test", "class_recalls", "group_confusion", "groups", "thresholds")


def evaluate(model: Path, results: RunResults, data_dir: str | None, output: Path) -> EvaluationResults:
    """Score an exported model on the data of its run."""
    command = [sys.executable, str(ROOT / "recipes" / "evaluate.py"), "--model", str(model)]
    command += ["--data", results.config["data"], "--output-dir", str(output)]
    command += ["--data-seed", str(results.config["data_seed"])]
    if results.data.imbalance_factor:
        command += ["--imbalance-factor", str(results.data.imbalance_factor)]
    if data_dir:
        command += ["--data-dir", data_dir]
    subprocess.run(command, check=True)
    scored = EvaluationResults.load(output / "results.json")
    if scored.class_counts != results.class_counts:
        raise SystemExit("publish.py: error: the run was trained on another subset than it was scored on.")
    return scored


def main() -> None:
    """Score, merge, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data-dir", help="local copy of the run's catalogue data set")
    args = parser.parse_args()

    results = RunResults.load(args.run / "results.json")
    source = open_model(str(args.run / "model"))
    with tempfile.TemporaryDirectory() as scratch:
        model, output = Path(scratch) / results.model.name, Path(scratch) / "eval"  # plots are titled by the folder
        exported_files(args.run / "model")  # refuses links, which a copy would follow
        shutil.copytree(args.run / "model", model)
        scored = evaluate(model, results, args.data_dir, output)
        (output / "plots" / "training.png").write_bytes(read_plain(args.run / "plots" / "training.png", args.run))
        published = dataclasses.replace(results, **{name: getattr(scored, name) for name in SCORED})
        folder = export_run(
            ROOT / "hub_cards" / results.model.name,
            source.create(),
            published,
            heads=source.training_heads(),
            plots=output / "plots",
            config_yaml=yaml.safe_dump({**results.config, "data_dir": None, "split_file": None}, sort_keys=False),
        )
    filed = RESULTS / "models" / f"{folder.name}.json"
    filed.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "results.json", filed)
    before, after = (100 * Filed(0, one).test.balanced_accuracy for one in (results, scored))
    print(f"{folder}: balanced accuracy {after:.2f} % in single precision, {before:.2f} % as in the run")


if __name__ == "__main__":
    main()
