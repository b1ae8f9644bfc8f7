"""PNG files written by hand: every kind of sample, and every way to break one."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from tests.hostile.items import PICTURE

MAGIC = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_COLOUR_TYPES = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGB_ALPHA}
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def header(
    width: int, height: int, bit_depth: int = 8, colour_type: int = RGB, interlace: int = 0
) -> bytes:
    fields = (width, height, bit_depth, colour_type, 0, 0, interlace)
    return chunk(b"IHDR", struct.pack(">LLBBBBB", *fields))


def png(
    samples: np.ndarray = PICTURE,
    *,
    bit_depth: int | None = None,
    colour_type: int | None = None,
    interlace: bool = False,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A whole PNG of height x width (x channels) samples, with chunks `before` and `after` IDAT."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    bit_depth = bit_depth or 8 * samples.dtype.itemsize
    colour_type = _COLOUR_TYPES[channels] if colour_type is None else colour_type
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    rows = b"".join(_rows(samples[y::dy, x::dx], bit_depth) for x, y, dx, dy in passes)
    return b"".join(
        (
            MAGIC,
            header(width, height, bit_depth, colour_type, int(interlace)),
            before,
            chunk(b"IDAT", zlib.compress(rows)),
            after,
            chunk(b"IEND", b""),
        )
    )


def _rows(samples: np.ndarray, bit_depth: int) -> bytes:
    """Each row with filter 2 (up), which works on the bytes whatever the samples are."""
    if not samples.size:
        return b""
    if bit_depth < 8:
        bits = np.unpackbits(samples[..., 0].astype(np.uint8)[..., None], axis=-1)[..., -bit_depth:]
        packed = np.packbits(bits.reshape(len(samples), -1), axis=-1)
    else:
        big_endian = samples.astype(samples.dtype.newbyteorder(">"))
        packed = big_endian.reshape(len(samples), -1).view(np.uint8)
    filtered = np.diff(packed, axis=0, prepend=np.zeros_like(packed[:1]))
    return b"".join(b"\2" + row.tobytes() for row in filtered)


def compressed_text(kind: bytes, inflated_bytes: int) -> bytes:
    """A zTXt, iTXt or iCCP chunk that swells to that many zeros."""
    preamble = {
        b"zTXt": b"Comment\0\0",
        b"iTXt": b"Comment\0\1\0\0\0",
        b"iCCP": b"profile\0\0",
    }[kind]
    return chunk(kind, preamble + zlib.compress(bytes(inflated_bytes)))


def profile_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


def animation(frames: int) -> bytes:
    """What makes an APNG: the control chunk, and that of the first frame."""
    frame = struct.pack(">LLLLLHHBB", 0, PICTURE.shape[1], PICTURE.shape[0], 0, 0, 1, 10, 0, 0)
    return chunk(b"acTL", struct.pack(">LL", frames, 0)) + chunk(b"fcTL", frame)
