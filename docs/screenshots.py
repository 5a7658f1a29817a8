"""Take the screenshots for the pages, as JPEG files in this folder.

    python docs/screenshots.py report runs/NAME/report.html     # or: make screenshots REPORT=runs/NAME/report.html
    python docs/screenshots.py demo runs/NAME/model photo.jpg
    python docs/screenshots.py card hub_cards/NAME              # or any exported model

- report: `report_desktop.jpg` has the report in light colours, 1,100 pixels wide, from its top and from its images.
  `report_phone.jpg` has it 390 pixels wide, in light and in dark colours.
- demo: `demo_desktop.jpg` has the demo in light colours, 1,100 pixels wide, after an upload of the image.
  `demo_phone.jpg` has it 390 pixels wide, from its top and, in dark colours, from its similar images.
- card: `card.jpg` has a model card as the Hub shows it (`card_page.py`), from its top and from its plots. This needs
  markdown-it-py (`pip install markdown-it-py`).

All need Chromium (on Debian: apt-get install chromium) and Playwright (`pip install playwright`).
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GAP, GREY = 24, (140, 147, 156)
HERE = Path(__file__).parent
_MILLISECONDS = 300_000
"""How long a step may take. On a busy machine Chromium alone takes half a minute to start."""

__all__ = ["Screen", "chromium", "screenshot", "side_by_side"]


class Screen(NamedTuple):
    """One screenshot: size in CSS pixels, part of the page, and colours."""

    width: int
    height: int
    part: str = ""
    """Id of the element at the top of the screenshot; empty for the top of the page."""
    dark: bool = False


DESKTOP = [Screen(1100, 1500), Screen(1100, 1500, "images")]
PHONE = [
    Screen(390, 900),
    Screen(390, 900, "classes", dark=True),
    Screen(390, 900, "confusion"),
    Screen(390, 900, "images", dark=True),
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start headless Chromium, which ends with the context.

    Raises:
        SystemExit: Chromium is not installed.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        sys.exit("Chromium is not installed: on Debian, apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=_MILLISECONDS)
        yield browser
        browser.close()


def screenshot(browser: Browser, url: str, screen: Screen, scale: float) -> Image.Image:
    """Take a screenshot of a page. The image has ``scale`` pixels for each CSS pixel."""
    page = browser.new_page(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=scale,
        color_scheme="dark" if screen.dark else "light",
    )
    page.goto(f"{url}#{screen.part}" if screen.part else url, timeout=_MILLISECONDS)
    taken = page.screenshot(timeout=_MILLISECONDS)
    page.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """Put images of equal height into a row, on grey."""
    width, height = sum(image.width for image in images), images[0].height
    row = Image.new("RGB", (width + GAP * (len(images) + 1), height + 2 * GAP), GREY)
    left = GAP
    for image in images:
        row.paste(image, (left, GAP))
        left += image.width + GAP
    return row


def save(image: Image.Image, name: str) -> None:
    """Save the image in this folder, and print its size."""
    target = HERE / name
    image.save(target, quality=75, subsampling=0, optimize=True)
    print(f"{target}: {image.width} x {image.height} pixels, {target.stat().st_size // 1000} kB")


def report(path: Path) -> None:
    """Take the screenshots of a report."""
    with chromium() as browser:
        for name, screens, scale in (("desktop", DESKTOP, 0.8), ("phone", PHONE, 1.0)):
            shots = [screenshot(browser, path.resolve().as_uri(), screen, scale) for screen in screens]
            save(side_by_side(shots), f"report_{name}.jpg")


def demo(path: Path, image: Path) -> None:
    """Take the screenshots of the demo of a model, with its answer to an image."""
    import glmc_zoo

    phone = [Screen(390, 1040), Screen(390, 1040, "glmc-similar", dark=True)]
    with glmc_zoo.demo(model=str(path)) as running, chromium() as browser:
        for name, screens, scale in (("desktop", [Screen(1100, 1290)], 0.8), ("phone", phone, 1.0)):
            shots = [answer_screenshot(browser, running.url, image, screen, scale) for screen in screens]
            save(side_by_side(shots), f"demo_{name}.jpg")


def answer_screenshot(browser: Browser, url: str, image: Path, screen: Screen, scale: float) -> Image.Image:
    """Upload an image to the demo, and take a screenshot of the answer."""
    page = browser.new_page(
        viewport={"width": screen.width, "height": screen.height},
        device_scale_factor=scale,
        color_scheme="dark" if screen.dark else "light",
    )
    page.goto(url)
    page.set_input_files("#glmc-upload input[type=file]", image)
    page.wait_for_selector("#glmc-answer table")
    page.wait_for_timeout(1000)  # until the progress indicator has faded
    if screen.part:
        page.evaluate(f"document.getElementById('{screen.part}').scrollIntoView()")
    taken = page.screenshot()
    page.close()
    return Image.open(io.BytesIO(taken)).convert("RGB")


def card(folder: Path) -> None:
    """Take the screenshots of a model card."""
    from card_page import card_page

    with chromium() as browser, tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "card.html"
        text = card_page(folder)
        first_plot = '<p><img src="plots/'
        text = text.replace(first_plot, first_plot.replace("<p>", '<p id="plots">'), 1)  # to scroll to it
        path.write_text(text, encoding="utf-8")
        shots = []
        for part in ("", "plots"):
            page = browser.new_page(viewport={"width": 1200, "height": 1500}, device_scale_factor=0.8)
            page.goto(path.as_uri())
            if part:
                page.locator(f"#{part}").scroll_into_view_if_needed()
                page.evaluate("document.getElementById('plots').scrollIntoView()")
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
            page.close()
        save(side_by_side(shots), "card.jpg")


def main() -> None:
    """Take the screenshots that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    subjects = parser.add_subparsers(dest="subject", required=True)
    for name, make in (("report", report), ("card", card), ("demo", demo)):
        subject = subjects.add_parser(name)
        subject.add_argument("path", type=Path)
        if name == "demo":
            subject.add_argument("image", type=Path)
        subject.set_defaults(make=make)
    arguments = vars(parser.parse_args())
    del arguments["subject"]
    arguments.pop("make")(*arguments.values())


if __name__ == "__main__":
    main()
