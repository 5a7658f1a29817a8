"""Pillow's awkward formats: each file here has its expected pixels, computed by numpy."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import PIL
import pytest
from encoders import exif, orientation, pil, png16, psd, tiff
from PIL import Image, features

from glmc_zoo.data.reading.decoding import decode, to_rgb
from glmc_zoo.data.reading.formats import FORMATS

RNG = np.random.RandomState(0)
COLOUR = RNG.randint(0, 256, (6, 9, 3)).astype(np.uint8)
GREY = COLOUR[..., 0]
ALPHA = RNG.randint(0, 256, (6, 9)).astype(np.uint8)
DEEP = RNG.randint(0, 65536, (6, 9, 4)).astype(np.uint16)
DEEP[0, 0], DEEP[0, 1] = 0, 65535
TWELVE = DEEP >> 4
y, x = np.mgrid[0:40, 0:48]
SMOOTH = np.stack([x * 5, y * 6, (x + y) * 2], axis=-1).astype(np.uint8)
INK = np.stack([x * 5, y * 6, (x + y) * 2, y * 3], axis=-1).astype(np.uint8)
PALETTE = RNG.randint(0, 256, (8, 3)).astype(np.uint8)
INDEX = RNG.randint(0, 8, (6, 9)).astype(np.uint8)


def rgb(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels)


def mode(name: str, pixels: np.ndarray) -> Image.Image:
    """An image of any 8-bit mode."""
    return Image.frombytes(name, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def palette(**info: Any) -> Image.Image:
    image = mode("P", INDEX)
    image.putpalette(PALETTE.tobytes())
    image.info.update(info)
    return image


def palette_and_opacity() -> Image.Image:
    image = mode("PA", np.stack([INDEX, ALPHA], axis=-1))
    image.putpalette(PALETTE.tobytes())
    return image


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return np.rint(colour * share + 255 * (1 - share))


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def scaled(values: np.ndarray, high: float, low: float = 0) -> np.ndarray:
    return np.rint((np.asarray(values, np.float64) - low) * 255 / (high - low))


def from_lab(lab: np.ndarray) -> np.ndarray:
    """sRGB of CIE L*a*b* with the white of D50: L in 0..255 for 0..100, a and b as signed bytes."""
    lightness, a, b = lab[..., 0] * (100 / 255), lab[..., 1].astype(np.int8), lab[..., 2].astype(np.int8)
    f = np.stack([a / 500, np.zeros(a.shape), b / -200], axis=-1) + ((lightness + 16) / 116)[..., None]
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1.0, 0.8249]
    to_linear = [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540]]
    linear = (xyz @ np.array([*to_linear, [0.0719453, -0.2289914, 1.4052427]]).T).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def from_ycbcr(values: np.ndarray) -> np.ndarray:
    luma, blue, red = (values[..., k].astype(float) for k in range(3))
    blue, red = blue - 128, red - 128
    channels = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    return np.stack(channels, axis=-1).clip(0, 255)


def from_ink(values: np.ndarray) -> np.ndarray:
    return (255.0 - values[..., :3]) * (255.0 - values[..., 3:]) / 255


def without_adobe(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def frames(format: str, **options: Any) -> bytes:
    rest = [rgb(255 - COLOUR), rgb(COLOUR // 2)]
    return pil(rgb(COLOUR), format, save_all=True, append_images=rest, **options)


def gif_frames() -> bytes:
    return pil(palette(), "GIF", save_all=True, append_images=[palette().rotate(180)])


def floats(*row: float) -> np.ndarray:
    return np.array([row, row[::-1]], dtype=np.float32)[..., None]


LAB = np.stack([np.full((6, 9), 150), *(RNG.randint(-20, 20, (2, 6, 9)))], axis=-1).astype(np.int8).astype(np.uint8)
LUMA = np.stack([RNG.randint(60, 200, (6, 9)), *RNG.randint(108, 148, (2, 6, 9))], axis=-1).astype(np.uint8)
SIGNED = np.array([[-1000, 0], [1000, 3000]])
CLEAR = np.where((INDEX == 2)[..., None], 255, PALETTE[INDEX])
SHADES = bytes([0, 255, 128, 40])  # opacity of the first colours of a palette; the others are opaque
SHADED = on_white(PALETTE[INDEX], np.array([*SHADES, 255, 255, 255, 255])[INDEX])
PURE = np.minimum(GREY, ALPHA) / np.maximum(ALPHA, 1) * 255


class Case(NamedTuple):
    encoded: bytes | Image.Image | Callable[[], bytes]
    """A file, or an image of a mode that no format has."""
    pixels: np.ndarray
    tolerance: float = 0
    needs: str | None = None
    """A feature of Pillow, or a format."""


LOSSLESS = {
    "BMP": {}, "DIB": {}, "DDS": {}, "IM": {}, "JPEG2000": {}, "PCX": {}, "PNG": {}, "PPM": {}, "QOI": {}, "SGI": {},
    "TGA": {}, "TIFF": {}, "WEBP": {"lossless": True},
}  # fmt: skip
ORIENTED = {
    1: COLOUR, 2: COLOUR[:, ::-1], 3: COLOUR[::-1, ::-1], 4: COLOUR[::-1], 5: COLOUR.swapaxes(0, 1),
    6: np.rot90(COLOUR, -1), 7: np.rot90(COLOUR, 2).swapaxes(0, 1), 8: np.rot90(COLOUR),
}  # fmt: skip
CASES: dict[str, Case] = {
    **{
        f"{name} lossless": Case(pil(rgb(COLOUR), name, **kw), COLOUR)
        for name, kw in LOSSLESS.items()
        if name in Image.SAVE
    },
    "ICO": Case(lambda: pil(rgb(np.tile(COLOUR, (4, 3, 1))[:16, :16]), "ICO"), np.tile(COLOUR, (4, 3, 1))[:16, :16]),
    "PSD": Case(psd(COLOUR), COLOUR),
    "JPEG": Case(pil(rgb(SMOOTH), "JPEG", quality=95), SMOOTH, 5),
    "JPEG progressive": Case(pil(rgb(SMOOTH), "JPEG", quality=95, progressive=True), SMOOTH, 5),
    "JPEG grey": Case(pil(rgb(SMOOTH[..., 0]), "JPEG", quality=95), grey(SMOOTH[..., 0]), 4),
    "JPEG CMYK, Adobe": Case(pil(mode("CMYK", INK), "JPEG", quality=98), from_ink(INK), 6),
    "JPEG CMYK": Case(without_adobe(pil(mode("CMYK", INK), "JPEG", quality=98)), from_ink(INK), 6),
    "WEBP lossy": Case(lambda: pil(rgb(SMOOTH), "WEBP", quality=95), SMOOTH, 12, "webp"),
    "AVIF": Case(lambda: pil(rgb(SMOOTH), "AVIF", quality=95), SMOOTH, 8, "avif"),
    "HEIC": Case(lambda: pil(rgb(SMOOTH), "HEIF", quality=95), SMOOTH, 10, "HEIF"),
    "CMYK": Case(pil(mode("CMYK", INK), "TIFF"), from_ink(INK), 1),
    "YCbCr": Case(
        pil(mode("YCbCr", LUMA), "TIFF"), from_ycbcr(LUMA), 1.5, "Pillow 13"
    ),  # earlier ones read it as truncated
    "LAB": Case(lambda: pil(mode("LAB", LAB), "TIFF"), from_lab(LAB), 2.5, "littlecms2"),
    "1 bit PNG": Case(pil(rgb(GREY > 99).convert("1"), "PNG"), grey(np.where(GREY > 99, 255, 0))),
    "1 bit TIFF": Case(pil(rgb(GREY > 99).convert("1"), "TIFF"), grey(np.where(GREY > 99, 255, 0))),
    "palette PNG": Case(pil(palette(), "PNG"), PALETTE[INDEX]),
    "palette GIF": Case(pil(palette(), "GIF"), PALETTE[INDEX]),
    "palette, a clear colour, PNG": Case(pil(palette(), "PNG", transparency=2), CLEAR),
    "palette, a clear colour, GIF": Case(pil(palette(), "GIF", transparency=2), CLEAR),
    "palette, bytes of opacity": Case(pil(palette(), "PNG", transparency=SHADES), SHADED, 1),
    "palette and opacity": Case(palette_and_opacity(), on_white(PALETTE[INDEX], ALPHA), 1),
    "La": Case(mode("La", np.stack([np.minimum(GREY, ALPHA), ALPHA], -1)), on_white(grey(PURE), ALPHA), 2),
    "LA": Case(pil(mode("LA", np.stack([GREY, ALPHA], -1)), "PNG"), on_white(grey(GREY), ALPHA), 1),
    "RGBA": Case(pil(rgb(np.dstack([COLOUR, ALPHA])), "PNG"), on_white(COLOUR, ALPHA), 1),
    "RGBa": Case(
        tiff(np.dstack([np.minimum(COLOUR, ALPHA[..., None]), ALPHA]), extra=1),
        np.minimum(COLOUR, ALPHA[..., None]) + (255.0 - ALPHA[..., None]),
        2,
    ),
    "grey, a clear value": Case(
        pil(rgb(GREY), "PNG", transparency=int(GREY[2, 3])), grey(np.where(GREY[2, 3] == GREY, 255, GREY))
    ),
    "animated GIF": Case(gif_frames(), PALETTE[INDEX]),
    "animated PNG": Case(frames("PNG"), COLOUR),
    "animated WebP": Case(lambda: frames("WEBP", lossless=True), COLOUR, 0, "webp"),
    "16 bits PNG": Case(png16(DEEP[..., :1]), grey(scaled(DEEP[..., 0], 65535))),
    "16 bits JPEG 2000": Case(
        lambda: pil(Image.fromarray(DEEP[..., 0]), "JPEG2000"), grey(scaled(DEEP[..., 0], 65535)), 0, "jpg_2000"
    ),
    "16 bits PGM": Case(
        b"P5 9 6 4095\n" + TWELVE[..., 0].astype(">u2").tobytes(), grey(scaled(TWELVE[..., 0], 4095)), 0.51
    ),
    "16 bits PNG, a clear value": Case(
        png16(DEEP[..., :1], (int(DEEP[2, 3, 0]),)),
        grey(np.where(DEEP[..., 0] == DEEP[2, 3, 0], 255, scaled(DEEP[..., 0], 65535))),
    ),
    "16 bits PNG, colour": Case(png16(DEEP[..., :3]), scaled(DEEP[..., :3], 65535)),
    "12 bits in PNG": Case(png16(TWELVE[..., :1]), grey(scaled(TWELVE[..., 0], 4095))),
    "12 bits in PNG, colour": Case(png16(TWELVE[..., :3]), scaled(TWELVE[..., :3], 4095)),
    "12 bits in PNG, colour and opacity": Case(
        png16(np.dstack([TWELVE[..., :3], DEEP[..., 3]])),
        on_white(scaled(TWELVE[..., :3], 4095), DEEP[..., 3] >> 8),
        1,
    ),
    "12 bits in PNG, grey and opacity": Case(
        png16(np.dstack([TWELVE[..., 0], DEEP[..., 3]])),
        on_white(grey(scaled(TWELVE[..., 0], 4095)), DEEP[..., 3] >> 8),
        1,
    ),
    "32 bits TIFF": Case(tiff(DEEP[..., :1].astype(np.int32)), grey(scaled(DEEP[..., 0], 65535))),
    "20 bits in TIFF": Case(tiff(DEEP[..., :1].astype(np.int32) * 16), grey(scaled(DEEP[..., 0] * 16.0, 2**20 - 1))),
    "signed TIFF": Case(tiff(SIGNED[..., None].astype(np.int16)), grey(scaled(SIGNED, 3000, -1000))),
    "floats of 0..1": Case(tiff(floats(0, 0.25, 1)), grey(scaled(floats(0, 0.25, 1)[..., 0], 1))),
    "floats of 0..255": Case(tiff(floats(0, 7.4, 200)), grey(np.rint(floats(0, 7.4, 200)[..., 0]))),
    "floats beyond": Case(tiff(floats(-500, 20, 1500)), grey(scaled(floats(-500, 20, 1500)[..., 0], 1500, -500))),
    "floats with NaN": Case(
        tiff(floats(np.nan, -2, 300, np.inf)), grey(scaled(floats(-2, -2, 300, -2)[..., 0], 300, -2))
    ),
    "floats, all NaN": Case(tiff(floats(np.nan, np.nan)), np.zeros((2, 2, 3))),
    **{
        f"orientation {k} {name}": Case(pil(rgb(COLOUR), name, exif=exif(orientation(k))), pixels)
        for k, pixels in ORIENTED.items()
        for name in ("PNG", "TIFF")
    },
    **{
        f"orientation {k}, 16 bits": Case(tiff(DEEP[..., :3], orientation=k, big=True), oriented)
        for k, oriented in ((6, np.rot90(scaled(DEEP[..., :3], 65535), -1)), (3, scaled(DEEP, 65535)[::-1, ::-1, :3]))
    },
}
for big in (False, True):
    for deflate in (False, True):
        end = f"{'MM' if big else 'II'}{' deflated' if deflate else ''}"
        kind = {"big": big, "deflate": deflate}
        CASES |= {
            f"16 bits TIFF {end}": Case(tiff(DEEP[..., :1], **kind), grey(scaled(DEEP[..., 0], 65535))),
            f"12 bits in TIFF {end}": Case(tiff(TWELVE[..., :1], **kind), grey(scaled(TWELVE[..., 0], 4095))),
            f"12 bits in TIFF, colour {end}": Case(tiff(TWELVE[..., :3], **kind), scaled(TWELVE[..., :3], 4095)),
            f"12 bits in TIFF, four samples {end}": Case(tiff(TWELVE, extra=0, **kind), scaled(TWELVE[..., :3], 4095)),
            f"12 bits in TIFF, opacity {end}": Case(
                tiff(np.dstack([TWELVE[..., :3], DEEP[..., 3]]), extra=2, **kind),
                on_white(scaled(TWELVE[..., :3], 4095), DEEP[..., 3] >> 8),
                1,
            ),
        }
    planes = tiff(TWELVE[..., :3], planes=True, big=big)
    CASES[f"12 bits in TIFF, planes {'MM' if big else 'II'}"] = Case(planes, scaled(TWELVE[..., :3], 4095))


def available(needs: str | None) -> bool:
    if needs == "Pillow 13":
        return int(PIL.__version__.partition(".")[0]) >= 13
    return needs is None or needs in FORMATS or (needs in features.get_supported())


@pytest.mark.parametrize("name", CASES)
def test_pixels(name: str) -> None:
    case = CASES[name]
    if not available(case.needs):
        pytest.skip(f"{case.needs} is not installed")
    if isinstance(case.encoded, Image.Image):
        image = to_rgb(case.encoded)
    else:
        image = decode(io.BytesIO(case.encoded if isinstance(case.encoded, bytes) else case.encoded()))
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert pixels.shape == case.pixels.shape
    assert np.abs(pixels - case.pixels.astype(np.float64)).max() <= case.tolerance
