"""WebP files: written by Pillow, then cut open."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.items import PICTURE


def webp(pixels: np.ndarray = PICTURE, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", **{"lossless": True, "exact": True, **options})
    return file.getvalue()


def animated() -> bytes:
    return webp(save_all=True, append_images=[Image.fromarray(255 - PICTURE)], duration=100)


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<L", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return chunk(b"VP8X", bytes((flags, 0, 0, 0)) + size)


def pixels_chunk(data: bytes) -> bytes:
    """The one chunk of a simple file."""
    return data[12:]
