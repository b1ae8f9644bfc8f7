"""Two jobs have one key where their pictures are the same, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.edits import (
    Drag,
    JobSpec,
    JobWebhook,
    MaskImage,
    MaskPolygon,
    MaskRect,
    Point,
    Priority,
)
from shared.engines import ENGINES, OPTIONS
from shared.jobs.cache_keys import LENGTH, Contents, Maker, cache_key
from shared.jobs.tables import jobs
from tests.factories import DRAG, a_spec

CONTENTS = Contents("a" * 64, None)
MAKER = Maker("warp-1", "1.0", "on")


def key_of(spec: JobSpec, contents: Contents = CONTENTS, maker: Maker = MAKER) -> bytes | None:
    return cache_key("acc_1", spec, contents, maker)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "img_" + "1" * 32},
        {"is_single": False},
        {"priority": Priority.HIGH},
        {"timeout_s": 5, "expires_in_s": 9},
        {"webhook": JobWebhook("https://hooks.example", ("*",))},
        {"rounds": ((Drag(Point(20.0, 20.0), Point(28.0, 20.0)),),)},
        {"options": {"seed": 42.0}},
    ],
    ids=str,
)
def test_a_key_is_the_same_where_the_pictures_are(changes: dict[str, Any]) -> None:
    key = key_of(a_spec())
    assert key == key_of(a_spec(**changes))
    assert key is not None
    assert len(key) == LENGTH == jobs.c.cache_key.type.length


def test_a_point_at_zero_has_one_sign() -> None:
    zeros = [((Drag(Point(zero, 3), Point(4, 3)),),) for zero in (0, 0.0, -0.0)]
    assert len({key_of(a_spec(rounds=rounds)) for rounds in zeros}) == 1


OTHER_DRAG = Drag(Point(20, 20), Point(28, 21))
DIFFERENT: list[dict[str, Any]] = [
    {},
    {"mask": MaskRect(0, 0, 40, 40)},
    {"mask": MaskRect(0, 0, 40, 41)},
    {"mask": MaskPolygon((Point(0, 0), Point(40, 0), Point(40, 40)))},
    {"mask": MaskPolygon((Point(0, 0), Point(40, 40), Point(40, 0)))},
    {"mask": MaskImage("img_1")},
    {"rounds": ((OTHER_DRAG,),)},
    {"rounds": ((DRAG, OTHER_DRAG),)},
    {"rounds": ((OTHER_DRAG, DRAG),)},
    {"rounds": ((DRAG,), (OTHER_DRAG,)), "is_single": False},
    {"engine": "lightningdrag"},
    *({"options": {name: value}} for name, value in (
        ("candidates", 2), ("seed", 43), ("quality", "preview"), ("strict", True), ("split_px", 9),
        ("output", "canvas"), ("format", "webp"), ("steps", 9), ("guidance", 2.5),
        ("guidance_decay", "none"),
    )),
]  # fmt: skip


def test_a_key_is_another_where_anything_that_shapes_the_pictures_is() -> None:
    keys = [key_of(a_spec(**changes)) for changes in DIFFERENT]
    keys += [key_of(a_spec(), Contents("b" * 64, None)), key_of(a_spec(), Contents("a" * 64, "c"))]
    makers = [replace(MAKER, **{name: "other"}) for name in Maker.__slots__]
    keys += [key_of(a_spec(), maker=maker) for maker in makers]
    keys.append(cache_key("acc_2", a_spec(), CONTENTS, MAKER))
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_every_option_but_the_switch_is_in_a_key() -> None:
    tried = {name for changes in DIFFERENT for name in changes.get("options", {})}
    assert tried == set(OPTIONS) - {"cache"}
    assert all("cache" in engine.options for engine in ENGINES.values())


def test_a_mask_is_known_by_what_it_holds_and_not_by_its_id() -> None:
    held = Contents("a" * 64, "c" * 64)
    specs = [a_spec(mask=MaskImage(f"img_{n}")) for n in "12"]
    assert key_of(specs[0], held) == key_of(specs[1], held)
    assert key_of(specs[0], held) != key_of(specs[0], Contents("a" * 64, "d" * 64))


@pytest.mark.parametrize("options", [{"cache": False}, {"cache": None}], ids=str)
def test_a_job_that_wants_none_of_it_has_no_key(options: dict[str, Any]) -> None:
    assert key_of(a_spec(options=options)) is None
