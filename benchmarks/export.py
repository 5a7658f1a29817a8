"""Export a trained model in every format, and file how the files compare with torch on real images.

    python benchmarks/export.py --model runs/clothing/model --data path/to/clothing --json export.json

Writes the files into a temporary folder by ``glmc_zoo.export``, which compares them with torch on random images and on
the test images of ``--data``, and times batches in turn with torch on the CPU. Prints its tables, and writes them as
JSON with ``--json FILE``, with the load of the machine before.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

from _meter import write_report

import glmc_zoo
from glmc_zoo.hub import open_model


def main() -> None:
    """Export, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("onnx", "torch_export"):
            exported = glmc_zoo.export(
                model=options.model, format=kind, output=folder, check_data=options.data, int8=kind == "onnx"
            )
            rows += [dataclasses.asdict(one) | {"file": Path(one.file).name} for one in exported]
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
