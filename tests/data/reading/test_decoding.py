"""Reading image files: damaged files, special files, which files are images, and the range of deep images."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import exif, orientation, pil, png16, tiff
from PIL import Image

from glmc_zoo.data.reading import decoding, formats
from glmc_zoo.data.reading.decoding import UnreadableImage, decode, read_image
from glmc_zoo.data.reading.formats import FORMATS, IMAGE_SUFFIXES, looks_like_image
from glmc_zoo.data.reading.intensity import Intensity

RNG = np.random.RandomState(0)
COLOUR = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
DEEP = RNG.randint(0, 65536, (6, 9, 4)).astype(np.uint16)
NOISE = RNG.randint(0, 256, (64, 64, 3)).astype(np.uint8)
y, x = np.mgrid[0:40, 0:48]
SMOOTH = np.stack([x * 5, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)


def rgb(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels)


# ------------------------------------------------------------------------------------------------ errors
def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9")  # no suffix, and no UTF-8
    path.write_bytes(pil(rgb(COLOUR), "PNG"))
    assert (np.asarray(read_image(str(path))) == COLOUR).all()


ODD = (0x011A, 2, 3, b"72\0")  # the resolution as text
BROKEN = {
    "text as resolution": exif(orientation(6), ODD),
    "cut short": exif(orientation(6), ODD)[:-9],
    "no entries": b"Exif\0\0MM\0*" + bytes(8),
    "nothing": b"Exif\0\0",
    "other": b"Exif\0\0" + b"\xff" * 40,
    "orientation 77": exif(orientation(77)),
    "orientation of text": exif((0x0112, 2, 3, b"up\0")),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_broken_exif_harms_no_image(name: str, kind: str) -> None:
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    pixels = np.asarray(decode(io.BytesIO(pil(rgb(SMOOTH), kind, exif=BROKEN[name], **options))))
    expected = np.rot90(SMOOTH, -1) if pixels.shape != SMOOTH.shape else SMOOTH
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected.astype(int)).max() <= 5
    assert name != "text as resolution" or pixels.shape != SMOOTH.shape


def test_orientation_of_a_jpeg() -> None:
    for value, turned in ((6, np.rot90(SMOOTH, -1)), (5, SMOOTH.swapaxes(0, 1))):
        data = pil(rgb(SMOOTH), "JPEG", quality=95, exif=exif(orientation(value)))
        assert np.abs(np.asarray(decode(io.BytesIO(data))) - turned.astype(int)).max() <= 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pil(rgb(NOISE), "PNG")[:3000], "truncated"),
        (pil(rgb(NOISE), "JPEG")[:900], "truncated"),
        (pil(rgb(NOISE), "JPEG", progressive=True)[:900], "truncated"),
        (pil(rgb(NOISE), "TIFF")[:3000], ""),
        (png16(np.zeros((9, 9, 3), np.uint16) + RNG.randint(0, 9999, (9, 9, 3)).astype(np.uint16))[:200], ""),
        (b"", "not an image"),
        (b"no image at all", "not an image"),
        (pil(rgb(COLOUR), "EPS"), "not an image"),
        (pil(rgb(COLOUR), "PDF"), "not an image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "not an image"),
        (pil(Image.new("1", (60000, 1)), "PNG"), "60000 x 1 pixels are too thin: the longer side may be 200 times"),
        (pil(Image.new("1", (10, 2001)), "PNG"), "10 x 2001 pixels are too thin"),
        (pil(Image.new("1", (20000, 20000)), "PNG"), "exceeds limit"),
        (tiff(DEEP[..., :3], planes=True, deflate=True), "16-bit colour in compressed planes"),
    ],
)
def test_bad_images(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(io.BytesIO(data))
    assert reason in str(caught.value)


def test_a_long_image_is_read() -> None:
    assert decode(io.BytesIO(pil(Image.new("L", (2000, 10)), "PNG"))).size == (2000, 10)


PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@PIPES
def test_what_is_not_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (("pipe.jpg", "not a regular file"), ("folder.jpg", "Is a dir"), ("gone.jpg", "No such file")):
        with pytest.raises(UnreadableImage, match=reason):
            read_image(str(tmp_path / name))
        assert not looks_like_image(str(tmp_path / name))

    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "secret").write_bytes(pil(rgb(COLOUR), "PNG"))
    assert looks_like_image(str(tmp_path / "secret"))
    monkeypatch.setattr(formats, "_open_without_waiting", refuse)
    with pytest.raises(UnreadableImage, match=r"^Permission denied$"):
        read_image(str(tmp_path / "secret"))
    assert not looks_like_image(str(tmp_path / "secret"))


@PIPES
def test_a_pipe_with_a_writer_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(pil(rgb(COLOUR), "PNG")), daemon=True)
    writer.start()
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read_image(str(tmp_path / "pipe"))


def test_too_little_memory_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decoding, "to_rgb", fail)
    with pytest.raises(UnreadableImage, match="does not fit into memory"):
        decode(io.BytesIO(pil(rgb(COLOUR), "PNG")))


# ------------------------------------------------------------------------------------------------ which files
def test_suffixes() -> None:
    usual = ".jpg .jpeg .jfif .png .webp .bmp .ppm .pgm .tif .tiff .gif .avif .jp2 .ico .tga .dds .psd .heic .heif .mpo"
    assert set(usual.split()) <= IMAGE_SUFFIXES
    assert not {".pdf", ".ps", ".eps", ".mpg", ".h5", ".grib", ".bufr", ".wmf", ".txt", ".csv", ""} & IMAGE_SUFFIXES


def test_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for name in ("PNG", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "DDS", "SGI"):
        file.write_bytes(pil(rgb(COLOUR), name))
        assert looks_like_image(str(file)), name
    texts = [
        b"",
        b"P",
        b"P1 3 4",
        b"P2 in the left lung",
        b"P5 on the right",
        b"BMW 3",
        b"GIF",
        b"II*",
        b"MM\0*",
        b"8BPS",
    ]
    texts += [
        b"#define x_width 16\n#define x_height 16\n",
        b"/* XPM */ static char",
        b"%PDF-1.4",
        b"%!PS-Adobe-3.0 EPSF",
    ]
    texts += [b"RIFF....WAVE", b"{}", b"0 0.5 0.5 0.1 0.2\n" * 9, bytes(40), b"SIMPLE text", b"qoif", b"\xff\xd8\xff"]
    for text in texts:
        file.write_bytes(text)
        assert not looks_like_image(str(file)), text


def test_content_is_looked_at_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No decoder is tried on a text file, and a look takes about as long as reading the file does."""
    monkeypatch.setattr(Image, "open", lambda *given, **named: pytest.fail("opened"))
    paths = [str(tmp_path / f"{i}.txt") for i in range(500)]
    for path in paths:
        Path(path).write_text("cat 0.3 0.4 0.1 0.2\n")

    def processor_seconds(look: Callable[[str], Any]) -> float:
        start = time.process_time()
        for path in paths:
            assert not look(path)
        return time.process_time() - start

    reads = [processor_seconds(lambda path: Path(path).read_bytes() == b"") for _ in range(5)]
    looks = [processor_seconds(looks_like_image) for _ in range(5)]
    assert min(looks) < 8 * min(reads)  # about as long, on a machine without other work


def test_heic_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(name for name in FORMATS if name != "HEIF")
    for module in (formats, decoding):
        monkeypatch.setattr(module, "FORMATS", without)
    monkeypatch.setattr(formats, "_BY_CONTENT", [(name, Image.OPEN[name][1]) for name in ("PNG", "JPEG")])
    path = tmp_path / "a"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(60))
    assert ".heic" in IMAGE_SUFFIXES
    assert looks_like_image(str(path))
    with pytest.raises(UnreadableImage, match=r"pip install 'glmc_zoo\[heic\]'"):
        read_image(str(path))


# ------------------------------------------------------------------------------------------------ ranges
def test_range_of_the_data_set() -> None:
    values = np.array([[[0], [1000], [4095], [9000]]], dtype=np.uint16)
    image = decode(io.BytesIO(png16(values)), Intensity(0, 16383))
    assert np.asarray(image)[0, :, 0].tolist() == np.rint(values[0, :, 0] * 255.0 / 16383).tolist()
    # Beyond the range, nothing is cut off unless the user gave it.
    image = decode(io.BytesIO(png16(values)), Intensity(0, 4095))
    assert np.asarray(image)[0, :, 0].tolist() == np.rint(values[0, :, 0] * 255.0 / 9000).tolist()
    image = decode(io.BytesIO(png16(values)), Intensity(0, 4095, by_user=True))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 62, 255, 255]
    # Images of 8 bits are as they are.
    assert (np.asarray(decode(io.BytesIO(pil(rgb(COLOUR), "PNG")), Intensity(0, 9))) == COLOUR).all()
