"""Any picture's colours as sRGB.

A profile is used if it can be read and fits the picture: an RGB profile for RGB and grey, a
grey one for grey, a CMYK one for CMYK. Otherwise the numbers are taken for sRGB, and those
of CMYK are multiplied out. The intent is relative colorimetric with black point
compensation, Photoshop's own default.

A profile that is sRGB under another name moves colours by a rounding step. It is found by
trying it, and then not used: who compares pixels finds the very ones that were sent.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

#: The most that a profile may move any colour, of 255, and still count as sRGB.
SRGB_TOLERANCE = 2

_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An `L`, `RGB` or `CMYK` image as `RGB`, in sRGB; the image itself if nothing changes."""
    transform = _transform(image.mode, profile) if profile else None
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    if transform.input_mode != image.mode:
        image = image.convert(transform.input_mode)
    return transform.apply(image)


def _transform(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None if it is broken, does not fit, or changes nothing."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        input_mode = _MODES.get(source.profile.xcolor_space, "")
        if input_mode != mode and (input_mode, mode) != ("RGB", "L"):
            return None
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            input_mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if _changes_nothing(transform) else transform
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    if transform.input_mode == "CMYK":
        return False
    probe = _GREYS if transform.input_mode == "L" else _COLOURS
    after = np.asarray(transform.apply(probe), dtype=np.int16)
    return bool(np.abs(after - np.asarray(probe.convert("RGB"))).max() <= SRGB_TOLERANCE)


def _lattice(steps: int) -> Image.Image:
    ramp = np.linspace(0, 255, steps).round().astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(steps, -1, 3))


_COLOURS = _lattice(17)
_GREYS = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
