"""Add a finished run to the published models. hub_cards/NAME/ gets exactly the files of a Hub repository.

    python benchmarks/publish.py runs/NAME [--data-dir DATA/cifar10]
    python benchmarks/publish.py runs/NAME --data DATA/clothing --half --baseline "cross-entropy=runs/OTHER"

recipes/evaluate.py scores the exported model again in single precision, whatever precision the run had. So anybody gets
the scores of the card from the published weights. NAME is the name of the model in the results of the run. The results
are also stored as benchmarks/results/models/NAME.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import yaml
from _rows import RESULTS, ROOT, SeedResults

from glmc_zoo.hub import export_run, open_model
from glmc_zoo.hub.export.decoration import decorate_export
from glmc_zoo.hub.folder import SAMPLE_FILE
from glmc_zoo.hub.plain_files import exported_files, read_regular_file
from glmc_zoo.results import BaselineFacts, EvaluationResults, RunResults

SCORED = ("test", "class_recalls", "class_support", "group_confusion", "groups", "thresholds", "group_support")
CARDS = ROOT / "hub_cards"
MAX_BYTES = 10_000_000
"""Largest size of a published folder, because every checkout contains it."""


def evaluate(
    model: Path, results: RunResults, data: str | None, data_dir: str | None, output: Path
) -> EvaluationResults:
    """Score an exported model on the test split of its run.

    Raises:
        SystemExit: The class counts are not those of the run.
    """
    command = [sys.executable, str(ROOT / "recipes" / "evaluate.py"), "--model", str(model)]
    command += ["--data", data or results.config["data"], "--output-dir", str(output)]
    command += ["--data-seed", str(results.config["data_seed"])]
    if results.config.get("split_by"):
        command += ["--split-by", results.config["split_by"]]
    if results.data.imbalance_factor:
        command += ["--imbalance-factor", str(results.data.imbalance_factor)]
    if data_dir:
        command += ["--data-dir", data_dir]
    subprocess.run(command, check=True)
    scored = EvaluationResults.load(output / "results.json")
    if scored.class_counts != results.class_counts:
        raise SystemExit(
            "publish.py: error: the scored data has other class counts in its training split than the run: give the "
            "data of the run by --data or --data-dir."
        )
    return scored


def baseline(label: str, run: Path, results: RunResults) -> BaselineFacts:
    """Read the scores of another finished run on the same data, for a table in the card.

    Raises:
        SystemExit: The run has no test scores, or other data or classes.
    """
    other = RunResults.load(run / "results.json")
    if other.test is None or (other.data.name, other.class_names) != (results.data.name, results.class_names):
        raise SystemExit(
            f"publish.py: error: --baseline {label}={run} has no test scores on the classes of {results.data.name}: "
            "give a run on the same data."
        )
    return BaselineFacts(
        label=label, test=other.test, intervals=other.intervals.get("test", {}), wall_time_s=other.wall_time_s
    )


def size_of(folder: Path, *, half: bool) -> int:
    """Size in bytes of a folder to publish.

    Args:
        folder: The folder.
        half: Whether its weights are in half precision, for the advice of the error.

    Raises:
        SystemExit: It is larger than `MAX_BYTES`.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MAX_BYTES:
        raise SystemExit(
            f"publish.py: error: {folder.name} has {size / 1e6:.1f} MB, and the limit is {MAX_BYTES / 1e6:g} MB: "
            f"{'' if half else 'give --half, or '}train a smaller network."
        )
    return size


def publish(
    run: Path,
    *,
    data: str | None = None,
    data_dir: str | None = None,
    name: str | None = None,
    description: str | None = None,
    data_license: str | None = None,
    half: bool = False,
    baselines: Mapping[str, Path] | None = None,
    cards: Path = CARDS,
    stored: Path = RESULTS / "models",
) -> Path:
    """Score the exported model, put the scores into its results, and export it with its card.

    Raises:
        SystemExit: The data is not that of the run, a baseline does not fit, or the folder is larger than `MAX_BYTES`.

    Args:
        run: Folder of a finished run.
        data: Folder of its images, if they are not in the catalogue.
        data_dir: Local copy of its catalogue data set.
        name: ``ARCHITECTURE.TAG``; by default the name in the results.
        description: Description of its images, if they are not in the catalogue.
        data_license: Licence of its images as the Hub spells it, if they are not in the catalogue.
        half: Whether the weights are stored, and scored, in half precision.
        baselines: Folders of finished runs by their labels, for a table in the card.
        cards: Folder of the published models.
        stored: Folder of their results.

    Returns:
        The folder of the published model.
    """
    results = RunResults.load(run / "results.json")
    if name is not None:
        results = dataclasses.replace(
            results, model=dataclasses.replace(results.model, name=name, tag=name.partition(".")[2])
        )
    if description is not None:
        results = dataclasses.replace(results, data=dataclasses.replace(results.data, description=description))
    if data_license is not None:
        results = dataclasses.replace(results, data=dataclasses.replace(results.data, license=data_license))
    rows = [baseline(label, folder, results) for label, folder in (baselines or {}).items()]
    results = dataclasses.replace(results, baselines=rows)
    source = open_model(str(run / "model"))
    with tempfile.TemporaryDirectory() as scratch:
        model, output = Path(scratch) / results.model.name, Path(scratch) / "eval"  # plots are titled by the folder
        exported_files(run / "model")  # raises UserError for links, which a copy would follow
        if half:
            export_run(model, source.create(), results, half=True)
        else:
            shutil.copytree(run / "model", model)
        scored = evaluate(model, results, data, data_dir, output)
        if (run / "plots" / "training.png").is_file():  # a classifier on features has no epochs
            (output / "plots" / "training.png").write_bytes(read_regular_file(run / "plots" / "training.png", run))
        intervals = results.intervals | {"test": scored.intervals["test"]}
        published = dataclasses.replace(
            results, intervals=intervals, **{field: getattr(scored, field) for field in SCORED}
        )
        export = partial(
            export_run,
            timm_model=source.create(),
            results=published,
            heads=source.training_heads(),
            plots=output / "plots",
            config_yaml=yaml.safe_dump({**results.config, "data_dir": None, "split_file": None}, sort_keys=False),
            half=half,
        )
        size = size_of(export(Path(scratch) / "card" / results.model.name), half=half)  # before anything is published
        folder = export(cards / results.model.name)
        sample = run / "model" / SAMPLE_FILE
        if results.sample_image is not None and sample.is_file():
            decorate_export(folder, output / "plots", published.plots, sample=(sample, results.sample_image))
    stored.mkdir(exist_ok=True)
    shutil.copy(folder / "results.json", stored / f"{folder.name}.json")
    before, after = (100 * SeedResults(0, values).test.balanced_accuracy for values in (results, scored))
    print(f"{folder}: balanced accuracy {after:.2f} %, {before:.2f} % as in the run; {size / 1e6:.1f} MB")
    return folder


def main() -> None:
    """Publish the run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data", help="folder of the images of the run, if they are not in the catalogue")
    parser.add_argument("--data-dir", help="local copy of the catalogue data set of the run")
    parser.add_argument("--name", help="ARCHITECTURE.TAG; by default as in the run")
    parser.add_argument("--description", help="description of the images, if they are not in the catalogue")
    parser.add_argument("--data-license", help="licence of the images as the Hub spells it, if not in the catalogue")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    parser.add_argument(
        "--baseline", action="append", default=[], metavar="LABEL=RUN", help="another run for the table of the card"
    )
    args = parser.parse_args()
    if any("=" not in pair for pair in args.baseline):
        parser.error("--baseline needs LABEL=RUN, for example cross-entropy=runs/ce")
    pairs = (pair.split("=", 1) for pair in args.baseline)
    publish(
        args.run, data=args.data, data_dir=args.data_dir, name=args.name, description=args.description,
        data_license=args.data_license, half=args.half, baselines={label: Path(folder) for label, folder in pairs},
    )  # fmt: skip


if __name__ == "__main__":
    main()
