"""What is refused, and filled in, for an engine that works at a size of its own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from shared.imaging import encode
from shared.services import build_services
from shared.settings import Settings
from tests.api.calling import Caller, caller_of, problems, said
from tests.broker import free_port
from tests.planted import SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: On a picture of 1024 x 1024 two of its pixels are one of the canvas (512 x 512).
SIDE = 1024
RECT = {"rect": [100, 100, 900, 900]}


@pytest.fixture(scope="module", params=["lcm", "ddim"])
def painter(
    migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Caller]:
    """A caller where the engine is configured, with each scheduler; no worker is up."""
    folder = tmp_path_factory.mktemp("painter")
    path = shutil.copy(migrated_sqlite, folder / "towline.db")
    services = build_services(
        Settings(
            home=folder,
            database_url=f"sqlite:///{path}",
            redis_url=f"redis://127.0.0.1:{free_port()}/0",
            secret_key=SECRET_KEY,
            engines=("lightningdrag", "warp"),
            model_scheduler=request.param,
        )
    )
    yield caller_of(services)
    services.database.close()


@pytest.fixture(scope="module")
def image(painter: Caller) -> str:
    return painter.image(encode(np.full((SIDE, SIDE, 3), 90, np.uint8), "png"))


def drag(x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"handle": [x0, y0], "target": [x1, y1]}


def body(image: str, *drags: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"image": image, "mask": RECT, "drags": list(drags), **changes}


@pytest.mark.parametrize(
    ("drags", "found"),
    [
        ([drag(200, 200, 300, 300), drag(204, 200, 400, 300)], set()),
        (
            [drag(200, 200, 300, 300), drag(201, 201, 400, 300)],
            {("/drags/1/handle", "duplicate_handle")},
        ),
        (
            [drag(200, 200, 300, 300), drag(260, 200, 301, 301)],
            {("/drags/1/target", "duplicate_target")},
        ),
        ([drag(200, 200, 950, 200)], {("/drags/0/target", "point_outside_mask")}),
        ([drag(200, 200, 1024, 200)], {("/drags/0/target", "point_outside_image")}),
        ([drag(100, 100, 899, 899)], set()),  # it needs no room at the mask's border
    ],
)
def test_points_are_checked_on_the_picture_and_again_on_the_canvas(
    painter: Caller, image: str, drags: list[dict[str, Any]], found: set[tuple[str, str]]
) -> None:
    answer = painter.post("/v1/jobs/validate", json=body(image, *drags))
    assert problems(answer.json) == found
    assert answer.json["canvas"] == {"width": 512, "height": 512}
    submitted = painter.post("/v1/jobs", json=body(image, *drags))
    assert submitted.status_code == (422 if found else 202)


def test_points_of_different_rounds_may_share_a_pixel(painter: Caller, image: str) -> None:
    rounds = [[drag(200, 200, 300, 300)], [drag(200, 200, 400, 300)]]
    asked = {**body(image), "rounds": rounds}
    del asked["drags"]
    assert painter.post("/v1/jobs", json=asked).status_code == 202


def test_a_mask_of_which_the_model_sees_nothing_is_refused(painter: Caller, image: str) -> None:
    small = body(image, drag(200, 200, 205, 205), mask={"rect": [194, 194, 207, 207]})
    assert said(painter.post("/v1/jobs", json=small)) == {("/mask", "mask_empty_on_canvas")}
    small["mask"] = {"rect": [190, 190, 210, 210]}
    assert painter.post("/v1/jobs", json=small).status_code == 202


def test_a_picture_that_is_a_mere_line_is_refused(painter: Caller) -> None:
    line = painter.image(encode(np.full((20_000, 1, 3), 80, np.uint8), "png"))
    asked = body(line, drag(0, 100, 0, 900), mask=None)
    assert said(painter.post("/v1/jobs", json=asked)) == {("/image", "canvas_too_long")}


def test_the_two_parts_of_a_mask_need_not_touch(painter: Caller) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[100:300, 100:300] = mask[600:800, 600:800] = 255
    image = painter.image(encode(np.full((SIDE, SIDE, 3), 80, np.uint8), "png"))
    mask_id = painter.image(encode(np.repeat(mask[..., None], 3, axis=2), "png"))
    asked = body(image, drag(200, 200, 700, 700), mask=mask_id)
    assert painter.post("/v1/jobs", json=asked).status_code == 202
    assert said(painter.post("/v1/jobs", json={**asked, "engine": "warp"})) == {
        ("/drags/0/target", "drag_not_reachable")
    }


def test_too_many_rounds_of_split_drags_are_refused(painter: Caller, image: str) -> None:
    asked = body(image, drag(200, 200, 521, 200), options={"split_px": 10})
    assert said(painter.post("/v1/jobs", json=asked)) == {("/options/split_px", "too_many_rounds")}
    asked["options"] = {"split_px": 10.1}
    assert painter.post("/v1/jobs", json=asked).status_code == 202


def test_steps_and_guidance_are_those_of_the_scheduler(painter: Caller, image: str) -> None:
    job = painter.post("/v1/jobs", json=body(image, drag(200, 200, 300, 300))).json
    chosen = job["request"]["options"]
    (engine,) = (
        engine for engine in painter.get("/v1/engines").json["data"]
        if engine["name"] == "lightningdrag"
    )  # fmt: skip
    shown = {name: option["default"] for name, option in engine["options"].items()}
    pair = (chosen["steps"], chosen["guidance"])
    assert pair == (shown["steps"], shown["guidance"])
    assert pair in ((8, 3.0), (25, 4.0))
    assert job["progress"] == {"step": 0, "steps": chosen["steps"]}
    assert chosen["guidance_decay"] == "inv_square"
    assert "strict" not in chosen


def test_progress_counts_the_steps_of_all_rounds(painter: Caller, image: str) -> None:
    options = {"split_px": 40, "steps": 5}
    asked = body(image, drag(200, 200, 300, 200), options=options)
    assert painter.post("/v1/jobs", json=asked).json["progress"] == {"step": 0, "steps": 15}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"steps": 0}, {("/options/steps", "option_out_of_range")}),
        ({"steps": 51}, {("/options/steps", "option_out_of_range")}),
        ({"guidance": 20.5}, {("/options/guidance", "option_out_of_range")}),
        ({"candidates": 9}, {("/options/candidates", "option_out_of_range")}),
        ({"quality": "preview"}, {("/options/quality", "option_not_supported")}),
        ({"guidance": 0.5, "candidates": 8, "split_px": 4096}, set()),
    ],
)
def test_options_are_checked_before_anything_runs(
    painter: Caller, image: str, options: dict[str, Any], found: set[tuple[str, str]]
) -> None:
    asked = body(image, drag(200, 200, 300, 300), options=options)
    assert problems(painter.post("/v1/jobs/validate", json=asked).json) == found
