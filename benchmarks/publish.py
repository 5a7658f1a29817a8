"""Put a finished run among the published models: hub_cards/NAME/ is exactly what its Hub repository holds.

Its scores are filed as benchmarks/results/models/NAME.json as well.

    python benchmarks/publish.py runs/NAME [--data-dir DATA/cifar10]

The exported model is scored anew with recipes/evaluate.py in single precision, whatever it was trained and scored in,
so that the card's scores are those that anybody gets from the published weights. NAME is the model's own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from glmc_zoo.engine.options import PushOptions
from glmc_zoo.hub import export_run, open_model

ROOT = Path(__file__).resolve().parents[1]
SCORED = ("test", "class_recalls", "group_confusion", "groups", "thresholds")


def main() -> None:
    """Score, merge, export."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data-dir", help="local copy of the run's catalogue data set")
    args = parser.parse_args()

    results = json.loads((args.run / "results.json").read_text(encoding="utf-8"))
    source = open_model(str(args.run / "model"))
    pushes = {f.name for f in dataclasses.fields(PushOptions)}
    config = {name: value for name, value in results["config"].items() if name not in pushes}
    results["config"] = config
    with tempfile.TemporaryDirectory() as scratch:
        scored = Path(scratch) / "eval"
        named = Path(scratch) / results["model"]["name"]  # the plots are titled by the folder
        shutil.copytree(args.run / "model", named)
        command = [sys.executable, str(ROOT / "recipes" / "evaluate.py"), "--model", str(named)]
        command += ["--data", config["data"], "--output-dir", str(scored), "--data-seed", str(config["data_seed"])]
        if results["data"]["imbalance_factor"]:
            command += ["--imbalance-factor", str(results["data"]["imbalance_factor"])]
        if args.data_dir:
            command += ["--data-dir", args.data_dir]
        subprocess.run(command, check=True)
        again = json.loads((scored / "results.json").read_text(encoding="utf-8"))
        if again["class_counts"] != results["class_counts"]:
            raise SystemExit(f"publish.py: error: {args.run} was trained on another subset than it was scored on.")
        plots = scored / "plots"
        shutil.copy(args.run / "plots" / "training.png", plots)
        before = results["test"]["balanced_accuracy"]
        folder = export_run(
            ROOT / "hub_cards" / results["model"]["name"],
            source.create(),
            {**results, **{key: again[key] for key in SCORED}},
            heads=source.training_heads(),
            plots=plots,
            config_yaml=yaml.safe_dump({**config, "data_dir": None, "split_file": None}, sort_keys=False),
        )
    filed = ROOT / "benchmarks" / "results" / "models" / f"{folder.name}.json"
    filed.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "results.json", filed)
    after = again["test"]["balanced_accuracy"]
    print(f"{folder}: balanced accuracy {100 * after:.2f} % in single precision, {100 * before:.2f} % as in the run")


if __name__ == "__main__":
    main()
