"""Take the screenshots of a report, `report_desktop.jpg` and `report_phone.jpg` beside this file.

    python docs/report_figure.py runs/NAME/report.html        # or: make screenshots REPORT=runs/NAME/report.html

It needs Chromium (on Debian: apt-get install chromium) and Pillow. The desktop's has the page at 1,100 pixels in light
colours, from its top and from its images; the phone's has it at 390 pixels, in light and in dark colours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GAP, GREY = 24, (140, 147, 156)

__all__ = ["Screen", "screenshot", "side_by_side"]


class Screen(NamedTuple):
    """One screenshot: size in CSS pixels, part of the page, and colours."""

    width: int
    height: int
    part: str = ""
    """Id of the heading that is at the top; empty for the top of the page."""
    dark: bool = False


DESKTOP = [Screen(1100, 1500), Screen(1100, 1500, "images")]
PHONE = [
    Screen(390, 900),
    Screen(390, 900, "classes", dark=True),
    Screen(390, 900, "confusion"),
    Screen(390, 900, "images", dark=True),
]


def screenshot(browser: str, page: Path, screen: Screen, scale: float) -> Image.Image:
    """The page in a frame of the given size: a window of Chromium is never as narrow as a phone."""
    with tempfile.TemporaryDirectory() as folder:
        frame, target = Path(folder) / "frame.html", Path(folder) / "shot.png"
        size = f"width:{screen.width}px;height:{screen.height}px"
        part = f"#{screen.part}" if screen.part else ""
        frame.write_text(
            f'<body style="margin:0"><iframe src="{page.as_uri()}{part}" style="border:0;{size}"></iframe>'
        )
        command = [
            *(
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/p",
            ),
            *("--virtual-time-budget=5000", f"--force-device-scale-factor={scale}"),
            *(f"--blink-settings=preferredColorScheme={0 if screen.dark else 1}", f"--screenshot={target}"),
            *(f"--window-size={max(screen.width, 520)},{screen.height}", frame.as_uri()),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(target) as image:
            return image.convert("RGB").crop((0, 0, round(screen.width * scale), round(screen.height * scale)))


def side_by_side(images: list[Image.Image]) -> Image.Image:
    """The images in a row, on grey."""
    width, height = sum(image.width for image in images), images[0].height
    row = Image.new("RGB", (width + GAP * (len(images) + 1), height + 2 * GAP), GREY)
    left = GAP
    for image in images:
        row.paste(image, (left, GAP))
        left += image.width + GAP
    return row


def main() -> None:
    """Take all of them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if len(sys.argv) != 2 or browser is None:
        sys.exit(f"{__doc__}" if browser else "Chromium is not installed: on Debian, apt-get install chromium.")
    page, here = Path(sys.argv[1]).resolve(), Path(__file__).parent
    for name, screens, scale in (("desktop", DESKTOP, 0.8), ("phone", PHONE, 1.0)):
        row = side_by_side([screenshot(browser, page, screen, scale) for screen in screens])
        target = here / f"report_{name}.jpg"
        row.save(target, quality=75, subsampling=0, optimize=True)
        print(f"{target}: {row.width} x {row.height} pixels, {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
