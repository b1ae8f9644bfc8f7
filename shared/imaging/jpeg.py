"""JPEG taken apart (ITU-T T.81).

Kept for the decoder: everything but the application segments and comments, of which only
APP0 (JFIF) and APP14 (Adobe) say how to read the colours. Read here: EXIF (APP1) and the
colour profile (APP2). The picture ends at its EOI: the further pictures of an MPO file, a
phone's film or a depth map behind it are left alone.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from shared.imaging.container import (
    MAX_PARTS,
    MAX_PROFILE_BYTES,
    Container,
    check_pixels,
    damaged,
    truncated,
)
from shared.imaging.orientation import UPRIGHT, orientation_of

MAGIC = b"\xff\xd8\xff"
#: Each scan of a progressive picture is a pass over all of it, however few bytes it has.
#: Encoders make about ten.
MAX_SCANS = 100

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC are not
#: A marker that is not a stuffed zero, a fill byte, a restart or TEM, which stand alone.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])", re.DOTALL)
_EXIF = b"Exif\0\0"
_ICC = b"ICC_PROFILE\0"

Segment = tuple[int, int, int]  #: its marker, where it begins, where it ends


def read(data: bytes, max_pixels: int) -> Container:
    """Take a JPEG apart; `PictureError` if it is too large, cut off or damaged."""
    segments = _segments(data)
    kept = [MAGIC[:2]]
    size: tuple[int, int] | None = None
    exif, icc_parts = b"", list[bytes]()
    for marker, start, end in segments:
        body = data[start + 4 : end]
        if marker in _FRAME_HEADERS:
            if size is not None:
                raise damaged("JPEG", "it has two frame headers (SOF)")
            size = _size(body)
            check_pixels(*size, max_pixels)
        elif marker == _APP1 and body.startswith(_EXIF):
            exif = exif or body
        elif marker == _APP2 and body.startswith(_ICC):
            icc_parts.append(body.removeprefix(_ICC))
        elif marker in (_SOS, _EOI):
            break
        if _is_for_the_decoder(marker):
            kept.append(data[start:end])
    if size is None or marker != _SOS:
        raise damaged("JPEG", "it holds no pixels")

    kept.append(data[start : _end_of_scans(segments)])
    return Container(
        content_type="image/jpeg",
        width=size[0],
        height=size[1],
        coded=b"".join(kept),
        orientation=orientation_of(exif) if exif else UPRIGHT,
        profile=_profile(icc_parts),
    )


def _segments(data: bytes) -> Iterator[Segment]:
    """Each segment up to EOI, skipping coded pixels and, as every decoder does, stray bytes."""
    position = 2
    for _ in range(MAX_PARTS):
        match = _MARKER.search(data, position)
        if match is None:
            raise truncated("JPEG")
        marker = match[1][0]
        if marker == _EOI:
            yield marker, match.start(), match.end()
            return
        if marker == _SOI:
            raise damaged("JPEG", "a second picture begins inside the first")
        if match.end() + 2 > len(data):
            raise truncated("JPEG")
        (length,) = struct.unpack_from(">H", data, match.end())
        position = match.end() + length
        if length < 2:
            raise damaged("JPEG", "a segment is shorter than its own length field")
        if position > len(data):
            raise truncated("JPEG")
        yield marker, match.start(), position
    raise damaged("JPEG", f"it has more than {MAX_PARTS:,} segments")


def _size(frame_header: bytes) -> tuple[int, int]:
    if len(frame_header) < 6:
        raise damaged("JPEG", "its frame header (SOF) is too short")
    height, width = struct.unpack_from(">HH", frame_header, 1)
    return width, height


def _is_for_the_decoder(marker: int) -> bool:
    if marker in (_APP0, _APP14):
        return True
    return marker != _COM and not _APP0 <= marker <= _APP15


def _end_of_scans(segments: Iterator[Segment]) -> int:
    """Where EOI ends; called when the first scan has been seen."""
    scans = 1
    for marker, _, end in segments:
        if marker == _EOI:
            return end
        scans += marker == _SOS
        if scans > MAX_SCANS:
            raise damaged("JPEG", f"it has more than {MAX_SCANS} scans")
    raise truncated("JPEG")


def _profile(parts: list[bytes]) -> bytes | None:
    """The profile, from its numbered parts: None if one is missing, double or out of range."""
    numbered = {part[0]: part[2:] for part in parts if len(part) > 2}
    count = parts[0][1] if numbered and len(parts[0]) > 1 else 0
    if not count or len(parts) != count or set(numbered) != set(range(1, count + 1)):
        return None
    profile = b"".join(numbered[i] for i in sorted(numbered))
    return profile if len(profile) <= MAX_PROFILE_BYTES else None
