"""`decode_mask` and `encode_mask`."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import PictureError
from shared.imaging import decode, decode_mask, encode_mask
from tests.hostile import Hostile, corpus, jpeg_bytes, profiles
from tests.hostile.jpeg_bytes import jpeg
from tests.hostile.png_bytes import PALETTE, chunk, png, profile_chunk
from tests.hostile.webp_bytes import webp

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
WHITE_FROM_128 = RAMP >= 128
CORPUS = corpus()


def test_mask_is_white_from_128_when_grey_has_8_bits() -> None:
    assert np.array_equal(decode_mask(png(RAMP)), WHITE_FROM_128)
    assert np.array_equal(decode_mask(webp(np.dstack([RAMP] * 3))), WHITE_FROM_128)
    assert decode_mask(png(RAMP)).dtype == np.bool_


def test_mask_cannot_be_changed_when_decoded() -> None:
    assert not decode_mask(png(RAMP)).flags.writeable


@pytest.mark.parametrize(("sample", "white"), [(32767, False), (32768, True)])
def test_mask_is_white_from_127_and_a_half_when_grey_has_16_bits(sample: int, white: bool) -> None:
    deep = np.full((2, 3), sample, np.uint16)  # times 255 / 65535: 127.498 and 127.502
    assert (decode_mask(png(deep)) == white).all()


def test_mask_has_both_values_when_it_has_1_bit() -> None:
    bits = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    assert np.array_equal(decode_mask(png(bits, bit_depth=1)), bits == 1)


def test_mask_uses_the_colours_and_not_the_indexes_when_it_has_a_palette() -> None:
    indexes = np.array([[0, 1], [2, 0]], np.uint8)
    palette = chunk(b"PLTE", bytes((255, 255, 255, 0, 0, 0, 100, 100, 100)))
    mask_HW = decode_mask(png(indexes, colour_type=PALETTE, before=palette))
    assert mask_HW.tolist() == [[True, False], [False, True]]


def test_mask_uses_luma_when_it_has_colours() -> None:
    colours = np.array([[(0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0)]], np.uint8)
    assert decode_mask(png(colours)).tolist() == [[True, False, False, True]]


def test_mask_is_laid_over_black_when_it_has_alpha() -> None:
    white = np.full((1, 4), 255, np.uint8)
    alpha = np.array([[0, 127, 128, 255]], np.uint8)
    assert decode_mask(png(np.dstack([white, alpha]))).tolist() == [[False, False, True, True]]
    assert not decode_mask(png(white, before=chunk(b"tRNS", b"\0\xff"))).any()


def test_mask_is_turned_when_exif_says_so() -> None:
    half = np.zeros((16, 24), np.uint8)
    half[:, :8] = 255
    data = jpeg_bytes.with_segment(jpeg(half), jpeg_bytes.APP1, b"Exif\0\0" + jpeg_bytes.exif(6))
    mask_HW = decode_mask(data)
    assert mask_HW.shape == (24, 16)
    assert mask_HW[:8].all()
    assert not mask_HW[8:].any()


def test_mask_is_not_moved_when_a_profile_is_attached() -> None:
    profile = profile_chunk(profiles.grey_profile(1.0))
    assert decode(png(RAMP, before=profile)).pixels_HWC[4, 0, 0] > 128  # a picture's 64 would be
    assert np.array_equal(decode_mask(png(RAMP, before=profile)), WHITE_FROM_128)


def test_mask_of_ink_is_white_where_paper_is_when_it_is_cmyk() -> None:
    assert decode_mask(jpeg_bytes.cmyk((0, 0, 0, 0))).all()
    assert not decode_mask(jpeg_bytes.cmyk((0, 0, 0, 255))).any()


@pytest.mark.parametrize("item", CORPUS, ids=[item.name for item in CORPUS])
def test_mask_has_the_size_or_the_refusal_of_the_picture_when_it_is_hostile(item: Hostile) -> None:
    if isinstance(item.expected, str):
        with pytest.raises(PictureError) as refusal:
            decode_mask(item.data)
        assert refusal.value.code == item.expected
    else:
        assert decode_mask(item.data).shape == (item.expected.height, item.expected.width)


def test_mask_comes_back_when_encoded() -> None:
    mask_HW = np.random.default_rng(3).random((33, 17)) < 0.5
    data = encode_mask(mask_HW)
    assert np.array_equal(decode_mask(data), mask_HW)
    assert data[24:26] == b"\x08\x00"  # 8 bits, grey
    assert np.array_equal(decode_mask(encode_mask(mask_HW.T)), mask_HW.T)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 1), np.bool_)])
def test_mask_is_refused_when_it_is_not_height_by_width_of_bool(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="height x width of bool"):
        encode_mask(wrong)
