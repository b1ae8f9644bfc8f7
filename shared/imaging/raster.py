"""From coded pixels to 8-bit samples: the one place where Pillow decodes.

Pillow keeps of 16-bit colour only the upper byte. It decodes such a PNG a second time here
for the lower one (the unpacker `RGB;16L` picks the byte that `RGB;16B` drops), so that
samples are rounded, and a transparent colour is compared in full.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import png
from shared.imaging.container import Container, ContentType, PngSamples, damaged

Bytes = NDArray[np.uint8]

_PILLOW_FORMATS: dict[ContentType, str] = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
}
_LOWER_BYTES = {png.RGB: "RGB;16L", png.RGB_ALPHA: "RGBA;16L"}


@dataclass(frozen=True, slots=True)
class Raster:
    """As stored: `colour` is `L`, `RGB` or `CMYK`; `alpha_HW` is straight, None where opaque."""

    colour: Image.Image
    alpha_HW: Bytes | None


def load(container: Container) -> Raster:
    """Decode the pixels. Raises whatever Pillow raises at a file that is damaged."""
    samples = container.png
    if samples is not None and samples.bit_depth == 16:
        return _load_16_bit(container, samples)
    image = _open(container)
    image.load()
    if image.mode == "1":
        return _split(image.convert("L"), samples)
    if image.mode == "P":
        return _split(image.convert("RGBA" if "transparency" in image.info else "RGB"), samples)
    return _split(image, samples)


def to_eight_bits(upper: Bytes, lower: Bytes) -> Bytes:
    """Samples of 16 bits, given as bytes, times 255 / 65535, rounded: exact for all 65536.

    (256 u + l) / 257 is u + (l - u) / 257: up if l - u > 128.5, down if below -128.5. Where a
    sum here would wrap, the other condition is false.
    """
    up = (upper < 127) & (lower > upper + np.uint8(128))
    down = (upper > 128) & (lower < upper - np.uint8(128))
    rounded: Bytes = upper + up - down
    return rounded


def _open(container: Container, unpacker: str | None = None) -> Image.Image:
    image = Image.open(
        io.BytesIO(container.coded), formats=[_PILLOW_FORMATS[container.content_type]]
    )
    if image.size != (container.width, container.height):
        raise damaged("picture", "its header gives two different sizes")
    if unpacker is not None:
        image.tile = [image.tile[0]._replace(args=unpacker)]
    return image


def _split(image: Image.Image, samples: PngSamples | None) -> Raster:
    if image.mode in ("LA", "RGBA"):
        return Raster(image.convert(image.mode[:-1]), np.asarray(image.getchannel("A")))
    if samples is None or samples.key is None:
        return Raster(image, None)
    brightest = 2**samples.bit_depth - 1
    key = [(sample & brightest) * 255 // brightest for sample in samples.key]
    return Raster(image, _alpha_of_key(_channels(image) == np.array(key, np.uint8)))


def _load_16_bit(container: Container, samples: PngSamples) -> Raster:
    upper_HWC, lower_HWC = _bytes_of_16_bit(container, samples.colour_type)
    eight_HWC = to_eight_bits(upper_HWC, lower_HWC)
    alpha_HW = None
    if samples.key is not None:
        key = np.array(samples.key, np.uint16)
        alpha_HW = _alpha_of_key((upper_HWC == key >> 8) & (lower_HWC == key & 255))
    elif samples.colour_type in (png.GREY_ALPHA, png.RGB_ALPHA):
        eight_HWC, alpha_HW = eight_HWC[..., :-1], eight_HWC[..., -1]
    if eight_HWC.shape[2] == 1:
        eight_HWC = eight_HWC[..., 0]
    return Raster(Image.fromarray(np.ascontiguousarray(eight_HWC)), alpha_HW)


def _bytes_of_16_bit(container: Container, colour_type: int) -> tuple[Bytes, Bytes]:
    """The upper and the lower bytes of the samples, each height x width x channels."""
    if colour_type == png.GREY:
        grey_HW1 = np.asarray(_open(container))[..., None]
        return (grey_HW1 >> 8).astype(np.uint8), grey_HW1.astype(np.uint8)
    if colour_type == png.GREY_ALPHA:  # two samples of two bytes lie as four of one
        bytes_HW4 = _channels(_open(container, "RGBA"))
        return bytes_HW4[..., 0::2], bytes_HW4[..., 1::2]
    return _channels(_open(container)), _channels(_open(container, _LOWER_BYTES[colour_type]))


def _channels(image: Image.Image) -> Bytes:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _alpha_of_key(matches_HWC: NDArray[np.bool_]) -> Bytes:
    return np.where(matches_HWC.all(axis=-1), np.uint8(0), np.uint8(255))
