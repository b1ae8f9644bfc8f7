"""From the backward map to pixels: cubic lookups, more of them where the picture shrinks.

An output pixel covers the parallelogram that the map's derivative makes of a unit square. Where
that is longer than a source pixel, lookups are spread along it, as in EWA filtering (Heckbert
1989): a pixel that the map shrinks by f is averaged over sqrt(f^2 - 1) source pixels, nothing at
f = 1, so there is no seam between what is averaged and what is not. Pictures with alpha are
looked up premultiplied, so that hidden colours do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from worker.engines.warp.dense import DenseMap
from worker.engines.warp.region import Part

TILE_PX = 96
MARGIN_PX = 4  #: what cubic lookups need around the pixels they fall on
STILL_PX = 1e-3  #: a tile that moves less is left as it is
FINEST = 8  #: lookups per pixel along one axis, at most
NEGLIGIBLE_PX = 0.5  #: a footprint this short needs but one lookup

Pixels = NDArray[np.uint8]
Places = NDArray[np.float32]  #: 2 x H x W, a plane of x and one of y


@dataclass(frozen=True, slots=True)
class Tile:
    """box: left, top, right, bottom. source_2HW: the x and y that each of its pixels comes from."""

    box: tuple[int, int, int, int]
    source_2HW: Places


def render(
    picture_HWC: Pixels,
    out_HWC: Pixels,
    mask_HW: NDArray[np.bool_],
    part: Part,
    dense: DenseMap,
    averaged: bool,
    progress: Callable[[float], None],
) -> None:
    """Write the part's pixels, where the mask allows it, into `out_HWC`."""
    for tile in _tiles(dense, part, progress):
        left, top, right, bottom = tile.box
        x, y = part.origin
        allowed = part.depth_HW[top - y : bottom - y, left - x : right - x] > 0
        allowed &= mask_HW[top:bottom, left:right]
        if not allowed.any():
            continue
        looked_up = _look_up(picture_HWC, tile.source_2HW, averaged)
        target = out_HWC[top:bottom, left:right]
        target[allowed] = looked_up[allowed]


def _tiles(dense: DenseMap, part: Part, progress: Callable[[float], None]) -> Iterator[Tile]:
    """The part in tiles of whole blocks, those that stand still left out."""
    block = dense.block_px
    blocks = max(1, TILE_PX // block)
    rows, columns = (n - 2 for n in dense.shifts_HW2.shape[:2])
    right_end, bottom_end = np.array(part.origin) + part.size
    for j in range(0, rows, blocks):
        progress(j / rows)
        for i in range(0, columns, blocks):
            cut = dense.shifts_HW2[j : j + blocks + 2, i : i + blocks + 2]
            if np.abs(cut).max() < STILL_PX:
                continue
            left, top = part.origin[0] + i * block, part.origin[1] + j * block
            shifts = _upsampled(cut, block)[: bottom_end - top, : right_end - left]
            height, width = shifts.shape[:2]
            x = np.arange(left, left + width, dtype=np.float32)
            y = np.arange(top, top + height, dtype=np.float32)
            source = np.stack([shifts[..., 0] + x, shifts[..., 1] + y[:, None]])
            yield Tile((left, top, left + width, top + height), source)


def _upsampled(shifts_HW2: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Blocks to pixels, bilinear, without the ring of blocks around."""
    height, width = shifts_HW2.shape[:2]
    size = (width * block, height * block)
    fine = cv2.resize(shifts_HW2, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine, np.float32)[block:-block, block:-block]


def _look_up(picture_HWC: Pixels, source_2HW: Places, averaged: bool) -> Pixels:
    """The picture at the places of a tile, averaged over each pixel's footprint if wanted."""
    crop, local = _crop(picture_HWC, source_2HW)
    lookups = list(_spread(local)) if averaged else [local]
    has_alpha = crop.shape[2] == 4 and bool((crop[..., 3] < 255).any())
    pixels: NDArray[Any] = _premultiplied(crop) if has_alpha else crop
    total = np.zeros((*local.shape[1:], crop.shape[2]), np.float32)
    for places in lookups:
        found = cv2.remap(
            pixels, places[0], places[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        if len(lookups) == 1 and not has_alpha:
            return np.asarray(found, np.uint8)
        total += found
    total /= len(lookups)
    return _straight(total) if has_alpha else np.asarray(np.rint(total), np.uint8)


def _crop(picture_HWC: Pixels, source_2HW: Places) -> tuple[Pixels, Places]:
    """What of the picture a tile looks at, and the places in it."""
    height, width = picture_HWC.shape[:2]
    low = np.floor([plane.min() for plane in source_2HW]).astype(int) - MARGIN_PX
    high = np.ceil([plane.max() for plane in source_2HW]).astype(int) + MARGIN_PX + 1
    left, top = np.clip(low, 0, (width - 1, height - 1))
    right, bottom = np.clip(high, 1, (width, height))
    local = source_2HW - np.array((left, top), np.float32)[:, None, None]
    return picture_HWC[top:bottom, left:right], local


def _spread(source_2HW: Places) -> Iterator[Places]:
    """The places to look at for each pixel of a tile, spread over its footprint."""
    across = _footprint(source_2HW, axis=2)
    down = _footprint(source_2HW, axis=1)
    for dy in _shares(down):
        for dx in _shares(across):
            places = source_2HW
            if dx:
                places = places + dx * across
            if dy:
                places = places + dy * down
            yield places


def _footprint(source_2HW: Places, axis: int) -> NDArray[np.float32]:
    """For each pixel the vector, in source pixels, along which its lookups are spread."""
    if source_2HW.shape[axis] < 2:
        return np.zeros_like(source_2HW)
    slope = np.gradient(source_2HW, axis=axis)
    squares = slope[0] ** 2 + slope[1] ** 2
    share = np.sqrt(np.maximum(1 - 1 / np.maximum(squares, 1), 0))
    return np.asarray(slope * share, np.float32)


def _shares(footprint_2HW: Places) -> list[np.float32]:
    """How far along the footprint each lookup lies, from -1/2 to 1/2."""
    longest = float(np.sqrt((footprint_2HW[0] ** 2 + footprint_2HW[1] ** 2).max()))
    if longest < NEGLIGIBLE_PX:
        return [np.float32(0)]
    count = min(max(int(np.ceil(longest)), 2), FINEST)
    return [np.float32((k + 0.5) / count - 0.5) for k in range(count)]


def _premultiplied(pixels_HW4: Pixels) -> NDArray[np.float32]:
    floats = pixels_HW4.astype(np.float32)
    floats[..., :3] *= floats[..., 3:] / 255
    return floats


def _straight(premultiplied_HW4: NDArray[np.float32]) -> Pixels:
    alpha = np.clip(premultiplied_HW4[..., 3:], 0, 255)
    colour = premultiplied_HW4[..., :3] * (255 / np.maximum(alpha, 0.5))
    straight = np.concatenate([np.clip(colour, 0, 255), alpha], axis=2)
    return np.asarray(np.rint(straight), np.uint8)
