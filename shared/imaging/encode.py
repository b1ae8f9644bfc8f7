"""From pixels to the bytes of a result. The pixels are sRGB, which is what viewers assume.

PNG and WebP are lossless, and keep the colours of pixels that are wholly transparent. Their
efforts are where the curve bends: from PNG level 4 on a photograph takes twice the time for
an eighth fewer bytes, and from WebP method 2 on it takes longer for nothing.
"""

from __future__ import annotations

import io
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from shared.imaging.raster import Bytes

ResultFormat = Literal["png", "webp", "jpeg"]

CONTENT_TYPES: dict[ResultFormat, str] = {
    "png": "image/png",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
}
#: The longest side that the format itself can hold.
MAX_SIDE_PX: dict[ResultFormat, int] = {"png": 2**31 - 1, "webp": 16383, "jpeg": 65500}

_PNG_COMPRESS_LEVEL = 2
_WEBP_METHOD = 1
_WEBP_EFFORT = 20
_JPEG_QUALITY = 95
_JPEG_444 = 0


def encode(pixels_HWC: Bytes, format: ResultFormat, xmp: bytes | None = None) -> bytes:  # noqa: A002
    """The bytes of a picture: uint8, 3 channels (RGB) or 4 (RGBA, straight alpha).

    `xmp` is a packet to be stored with it; at most 65,504 bytes in a JPEG.

    Raises `ValueError` for another shape or type, for alpha in a JPEG, for a longer packet, and
    for a side longer than `MAX_SIDE_PX` of the format.
    """
    _check(pixels_HWC, format)
    image = Image.fromarray(np.ascontiguousarray(pixels_HWC))
    if format == "png":
        return _saved_png(image, xmp)
    embedded = {} if xmp is None else {"xmp": xmp}
    file = io.BytesIO()
    if format == "webp":
        image.save(
            file,
            "WEBP",
            lossless=True,
            exact=True,
            method=_WEBP_METHOD,
            quality=_WEBP_EFFORT,
            **embedded,
        )
    else:
        image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=_JPEG_444, **embedded)
    return file.getvalue()


def encode_mask(mask_HW: NDArray[np.bool_]) -> bytes:
    """A mask as an 8-bit grey PNG: 255 where True, may change; 0 elsewhere."""
    if mask_HW.ndim != 2 or mask_HW.dtype != np.bool_:
        raise ValueError(f"a mask is height x width of bool, not {_describe(mask_HW)}")
    return _saved_png(Image.fromarray(mask_HW.astype(np.uint8) * np.uint8(255)), None)


def _saved_png(image: Image.Image, xmp: bytes | None) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    if xmp is not None:
        chunks.add_itxt("XML:com.adobe.xmp", xmp)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_PNG_COMPRESS_LEVEL, pnginfo=chunks)
    return file.getvalue()


def _check(pixels_HWC: Bytes, format: ResultFormat) -> None:  # noqa: A002
    if format not in get_args(ResultFormat):
        raise ValueError(f"a result is png, webp or jpeg, not {format!r}")
    if pixels_HWC.ndim != 3 or pixels_HWC.shape[2] not in (3, 4) or pixels_HWC.dtype != np.uint8:
        raise ValueError(
            f"a picture is height x width x 3 or 4 of uint8, not {_describe(pixels_HWC)}"
        )
    if format == "jpeg" and pixels_HWC.shape[2] == 4:
        raise ValueError("a JPEG has no alpha: choose png or webp, or lay it on a background")
    if max(pixels_HWC.shape[:2]) > MAX_SIDE_PX[format]:
        raise ValueError(f"a {format} has at most {MAX_SIDE_PX[format]} pixels on a side")


def _describe(array: NDArray[np.generic]) -> str:
    return f"{' x '.join(map(str, array.shape))} of {array.dtype}"
