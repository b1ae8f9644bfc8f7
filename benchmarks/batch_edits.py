"""The edits of `benchmarks.batches`: photographs of 512 x 512, and what is dragged in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from shared.imaging import decode, encode

SIDE_PX = 512
SAMPLE = Path(__file__).parents[1] / "infra" / "embedded" / "sample" / "image.png"
DRAGS: list[dict[str, Any]] = [
    {"handle": [200, 220], "target": [230, 210]},
    {"handle": [300, 300], "target": [290, 330]},
]
MASK = {"rect": [120, 140, 400, 400]}
SEED = 1
OPTIONS = {
    "candidates": 1, "seed": SEED, "quality": "full", "strict": False, "output": "composite",
    "format": "png", "cache": False,
}  # fmt: skip


def pictures(folder: Path, cases: Path | None, count: int) -> list[Path]:
    """So many different pictures of that size in a folder: crops of photographs."""
    sources = sorted(cases.glob("*/*image.*")) if cases else []
    found = [decode(path.read_bytes()).pixels_HWC for path in sources or [SAMPLE]]
    made = []
    for n in range(count):
        pixels_HWC = found[n % len(found)][..., :3]
        shift = 2 * (n // len(found))
        pixels_HWC = pixels_HWC[shift:, shift:]
        square = cv2.resize(pixels_HWC, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        path = folder / f"{n:04d}.png"
        path.write_bytes(encode(square, "png"))
        made.append(path)
    return made


def line(custom_id: str, image: str) -> dict[str, Any]:
    """A line of the batch. It gives no seed, so nothing is answered from an earlier result."""
    return {"custom_id": custom_id, "image": image, "mask": MASK, "drags": DRAGS, "engine": "warp"}
