"""What callers decode with: a picture, the facts of one, or a mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.errors import ImageTooLarge, ImageUnreadable, PictureError, UnsupportedImageType
from shared.imaging import jpeg, png, webp
from shared.imaging.colour import to_srgb
from shared.imaging.container import (
    MAX_BYTES,
    MAX_PIXELS,
    Container,
    ContentType,
    check_bytes,
)
from shared.imaging.orientation import Sample, turned
from shared.imaging.raster import Bytes, load

MASK_THRESHOLD = 128  #: this grey and all above may change

#: What people send instead, by a piece of the first bytes and where it stands.
_OTHER_TYPES = (
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyp", "HEIC or video"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"<", "SVG, HTML or XML"),
)


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture; the size is that of the upright one."""

    width: int
    height: int
    content_type: ContentType
    has_alpha: bool


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture, upright, in sRGB.

    `pixels_HWC` is uint8, read-only, 0 to 255: 3 channels (RGB), or 4 (RGBA, straight alpha)
    if at least one pixel is not opaque. `content_type` is that of the bytes it came from.
    """

    pixels_HWC: Bytes
    content_type: ContentType

    @property
    def width(self) -> int:
        return int(self.pixels_HWC.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels_HWC.shape[0])

    @property
    def has_alpha(self) -> bool:
        return bool(self.pixels_HWC.shape[2] == 4)

    @property
    def facts(self) -> PictureFacts:
        return PictureFacts(self.width, self.height, self.content_type, self.has_alpha)


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in `data`, decoded in full.

    Pillow's own limit of 179 million pixels is left in place behind `max_pixels`.

    Raises `ImageTooLarge` (bytes or pixels), `UnsupportedImageType` (neither PNG, JPEG nor
    WebP) or `ImageUnreadable` (truncated, damaged, animated, without pixels).
    """
    with _only_picture_errors():
        container = _take_apart(data, max_bytes, max_pixels)
        raster = load(container)
        pixels_HWC = np.asarray(to_srgb(raster.colour, container.profile))
        if raster.alpha_HW is not None and raster.alpha_HW.min() < 255:
            pixels_HWC = np.dstack([pixels_HWC, raster.alpha_HW])
        return Picture(_frozen(turned(pixels_HWC, container.orientation)), container.content_type)


def inspect(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> PictureFacts:
    """The facts of a picture that `decode` takes: decoded in full, then let go."""
    return decode(data, max_bytes=max_bytes, max_pixels=max_pixels).facts


def decode_mask(
    data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS
) -> NDArray[np.bool_]:
    """What may change, height x width: True where the grey value is at least 128.

    Colours become grey by their luma (ITU-R BT.601), transparent pixels are laid over black,
    16 bits are rounded to 8. A colour profile is not used: a mask holds numbers, not colours,
    and the profile that an editor attached unasked must not move the threshold.

    Raises as `decode` does.
    """
    with _only_picture_errors():
        container = _take_apart(data, max_bytes, max_pixels)
        raster = load(container)
        colour = raster.colour.convert("RGB") if raster.colour.mode == "CMYK" else raster.colour
        grey_HW = np.asarray(colour.convert("L"))
        if raster.alpha_HW is not None:
            product_HW = grey_HW.astype(np.uint16) * raster.alpha_HW
            grey_HW = ((product_HW + 127) // 255).astype(np.uint8)
        mask_HW: NDArray[np.bool_] = grey_HW >= MASK_THRESHOLD
        return _frozen(turned(mask_HW, container.orientation))


def _take_apart(data: bytes, max_bytes: int, max_pixels: int) -> Container:
    check_bytes(data, max_bytes)
    if data.startswith(png.MAGIC):
        return png.read(data, max_pixels)
    if data.startswith(jpeg.MAGIC):
        return jpeg.read(data, max_pixels)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp.read(data, max_pixels)
    raise UnsupportedImageType(f"{_seems_to_be(data)}; send a PNG, JPEG or WebP picture.")


def _seems_to_be(data: bytes) -> str:
    if not data:
        return "The file is empty"
    for offset, piece, name in _OTHER_TYPES:
        if data.startswith(piece, offset):
            return f"The file seems to be {name}, judged by its first bytes"
    return "The file is of no known picture type, judged by its first bytes"


@contextmanager
def _only_picture_errors() -> Iterator[None]:
    try:
        yield
    except (PictureError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge("The picture has more pixels than can be decoded.") from error
    except Exception as error:
        raise ImageUnreadable(
            "The picture cannot be decoded: it is truncated or damaged."
            " Save it again with an image editor and send that."
        ) from error


def _frozen(pixels: NDArray[Sample]) -> NDArray[Sample]:
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels
