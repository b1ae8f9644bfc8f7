"""A picture file taken apart: what it says of itself, and its coded pixels.

The limits are checked here, on the header, before anything is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.errors import ImageTooLarge, ImageUnreadable

MAX_BYTES = 32 * 1024 * 1024
MAX_PIXELS = 40_000_000
MAX_PROFILE_BYTES = 4 * 1024 * 1024  #: the largest colour profiles of printing presses have 3 MiB
MAX_PARTS = 100_000  #: chunks or segments of one file; a PNG of 32 MiB in parts of 8 KiB has 4096

ContentType = Literal["image/png", "image/jpeg", "image/webp"]


@dataclass(frozen=True, slots=True)
class PngSamples:
    """How a PNG stores a pixel. `key` is the one transparent colour of its tRNS chunk, unscaled."""

    bit_depth: int
    colour_type: int
    key: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Container:
    """`width` and `height` are as stored, before `orientation` (EXIF, 1 to 8) is applied.

    `coded` is a whole file of the same type with the pixels and what is needed to decode
    them, and nothing more. `profile` is an ICC profile, not yet checked.
    """

    content_type: ContentType
    width: int
    height: int
    coded: bytes
    orientation: int
    profile: bytes | None
    png: PngSamples | None = None


def check_bytes(data: bytes, max_bytes: int) -> None:
    """`ImageTooLarge` if there are more than `max_bytes`."""
    if len(data) > max_bytes:
        raise ImageTooLarge(
            f"The file has {len(data):,} bytes; at most {max_bytes:,} are taken."
            " Send a smaller or more strongly compressed picture."
        )


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """`ImageUnreadable` for a picture without pixels, `ImageTooLarge` for one with too many."""
    if width < 1 or height < 1:
        raise ImageUnreadable(
            f"The header says {width} x {height} pixels; a picture has at least 1 x 1."
        )
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"The picture has {width} x {height} pixels, {width * height / 1e6:,.1f} megapixels;"
            f" at most {max_pixels / 1e6:,.1f} megapixels are taken. Scale it down."
        )


def truncated(kind: str) -> ImageUnreadable:
    """The file ends before the picture does."""
    return ImageUnreadable(
        f"The {kind} is truncated: the file ends before the picture does."
        " Send the whole file again."
    )


def damaged(kind: str, what: str) -> ImageUnreadable:
    """The file breaks the rules of its type; `what` says how, in words that end the sentence."""
    return ImageUnreadable(
        f"The {kind} is damaged: {what}. Save it again with an image editor and send that."
    )


def animated(kind: str) -> ImageUnreadable:
    """More than a still picture, or one that says that it is."""
    return ImageUnreadable(f"The {kind} is animated; send one of its frames as a still picture.")
