"""The tables of times, memory and exported files, from the reports in benchmarks/results/."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from _comparison import seed_range, table
from _meter import with_range
from _rows import RESULTS, Links


def report(name: str) -> Any:
    """Read a report."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def sources(links: Links, *names: str) -> list[str]:
    """Lines below a table: the command of each report, with a link to its file."""
    lines = []
    for name in names:
        command = report(name)["command"].partition(" --json ")[0]
        lines.append(f"- [{name}.json]({links.to(f'benchmarks/results/{name}.json')}): `{command}`")
    return ["", *lines]


def sides(name: str) -> dict[str, Any]:
    """Rows of a report of speed.py, by side."""
    return {row["side"]: row for row in report(name)["results"]}


# ------------------------------------------------------------------------------------------------ training
LOOPS = {
    "speed_loop_resnet20": "whole loop, `resnet20_cifar`",
    "speed_loop_resnet32x4": "whole loop, `resnet32x4_cifar`",
    "speed_step_resnet20": "bare step, `resnet20_cifar`",
    "speed_step_resnet32x4": "bare step, `resnet32x4_cifar`",
    "speed_input_cifar": "input alone, four views of 32 x 32",
    "speed_evaluation": "evaluation of 10,000 test images",
}


def loop_table(links: Links) -> list[str]:
    """Speed of the package and of the reference loop."""
    rows = []
    for name, label in LOOPS.items():
        by_side = sides(name)
        cells = [f"{by_side[side]['samples_per_second']['median']:,.0f}" for side in ("reference", "ours")]
        cells += [_times(by_side, side) for side in ("ours", "plain")]
        loop = by_side["ours"].get("loop_over_bare_step")
        rows.append([label, *cells, with_range(loop, 3) if loop else "-"])
    header = ["samples/s", "reference", "ours", "ours over reference", "plain over reference", "loop over bare step"]
    return [*table(header, rows), *sources(links, *LOOPS)]


def _times(by_side: Mapping[str, Any], side: str) -> str:
    return with_range(by_side[side]["times_reference"], 2) if side in by_side else "-"


def arithmetic_table(links: Links) -> list[str]:
    """Floating-point operations per second in a step and in a matrix product."""
    rows = []
    for name in ("speed_step_resnet32x4", "speed_step_resnet20"):
        for side, row in sides(name).items():
            numbers = [f"{row[key]['median']:.0f}" for key in ("gflops", "gflops_of_matmul")]
            precision = "float32" if row["precision"] == "no" else row["precision"]
            share = f"{row['share_of_matmul']['median']:.2f}"
            rows.append([f"{LOOPS[name].partition(', ')[2]}, {side}, {precision}", *numbers, share])
    return table(["GFLOP/s", "step", "2048 x 2048 matrix product", "share"], rows)


def memory_table(links: Links) -> list[str]:
    """Peak memory of training steps."""
    rows = [
        [side, f"{row['peak_mib']:,.0f}", f"{row['workers_mib']:,.0f}"] for side, row in sides("speed_memory").items()
    ]
    note = "- `speed.py memory` no longer exists: `speed.py loop` reports these numbers."
    return [*table(["side", "peak, MiB", "in workers, MiB"], rows), *sources(links, "speed_memory"), note]


def jpegs_table(links: Links) -> list[str]:
    """Speed of the input for large JPEG images."""
    rows = []
    names = ("speed_input_jpegs_one_thread", "speed_input_jpegs")
    for name in names:
        by_side = sides(name)
        for side, row in by_side.items():
            cells = [f"{row['samples_per_second']['median']:.0f}", f"{row['cores_used']['median']:.1f}"]
            cells += [with_range(row[key], 2) for key in ("times_reference", "times_reference_per_core")]
            rows.append([f"{side}, threads: {row['threads']}", *cells])
    header = ["side", "samples/s", "cores", "over reference", "over reference per core"]
    return [*table(header, rows), *sources(links, *names)]


def startup_table(links: Links) -> list[str]:
    """Time to the first training step."""
    rows = [[f"`{row['case']}`", with_range(row["seconds"], 1)] for row in report("startup")["results"]]
    return [*table(["case", "seconds"], rows), *sources(links, "startup")]


def classes_table(links: Links) -> list[str]:
    """Time and memory of a step with many classes."""
    rows = []
    for name, precision in (("step_classes", "float32"), ("step_classes_bf16", "bf16")):
        for row in report(name)["results"]:
            cells = [
                f"{row['step_ms']['median']:,.0f}",
                f"{row['times_first']['median']:.2f}",
                f"{row['peak_mib']:,.0f}",
            ]
            rows.append([f"{row['classes']:,}", precision, *cells])
    header = ["classes", "precision", "ms a step", "over 1,000 classes", "peak, MiB"]
    return [*table(header, rows), *sources(links, "step_classes", "step_classes_bf16")]


def precision_table(links: Links) -> list[str]:
    """Scores of runs in single precision and in bf16."""
    rows = []
    for row in report("precision")["results"]:
        cells = []
        for side in ("fp32", "bf16"):
            scores = [100 * run["test"]["balanced_accuracy"] for run in row[side]]
            cells.append(", ".join(f"{score:.1f}" for score in scores))
        rows.append([row["data"], *cells, seed_range([run["seed"] for run in row["bf16"]])])
    return [*table(["data", "balanced, float32", "balanced, bf16", "seeds"], rows), *sources(links, "precision")]


def growth_table(links: Links) -> list[str]:
    """Time of an epoch by number of images and by number of classes."""
    rows = []
    for row in report("growth")["results"]:
        for value, seconds, over in zip(row["values"], row["seconds"], row["over_first"], strict=True):
            rows.append([f"{row['what']}, {value:,} {row['over']}", f"{seconds['median']:.1f}", f"{over:.2f}"])
    return [*table(["epoch", "seconds", "over the first"], rows), *sources(links, "growth")]


# ------------------------------------------------------------------------------------------------ data and predictions
def index_table(links: Links) -> list[str]:
    """Time to find the images of large data sets."""
    rows = []
    for row in report("index")["results"]:
        first = f"{row['first_seconds']:.1f}" if "first_seconds" in row else "-"
        cells = [f"{row['names']:,}", f"{row['seconds']['median']:.1f}", first]
        peak = max(row["peak_mib"], row.get("first_peak_mib", 0))
        rows.append([f"`{row['set']}`, {row['form']}", *cells, f"{peak:,.0f}"])
    header = ["set, form", "names", "seconds", "the first time", "peak, MiB"]
    return [*table(header, rows), *sources(links, "index")]


def inventory_table(links: Links) -> list[str]:
    """Time from the path of a folder to its inventory."""
    rows = [
        [row["form"], f"{row['images']:,}", with_range(row["seconds"], 2), f"{row['peak_mib']:,.0f}"]
        for row in report("inventory")["results"]
    ]
    return [*table(["form", "images", "seconds", "peak, MiB"], rows), *sources(links, "inventory")]


def predict_table(links: Links) -> list[str]:
    """Time to predict small images."""
    rows = [
        [
            row["threads"],
            with_range(row["seconds"], 1),
            f"{row['processor_seconds']['median']:.1f}",
            f"{row['peak_mib']:.0f}",
        ]
        for row in report("predict")["results"]
    ]
    return [*table(["threads", "seconds", "processor seconds", "peak, MiB"], rows), *sources(links, "predict")]


def augment_table(links: Links) -> list[str]:
    """Speed of the augmentation of large images."""
    ways = {
        "torchvision": "torchvision, image by image",
        "crops": "decoding and crops, on the CPU",
        "rest": "jitter, grey, blur, mirroring, normalisation",
        "both": "both parts",
        "policy": "both parts, RandAugment in place of the jitter",
    }
    rows = []
    for row in report("augment")["results"]:
        cells = [f"{row['images_per_second']['median']:.0f}", with_range(row["times_torchvision"], 1)]
        rows.append([ways[row["way"]], *cells])
    return [*table(["way", "images/s", "over torchvision"], rows), *sources(links, "augment")]


def exports_table(links: Links) -> list[str]:
    """Size, accuracy and speed of exported files, compared with torch."""
    rows = []
    content = report("export")
    for row in content["results"]:
        counts = {"random": row["random_images"], "real": row["test_images"]}
        cells = [f"`{row['file']}`", row["format"], f"{row['bytes'] / 1e6:.1f}"]
        cells += [" and ".join(f"{count} {kind}" for kind, count in counts.items() if count)]
        cells += [f"{row['max_difference']:.1e}", f"{100 * row['top1_agreement']:.2f} %"]
        rows.append([*cells, *(f"{row[f'time_ratio_{batch}']:.2f}" for batch in (1, 16))])
    header = ["file", "format", "MB", "images", "largest difference of a probability", "same class"]
    machine, versions = content["machine"], content["versions"]
    where = f"{machine['device']}, {machine['cpu']}, threads: {machine['threads']}, torch {versions['torch']}"
    where += f", onnxruntime {content['packages']['onnxruntime']}, load before {content['model']['load_before']:.1f}"
    return [*table([*header, "time, batch 1", "batch 16"], rows), *sources(links, "export"), f"- Machine: {where}."]


def soak_table(links: Links) -> list[str]:
    """A training that was killed many times, compared with one that was not."""
    rows = []
    for row in report("soak")["results"]:
        memory, seconds = row["memory_mib"], row["seconds"]
        peaks = f"{memory['peak_of_whole']:,.0f} and {max(memory['peaks_between_kills']):,.0f}"
        same = "yes" if row["equal_weights"] else "no"
        times = f"{seconds['whole']:.0f} and {seconds['killed']:.0f}"
        rows.append(
            [str(row["kills"]), *(str(row[key]) for key in ("processes", "resumed", "epochs")), same, peaks, times]
        )
    header = ["kills", "processes", "resumed", "epochs", "equal weights", "peak, MiB, whole and killed", "seconds"]
    return [*table(header, rows), *sources(links, "soak")]


SPEED: dict[str, Callable[[Links], list[str]]] = {
    "loop": loop_table,
    "arithmetic": arithmetic_table,
    "memory": memory_table,
    "jpegs": jpegs_table,
    "startup": startup_table,
    "classes": classes_table,
    "precision": precision_table,
    "growth": growth_table,
    "index": index_table,
    "inventory": inventory_table,
    "predict": predict_table,
    "augment": augment_table,
    "export": exports_table,
    "soak": soak_table,
}
"""The functions that make the tables, by the name in the mark of a page."""


def speed_table(name: str, links: Links) -> str:
    """The table with this name, see `SPEED`."""
    return "\n".join(SPEED[name](links))
