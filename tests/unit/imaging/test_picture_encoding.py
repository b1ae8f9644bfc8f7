"""`encode`: what goes in comes out, and what a format cannot hold is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from shared.imaging import CONTENT_TYPES, MAX_SIDE_PX, decode, encode
from tests.hostile.items import PICTURE

PICTURES = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([3, 4]))
)
LOSSLESS = pytest.mark.parametrize("result_format", ["png", "webp"])


@LOSSLESS
@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_pixels_are_identical_when_encoded_losslessly_and_decoded(result_format, pixels) -> None:
    if pixels.shape[2] == 4 and pixels[..., 3].min() == 255:
        pixels = pixels[..., :3]
    assert np.array_equal(decode(encode(pixels, result_format)).pixels_HWC, pixels)


@LOSSLESS
def test_colours_survive_when_wholly_transparent(result_format) -> None:
    hidden = np.dstack([PICTURE, np.zeros(PICTURE.shape[:2], np.uint8)])
    assert np.array_equal(decode(encode(hidden, result_format)).pixels_HWC, hidden)


def test_jpeg_is_close_and_not_subsampled_when_encoded() -> None:
    data = encode(PICTURE, "jpeg")
    assert np.abs(decode(data).pixels_HWC.astype(int) - PICTURE).max() <= 6
    assert {component[1:3] for component in Image.open(io.BytesIO(data)).layer} == {(1, 1)}


@pytest.mark.parametrize("result_format", CONTENT_TYPES)
def test_content_type_is_that_of_the_bytes_when_encoded(result_format) -> None:
    data = encode(PICTURE[::-1, ::-1], result_format)  # not contiguous, too
    assert decode(data).content_type == CONTENT_TYPES[result_format]


def test_jpeg_is_refused_when_there_is_alpha() -> None:
    with pytest.raises(ValueError, match="no alpha: choose png or webp"):
        encode(np.zeros((2, 2, 4), np.uint8), "jpeg")


@pytest.mark.parametrize("result_format", ["webp", "jpeg"])
def test_picture_is_refused_when_a_side_is_longer_than_the_format_holds(result_format) -> None:
    longest = MAX_SIDE_PX[result_format]
    assert decode(encode(np.zeros((1, longest, 3), np.uint8), result_format)).width == longest
    with pytest.raises(ValueError, match=f"at most {longest} pixels"):
        encode(np.zeros((longest + 1, 1, 3), np.uint8), result_format)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 3), np.float32)],
    ids=["grey", "two channels", "floats"],
)
def test_picture_is_refused_when_it_is_not_uint8_rgb_or_rgba(wrong) -> None:
    with pytest.raises(ValueError, match="3 or 4 of uint8"):
        encode(wrong, "png")


def test_format_is_refused_when_unknown() -> None:
    with pytest.raises(ValueError, match="png, webp or jpeg, not 'gif'"):
        encode(PICTURE, "gif")  # type: ignore[arg-type]
