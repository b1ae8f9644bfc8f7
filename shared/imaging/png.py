"""PNG taken apart (W3C PNG, third edition).

Kept for the decoder: IHDR, PLTE, the tRNS of a palette, IDAT and IEND. Read here: iCCP,
eXIf and the tRNS of other pictures. Never read: text (tEXt, zTXt, iTXt), gAMA, cHRM, sRGB,
cICP and all the rest.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from shared.imaging.container import (
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Container,
    PngSamples,
    animated,
    check_pixels,
    damaged,
    truncated,
)
from shared.imaging.orientation import UPRIGHT, orientation_of

MAGIC = b"\x89PNG\r\n\x1a\n"

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_BIT_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGB_ALPHA: (8, 16),
}
_KEY_FORMATS = {GREY: ">H", RGB: ">HHH"}
_READ_BEFORE_PIXELS = (b"PLTE", b"tRNS", b"iCCP", b"acTL")

Chunk = tuple[bytes, memoryview]  #: its type, and all of it with length and checksum


def read(data: bytes, max_pixels: int) -> Container:
    """Take a PNG apart; `PictureError` if it is too large, cut off, damaged or animated."""
    chunks = _chunks(data)
    kind, header = next(chunks)
    if kind != b"IHDR" or len(header) != 12 + 13:
        raise damaged("PNG", "it does not begin with a header (IHDR)")
    width, height, bit_depth, colour_type = struct.unpack_from(">LLBB", header, 8)
    check_pixels(width, height, max_pixels)
    if bit_depth not in _BIT_DEPTHS.get(colour_type, ()):
        raise damaged("PNG", f"colour type {colour_type} with {bit_depth} bits does not exist")

    found, pixels = _collect(chunks)
    if b"acTL" in found:
        raise animated("PNG")
    if not pixels:
        raise damaged("PNG", "it holds no pixels (IDAT)")
    if colour_type == PALETTE and b"PLTE" not in found:
        raise damaged("PNG", "its pixels need a palette (PLTE), and there is none")

    palette = [found[k] for k in (b"PLTE", b"tRNS") if k in found and colour_type == PALETTE]
    return Container(
        content_type="image/png",
        width=width,
        height=height,
        coded=b"".join([MAGIC, header, *palette, *pixels, _IEND]),
        orientation=orientation_of(_body(found[b"eXIf"])) if b"eXIf" in found else UPRIGHT,
        profile=_profile(_body(found[b"iCCP"])) if b"iCCP" in found else None,
        png=PngSamples(bit_depth, colour_type, _key(colour_type, found.get(b"tRNS"))),
    )


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Each chunk up to IEND; a critical one (capital letter) only with the right checksum."""
    view, position = memoryview(data), len(MAGIC)
    for _ in range(MAX_PARTS):
        if position + 12 > len(data):
            raise truncated("PNG")
        length, kind = struct.unpack_from(">L4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise truncated("PNG")
        if kind[:1].isupper():
            (checksum,) = struct.unpack_from(">L", data, end - 4)
            if zlib.crc32(view[position + 4 : end - 4]) != checksum:
                raise damaged("PNG", f"the checksum of its {kind.decode('latin-1')} is wrong")
        yield kind, view[position:end]
        if kind == b"IEND":
            return
        position = end
    raise damaged("PNG", f"it has more than {MAX_PARTS:,} chunks")


def _collect(chunks: Iterator[Chunk]) -> tuple[dict[bytes, memoryview], list[memoryview]]:
    """The first chunk of each type that is read, and all those with pixels."""
    found: dict[bytes, memoryview] = {}
    pixels: list[memoryview] = []
    for kind, chunk in chunks:
        if kind == b"IDAT":
            pixels.append(chunk)
        elif kind == b"IHDR":
            raise damaged("PNG", "it has two headers (IHDR)")
        elif kind == b"eXIf" or (kind in _READ_BEFORE_PIXELS and not pixels):
            found.setdefault(kind, chunk)
    return found, pixels


def _body(chunk: memoryview) -> bytes:
    return bytes(chunk[8:-4])


def _key(colour_type: int, chunk: memoryview | None) -> tuple[int, ...] | None:
    """The transparent colour; a tRNS that is too short is ignored, as libpng does."""
    layout = _KEY_FORMATS.get(colour_type)
    if layout is None or chunk is None or len(chunk) - 12 < struct.calcsize(layout):
        return None
    return struct.unpack_from(layout, chunk, 8)


def _profile(body: bytes) -> bytes | None:
    """The profile of an iCCP chunk, inflated no further than a profile may be long."""
    _, _, rest = body.partition(b"\0")
    if rest[:1] != b"\0":  # the only compression there is
        return None
    try:
        profile = zlib.decompressobj().decompress(rest[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    return profile if len(profile) <= MAX_PROFILE_BYTES else None


_IEND = struct.pack(">L4sL", 0, b"IEND", zlib.crc32(b"IEND"))
