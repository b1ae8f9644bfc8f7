"""ICC profiles of version 2, no larger than they must be."""

from __future__ import annotations

import struct
from collections.abc import Mapping

XYZ_OF_SRGB = {
    b"rXYZ": (0.43607, 0.22249, 0.01392),
    b"gXYZ": (0.38515, 0.71687, 0.09708),
    b"bXYZ": (0.14307, 0.06061, 0.71410),
}
_D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(gamma: float, swap_red_and_blue: bool = False) -> bytes:
    """The primaries of sRGB, or those of red and blue exchanged, and a pure power curve."""
    primaries = dict(XYZ_OF_SRGB)
    if swap_red_and_blue:
        primaries[b"rXYZ"], primaries[b"bXYZ"] = primaries[b"bXYZ"], primaries[b"rXYZ"]
    tags = {name: _xyz(value) for name, value in primaries.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile_where_cyan_is_red() -> bytes:
    """A table of the sixteen corners: full cyan is a strong red, anything else darkens white."""
    grid = b"".join(
        bytes((137, 208, 195))
        if (c, m, y, k) == (1, 0, 0, 0)
        else bytes((255 * (4 - c - m - y - k) // 4, 128, 128))
        for c in (0, 1)
        for m in (0, 1)
        for y in (0, 1)
        for k in (0, 1)
    )
    matrix = struct.pack(">9l", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + matrix + identity * 4 + grid + identity * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def _xyz(value: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3l", *(round(v * 65536) for v in value))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">LH", 1, round(gamma * 256)) + bytes(2)


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _xyz(_D50), **tags}
    position, directory, bodies = 128 + 4 + 12 * len(tags), b"", b""
    for name, body in tags.items():
        directory += name + struct.pack(">LL", position + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    size = position + len(bodies)
    head = struct.pack(">L4sL4s4s4s", size, b"test", 0x02400000, kind, space, pcs)
    head += struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3l", *(round(v * 65536) for v in _D50))
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + directory + bodies
