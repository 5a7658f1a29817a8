"""Read damaged and hostile files with this package: seeded mutations of valid files.

    python benchmarks/fuzz.py --inputs 20000 --seed 0

Each file goes to the function of the package that reads this kind of file. The file may be read, or refused in one
sentence (`UserError`; for an image, `UnreadableImage`). Any other error is a traceback that a user would see, and so is
an input that takes longer than 10 seconds. The JSON on standard output has the numbers of inputs, of read files, of
refused files and of tracebacks for each kind of file, and the time of the slowest input. It also has the growth of peak
memory since the first input. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _mutations import header_or_bytes, json_or_bytes, lines_or_bytes, mutated_bytes, mutated_text

from glmc_zoo.errors import UserError

TIME_LIMIT = 10  # seconds for an input
ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "hub_cards" / "resnet20_cifar.glmc_digits_lt"
KINDS = ("config.json", "results.json", "safetensors", "metrics.jsonl", "manifest.json", "YAML", "CSV", "image")


# ---------------------------------------------------------------- kinds of files and their readers
@dataclass(frozen=True)
class Kind:
    """One kind of file: valid contents, the mutation, and the function that reads them."""

    name: str
    seeds: list[bytes]
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[bytes], object]


class Readers:
    """The functions of the package that read files. Each writes its input below one folder, and reads it from there."""

    def __init__(self, folder: Path) -> None:
        import shutil

        self.folder = folder
        self.model = Path(shutil.copytree(MODEL, folder / "model"))
        self.checkpoint = folder / "run" / "checkpoints" / "step-00000001"
        self.checkpoint.mkdir(parents=True)
        (folder / "images").mkdir()
        for name in "abcd":
            (folder / "images" / f"{name}.png").write_bytes(encoded_images()[0])
        self.count = -1

    @contextmanager
    def _in_place(self, file: str, content: bytes) -> Iterator[None]:
        path = self.model / file
        path.write_bytes(content)
        try:
            yield
        finally:
            path.write_bytes((MODEL / file).read_bytes())

    def config(self, content: bytes) -> None:
        """``config.json`` of an exported folder. For every tenth one, the model is built and its weights are loaded."""
        from glmc_zoo.hub.load.source import open_folder

        self.count += 1
        with self._in_place("config.json", content):
            source = open_folder("x", self.model, weights=self.count % 10 == 0)
            if self.count % 10 == 0:
                source.create()

    def results(self, content: bytes) -> None:
        """``results.json`` of an exported folder: read, listed, rendered as a card, and used for the class prior."""
        from glmc_zoo.hub import list_models, render_card
        from glmc_zoo.hub.load.source import open_folder
        from glmc_zoo.scoring.model_prior import model_log_prior

        with self._in_place("results.json", content):
            results = open_folder("x", self.model, weights=False).results
            if results is not None:
                list_models(self.folder)
                render_card(results)
                model_log_prior(results)

    def safetensors(self, content: bytes) -> None:
        """A safetensors file: its header, then its tensors."""
        from safetensors.torch import load_file

        from glmc_zoo.hub.load.weights import check_header

        path = self.folder / "x.safetensors"
        path.write_bytes(content)
        check_header(path, "x")
        load_file(path)

    def metrics(self, content: bytes) -> None:
        """``metrics.jsonl`` of a run folder."""
        from glmc_zoo.training.metrics_file import read_epochs

        path = self.folder / "run" / "metrics.jsonl"
        path.write_bytes(content)
        read_epochs(path)

    def manifest(self, content: bytes) -> None:
        """``manifest.json`` of a checkpoint."""
        from glmc_zoo.training.checkpoint import check_checkpoint, checkpoint_step

        (self.checkpoint / "manifest.json").write_bytes(content)
        check_checkpoint(self.checkpoint)
        checkpoint_step(self.checkpoint)

    def yaml(self, content: bytes) -> None:
        """A file of options."""
        from glmc_zoo.options.sections import TRAIN
        from glmc_zoo.options.user_options import read_config

        path = self.folder / "options.yaml"
        path.write_bytes(content)
        read_config(path, TRAIN)

    def csv(self, content: bytes) -> None:
        """A list of images with their classes."""
        from glmc_zoo.data.options import DataOptions
        from glmc_zoo.data.reading.label_files import list_csv

        path = self.folder / "images" / "list.csv"
        path.write_bytes(content)
        list_csv(path, DataOptions(data=str(path)))

    def image(self, content: bytes) -> None:
        """An image."""
        from glmc_zoo.data.reading.decoding import read_image

        path = self.folder / "x.png"
        path.write_bytes(content)
        read_image(str(path))


def encoded_images() -> list[bytes]:
    """A small image in the usual formats, as files."""
    from PIL import Image

    contents = []
    for mode, kind in (("RGB", "PNG"), ("RGB", "JPEG"), ("L", "PNG"), ("RGBA", "WEBP"), ("I;16", "TIFF"), ("P", "GIF"),
                       ("RGB", "BMP"), ("RGB", "PPM"), ("I;16", "PNG"), ("RGBA", "TIFF")):  # fmt: skip
        file = io.BytesIO()
        Image.linear_gradient("L").resize((12, 8)).convert("I" if mode == "I;16" else mode).convert(mode).save(
            file, kind
        )
        contents.append(file.getvalue())
    return contents


def kinds(folder: Path) -> list[Kind]:
    """Return every kind of file. The readers write their files below ``folder``."""
    readers = Readers(folder)
    row = {"epoch": 0, "train_loss": 2.5, "top1": 0.5, "lr": 0.1, "seconds": 3.5}
    rows = "".join(json.dumps({**row, "epoch": epoch}) + "\n" for epoch in range(4)).encode()
    checkpoint = {"format": 2, "step": 1, "processes": 1, "precision": "no", "sha256": {}, "plugins": {}}
    manifest = json.dumps(checkpoint).encode()
    configs = [ROOT / "recipes" / "configs" / f"{name}.yaml" for name in ("cifar10_lt_if100", "imagenet_lt", "inat18")]
    options = [path.read_bytes() for path in configs]
    listed = [("a.png", "ant"), ("b.png", "ant"), ("c.png", "bee"), ("d.png", "bee")]
    tables = [
        ("file,label\n" + "".join(f"{name},{label}\n" for name, label in listed)).encode(),
        ("path;split;class\n" + "".join(f'{name};train;"{label}"\n' for name, label in listed)).encode(),
        ("class\timage\n" + "".join(f"{label}\t{name}\n" for name, label in listed)).encode(),
    ]
    return [
        Kind("config.json", [(MODEL / "config.json").read_bytes()], json_or_bytes, readers.config),
        Kind("results.json", [(MODEL / "results.json").read_bytes()], json_or_bytes, readers.results),
        Kind("safetensors", [(MODEL / "glmc_heads.safetensors").read_bytes()], header_or_bytes, readers.safetensors),
        Kind("metrics.jsonl", [rows], lines_or_bytes, readers.metrics),
        Kind("manifest.json", [manifest], json_or_bytes, readers.manifest),
        Kind("YAML", options, mutated_text, readers.yaml),
        Kind("CSV", tables, mutated_text, readers.csv),
        Kind("image", encoded_images(), mutated_bytes, readers.image),
    ]


# ---------------------------------------------------------------- reading the inputs
@dataclass
class Report:
    """Outcomes of the inputs of one kind."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    tracebacks: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0


class Hanging(Exception):
    """An input took longer than `TIME_LIMIT`."""


def try_one(kind: Kind, content: bytes, report: Report) -> BaseException | None:
    """Read one input and count the outcome. Returns an error that no user should see, else ``None``."""
    from glmc_zoo.data.reading.decoding import UnreadableImage

    def stop(*_: object) -> None:
        raise Hanging

    report.inputs += 1
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT)
    try:
        kind.read(content)
        report.read += 1
    except (UserError, UnreadableImage) as error:
        report.refused += 1
        if "\n" in str(error):
            report.tracebacks["a sentence of several lines"] += 1
            return error
    except Exception as error:
        report.tracebacks[type(error).__name__] += 1
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        report.slowest_seconds = max(report.slowest_seconds, time.perf_counter() - start)
    return None


def fuzz(inputs: int, seed: int, *, keep: Path | None = None, only: str | None = None) -> dict[str, Any]:
    """Read mutated files, and return the report.

    Args:
        inputs: Number of files, over all kinds in turn.
        seed: Seed of the mutations.
        keep: Folder for the inputs that gave a traceback; they are not stored by default.
        only: Name of the only kind of file to try; all kinds by default.
    """
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="glmc_zoo-fuzz-") as scratch:
        chosen = [kind for kind in kinds(Path(scratch)) if only in (None, kind.name)]
        reports = {kind.name: Report() for kind in chosen}
        for kind in chosen:  # so that imports count neither as time nor as memory
            kind.read(kind.seeds[0])
        before, examples = _peak(), {}
        for number in range(inputs):
            kind = chosen[number % len(chosen)]
            rng = random.Random(f"{seed} {kind.name} {number}")
            content = kind.mutate(rng.choice(kind.seeds), rng)
            error = try_one(kind, content, reports[kind.name])
            if error is not None:
                name = f"{kind.name}: {type(error).__name__}"
                examples.setdefault(name, {"number": number, "text": " ".join(str(error).split())[:200]})
                if keep is not None:
                    (keep / f"{number}.{kind.name}").write_bytes(content)
        return {
            "inputs": inputs,
            "seed": seed,
            "tracebacks": sum(sum(report.tracebacks.values()) for report in reports.values()),
            "peak_mib_beyond_start": round((_peak() - before) / 1024, 1),
            "kinds": {name: {**vars(report), "slowest_seconds": round(report.slowest_seconds, 3)}
                      for name, report in reports.items()},
            "examples": examples,
        }  # fmt: skip


def _peak() -> int:
    """Peak memory of this process in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Read the files, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000, help="number of files, over all kinds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--only", choices=KINDS, help="the only kind of file to try")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that gave a traceback")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    print(json.dumps(fuzz(args.inputs, args.seed, keep=args.keep, only=args.only), indent=2))


if __name__ == "__main__":
    main()
