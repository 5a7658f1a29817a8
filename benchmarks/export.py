"""Export a trained model in every format, and compare the files with torch on real images.

    python benchmarks/export.py --model runs/clothing/model --data path/to/clothing --json export.json

``glmc_zoo.export`` writes the files into a temporary folder. It compares them with torch on random images and on the
test images of ``--data``, and times batches on the CPU, alternating with torch. Prints its tables, and writes JSON with
``--json FILE``. The report has the load of the machine before.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _meter import write_report

import glmc_zoo
from glmc_zoo.hub import open_model


def main() -> None:
    """Export, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="exported folder or published name")
    parser.add_argument("--data", required=True, help="data set whose test images are compared")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("onnx", "torch_export"):
            exported = glmc_zoo.export(
                model=options.model, format=name, output=folder, check_data=options.data, int8=name == "onnx"
            )
            rows += [dataclasses.asdict(file) | {"file": Path(file.file).name} for file in exported]
    source = open_model(options.model)
    weights = None if source.results is None else source.results.weights
    about = {
        "architecture": source.config.get("architecture"),
        "input_size": source.config.get("input_size"),
        "sha256": None if weights is None else weights.sha256,
        "load_before": load,
    }
    packages = {name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}
    write_report(options.json, rows, model=about, packages=packages)


if __name__ == "__main__":
    main()
