"""How the time of an epoch grows with the number of training images and with the number of classes.

    python benchmarks/growth.py --data-dir DATA/cifar10 --threads 2 --out benchmarks/results
    python benchmarks/growth.py --device cuda --mixed-precision bf16 --max-counts 1250 2500 5000

Each setting is a run of recipes/train.py. Its first epoch is not timed. Then each round trains one epoch of every
setting. The table has the median over the rounds.

- Images: ``cifar10_lt`` with imbalance factor 100 and ``--max-counts`` images of its largest class. Without
  ``--data-dir`` it is replaced by random pixels of the same shape and class counts.
- Classes: random pixels of 32 x 32, with the same number of training images (``--images``) for every number of classes.
  Class counts fall as 1 / rank, and each class has an image. The evaluation is timed too. It has as many test images as
  the largest number of classes.

A straight line is fitted to the medians by least squares. Residuals are relative to the median.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _meter import alternate, run_options, spread, with_range, write_report

from glmc_zoo.errors import UserError, as_command_line

if TYPE_CHECKING:
    from glmc_zoo.training.run import TrainingRun

IMBALANCE_FACTOR = 100  # of the data sets that grow in images
IMAGE_SIZE = 32


def falling_counts(classes: int, images: int) -> list[int]:
    """Class counts with the sum ``images``: one image each, and the rest in proportion to 1 / rank."""
    weights = [1 / rank for rank in range(1, classes + 1)]
    counts = [1 + int((images - classes) * weight / sum(weights)) for weight in weights]
    counts[0] += images - sum(counts)
    return counts


def write_set(folder: Path, train: Sequence[int], test_images: int) -> Path:
    """Save a data set of random pixels with the class counts ``train`` by `datasets`, and return its folder."""
    import datasets
    import numpy as np
    from PIL import Image

    datasets.disable_progress_bars()
    rng = np.random.default_rng(0)
    images = []
    for _ in range(256):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)).save(file, "PNG")
        images.append({"bytes": file.getvalue(), "path": None})
    classes = datasets.ClassLabel(names=[f"class {c}" for c in range(len(train))])
    features = datasets.Features({"image": datasets.Image(), "label": classes})
    splits = datasets.DatasetDict()
    labels_of = {"train": np.repeat(np.arange(len(train)), train), "test": np.arange(test_images) % len(train)}
    for split, labels in labels_of.items():
        columns = {"image": [images[i % len(images)] for i in range(len(labels))], "label": labels.tolist()}
        splits[split] = datasets.Dataset.from_dict(columns, features=features)
    splits.save_to_disk(str(folder))
    return folder


@dataclass
class Setting:
    """One point of a panel of the figure: its run, and the seconds of each epoch so far."""

    panel: str
    value: int
    run: TrainingRun
    training: list[float] = field(default_factory=list)
    evaluation: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.epochs = self.run.epochs()

    def time_epoch(self) -> None:
        """Train and finish the next epoch, and store its seconds of training and of evaluation."""
        start = time.perf_counter()
        next(self.epochs)
        losses = self.run.train_epoch()  # reads the loss of its last step, which waits for a GPU
        trained = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish_epoch(losses)
        self.training.append(trained - start)
        self.evaluation.append(time.perf_counter() - trained)


def make_settings(options: argparse.Namespace, folder: Path) -> list[Setting]:
    """Build the runs of both panels."""
    from glmc_zoo import longtail_counts
    from glmc_zoo.training.run import TrainingRun

    # One more epoch warms up. The last epoch, after which a run exports its model, is never reached.
    epochs = options.rounds + 2
    shared = {name: getattr(options, name) for name in ("backbone", "batch_size", "threads", "mixed_precision")}
    shared |= {"preset": "official", "epochs": epochs, "checkpoint_every": epochs}
    if options.data_dir is not None:
        grown: dict[str, Any] = {"data": "cifar10_lt", "data_dir": str(options.data_dir)}
    else:
        counts = longtail_counts(10, max(options.max_counts), IMBALANCE_FACTOR)
        grown = {"data": str(write_set(folder / "images", counts, 1000))}
    grown |= {"imbalance_factor": IMBALANCE_FACTOR, "eval_every": epochs}
    plans = [("images", count, grown | {"max_count": count}) for count in options.max_counts]
    for classes in options.classes:
        counts = falling_counts(classes, options.images)
        data = write_set(folder / f"classes-{classes}", counts, max(options.classes))
        plans.append(("classes", classes, {"data": str(data), "eval_every": 1}))
    settings: list[Setting] = []
    for panel, value, special in plans:
        run = TrainingRun(run_options(**shared | special, output_dir=str(folder / f"run-{panel}-{value}")))
        if run.accelerator.device.type != options.device:
            raise SystemExit(f"growth.py: error: --device {options.device} is not available; give --device cpu.")
        settings.append(Setting(panel, len(run.data.train) if panel == "images" else value, run))
    return settings


def fit_line(values: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """Fit a straight line by least squares: its intercept and slope in seconds, R², and the relative residuals."""
    import numpy as np

    slope, start = np.polyfit(values, seconds, 1)
    residuals = np.asarray(seconds) - np.polyval((slope, start), values)
    relative = residuals / np.asarray(seconds)
    return {
        "seconds_at_zero": float(start),
        "seconds_per_unit": float(slope),
        "r2": 1 - float((residuals**2).mean() / max(np.var(seconds), np.finfo(float).tiny)),
        "residuals_relative": relative.tolist(),
        "largest_relative_residual": float(np.abs(relative).max()),
    }


def summarise(settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """The rows of the report: training over images, training over classes, and evaluation over classes."""
    rows = []
    for panel, what in (("images", "training"), ("classes", "training"), ("classes", "evaluation")):
        points = [setting for setting in settings if setting.panel == panel]
        times = [getattr(setting, what)[1:] for setting in points]  # the first epoch warms up
        values, seconds = [setting.value for setting in points], [spread(epochs) for epochs in times]
        medians = [epoch["median"] for epoch in seconds]
        rows.append(
            {
                "over": panel,
                "what": what,
                "values": values,
                "train_images": [len(setting.run.data.train) for setting in points],
                "test_images": [len(setting.run.data.test) for setting in points],
                "seconds": seconds,
                "over_first": [median / medians[0] for median in medians],
                "line": fit_line(values, medians),
            }
        )
    return rows


def report_lines(row: dict[str, Any]) -> list[str]:
    """The lines that are printed for a row of the report."""
    line = row["line"]
    lines = [f"{row['what']} over {row['over']}: seconds an epoch, median (range), over the first, off the line"]
    columns = [row[name] for name in ("values", "seconds", "over_first")]
    for value, seconds, ratio, residual in zip(*columns, line["residuals_relative"], strict=True):
        lines.append(f"  {value:7,d}  {with_range(seconds, 3):24s}  {ratio:6.3f}  {residual:+7.2%}")
    lines.append(
        f"  line: {line['seconds_at_zero']:.3f} s + {1000 * line['seconds_per_unit']:.3f} ms for each; "
        f"R2 {line['r2']:.4f}, largest residual {line['largest_relative_residual']:.2%}"
    )
    return lines


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw both panels: medians with their ranges, and the fitted lines."""
    from matplotlib.ticker import FuncFormatter

    from glmc_zoo.metrics._figure import GREEN, INK, new_figure, save

    figure, axes = new_figure("Time of an epoch as the training set grows", width=9.6, height=4.4, columns=2)
    for row in rows:
        axis, colour = axes[row["over"] == "classes"], INK if row["what"] == "training" else GREEN
        medians = [epoch["median"] for epoch in row["seconds"]]
        bars = [[abs(epoch["range"][end] - epoch["median"]) for epoch in row["seconds"]] for end in (0, 1)]
        axis.errorbar(row["values"], medians, yerr=bars, fmt="o", color=colour, capsize=4, markersize=5)
        line, ends = row["line"], [0, max(row["values"])]
        fitted = [line["seconds_at_zero"] + line["seconds_per_unit"] * end for end in ends]
        label = f"{row['what']}, line with R² {line['r2']:.4f}, within {line['largest_relative_residual']:.1%}"
        axis.plot(ends, fitted, color=colour, linewidth=1.4, label=label)
    images = {row["train_images"][0] for row in rows if row["over"] == "classes"}
    axes[0].set(title="Images (10 classes)", xlabel="training images")
    axes[1].set(title=f"Classes ({images.pop():,} training images)", xlabel="classes")
    for axis in axes:
        axis.set_ylabel("seconds an epoch: median, range")
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=9)
    save(figure, path)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="copy of the Hub's uoft-cs/cifar10; random pixels by default")
    parser.add_argument(
        "--max-counts",
        type=int,
        nargs="+",
        default=[500, 1000, 2000],
        help="images of the largest class, three or more numbers",
    )
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[10, 100, 1000, 8142], help="numbers of classes, three or more"
    )
    parser.add_argument("--images", type=int, default=10240, help="training images for every number of classes")
    parser.add_argument("--backbone", default="resnet20_cifar", help="any timm model")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step")
    parser.add_argument("--rounds", type=int, default=5, help="timed epochs of each setting")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the epochs run")
    parser.add_argument("--threads", type=int, help="threads of torch; all cores by default")
    parser.add_argument(
        "--mixed-precision", choices=["no", "bf16", "auto"], default="no", help="precision of the training"
    )
    parser.add_argument("--out", type=Path, help="folder for growth.json and growth.png")
    options = parser.parse_args()
    if min(len(set(options.max_counts)), len(set(options.classes))) < 3:
        parser.error("a line needs three points or more: give three different --max-counts and --classes")
    if max(options.classes) > options.images:
        parser.error(
            f"--images {options.images} is less than one for each of {max(options.classes)} classes: "
            f"give --images {max(options.classes)} or more"
        )
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"

    with tempfile.TemporaryDirectory() as folder:
        try:
            settings = make_settings(options, Path(folder))
        except UserError as error:
            parser.error(as_command_line(error.sentence, vars(options)))
        alternate({id(setting): setting.time_epoch for setting in settings}, options.rounds + 1)
        rows = summarise(settings)
    for row in rows:
        print("\n".join(report_lines(row)))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_report(options.out / "growth.json", rows, device=options.device, rounds=options.rounds)
        plot(rows, options.out / "growth.png")


if __name__ == "__main__":
    main()
