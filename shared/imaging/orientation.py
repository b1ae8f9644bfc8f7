"""How a picture is to be turned: the one thing that is read of EXIF.

EXIF is a TIFF directory; the entry wanted is in its first one. Nothing here raises: a
broken EXIF block says nothing, and the picture is upright as it is.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1

Sample = TypeVar("Sample", np.uint8, np.bool_)

_ORIENTATION_TAG = 0x0112
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_VALUE_FORMATS = {3: "H", 4: "L"}  # SHORT, as the standard has it, and LONG, as some write it


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, of an EXIF block with or without its `Exif` preamble."""
    try:
        value = _orientation_entry(exif.removeprefix(b"Exif\0\0"))
    except struct.error:  # it points outside itself
        return UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def turned(pixels: NDArray[Sample], orientation: int) -> NDArray[Sample]:
    """Pixels (height x width, channels or not) as they are to be seen; a view, not a copy."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _orientation_entry(tiff: bytes) -> int:
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT
    (directory,) = struct.unpack_from(order + "L", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHL", tiff, entry)
        if tag == _ORIENTATION_TAG and kind in _VALUE_FORMATS and count == 1:
            (value,) = struct.unpack_from(order + _VALUE_FORMATS[kind], tiff, entry + 8)
            return int(value)
    return UPRIGHT
