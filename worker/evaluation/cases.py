"""Drag cases on disk: `NN_name/` with image.png or image.jpg, mask.png and case.json.

`handles` and `targets` in case.json are lists of [x, y]; white in the mask may change.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.edits import Drag, Point
from shared.errors import PictureError
from shared.imaging import decode, decode_mask


class BrokenCase(Exception):
    """A folder that cannot be read as a case; says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """picture_HWC: uint8, 3 or 4 channels. mask_HW: True may change. Points in its pixels."""

    name: str
    picture_HWC: NDArray[np.uint8]
    mask_HW: NDArray[np.bool_]
    drags: tuple[Drag, ...]


def find_cases(folder: Path) -> list[Path]:
    """The folders in `folder`, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def load_case(folder: Path, long_side: int | None = None) -> Case:
    """Read one case, scaled so that its longer side is `long_side` pixels if that is given."""
    try:
        picture_HWC = decode(_picture_path(folder).read_bytes()).pixels_HWC
        mask_HW = decode_mask((folder / "mask.png").read_bytes())
        drags = _read_drags(folder / "case.json")
    except (OSError, PictureError) as error:
        raise BrokenCase(str(error)) from error
    if mask_HW.shape != picture_HWC.shape[:2]:
        raise BrokenCase(
            f"the mask is {_size(mask_HW)} pixels and the picture {_size(picture_HWC)}"
        )
    case = Case(folder.name, picture_HWC, mask_HW, drags)
    return case if long_side is None else scaled(case, long_side)


def scaled(case: Case, long_side: int) -> Case:
    """The same case at another size: the picture by Lanczos, the mask by nearest pixels."""
    height, width = case.mask_HW.shape
    factor = long_side / max(width, height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    picture = Image.fromarray(case.picture_HWC).resize(size, Image.Resampling.LANCZOS)
    white = case.mask_HW.astype(np.uint8) * np.uint8(255)
    mask = Image.fromarray(white).resize(size, Image.Resampling.NEAREST)
    along_x, along_y = (
        (new - 1) / max(old - 1, 1) for new, old in zip(size, (width, height), strict=True)
    )
    drags = tuple(
        Drag(*(Point(point.x * along_x, point.y * along_y) for point in (drag.handle, drag.target)))
        for drag in case.drags
    )
    return Case(case.name, np.array(picture), np.array(mask) > 0, drags)


def _picture_path(folder: Path) -> Path:
    for name in ("image.png", "image.jpg"):
        if (folder / name).exists():
            return folder / name
    raise BrokenCase("there is neither image.png nor image.jpg")


def _read_drags(path: Path) -> tuple[Drag, ...]:
    try:
        told = json.loads(path.read_text("utf-8"))
        pairs = list(zip(told["handles"], told["targets"], strict=True))
        drags = tuple(
            Drag(Point(float(hx), float(hy)), Point(float(tx), float(ty)))
            for (hx, hy), (tx, ty) in pairs
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenCase(f"case.json cannot be read: {error!r}") from error
    if not drags:
        raise BrokenCase("case.json has no drags")
    return drags


def _size(array: NDArray[np.generic]) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
