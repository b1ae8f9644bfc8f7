"""Nothing but a `PictureError` comes out of damaged bytes, and what comes out is in order."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ImageTooLarge, ImageUnreadable, PictureError, UnsupportedImageType
from shared.imaging import decode, decode_mask
from tests.hostile import jpeg_bytes, profiles
from tests.hostile.items import PICTURE
from tests.hostile.jpeg_bytes import jpeg
from tests.hostile.png_bytes import MAGIC, PALETTE, chunk, png, profile_chunk
from tests.hostile.webp_bytes import webp

RGBA = np.dstack([PICTURE, PICTURE[..., 0]])
PROFILE = profiles.rgb_profile(2.2, swap_red_and_blue=True)
EXIF = jpeg_bytes.exif(6)
VALID = (
    png(before=profile_chunk(PROFILE), after=chunk(b"eXIf", EXIF)),
    png(RGBA.astype(np.uint16) * 257, interlace=True),
    png(
        PICTURE[..., 0] % 4,
        bit_depth=2,
        colour_type=PALETTE,
        before=chunk(b"PLTE", bytes(range(12))) + chunk(b"tRNS", b"\1\2"),
    ),
    jpeg_bytes.with_segment(jpeg(icc_profile=PROFILE), jpeg_bytes.APP1, b"Exif\0\0" + EXIF),
    jpeg(progressive=True),
    jpeg_bytes.mpo(),
    jpeg_bytes.cmyk((9, 8, 7, 6), icc_profile=profiles.cmyk_profile_where_cyan_is_red()),
    webp(RGBA, icc_profile=PROFILE, exif=EXIF),
    webp(lossless=False, quality=50),
)

#: (where, as a fraction of the file; what to write there; how many bytes it replaces)
SPLICES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from([b"\xff\xd8", b"\xff\xda", b"\xff\xd9", b"IEND", b"acTL", b"ALPH"]),
        ),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=4,
)


def decode_or_refuse(data: bytes) -> None:
    try:
        picture = decode(data, max_pixels=100_000)
        mask_HW = decode_mask(data, max_pixels=100_000)
    except (ImageTooLarge, ImageUnreadable, UnsupportedImageType):
        return
    assert picture.pixels_HWC.dtype == np.uint8
    assert picture.pixels_HWC.shape in [(picture.height, picture.width, c) for c in (3, 4)]
    assert mask_HW.shape == (picture.height, picture.width)


def spliced(data: bytes, splices: list[tuple[float, bytes, int]]) -> bytes:
    for fraction, piece, replaced in splices:
        at = int(fraction * len(data))
        data = data[:at] + piece + data[at + replaced :]
    return data


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose damage is not caught by its checksums; what follows the damage is kept."""
    out, position = [MAGIC], len(MAGIC)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, position)
        body = data[position + 4 : position + 8 + length]
        out.append(struct.pack(">L", length) + body + struct.pack(">L", zlib.crc32(body)))
        position += 12 + length
    return b"".join(out)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(VALID), SPLICES)
def test_only_picture_errors_are_raised_when_a_valid_file_is_mutated(
    data: bytes, splices: list[tuple[float, bytes, int]]
) -> None:
    mutated = spliced(data, splices)
    decode_or_refuse(mutated)
    if mutated.startswith(MAGIC):
        decode_or_refuse(with_right_checksums(mutated))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([b"", MAGIC, b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8"]), st.binary())
def test_only_picture_errors_are_raised_when_noise_follows_a_magic(
    magic: bytes, noise: bytes
) -> None:
    decode_or_refuse(magic + noise)


@settings(max_examples=150, deadline=None)
@given(SPLICES, st.booleans())
def test_picture_is_still_taken_when_only_its_metadata_is_damaged(
    splices: list[tuple[float, bytes, int]], in_jpeg: bool
) -> None:
    profile, exif = spliced(PROFILE, splices), spliced(EXIF, splices)
    if in_jpeg:
        data = jpeg_bytes.with_segment(jpeg(), jpeg_bytes.APP1, b"Exif\0\0" + exif)
        data = data[:2] + jpeg_bytes.icc_segments(profile) + data[2:]
    else:
        data = png(before=profile_chunk(profile) + chunk(b"eXIf", exif))
    assert decode(data).pixels_HWC.size == PICTURE.size


@pytest.mark.parametrize("data", VALID, ids=range(len(VALID)))
def test_file_is_refused_when_it_is_cut_anywhere(data: bytes) -> None:
    behind_the_picture = data.find(b"\xff\xd9\xff\xd8") + 2  # an MPO's second one may be missing
    whole = behind_the_picture if behind_the_picture > 1 else len(data)
    for end in range(0, whole, max(1, whole // 60)):
        with pytest.raises(PictureError):
            decode(data[:end])
