"""Speed of the augmentation of large images: two views of each, from JPEG bytes to the input of the network.

    python benchmarks/augment.py
    python benchmarks/augment.py --device cuda --batch-size 120

Five ways alternate:

- torchvision: the published augmentation in torchvision. Each image is decoded once, each view is augmented by itself
  in 8 bits, and normalised.
- crops: what the loader of the package does, which is decoding and two crops.
- rest: what the training step does with these crops on the device.
- both: `crops` and `rest`.
- policy: `both` with timm's RandAugment (``--auto-augment``) instead of the colour jitter.

The images are JPEG files of 500 x 375 pixels, cut from the two sample images of scikit-learn. On a CPU, time is the
processor time of all threads, so images/s are for one core that does nothing else. On a GPU, `rest`, `both` and
`policy` are wall time with the copy to the device. Prints a table, and writes JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import io
import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _meter import alternate, ratios, spread, wait, with_range, write_report

if TYPE_CHECKING:
    from PIL import Image


def jpegs(count: int) -> list[bytes]:
    """``count`` JPEG files of 500 x 375 pixels: crops of two images, enlarged from 320 x 240 to 480 x 360 pixels."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    files = []
    for index in range(count):
        source, crop_width = sources[index % 2], int(rng.integers(320, 481))
        crop_height = crop_width * 3 // 4
        left = int(rng.integers(0, source.width - crop_width + 1))
        top = int(rng.integers(0, source.height - crop_height + 1))
        crop = source.crop((left, top, left + crop_width, top + crop_height))
        crop = crop.resize((500, 375), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        crop.save(out, "JPEG", quality=95)
        files.append(out.getvalue())
    return files


def decode(data: bytes) -> Image.Image:
    """Decode a JPEG file as an RGB image."""
    from PIL import Image

    from glmc_zoo.data import to_rgb

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return to_rgb(image)


def published_augmentation(size: int) -> Any:
    """The published augmentation of one view in torchvision, without normalisation."""
    from torchvision.transforms import v2

    steps = [
        v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.ToImage(),
        v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
        v2.RandomGrayscale(p=0.2),
        v2.RandomApply([v2.GaussianBlur(max(3, size // 10 // 2 * 2 + 1), sigma=(0.1, 2.0))], p=0.5),
        v2.RandomHorizontalFlip(),
        v2.ToPureTensor(),
    ]
    return v2.Compose(steps)


def make_ways(options: argparse.Namespace, files: list[bytes]) -> dict[str, Callable[[], Any]]:
    """The ways by name: functions that augment the whole batch."""
    import torch

    from glmc_zoo.data import Normalize, train_transform
    from glmc_zoo.data.feeding.transforms import Views
    from glmc_zoo.machine.transfer import Transfer

    device, seeds = torch.device(options.device), itertools.count()
    normalize, transfer = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).to(device), Transfer(device)
    augment, transform = published_augmentation(options.image_size), train_transform("large", options.image_size)
    policy = train_transform("large", options.image_size, auto_augment=options.auto_augment)

    def published() -> Any:
        pairs = [[augment(image), augment(image)] for image in map(decode, files)]
        return [normalize(torch.stack(view).to(device)) for view in zip(*pairs, strict=True)]

    def crops(transform: Callable[..., Views] = transform) -> Views:
        return transform([decode(data) for data in files], list(itertools.islice(seeds, len(files))), 2)

    def rest(views: Views) -> Any:
        images, params = transfer(views)
        out = [normalize(*view) for view in zip(images, params, strict=True)]
        wait(device)
        return out

    batches = itertools.cycle([crops() for _ in range(4)])  # each with other augmentation parameters
    return {
        "torchvision": published,
        "crops": crops,
        "rest": lambda: rest(next(batches)),
        "both": lambda: rest(crops()),
        "policy": lambda: rest(crops(policy)),
    }


def timed(way: Callable[[], Any]) -> tuple[float, float]:
    """Processor and wall time of a call, in seconds."""
    processor_start, wall_start = time.process_time(), time.perf_counter()
    way()
    return time.process_time() - processor_start, time.perf_counter() - wall_start


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=224, help="side of a view in pixels")
    parser.add_argument("--batch-size", type=int, default=32, help="images in a batch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; a worker of a loader has one")
    parser.add_argument("--rounds", type=int, default=9, help="batches of each way")
    parser.add_argument("--auto-augment", default="rand-m9-mstd0.5-inc1", help="timm's name of the policy of `policy`")
    parser.add_argument("--json", type=Path, help="file for the report")
    options = parser.parse_args()

    import torch

    from glmc_zoo.machine.hardware import configure_device

    configure_device(torch.device(options.device), options.threads)
    files = jpegs(options.batch_size)
    ways = {name: partial(timed, way) for name, way in make_ways(options, files).items()}
    alternate(ways, 1)  # warm up
    measured = alternate(ways, options.rounds)  # processor and wall time
    wall = {name: options.device != "cpu" and name in ("rest", "both", "policy") for name in measured}
    seconds = {name: [times[wall[name]] for times in rounds] for name, rounds in measured.items()}
    size = sum(map(len, files)) / len(files)
    print(f"{options.threads} torch thread(s), {len(files)} JPEGs of {size / 1000:.0f} kB on average")
    print("way          images/s per core, median (range)  times torchvision, median (range)")
    rows = []
    for name, elapsed in seconds.items():
        row: dict[str, Any] = {"way": name, "images_per_second": spread([options.batch_size / s for s in elapsed])}
        row["ms_per_image_wall"] = spread([1000 * times[1] / options.batch_size for times in measured[name]])
        row["times_torchvision"] = ratios(seconds["torchvision"], elapsed)
        rows.append(row)
        print(f"{name:11s}  {with_range(row['images_per_second'], 1):33s}  {with_range(row['times_torchvision'], 2)}")
    write_report(options.json, rows, device=options.device, rounds=options.rounds, jpeg_bytes=size)


if __name__ == "__main__":
    main()
