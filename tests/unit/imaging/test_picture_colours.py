"""Colour profiles: used where they fit, left alone where they are sRGB."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from shared.imaging import MAX_PIXELS, colour, decode, png
from shared.imaging.container import MAX_PROFILE_BYTES
from tests.hostile import profiles
from tests.hostile.jpeg_bytes import icc_segments, jpeg
from tests.hostile.png_bytes import PALETTE, chunk, profile_chunk
from tests.hostile.png_bytes import png as png_file

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = profiles.rgb_profile(1.0)
NOISE = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)


def srgb_of_linear(values: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    linear = values / 255
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(curve * 255)


def test_pixels_are_identical_when_the_profile_is_srgb() -> None:
    assert np.array_equal(decode(png_file(NOISE, before=profile_chunk(SRGB))).pixels_HWC, NOISE)


def test_colours_become_srgb_when_the_profile_is_linear() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = decode(png_file(np.dstack([ramp] * 3), before=profile_chunk(LINEAR))).pixels_HWC
    assert np.abs(pixels - srgb_of_linear(ramp)[..., None]).max() <= 2


def test_grey_becomes_srgb_when_its_profile_is_for_rgb() -> None:
    grey = np.full((4, 4), 55, np.uint8)
    pixels = decode(png_file(grey, before=profile_chunk(LINEAR))).pixels_HWC
    assert np.abs(pixels - srgb_of_linear(np.array(55))).max() <= 2


def test_palette_becomes_srgb_when_it_has_a_profile() -> None:
    before = profile_chunk(LINEAR) + chunk(b"PLTE", b"\x37\x37\x37")
    pixels = decode(png_file(np.zeros((2, 2), np.uint8), colour_type=PALETTE, before=before))
    assert np.abs(pixels.pixels_HWC - srgb_of_linear(np.array(55))).max() <= 2


def test_alpha_is_untouched_when_colours_are_converted() -> None:
    rgba = np.dstack([NOISE, NOISE[..., 0]])
    pixels = decode(png_file(rgba, before=profile_chunk(LINEAR))).pixels_HWC
    assert np.array_equal(pixels[..., 3], rgba[..., 3])
    assert not np.array_equal(pixels[..., :3], NOISE)


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"sRGB", b"cICP"])
def test_pixels_are_identical_when_a_png_only_describes_its_colours(kind: bytes) -> None:
    data = png_file(NOISE, before=chunk(kind, bytes(range(32))))
    assert np.array_equal(decode(data).pixels_HWC, NOISE)


def test_profile_of_a_jpeg_is_ignored_when_a_part_is_missing() -> None:
    whole = icc_segments(LINEAR, parts=3)
    one_missing = whole[whole.index(b"\xff\xe2", 2) :]
    plain = decode(jpeg()).pixels_HWC
    for segments, changed in ((whole, True), (one_missing, False)):
        pixels = decode(jpeg()[:2] + segments + jpeg()[2:]).pixels_HWC
        assert np.array_equal(pixels, plain) != changed


def test_profile_is_ignored_when_it_is_longer_than_any() -> None:
    swollen = LINEAR + bytes(MAX_PROFILE_BYTES - len(LINEAR))
    for profile, kept in ((swollen, True), (swollen + b"\0", False)):
        container = png.read(png_file(before=profile_chunk(profile)), MAX_PIXELS)
        assert (container.profile is not None) == kept


def test_image_itself_is_returned_when_nothing_is_to_be_converted() -> None:
    image = Image.fromarray(NOISE)
    assert colour.to_srgb(image, None) is image
    assert colour.to_srgb(image, SRGB) is image
    assert colour.to_srgb(image, profiles.grey_profile(1.0)) is image


def test_profile_is_that_of_the_test_when_lcms_reads_it() -> None:
    for data, space in (
        (LINEAR, "RGB "),
        (profiles.grey_profile(1.0), "GRAY"),
        (profiles.cmyk_profile_where_cyan_is_red(), "CMYK"),
    ):
        assert ImageCms.ImageCmsProfile(io.BytesIO(data)).profile.xcolor_space == space
