"""`decode` and `inspect`: every item of the corpus, and what one picture cannot show."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from shared.errors import ImageTooLarge, ImageUnreadable, PictureError, UnsupportedImageType
from shared.imaging import PictureFacts, decode, encode, inspect
from tests.hostile import Decoded, Hostile, corpus, jpeg_bytes
from tests.hostile.items import HEIGHT, PICTURE, WIDTH
from tests.hostile.jpeg_bytes import jpeg
from tests.hostile.png_bytes import MAGIC, chunk, header, png
from tests.hostile.webp_bytes import webp

CORPUS = corpus()
ITEMS = pytest.mark.parametrize("item", CORPUS, ids=[item.name for item in CORPUS])


@ITEMS
def test_picture_is_decoded_or_refused_with_its_code_when_it_is_hostile(item: Hostile) -> None:
    if isinstance(item.expected, str):
        with pytest.raises(PictureError) as refusal:
            decode(item.data)
        assert refusal.value.code == item.expected
        return
    picture, expected = decode(item.data), item.expected
    x, y = expected.pixel_xy
    assert picture.facts == PictureFacts(
        expected.width, expected.height, expected.content_type, len(expected.pixel) == 4
    )
    difference = picture.pixels_HWC[y, x].astype(int) - expected.pixel
    assert np.abs(difference).max() <= expected.tolerance, picture.pixels_HWC[y, x]


def test_corpus_has_unique_names_when_listed() -> None:
    assert len({item.name for item in CORPUS}) == len(CORPUS)
    assert {e if isinstance(e := i.expected, str) else "decoded" for i in CORPUS} == {
        "decoded", "image_too_large", "image_unreadable", "unsupported_image_type",
    }  # fmt: skip


def test_inspect_tells_what_decode_gives_when_the_picture_is_turned() -> None:
    facts = inspect(jpeg_bytes.turned_by(6))
    assert facts == PictureFacts(HEIGHT, WIDTH, "image/jpeg", has_alpha=False)


def test_picture_cannot_be_changed_when_decoded() -> None:
    for data in (png(), jpeg(), webp(), jpeg_bytes.turned_by(8)):
        pixels = decode(data).pixels_HWC
        assert pixels.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            pixels[0, 0] = 0


def test_pixels_are_identical_when_the_source_is_lossless_8_bit_rgb() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (9, 7, 3), np.uint8)
    assert np.array_equal(decode(png(noise)).pixels_HWC, noise)
    assert np.array_equal(decode(webp(noise)).pixels_HWC, noise)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_picture_is_turned_as_pillow_turns_it_when_exif_says_so(
    orientation: int, order: str
) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (5, 3, 3), np.uint8)
    data = png(noise, before=chunk(b"eXIf", jpeg_bytes.exif(orientation, order)))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert np.array_equal(decode(data).pixels_HWC, np.asarray(upright))


def test_16_bit_samples_are_rounded_when_scaled_to_8() -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rounded = np.floor(every * (255 / 65535) + 0.5).astype(np.uint8)
    rgba = np.dstack([every, every[::-1], every.T, every[:, ::-1]])
    expected = np.dstack([rounded, rounded[::-1], rounded.T, rounded[:, ::-1]])
    for interlace in (False, True):
        assert np.array_equal(decode(png(every, interlace=interlace)).pixels_HWC[..., 0], rounded)
        assert np.array_equal(decode(png(rgba[..., :3], interlace=interlace)).pixels_HWC,
                              expected[..., :3])  # fmt: skip
        assert np.array_equal(decode(png(rgba, interlace=interlace)).pixels_HWC, expected)
        assert np.array_equal(decode(png(rgba[..., :2])).pixels_HWC[..., [0, 3]], expected[..., :2])


def test_16_bit_colour_is_transparent_only_where_all_16_bits_match_when_trns_names_it() -> None:
    deep = np.full((2, 2, 3), 0x1234, np.uint16)
    deep[0, 0, 1] = 0x1235
    alpha = decode(png(deep, before=chunk(b"tRNS", b"\x12\x34" * 3))).pixels_HWC[..., 3]
    assert alpha.tolist() == [[255, 0], [0, 0]]


@pytest.mark.parametrize("data_of", [png, webp], ids=["png", "webp"])
def test_alpha_is_dropped_only_when_every_pixel_is_opaque(data_of) -> None:
    opaque = np.dstack([PICTURE, np.full((HEIGHT, WIDTH), 255, np.uint8)])
    almost = opaque.copy()
    almost[-1, -1, 3] = 254
    assert decode(data_of(opaque)).pixels_HWC.shape[2] == 3
    assert np.array_equal(decode(data_of(almost)).pixels_HWC, almost)
    for mode in ("RGB", "RGBA"):  # however it is compared, dropping alpha changed nothing
        source = Image.open(io.BytesIO(data_of(opaque))).convert(mode)
        result = Image.open(io.BytesIO(encode(decode(data_of(opaque)).pixels_HWC, "png")))
        assert np.array_equal(np.asarray(source), np.asarray(result.convert(mode)))


def test_limits_are_inclusive_when_given() -> None:
    data = png()
    limits = {"max_bytes": len(data), "max_pixels": WIDTH * HEIGHT}
    assert decode(data, **limits).width == WIDTH
    for name in limits:
        with pytest.raises(ImageTooLarge, match="at most"):
            decode(data, **{**limits, name: limits[name] - 1})


def test_pixel_limit_is_checked_before_pillow_when_the_header_is_too_large(monkeypatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Pillow was called")

    monkeypatch.setattr(Image, "open", never)
    for data in (png(), jpeg(), webp()):
        with pytest.raises(ImageTooLarge):
            decode(data, max_pixels=WIDTH * HEIGHT - 1)


def test_error_says_what_was_wrong_and_what_would_be_right_when_a_picture_is_refused() -> None:
    with pytest.raises(ImageTooLarge, match=r"9000 x 5000 pixels, 45.0 meg.* at most 40.0 .*Scale"):
        decode(MAGIC + header(9000, 5000))
    with pytest.raises(UnsupportedImageType, match=r"seems to be GIF.*send a PNG, JPEG or WebP"):
        decode(b"GIF89a")
    with pytest.raises(ImageUnreadable, match=r"truncated.*Send the whole file"):
        decode(png()[:-1])
    with pytest.raises(ImageUnreadable, match="animated; send one of its frames"):
        decode(png(before=chunk(b"acTL", bytes(8))))


@pytest.mark.filterwarnings("error")
def test_picture_is_decoded_when_warnings_are_errors() -> None:
    for item in CORPUS:
        if isinstance(item.expected, Decoded):
            decode(item.data)


def test_pillow_is_left_as_it_was_when_hostile_pictures_were_decoded() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    for item in CORPUS:
        with suppress(PictureError):
            decode(item.data)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before == (89478485, False)


def test_pictures_are_the_same_when_decoded_by_many_threads() -> None:
    items = [item.data for item in CORPUS if isinstance(item.expected, Decoded)]
    alone = [decode(data).pixels_HWC for data in items]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data).pixels_HWC, items * 3))
    assert all(np.array_equal(a, b) for a, b in zip(alone * 3, together, strict=True))


def test_memory_error_is_not_the_pictures_fault_when_the_server_has_none(monkeypatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", no_memory)
    with pytest.raises(MemoryError):
        decode(png())
