"""The sheet: for every case its source, drags, mask and result side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from shared.edits import Drag
from worker.evaluation.cases import Case

CELL_PX = 256
LABEL_PX = 16
BACKGROUND = (32, 32, 32)
HANDLE_COLOUR = (255, 60, 60)
TARGET_COLOUR = (60, 140, 255)


@dataclass(frozen=True, slots=True)
class Panel:
    """One row of the sheet: already shrunk, so that many cases fit into memory."""

    label: str
    pictures: tuple[Image.Image, ...]


def make_panel(case: Case, result_HWC: NDArray[np.uint8] | None, label: str) -> Panel:
    """Source, drags, mask and result; the result is left out where there is none."""
    source, factor = _shrunk(case.picture_HWC)
    drawn = source.copy()
    for drag in case.drags:
        _draw_arrow(ImageDraw.Draw(drawn), drag, factor)
    mask, _ = _shrunk(case.mask_HW.astype(np.uint8) * np.uint8(255))
    pictures = [source, drawn, mask]
    if result_HWC is not None:
        pictures.append(_shrunk(result_HWC)[0])
    return Panel(label, tuple(pictures))


def make_sheet(panels: Sequence[Panel]) -> Image.Image:
    """All rows, one below the other."""
    heights = [LABEL_PX + max((p.height for p in panel.pictures), default=0) for panel in panels]
    sheet = Image.new("RGB", (4 * CELL_PX, max(1, sum(heights))), BACKGROUND)
    pen, top = ImageDraw.Draw(sheet), 0
    for panel, height in zip(panels, heights, strict=True):
        pen.text((2, top + 2), panel.label, fill=(255, 255, 255))
        for column, picture in enumerate(panel.pictures):
            sheet.paste(picture, (column * CELL_PX, top + LABEL_PX))
        top += height
    return sheet


def _shrunk(pixels: NDArray[np.uint8]) -> tuple[Image.Image, float]:
    picture = Image.fromarray(pixels)
    if picture.mode == "RGBA":
        backdrop = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
        picture = Image.alpha_composite(backdrop, picture)
    factor = min(1.0, CELL_PX / max(picture.size))
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), factor


def _draw_arrow(pen: ImageDraw.ImageDraw, drag: Drag, factor: float) -> None:
    x0, y0, x1, y1 = (
        (v + 0.5) * factor for v in (drag.handle.x, drag.handle.y, drag.target.x, drag.target.y)
    )
    pen.line((x0, y0, x1, y1), fill=(255, 255, 255), width=2)
    angle = math.atan2(y1 - y0, x1 - x0)
    for turn in (2.6, -2.6):
        barb = (x1 + 7 * math.cos(angle + turn), y1 + 7 * math.sin(angle + turn))
        pen.line((x1, y1, *barb), fill=(255, 255, 255), width=2)
    pen.ellipse((x0 - 3, y0 - 3, x0 + 3, y0 + 3), fill=HANDLE_COLOUR)
    pen.ellipse((x1 - 3, y1 - 3, x1 + 3, y1 + 3), fill=TARGET_COLOUR)
