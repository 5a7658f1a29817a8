"""Speed of the augmentation of photographs: two views of each image, from JPEG bytes to the network's input.

    python benchmarks/augment.py
    python benchmarks/augment.py --device cuda --batch-size 120

Four ways in turn, so that a slow moment of the machine touches all of them: `torchvision` is the published augmentation
image by image in torchvision (one decode, then each view on its own, in 8 bits), and normalisation; `crops` is what the
zoo's loader does (decode, draw, two crops); `rest` is what its step does to these crops on the device; `both` is
the two together. On a GPU there is a fifth: `nvjpeg` decodes the whole batch on the device, by torchvision, cuts each
image there by the same kind of draws, and does the rest. Images are parts of the two photographs that scikit-learn
brings, 500 x 375, as JPEG.

Time on a CPU is processor time, over all threads: images/s are for one core that does nothing else. Where the device is
a GPU, `rest`, `both` and `nvjpeg` are wall time, and that of the copy to the device is in them. Prints a table, and
JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _report import write_report


def jpegs(count: int, width: int = 500, height: int = 375) -> list[bytes]:
    """Different parts of two photographs, of 320 x 240 to 480 x 360 pixels, brought to one size."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    found = []
    for index in range(count):
        photograph, wide = photographs[index % 2], int(rng.integers(320, 481))
        high = wide * 3 // 4
        left, top = (int(rng.integers(0, room + 1)) for room in (photograph.width - wide, photograph.height - high))
        part = photograph.crop((left, top, left + wide, top + high)).resize((width, height), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        part.save(out, "JPEG", quality=95)
        found.append(out.getvalue())
    return found


def make_ways(options: argparse.Namespace, files: list[bytes]) -> dict[str, Callable[[], Any]]:
    """The ways, each a function that does the whole batch."""
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms import v2

    from glmc_zoo.data import Normalize, build_transforms
    from glmc_zoo.data.images import to_rgb
    from glmc_zoo.data.photo_draws import blur_radius, draw_views, stack_draws
    from glmc_zoo.data.transforms import LargeTrainTransform, Views

    size, device = options.image_size, torch.device(options.device)
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).to(device)
    transform, _ = build_transforms("large", size)
    assert isinstance(transform, LargeTrainTransform)
    pipeline = v2.Compose(
        [
            v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.ToImage(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.0),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(max(3, size // 10 // 2 * 2 + 1), sigma=(0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
            v2.ToPureTensor(),
        ]
    )

    def decode(data: bytes) -> Image.Image:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return to_rgb(image)

    def torchvision() -> Any:
        views: list[list[torch.Tensor]] = [[], []]
        for data in files:
            image = decode(data)
            for view in views:
                view.append(pipeline(image))
        return [normalize(torch.stack(view).to(device)) for view in views]

    epoch = iter(range(10**9))

    def crops() -> Any:
        first = next(epoch) * len(files)
        return transform([decode(data) for data in files], range(first, first + len(files)), 2)

    def rest(views: Any) -> Any:
        assert views.draws is not None
        out = []
        for image, draws in zip(views.images, views.draws, strict=True):
            moved = type(draws)(*(part.to(device) for part in draws))
            out.append(normalize(image.to(device), moved))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return out

    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]

    def nvjpeg() -> Any:
        images = decode_jpeg(encoded, ImageReadMode.RGB, device)
        first = next(epoch) * len(files)
        views: list[list[Any]] = [[], []]
        drawn: list[list[Any]] = [[], []]
        for stream, image in enumerate(images, first):
            for view, draw in enumerate(draw_views(stream, 2, *image.shape[-2:])):
                views[view].append(transform.crop(image, draw))
                drawn[view].append(draw)
        draws = tuple(stack_draws(view, blur_radius(size)) for view in drawn)
        return rest(Views(tuple(torch.stack(view) for view in views), draws))

    ready = [crops() for _ in range(4)]  # other draws each time
    turn = iter(range(10**9))
    ways = {
        "torchvision": torchvision,
        "crops": crops,
        "rest": lambda: rest(ready[next(turn) % len(ready)]),
        "both": lambda: rest(crops()),
    }
    return ways | ({"nvjpeg": nvjpeg} if device.type == "cuda" else {})


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of torch; a loader's worker has one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import torch

    from glmc_zoo.engine.memory import keep_freed_memory

    keep_freed_memory()  # as a run on a CPU does
    torch.set_num_threads(options.threads)
    files = jpegs(options.batch_size)
    ways = make_ways(options, files)
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start, started = time.process_time(), time.perf_counter()
            way()
            seconds[name].append(time.process_time() - start)
            wall[name].append(time.perf_counter() - started)
    if options.device != "cpu":
        seconds |= {name: wall[name] for name in ("rest", "both", "nvjpeg") if name in wall}
    rows = []
    for name, taken in seconds.items():
        speeds = [options.batch_size / one for one in taken]
        ratios = [base / one for base, one in zip(seconds["torchvision"], taken, strict=True)]
        rows.append(
            {
                "way": name,
                "images_per_second": median(speeds),
                "images_per_second_range": [min(speeds), max(speeds)],
                "ms_per_image": 1000 * median(taken) / options.batch_size,
                "ms_per_image_wall": 1000 * median(wall[name]) / options.batch_size,
                "times_torchvision": median(ratios),
                "times_torchvision_range": [min(ratios), max(ratios)],
            }
        )
    size = sum(map(len, files)) / len(files)
    print(f"{options.threads} torch thread(s), {len(files)} JPEGs of {size / 1000:.0f} kB on average")
    print("way          images/s per core (median, range)   ms an image   times torchvision (median, range)")
    for row in rows:
        (low, high), (least, most) = row["images_per_second_range"], row["times_torchvision_range"]
        print(
            f"{row['way']:11s}  {row['images_per_second']:8.1f} ({low:.1f} to {high:.1f}){'':8s}  "
            f"{row['ms_per_image']:11.2f}   {row['times_torchvision']:5.2f} ({least:.2f} to {most:.2f})"
        )
    write_report(options.json, rows, device=options.device, rounds=options.rounds, jpeg_bytes=size)


if __name__ == "__main__":
    main()
