"""The corpus itself: one line for each picture, sorted by what it tries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from tests.hostile import jpeg_bytes, png_bytes, profiles, webp_bytes
from tests.hostile.items import (
    BOTTOM_LEFT,
    BOTTOM_RIGHT,
    HEIGHT,
    PICTURE,
    TOO_LARGE,
    TOP_LEFT,
    TOP_RIGHT,
    UNREADABLE,
    UNSUPPORTED,
    WIDTH,
    Expected,
    Hostile,
    jpeg_like,
    png_like,
    webp_like,
)
from tests.hostile.jpeg_bytes import jpeg
from tests.hostile.png_bytes import MAGIC, PALETTE, RGB_ALPHA, chunk, header, png
from tests.hostile.webp_bytes import webp

Item = tuple[str, Callable[[], bytes], Expected]

#: The corner that is seen at the top left, for each EXIF orientation from 1 to 8.
TOP_LEFT_AFTER = (
    TOP_LEFT, TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT,
    TOP_LEFT, BOTTOM_LEFT, BOTTOM_RIGHT, TOP_RIGHT,
)  # fmt: skip

GREY = np.full((HEIGHT, WIDTH), 100, np.uint8)
ALPHA = np.full((HEIGHT, WIDTH, 1), 77, np.uint8)
OPAQUE = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
RGBA = np.dstack([PICTURE, ALPHA])
#: 0x63FF is 99.6 in 8 bits: rounded 100, truncated 99.
DEEP = np.full((HEIGHT, WIDTH), 0x63FF, np.uint16)
INDEXES = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 4
PLTE = chunk(b"PLTE", bytes((200, 0, 0, 0, 200, 0, 0, 0, 200, 7, 8, 9)))
ZIP = b"PK\3\4" + bytes(30)


def corpus() -> list[Hostile]:
    """Every item. Names are unique; the same call gives the same bytes."""
    groups = (
        _types(), _sizes(), _bombs(), _png_samples(), _broken_pngs(), _jpegs(), _broken_jpegs(),
        _webps(), _broken_webps(), _turned(), _profiled(), _followed(),
    )  # fmt: skip
    return [Hostile(*item) for group in groups for item in group]


def _always(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _types() -> Iterator[Item]:
    yield "empty file", _always(b""), UNSUPPORTED
    yield "plain text", _always(b"not a picture"), UNSUPPORTED
    yield "GIF", _always(b"GIF89a\1\0\1\0\0\0\0;"), UNSUPPORTED
    yield "BMP", _always(b"BM" + bytes(60)), UNSUPPORTED
    yield "TIFF", _always(b"II*\0" + bytes(60)), UNSUPPORTED
    yield "HEIC", _always(b"\0\0\0\x18ftypheic" + bytes(60)), UNSUPPORTED
    yield "AVIF", _always(b"\0\0\0\x18ftypavif" + bytes(60)), UNSUPPORTED
    yield "SVG", _always(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), UNSUPPORTED
    yield "PDF", _always(b"%PDF-1.7"), UNSUPPORTED
    yield "ZIP before a PNG", lambda: ZIP + png(), UNSUPPORTED
    yield "RIFF that is a WAV", _always(b"RIFF\x24\0\0\0WAVEfmt "), UNSUPPORTED


def _sizes() -> Iterator[Item]:
    yield "32 MiB and one byte", lambda: png().ljust(32 * 1024 * 1024 + 1, b"\0"), TOO_LARGE
    yield "PNG of 10^10 pixels in 50 bytes", lambda: MAGIC + header(100_000, 100_000), TOO_LARGE
    yield "PNG of 2^62 pixels", lambda: MAGIC + header(2**31 - 1, 2**31 - 1), TOO_LARGE
    yield "PNG just over 40 megapixels", lambda: MAGIC + header(40_000_001, 1), TOO_LARGE
    yield "PNG of no width", lambda: MAGIC + header(0, 16), UNREADABLE
    yield "JPEG of 65535 x 65535", lambda: jpeg_bytes.with_size(jpeg(), 65535, 65535), TOO_LARGE
    yield "JPEG of no height", lambda: jpeg_bytes.with_size(jpeg(), 24, 0), UNREADABLE
    yield (
        "WebP canvas of 2^48 pixels",
        lambda: webp_bytes.riff(webp_bytes.canvas(2**24, 2**24)),
        TOO_LARGE,
    )
    yield (
        "WebP lossless of 16384 x 16384",
        lambda: webp_bytes.riff(webp_bytes.chunk(b"VP8L", b"\x2f\xff\xff\xff\x0f")),
        TOO_LARGE,
    )
    yield (
        "WebP lossy of 16383 x 16383",
        lambda: webp_bytes.riff(webp_bytes.chunk(b"VP8 ", b"\0\0\0\x9d\1\x2a\xff\x3f\xff\x3f")),
        TOO_LARGE,
    )


def _bombs() -> Iterator[Item]:
    """Bombs in what is never read do no harm, so the picture is taken."""
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        swollen = partial(png_bytes.compressed_text, kind, 8 * 1024 * 1024)
        yield f"PNG, {kind.decode()} bomb", lambda s=swollen: png(before=s()), png_like()
    yield (
        "PNG, zTXt bomb after the pixels",
        lambda: png(after=png_bytes.compressed_text(b"zTXt", 8 * 1024 * 1024)),
        png_like(),
    )
    yield "PNG of 100,001 chunks", lambda: png(before=chunk(b"tEXt", b"") * 100_001), UNREADABLE
    yield "JPEG of 1000 scans", lambda: jpeg_bytes.with_empty_scans(1000), UNREADABLE
    yield (
        "JPEG of 100,001 segments",
        lambda: jpeg()[:2] + b"\xff\xfe\0\2" * 100_001 + jpeg()[2:],
        UNREADABLE,
    )
    for name in (b"transparency", b"bbox", b"interlace", b"icc_profile", b"exif"):
        text = chunk(b"tEXt", name + b"\0surprise")
        yield f"PNG, text named {name.decode()}", lambda t=text: png(before=t), png_like()


def _png_samples() -> Iterator[Item]:
    grey, deep_rgb = (100, 100, 100), np.dstack([DEEP] * 3)
    yield "PNG RGB", png, png_like()
    yield "PNG RGB, interlaced", lambda: png(interlace=True), png_like()
    yield "PNG RGBA", lambda: png(RGBA), png_like(pixel=(*TOP_LEFT, 77))
    yield "PNG RGBA, opaque", lambda: png(np.dstack([PICTURE, OPAQUE])), png_like()
    yield "PNG grey", lambda: png(GREY), png_like(pixel=grey)
    yield "PNG grey with alpha", lambda: png(np.dstack([GREY, ALPHA])), png_like(pixel=(*grey, 77))
    for bits in (1, 2, 4):
        brightest = np.full_like(GREY, 2**bits - 1)
        yield (
            f"PNG grey of {bits} bits",
            lambda b=bits, g=brightest: png(g, bit_depth=b),
            png_like(pixel=(255, 255, 255)),
        )
    yield (
        "PNG grey of 2 bits, white transparent",
        lambda: png(np.full_like(GREY, 3), bit_depth=2, before=chunk(b"tRNS", b"\0\3")),
        png_like(pixel=(255, 255, 255, 0)),
    )
    yield (
        "PNG RGB, one colour transparent",
        lambda: png(before=chunk(b"tRNS", b"".join(bytes((0, sample)) for sample in TOP_LEFT))),
        png_like(pixel=(*TOP_LEFT, 0)),
    )
    yield (
        "PNG palette",
        lambda: png(INDEXES, bit_depth=2, colour_type=PALETTE, before=PLTE),
        png_like(pixel_xy=(1, 0), pixel=(0, 200, 0)),
    )
    yield (
        "PNG palette with alpha",
        lambda: png(
            INDEXES, bit_depth=8, colour_type=PALETTE, before=PLTE + chunk(b"tRNS", b"\xff\x4d")
        ),
        png_like(pixel_xy=(1, 0), pixel=(0, 200, 0, 77)),
    )
    yield "PNG grey of 16 bits", lambda: png(DEEP), png_like(pixel=grey)
    yield "PNG RGB of 16 bits", lambda: png(deep_rgb), png_like(pixel=grey)
    yield (
        "PNG RGBA of 16 bits",
        lambda: png(np.dstack([deep_rgb, DEEP])),
        png_like(pixel=(*grey, 100)),
    )
    yield (
        "PNG grey with alpha, 16 bits",
        lambda: png(np.dstack([DEEP, DEEP])),
        png_like(pixel=(*grey, 100)),
    )
    yield (
        "PNG RGB of 16 bits, nearly the transparent colour",
        lambda: png(deep_rgb, before=chunk(b"tRNS", b"\x63\xfe" * 3)),
        png_like(pixel=grey),
    )


def _broken_pngs() -> Iterator[Item]:
    yield "PNG, magic alone", _always(MAGIC), UNREADABLE
    yield "PNG, cut in half", lambda: png()[: len(png()) // 2], UNREADABLE
    yield "PNG without its end", lambda: png()[:-12], UNREADABLE
    yield "PNG, last byte missing", lambda: png()[:-1], UNREADABLE
    yield (
        "PNG, pixels end early",
        lambda: MAGIC + header(WIDTH, HEIGHT) + chunk(b"IDAT", b"\x78\x9c") + chunk(b"IEND", b""),
        UNREADABLE,
    )
    yield "PNG, one bit of the pixels flipped", lambda: _flipped(png(), b"IDAT"), UNREADABLE
    yield (
        "PNG without pixels",
        lambda: MAGIC + header(WIDTH, HEIGHT) + chunk(b"IEND", b""),
        UNREADABLE,
    )
    yield "PNG without a header", lambda: MAGIC + png()[33:], UNREADABLE
    yield "PNG with two headers", lambda: png(before=header(9, 9)), UNREADABLE
    yield "PNG of 3 bits", lambda: png(GREY, colour_type=RGB_ALPHA, bit_depth=3), UNREADABLE
    yield "PNG palette without one", lambda: png(GREY, colour_type=PALETTE), UNREADABLE
    yield "APNG", lambda: png(before=png_bytes.animation(2)), UNREADABLE
    yield "APNG of one frame", lambda: png(before=png_bytes.animation(1)), UNREADABLE


def _flipped(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind) + 8
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def _jpegs() -> Iterator[Item]:
    yield "JPEG", jpeg, jpeg_like()
    yield "JPEG, progressive", lambda: jpeg(progressive=True), jpeg_like()
    yield "JPEG grey", lambda: jpeg(GREY), jpeg_like(pixel=(100, 100, 100))
    yield (
        "JPEG CMYK, half magenta",
        lambda: jpeg_bytes.cmyk((0, 128, 0, 0)),
        jpeg_like(pixel=(255, 127, 255)),
    )
    yield "JPEG CMYK, black", lambda: jpeg_bytes.cmyk((0, 0, 0, 255)), jpeg_like(pixel=(0, 0, 0))
    yield "JPEG YCCK", lambda: jpeg_bytes.ycck((155, 127, 127, 0)), jpeg_like(pixel=(155, 155, 155))
    yield "MPO, two pictures", jpeg_bytes.mpo, jpeg_like()
    yield (
        "JPEG, broken MPO index",
        lambda: jpeg_bytes.with_segment(jpeg(), jpeg_bytes.APP2, b"MPF\0MM\0*\xff\xff\xff\xff"),
        jpeg_like(),
    )
    yield (
        "JPEG, broken EXIF",
        lambda: jpeg_bytes.with_segment(jpeg(), jpeg_bytes.APP1, b"Exif\0\0II*\0\xff\xff\xff\x7f"),
        jpeg_like(),
    )
    yield (
        "JPEG, stray bytes before a segment",
        lambda: jpeg()[:20] + bytes(5) + jpeg()[20:],
        jpeg_like(),
    )


def _broken_jpegs() -> Iterator[Item]:
    yield "JPEG, magic alone", _always(b"\xff\xd8\xff"), UNREADABLE
    yield "JPEG, cut in half", lambda: jpeg()[: len(jpeg()) // 2], UNREADABLE
    yield "JPEG without its end", lambda: jpeg()[:-2], UNREADABLE
    yield "JPEG without pixels", _always(b"\xff\xd8\xff\xd9"), UNREADABLE
    yield "JPEG, begun twice", lambda: jpeg()[:2] + jpeg(), UNREADABLE
    yield (
        "JPEG of 12 bits",
        lambda: jpeg().replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        UNREADABLE,
    )
    yield "JPEG, segment of length 0", _always(b"\xff\xd8\xff\xe0\0\0" + bytes(20)), UNREADABLE
    yield "JPEG, segment past the end", _always(b"\xff\xd8\xff\xe0\xff\xff"), UNREADABLE


def _webps() -> Iterator[Item]:
    yield "WebP lossless", webp, webp_like()
    yield "WebP lossy", lambda: webp(lossless=False, quality=100), webp_like(tolerance=12)
    yield "WebP RGBA", lambda: webp(RGBA), webp_like(pixel=(*TOP_LEFT, 77))
    yield (
        "WebP, colour of wholly transparent pixels",
        lambda: webp(np.dstack([PICTURE, ALPHA * 0])),
        webp_like(pixel=(*TOP_LEFT, 0)),
    )


def _broken_webps() -> Iterator[Item]:
    yield "WebP, magic alone", _always(b"RIFF\0\0\0\0WEBP"), UNREADABLE
    yield "WebP, cut in half", lambda: webp()[: len(webp()) // 2], UNREADABLE
    yield "WebP, last byte missing", lambda: webp()[:-1], UNREADABLE
    yield "WebP, animated", webp_bytes.animated, UNREADABLE
    yield "WebP without pixels", lambda: webp_bytes.riff(webp_bytes.canvas(24, 16)), UNREADABLE
    yield (
        "WebP, canvas of another size",
        lambda: webp_bytes.riff(webp_bytes.canvas(23, 16), webp_bytes.pixels_chunk(webp())),
        UNREADABLE,
    )
    yield (
        "WebP of an unknown sort",
        lambda: webp_bytes.riff(webp_bytes.chunk(b"VP9 ", bytes(20))),
        UNREADABLE,
    )
    yield (
        "WebP, pixels are noise",
        lambda: webp_bytes.riff(webp_bytes.chunk(b"VP8L", webp()[20:25] + b"\xaa" * 40)),
        UNREADABLE,
    )


def _turned() -> Iterator[Item]:
    for orientation, corner in enumerate(TOP_LEFT_AFTER, start=1):
        size = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
        block = jpeg_bytes.exif(orientation)
        yield (
            f"JPEG, EXIF orientation {orientation}",
            partial(jpeg_bytes.turned_by, orientation),
            jpeg_like(*size, pixel=corner),
        )
        yield (
            f"PNG, eXIf orientation {orientation}",
            lambda b=block: png(after=chunk(b"eXIf", b)),
            png_like(*size, pixel=corner),
        )
        yield (
            f"WebP, EXIF orientation {orientation}",
            lambda b=block: webp(exif=b),
            webp_like(*size, pixel=corner),
        )
    yield "JPEG, EXIF orientation 9", lambda: jpeg_bytes.turned_by(9), jpeg_like()


def _profiled() -> Iterator[Item]:
    red, green, blue = TOP_LEFT
    swapped = profiles.rgb_profile(2.2, swap_red_and_blue=True)
    linear_grey = profiles.grey_profile(1.0)
    in_png = png_bytes.profile_chunk
    yield (
        "PNG, profile with red and blue exchanged",
        lambda: png(before=in_png(swapped)),
        png_like(pixel=(blue, green, red), tolerance=8),
    )
    yield (
        "JPEG, the same profile in two parts",
        lambda: jpeg()[:2] + jpeg_bytes.icc_segments(swapped, parts=2) + jpeg()[2:],
        jpeg_like(pixel=(blue, green, red), tolerance=10),
    )
    yield (
        "WebP, the same profile",
        lambda: webp(icc_profile=swapped),
        webp_like(pixel=(blue, green, red), tolerance=8),
    )
    yield (
        "PNG grey, linear profile",
        lambda: png(GREY, before=in_png(linear_grey)),
        png_like(pixel=(168, 168, 168), tolerance=2),
    )
    yield (
        "JPEG CMYK, profile where cyan is red",
        lambda: jpeg_bytes.cmyk(
            (255, 0, 0, 0), icc_profile=profiles.cmyk_profile_where_cyan_is_red()
        ),
        jpeg_like(pixel=(252, 3, 15), tolerance=16),
    )
    yield "PNG RGB, profile for grey", lambda: png(before=in_png(linear_grey)), png_like()
    yield (
        "JPEG CMYK, profile for RGB",
        lambda: jpeg_bytes.cmyk((0, 128, 0, 0), icc_profile=swapped),
        jpeg_like(pixel=(255, 127, 255)),
    )
    yield "PNG, profile cut off", lambda: png(before=in_png(swapped[:200])), png_like()
    yield "PNG, profile is noise", lambda: png(before=in_png(b"\xaa" * 500)), png_like()
    yield "PNG, profile not compressed", lambda: png(before=chunk(b"iCCP", b"p\0\0x")), png_like()


def _followed() -> Iterator[Item]:
    """A valid picture followed by other bytes is that picture."""
    for name, tail in (("ZIP", ZIP), ("HTML", b"<script>alert(1)</script>"), ("zeros", bytes(99))):
        yield f"PNG followed by {name}", lambda t=tail: png() + t, png_like()
        yield f"JPEG followed by {name}", lambda t=tail: jpeg() + t, jpeg_like()
        yield f"WebP followed by {name}", lambda t=tail: webp() + t, webp_like()
