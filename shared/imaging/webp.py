"""WebP taken apart (RFC 9649).

The decoder is given the file as it is, up to where its RIFF header says that it ends.
Read here: the size of the canvas, the colour profile (ICCP) and EXIF.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shared.imaging.container import (
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Container,
    animated,
    check_pixels,
    damaged,
    truncated,
)
from shared.imaging.orientation import UPRIGHT, orientation_of

_ANIMATION_FLAG = 0x02
_VP8_START_CODE = b"\x9d\x01\x2a"
_VP8L_SIGNATURE = 0x2F

Chunk = tuple[bytes, memoryview]  #: its type, and its body


def read(data: bytes, max_pixels: int) -> Container:
    """Take a WebP apart; `PictureError` if it is too large, cut off, damaged or animated."""
    if len(data) < 20:
        raise truncated("WebP")
    (riff_bytes,) = struct.unpack_from("<L", data, 4)
    chunks = _chunks(data, 8 + riff_bytes)
    kind, first = next(chunks, (b"", memoryview(b"")))
    width, height = _canvas(kind, first)
    check_pixels(width, height, max_pixels)
    if kind == b"VP8X" and first[0] & _ANIMATION_FLAG:
        raise animated("WebP")

    found: dict[bytes, memoryview] = {}
    for part, body in chunks:
        found.setdefault(part, body)
    if found.keys() & {b"ANIM", b"ANMF"}:
        raise animated("WebP")
    profile = bytes(found.get(b"ICCP", b""))
    return Container(
        content_type="image/webp",
        width=width,
        height=height,
        coded=data[: 8 + riff_bytes],
        orientation=orientation_of(bytes(found[b"EXIF"])) if b"EXIF" in found else UPRIGHT,
        profile=profile if 0 < len(profile) <= MAX_PROFILE_BYTES else None,
    )


def _chunks(data: bytes, riff_end: int) -> Iterator[Chunk]:
    """Each chunk. The first is handed out even if it is cut off, so that its size is seen."""
    view, position = memoryview(data), 12
    for _ in range(MAX_PARTS):
        if position + 8 > min(riff_end, len(data)):
            break
        kind, length = struct.unpack_from("<4sL", data, position)
        body = view[position + 8 : position + 8 + length]
        yield kind, body
        if len(body) < length:
            raise truncated("WebP")
        position += 8 + length + length % 2
    else:
        raise damaged("WebP", f"it has more than {MAX_PARTS:,} chunks")
    if riff_end > len(data):
        raise truncated("WebP")


def _canvas(kind: bytes, body: memoryview) -> tuple[int, int]:
    """Width and height, from the chunk that a WebP of its sort begins with."""
    if kind == b"VP8X" and len(body) >= 10:
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        return width, height
    if kind == b"VP8L" and len(body) >= 5 and body[0] == _VP8L_SIGNATURE:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10 and body[3:6] == _VP8_START_CODE:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    raise damaged("WebP", "it does not begin with a picture (VP8, VP8L or VP8X)")
