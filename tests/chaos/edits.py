"""The jobs that clients ask for: a catalogue of small edits, and how often each act comes."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tests.chaos.engine import seed_of

SIZES = ((64, 64), (96, 64), (96, 96), (128, 96))
PICTURES = 6  #: of each account
EDITS = 40  #: in the catalogue

#: How often each act comes in a thousand jobs; the rest is `warp`.
SHARES = {
    "copy": 180, "sleep": 90, "fail": 30, "refuse": 20, "lose_storage_once": 12, "die_once": 3,
    "poison": 2, "overtime": 6, "linger": 12,
}  # fmt: skip
RARE = ("poison", "die_once", "lose_storage_once", "overtime", "linger", "fail", "refuse")


@dataclass(frozen=True)
class Order:
    """One job to ask for; `edit` is the same for orders whose pictures must be the same."""

    number: int
    act: str
    edit: str
    picture: int
    body: dict[str, Any]


def picture(number: int) -> bytes:
    """A PNG, the same for the same number."""
    chance = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    coarse_HWC = chance.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse_HWC).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    smooth.save(file, "PNG")
    return file.getvalue()


def order(number: int, chance: random.Random, first: Sequence[str]) -> Order:
    """The job with this number; the first ones do `first`, one each."""
    act = first[number] if number < len(first) else _act(chance)
    edit = random.Random(chance.randrange(EDITS))
    place = edit.randrange(PICTURES)
    width, height = SIZES[place % len(SIZES)]
    x, y = edit.randint(20, width - 28), edit.randint(20, height - 28)
    dx, dy = edit.choice([(5, 0), (0, 5), (-4, 3), (4, 4), (-5, -2)])
    mask = {"rect": [x - 14, y - 14, x + 16, y + 16]} if edit.random() < 0.5 else None
    seed = edit.randrange(1000) if act == "warp" else number
    options = {
        "seed": seed_of(act, seed),
        "quality": edit.choice(["preview", "preview", "full"]),
        "format": edit.choice(["png", "png", "webp"]),
        "cache": False,  # each is to be run
    }
    drags = [{"handle": [x, y], "target": [x + dx, y + dy]}]
    body: dict[str, Any] = {"mask": mask, "drags": drags, "options": options}
    if act == "overtime":
        body["timeout_s"] = 2
    elif chance.random() < 0.02:
        body["expires_in_s"] = 1
    body["priority"] = chance.choices(["low", "normal", "high"], [1, 8, 1])[0]
    same = options | {"seed": options["seed"] if act == "warp" else 0}
    name = f"{act if act == 'warp' else 'copy'} {place} {mask} {drags} {same}"
    return Order(number, act, name, place, body)


def _act(chance: random.Random) -> str:
    rest = 1000 - sum(SHARES.values())
    (act,) = chance.choices([*SHARES, "warp"], [*SHARES.values(), rest])
    return act
