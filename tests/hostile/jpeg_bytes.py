"""JPEG files: written by Pillow, then cut open."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.items import PICTURE

APP1, APP2, APP14 = 0xE1, 0xE2, 0xEE


def jpeg(pixels: np.ndarray = PICTURE, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    image = Image.merge(mode, image.split()) if mode else image
    image.save(file, "JPEG", **{"quality": 100, "subsampling": 0, **options})
    return file.getvalue()


def cmyk(ink: tuple[int, int, int, int], **options: Any) -> bytes:
    """One flat colour; 255 is full ink. Pillow inverts it and says so, as Adobe does."""
    return jpeg(np.full((16, 24, 4), ink, np.uint8), "CMYK", **options)


def ycck(ink: tuple[int, int, int, int]) -> bytes:
    """The same samples said to be YCCK: the Adobe marker's last byte is the transform."""
    data = cmyk(ink)
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\2" + data[at + 1 :]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + segment(marker, body) + data[2:]


def exif(orientation: int, order: str = ">") -> bytes:
    """The smallest EXIF block that turns a picture, without the preamble."""
    magic = {">": b"MM\0*", "<": b"II*\0"}[order]
    entry = struct.pack(order + "HHLHH", 0x0112, 3, 1, orientation, 0)
    return magic + struct.pack(order + "LH", 8, 1) + entry + struct.pack(order + "L", 0)


def turned_by(orientation: int) -> bytes:
    return with_segment(jpeg(), APP1, b"Exif\0\0" + exif(orientation))


def icc_segments(profile: bytes, parts: int = 1) -> bytes:
    size = -(-len(profile) // parts)
    return b"".join(
        segment(APP2, b"ICC_PROFILE\0" + bytes((i + 1, parts)) + profile[i * size : (i + 1) * size])
        for i in range(parts)
    )


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The same file with another size in its frame header (baseline or progressive)."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def with_empty_scans(count: int) -> bytes:
    """A progressive picture, its last scan's header over and over: each one a whole pass."""
    data = jpeg(progressive=True)
    at = data.rindex(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:-2] + data[at : at + 2 + length] * count + data[-2:]


def mpo() -> bytes:
    """A photograph with a second picture behind it, as 3D cameras and phones write it."""
    file = io.BytesIO()
    second = Image.fromarray(255 - PICTURE)
    Image.fromarray(PICTURE).save(
        file, "MPO", save_all=True, append_images=[second], quality=100, subsampling=0
    )
    return file.getvalue()
