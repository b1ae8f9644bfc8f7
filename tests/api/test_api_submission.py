"""What `POST /v1/jobs` refuses: each code at its pointer, all of them at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from shared.db import metadata
from shared.imaging import encode
from tests.api.calling import DRAG, NOBODY, Caller, problems, said, white
from tests.factories import a_picture

Found = set[tuple[str, str]]

NO_IMAGE = f"img_{NOBODY}"
RECT = {"rect": [10, 10, 54, 38]}


def drag(x0: Any, y0: Any, x1: Any, y1: Any) -> dict[str, Any]:
    return {"handle": [x0, y0], "target": [x1, y1]}


def refusals(caller: Caller, **changes: Any) -> Found:
    """What a submission says, having made sure that the dry run says the same."""
    body = caller.body(**changes)
    found = said(caller.post("/v1/jobs", json=body))
    dry = caller.post("/v1/jobs/validate", json=body)
    assert dry.status_code == 200
    assert problems(dry.json) == found
    return found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        # Fields
        ({"image": ...}, {("/image", "missing_field")}),
        ({"image": None}, {("/image", "wrong_type")}),
        ({"image": 5}, {("/image", "wrong_type")}),
        ({"image": ""}, {("/image", "wrong_length")}),
        ({"image": NO_IMAGE}, {("/image", "image_not_found")}),
        ({"image": "job_" + NOBODY}, {("/image", "image_not_found")}),
        ({"drags": ...}, {("/drags", "missing_field")}),
        ({"drags": None}, {("/drags", "missing_field")}),
        ({"drags": []}, {("/drags", "wrong_length")}),
        ({"drags": {}}, {("/drags", "wrong_type")}),
        ({"drags": "[]"}, {("/drags", "wrong_type")}),
        ({"drags": [DRAG] * 65}, {("/drags", "wrong_length")}),
        ({"drags": [None]}, {("/drags/0", "wrong_type")}),
        ({"drags": [{}]}, {("/drags/0/handle", "missing_field"),
                           ("/drags/0/target", "missing_field")}),
        ({"drags": [DRAG | {"handel": [1, 1]}]}, {("/drags/0/handel", "unknown_field")}),
        ({"drags": [drag(20, 20, 28, "20")]}, {("/drags/0/target/1", "wrong_type")}),
        ({"drags": [drag(20, 20, 28, True)]}, {("/drags/0/target/1", "wrong_type")}),
        ({"drags": [drag(20, 20, 28, None)]}, {("/drags/0/target/1", "wrong_type")}),
        ({"drags": [DRAG | {"handle": [20]}]}, {("/drags/0/handle", "wrong_length")}),
        ({"drags": [DRAG | {"handle": [20, 20, 0]}]}, {("/drags/0/handle", "wrong_length")}),
        ({"drags": [DRAG | {"handle": {"x": 1, "y": 2}}]}, {("/drags/0/handle", "wrong_type")}),
        ({"rounds": [[DRAG]]}, {("/rounds", "conflicting_fields")}),
        ({"drags": ..., "rounds": []}, {("/rounds", "wrong_length")}),
        ({"drags": ..., "rounds": [[]]}, {("/rounds/0", "wrong_length")}),
        ({"drags": ..., "rounds": [DRAG]}, {("/rounds/0", "wrong_type")}),
        ({"drags": ..., "rounds": [[DRAG]] * 9}, {("/rounds", "wrong_length")}),
        ({"engine": "lightningdrag"}, {("/engine", "engine_unavailable")}),
        ({"engine": ""}, {("/engine", "engine_unavailable")}),
        ({"engine": 5}, {("/engine", "wrong_type")}),
        ({"priority": "urgent"}, {("/priority", "out_of_range")}),
        ({"priority": 1}, {("/priority", "out_of_range")}),
        ({"timeout_s": 0}, {("/timeout_s", "out_of_range")}),
        ({"timeout_s": 86_401}, {("/timeout_s", "out_of_range")}),
        ({"timeout_s": 10**100}, {("/timeout_s", "out_of_range")}),
        ({"timeout_s": None}, {("/timeout_s", "wrong_type")}),
        ({"timeout_s": 1.5}, {("/timeout_s", "wrong_type")}),
        ({"timeout_s": True}, {("/timeout_s", "wrong_type")}),
        ({"timeout_s": "300"}, {("/timeout_s", "wrong_type")}),
        ({"expires_in_s": 0}, {("/expires_in_s", "out_of_range")}),
        ({"expires_in_s": -1}, {("/expires_in_s", "out_of_range")}),
        ({"expires_in_s": 10**18}, {("/expires_in_s", "out_of_range")}),
        ({"webhook": "https://example.org/"}, {("/webhook", "wrong_type")}),
        ({"webhook": {"url": "http://example.org/"}}, {("/webhook/url", "webhook_url_not_https")}),
        ({"webhook": {"url": "https://10.0.0.1/"}}, {("/webhook/url", "webhook_address_refused")}),
        ({"webhook": {"url": "https://a.example", "events": ["job.done"]}},
         {("/webhook/events/0", "out_of_range")}),
        ({"a~/b": 1}, {("/a~0~1b", "unknown_field")}),
        ({"": 1}, {("/", "unknown_field")}),
        ({"branch:rect": 1}, {("/branch:rect", "unknown_field")}),
        # Options
        ({"options": None}, {("/options", "wrong_type")}),
        ({"options": []}, {("/options", "wrong_type")}),
        ({"options": {"sed": 1}}, {("/options/sed", "unknown_field")}),
        ({"options": {"seed": -1}}, {("/options/seed", "option_out_of_range")}),
        ({"options": {"seed": 2**53}}, {("/options/seed", "option_out_of_range")}),
        ({"options": {"seed": 10**400}}, {("/options/seed", "option_out_of_range")}),
        ({"options": {"seed": 1.5}}, {("/options/seed", "wrong_type")}),
        ({"options": {"seed": True}}, {("/options/seed", "wrong_type")}),
        ({"options": {"seed": "42"}}, {("/options/seed", "wrong_type")}),
        ({"options": {"candidates": 0}}, {("/options/candidates", "option_out_of_range")}),
        ({"options": {"candidates": 9}}, {("/options/candidates", "option_out_of_range")}),
        ({"options": {"candidates": 2}}, {("/options/candidates", "option_not_supported")}),
        ({"options": {"steps": 0}}, {("/options/steps", "option_out_of_range")}),
        ({"options": {"steps": 51}}, {("/options/steps", "option_out_of_range")}),
        ({"options": {"steps": 8}}, {("/options/steps", "option_not_supported")}),
        ({"options": {"guidance": 20.5}}, {("/options/guidance", "option_out_of_range")}),
        ({"options": {"guidance": 3}}, {("/options/guidance", "option_not_supported")}),
        ({"options": {"guidance_decay": "cubic"}},
         {("/options/guidance_decay", "option_out_of_range")}),
        ({"options": {"guidance_decay": "linear"}},
         {("/options/guidance_decay", "option_not_supported")}),
        ({"options": {"split_px": 0}}, {("/options/split_px", "option_out_of_range")}),
        ({"options": {"split_px": 9.5}}, {("/options/split_px", "option_not_supported")}),
        ({"options": {"quality": "best"}}, {("/options/quality", "option_out_of_range")}),
        ({"options": {"strict": 1}}, {("/options/strict", "wrong_type")}),
        ({"options": {"cache": "yes"}}, {("/options/cache", "wrong_type")}),
        ({"options": {"output": "Canvas"}}, {("/options/output", "option_out_of_range")}),
        ({"options": {"format": "jpg"}}, {("/options/format", "option_out_of_range")}),
        # Metadata
        ({"metadata": None}, {("/metadata", "wrong_type")}),
        ({"metadata": []}, {("/metadata", "wrong_type")}),
        ({"metadata": {"a": 1}}, {("/metadata/a", "wrong_type")}),
        ({"metadata": {"a": None}}, {("/metadata/a", "wrong_type")}),
        ({"metadata": {"a": "x" * 513}}, {("/metadata/a", "wrong_length")}),
        ({"metadata": {"": "x"}}, {("/metadata/", "wrong_length")}),
        ({"metadata": {"k" * 65: "x"}}, {("/metadata/" + "k" * 65, "wrong_length")}),
        ({"metadata": {"function-a": 1}}, {("/metadata/function-a", "wrong_type")}),
        ({"metadata": {"branch:a": 1}}, {("/metadata/branch:a", "wrong_type")}),
        ({"metadata": {str(n): "x" for n in range(17)}}, {("/metadata", "wrong_length")}),
        # Masks
        ({"mask": 5}, {("/mask", "wrong_type")}),
        ({"mask": []}, {("/mask", "wrong_type")}),
        ({"mask": {}}, {("/mask", "wrong_type")}),
        ({"mask": {"circle": 1}}, {("/mask", "wrong_type")}),
        ({"mask": RECT | {"polygon": [[1, 1], [9, 1], [9, 9]]}}, {("/mask", "wrong_type")}),
        ({"mask": {"rect": [25, 10, 40, 38]}, "drags": [drag(20, 20, 99, 20)]},
         {("/drags/0/handle", "point_outside_mask"), ("/drags/0/target", "point_outside_image")}),
        ({"mask": {"rect": [1, 2, 3]}}, {("/mask/rect", "wrong_length")}),
        ({"mask": {"rect": [1, 2, 3, "4"]}}, {("/mask/rect/3", "wrong_type")}),
        ({"mask": {"rect": [1, 2, 3, 1e9]}}, {("/mask/rect/3", "out_of_range")}),
        ({"mask": {"polygon": [[1, 1], [2, 2]]}}, {("/mask/polygon", "wrong_length")}),
        ({"mask": {"polygon": [[1, 1], [2, 2], [3]]}}, {("/mask/polygon/2", "wrong_length")}),
        ({"mask": {"polygon": [[1, 1]] * 1001}}, {("/mask/polygon", "wrong_length")}),
        ({"mask": NO_IMAGE}, {("/mask", "image_not_found")}),
        ({"mask": ""}, {("/mask", "image_not_found")}),
        ({"mask": {"rect": [30, 30, 30, 40]}}, {("/mask", "mask_empty")}),
        ({"mask": {"rect": [40, 30, 30, 40]}}, {("/mask", "mask_empty")}),
        ({"mask": {"rect": [64, 0, 99, 48]}}, {("/mask", "mask_empty")}),
        ({"mask": {"rect": [-50, -50, 0, 0]}}, {("/mask", "mask_empty")}),
        ({"mask": {"rect": [30, 10, 54, 38]}}, {("/drags/0/handle", "point_outside_mask"),
                                                ("/drags/0/target", "point_outside_mask")}),
        ({"mask": {"rect": [10, 10, 28, 38]}}, {("/drags/0/target", "point_outside_mask")}),
        ({"mask": {"polygon": [[30, 10], [60, 10], [60, 40]]}},
         {("/drags/0/handle", "point_outside_mask"), ("/drags/0/target", "point_outside_mask")}),
        # Points
        ({"drags": [drag(64, 20, 28, 20)]}, {("/drags/0/handle", "point_outside_image")}),
        ({"drags": [drag(63.01, 20, 28, 20)]}, {("/drags/0/handle", "point_outside_image")}),
        ({"drags": [drag(20, 20, 28, 48)]}, {("/drags/0/target", "point_outside_image")}),
        ({"drags": [drag(20, 20, 28, -0.01)]}, {("/drags/0/target", "point_outside_image")}),
        ({"drags": [DRAG, drag(20, 20, 28, 30)]}, {("/drags/1/handle", "duplicate_handle")}),
        ({"drags": [DRAG, drag(20, 30, 28, 20)]}, {("/drags/1/target", "duplicate_target")}),
        ({"drags": [DRAG, DRAG]}, {("/drags/1/handle", "duplicate_handle"),
                                   ("/drags/1/target", "duplicate_target")}),
        ({"drags": [DRAG, drag(20.0, 2e1, 28, 30)]}, {("/drags/1/handle", "duplicate_handle")}),
        ({"drags": [drag(20, 20, 20, 20)]}, {("/drags", "zero_length_drags")}),
        ({"drags": ..., "rounds": [[DRAG], [drag(9, 9, 9, 9)]]},
         {("/rounds/1", "zero_length_drags")}),
        ({"drags": ..., "rounds": [[DRAG], [DRAG, drag(64, 20, 28, 30)]]},
         {("/rounds/1/1/handle", "point_outside_image")}),
        ({"drags": ..., "rounds": [[DRAG], [DRAG, drag(20, 20, 30, 30)]], "mask": RECT},
         {("/rounds/1/1/handle", "duplicate_handle")}),
    ],
)  # fmt: skip
def test_a_submission_is_refused_with_a_code_and_its_place_when_one_thing_is_wrong(
    anybody: Caller, changes: dict[str, Any], found: Found
) -> None:
    assert refusals(anybody, **changes) == found


@pytest.mark.parametrize(
    "changes",
    [
        {"drags": [drag(30, 0, 40, 0), drag(0, 10, 0, 20)]},
        {"drags": [drag(63, 20, 63, 30), drag(20, 47, 30, 47)]},
        {"drags": [drag(20.25, 20.5, 28.75, 20)]},
        {"drags": [DRAG, drag(40, 40, 40, 40)]},
        {"drags": [drag(i % 32 + 9, i // 32 * 9 + 9, i % 32 + 10, i // 32 * 9 + 9)
                   for i in range(64)], "mask": RECT | {"rect": [0, 0, 64, 48]}},
        {"drags": ..., "rounds": [[DRAG]] * 8},
        {"drags": ..., "rounds": [[DRAG], [DRAG]]},
        {"drags": None, "rounds": [[DRAG]]},
        {"rounds": None},
        {"mask": None},
        {"mask": RECT},
        {"mask": {"rect": [-99_999.5, -3, 100_000, 1e5]}},
        {"mask": {"polygon": [[5, 5], [60, 5], [60, 45], [5, 45]]}},
        {"engine": "warp"},
        {"engine": None},
        {"options": {}},
        {"options": {"candidates": 1, "seed": 0, "quality": "preview", "strict": True,
                     "output": "canvas", "format": "webp", "cache": False}},
        {"options": {"seed": 2**53 - 1}},
        {"options": {"seed": None, "steps": None, "split_px": None}},
        {"priority": None},
        {"priority": "high", "timeout_s": 1, "expires_in_s": 1},
        {"timeout_s": 86_400, "expires_in_s": 30 * 86_400},
        {"expires_in_s": None},
        {"metadata": {}},
        {"metadata": {f"{n:0>64}": "x" * 512 for n in range(16)}},
        {"metadata": {"ключ 💥": "", '"$.x': "\\"}},
    ],
)  # fmt: skip
def test_a_submission_is_accepted_when_everything_is_at_its_limit(
    anybody: Caller, changes: dict[str, Any]
) -> None:
    body = anybody.body(**changes)
    dry = anybody.post("/v1/jobs/validate", json=body).json
    assert dry["valid"], dry["problems"]
    answer = anybody.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text


def test_a_submission_is_told_everything_at_once_when_much_is_wrong(caller: Caller) -> None:
    found = refusals(
        caller,
        image=caller.image(),
        mask=RECT,
        drags=[
            drag(20, 20, 70, 20),
            drag(20, 20, 5, 5),
            {"handle": [1, "x"]},
            drag(30, 30, 31, 30),
        ],
        engine="dragon",
        options={"seed": -1, "steps": "many", "colour": "red"},
        priority="urgent",
        timeout_s=0,
        expires_in_s="soon",
        metadata={"a": 1},
        webhook={"url": "https://user@hooks.example/", "events": ["job.done"]},
    )
    assert found == {
        ("/drags/0/target", "point_outside_image"),
        ("/drags/1/handle", "duplicate_handle"),
        ("/drags/1/target", "point_outside_mask"),
        ("/drags/2/handle/1", "wrong_type"),
        ("/drags/2/target", "missing_field"),
        ("/engine", "engine_unavailable"),
        ("/options/seed", "option_out_of_range"),
        ("/options/steps", "wrong_type"),
        ("/options/colour", "unknown_field"),
        ("/priority", "out_of_range"),
        ("/timeout_s", "out_of_range"),
        ("/expires_in_s", "wrong_type"),
        ("/metadata/a", "wrong_type"),
        ("/webhook/url", "webhook_url_invalid"),
        ("/webhook/events/0", "out_of_range"),
    }


def test_a_submission_keeps_the_places_of_drags_when_one_before_them_is_malformed(
    caller: Caller,
) -> None:
    assert refusals(caller, drags=[{}, None, drag(99, 20, 28, 20), 5, drag(20, 20, 28, 99)]) == {
        ("/drags/0/handle", "missing_field"),
        ("/drags/0/target", "missing_field"),
        ("/drags/1", "wrong_type"),
        ("/drags/2/handle", "point_outside_image"),
        ("/drags/3", "wrong_type"),
        ("/drags/4/target", "point_outside_image"),
    }


def test_a_submission_is_told_of_the_other_rounds_when_one_is_malformed(caller: Caller) -> None:
    rounds = [[{"handle": [1]}, drag(99, 20, 28, 20)], [], [DRAG, drag(20, 20, 30, 30)], 5, [DRAG]]
    assert refusals(caller, drags=..., rounds=rounds) == {
        ("/rounds/0/0/handle", "wrong_length"),
        ("/rounds/0/0/target", "missing_field"),
        ("/rounds/0/1/handle", "point_outside_image"),
        ("/rounds/1", "wrong_length"),
        ("/rounds/2/1/handle", "duplicate_handle"),
        ("/rounds/3", "wrong_type"),
    }


def test_a_submission_is_not_told_that_nothing_moves_when_a_drag_is_malformed(
    caller: Caller,
) -> None:
    assert refusals(caller, drags=[drag(20, 20, 20, 20), {"handle": [1, 1]}]) == {
        ("/drags/1/target", "missing_field")
    }


def test_a_submission_is_told_of_both_when_malformed_drags_and_rounds_are_given(
    caller: Caller,
) -> None:
    assert refusals(caller, drags=[None], rounds=[[None, drag(99, 20, 28, 20)]]) == {
        ("/drags/0", "wrong_type"),
        ("/rounds/0/0", "wrong_type"),
        ("/rounds/0/1/handle", "point_outside_image"),
        ("/rounds", "conflicting_fields"),
    }


def test_a_submission_is_told_of_its_points_when_picture_and_mask_are_wrong(caller: Caller) -> None:
    assert refusals(caller, image=NO_IMAGE, mask={"rect": []}, drags=[DRAG, DRAG]) == {
        ("/image", "image_not_found"),
        ("/mask/rect", "wrong_length"),
        ("/drags/1/handle", "duplicate_handle"),
        ("/drags/1/target", "duplicate_target"),
    }


def test_a_submission_is_told_of_its_mask_when_the_picture_is_wrong(caller: Caller) -> None:
    assert refusals(caller, image=NO_IMAGE, mask=f"img_{'1' * 32}") == {
        ("/image", "image_not_found"),
        ("/mask", "image_not_found"),
    }


def test_a_submission_has_one_code_at_the_top_when_every_violation_has_it(caller: Caller) -> None:
    answer = caller.submit(drags=[drag(99, 20, 28, 99)])
    assert answer.json["code"] == "point_outside_image"
    answer = caller.submit(drags=[drag(99, 20, 28, 20)], timeout_s=0)
    assert answer.json["code"] == "invalid_request"


def test_a_rect_is_half_open_when_points_lie_on_its_sides(caller: Caller) -> None:
    inside, outside = drag(20, 20, 27.4, 20), drag(20, 20, 27.6, 20)
    mask = {"rect": [10, 10, 28, 38]}
    assert problems(caller.validate(mask=mask, drags=[outside])) == {
        ("/drags/0/target", "point_outside_mask")
    }
    assert ("/drags/0/target", "point_outside_mask") not in problems(
        caller.validate(mask=mask, drags=[inside])
    )


@pytest.mark.parametrize("end", ["handle", "target"])
def test_a_point_is_refused_when_it_lies_at_the_border_of_the_mask(
    caller: Caller, end: str
) -> None:
    mask = {"rect": [20, 10, 40, 38]} if end == "handle" else {"rect": [10, 10, 29, 38]}
    assert refusals(caller, mask=mask) == {(f"/drags/0/{end}", "point_at_mask_border")}


def test_a_point_is_not_refused_when_it_has_just_enough_room_at_the_border(caller: Caller) -> None:
    assert caller.validate(mask={"rect": [19, 19, 30, 22]})["valid"]


@pytest.mark.parametrize("mask", [None, {"rect": [0, 0, 64, 48]}], ids=["made", "everything"])
def test_a_point_on_the_pictures_edge_is_refused_when_it_is_moved_inward(
    caller: Caller, mask: Any
) -> None:
    assert refusals(caller, mask=mask, drags=[drag(0, 20, 8, 20)]) == {
        ("/drags/0/target", "edge_point_moves_inward")
    }


def test_points_are_not_judged_by_a_mask_when_it_is_malformed(caller: Caller) -> None:
    assert refusals(caller, mask={"rect": [1]}, drags=[drag(0, 20, 8, 20)]) == {
        ("/mask/rect", "wrong_length")
    }


@pytest.mark.parametrize("size", [(48, 64), (63, 48), (64, 49), (1, 1)])
def test_a_mask_is_refused_when_its_size_is_not_the_pictures(
    caller: Caller, size: tuple[int, int]
) -> None:
    assert refusals(caller, mask=caller.image(white(*size))) == {("/mask", "mask_size_mismatch")}


def test_a_mask_is_refused_when_it_is_a_picture_without_white(caller: Caller) -> None:
    black = caller.image(encode(np.full((48, 64, 3), 127, np.uint8), "png"))
    assert refusals(caller, mask=black) == {("/mask", "mask_empty")}


def test_a_mask_is_taken_when_it_is_a_picture_of_the_same_size(caller: Caller) -> None:
    mask = caller.image(white(64, 48))
    assert caller.job(mask=mask)["request"]["mask"] == mask


def test_a_mask_is_looked_at_pixel_by_pixel_when_it_is_a_picture(caller: Caller) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[10:38, 10:28] = 255
    assert refusals(caller, mask=caller.image(encode(pixels, "png"))) == {
        ("/drags/0/target", "point_outside_mask")
    }


def test_a_drag_is_refused_when_its_ends_lie_in_different_parts_of_the_mask(caller: Caller) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[10:38, 10:24] = pixels[10:38, 25:50] = 255
    assert refusals(caller, mask=caller.image(encode(pixels, "png"))) == {
        ("/drags/0/target", "drag_not_reachable")
    }


def test_a_jpeg_is_refused_when_the_picture_has_alpha(caller: Caller) -> None:
    pixels = np.full((48, 64, 4), 200, np.uint8)
    image = caller.image(encode(pixels, "png"))
    assert refusals(caller, image=image, options={"format": "jpeg"}) == {
        ("/options/format", "alpha_not_supported")
    }
    pixels[..., 3] = 255  # every pixel is opaque: no alpha
    assert caller.validate(image=caller.image(encode(pixels, "png")), options={"format": "jpeg"})[
        "valid"
    ]
    assert caller.validate(image=image, options={"format": "webp"})["valid"]


def test_a_webp_is_refused_when_the_picture_is_too_long_for_one(caller: Caller) -> None:
    image = caller.image(a_picture(16_384, 48))
    assert refusals(caller, image=image, options={"format": "webp"}) == {
        ("/options/format", "picture_too_long")
    }
    assert caller.validate(image=image, options={"format": "jpeg"})["valid"]


def test_a_submission_finds_no_image_when_it_is_another_accounts(
    caller: Caller, stranger: Caller
) -> None:
    theirs = stranger.image()
    assert refusals(caller, image=theirs) == {("/image", "image_not_found")}
    assert refusals(caller, mask=theirs) == {("/mask", "image_not_found")}
    missing, foreign = (
        caller.submit(image=image).json["errors"][0]["detail"].replace(image, "")
        for image in (NO_IMAGE, theirs)
    )
    assert missing == foreign


def test_a_validation_stores_nothing_when_it_finds_nothing_wrong(
    caller: Caller, services: Any
) -> None:
    body = caller.body(mask=RECT)
    before = counts(services)
    answer = caller.post("/v1/jobs/validate", json=body).json
    assert list(answer) == ["valid", "problems", "canvas", "estimate"]
    assert answer["valid"] is True
    assert answer["canvas"] == {"width": 64, "height": 48}
    assert answer["estimate"]["queue_s"] == 0
    assert answer["estimate"]["run_s"] > 0
    assert counts(services) == before
    caller.post("/v1/jobs", json=body)
    assert counts(services) != before
    assert caller.post("/v1/jobs/validate", json=body).json["estimate"]["queue_s"] > 0


def counts(services: Any) -> dict[str, int]:
    with services.database.reading() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table))
            for table in metadata.sorted_tables
        }


def test_a_validation_has_no_canvas_when_the_picture_is_not_known(caller: Caller) -> None:
    answer = caller.validate(image=NO_IMAGE)
    assert answer["canvas"] is None
    assert answer["estimate"] is not None
    answer = caller.validate(engine="dragon")
    assert (answer["canvas"], answer["estimate"]) == (None, None)


def test_a_job_shows_the_defaults_when_little_was_said(caller: Caller) -> None:
    image = caller.image()
    request = caller.job(image=image)["request"]
    seed = request["options"].pop("seed")
    assert 0 <= seed < 2**53
    assert request == {
        "image": image,
        "mask": None,
        "drags": [{"handle": [20.0, 20.0], "target": [28.0, 20.0]}],
        "engine": "warp",
        "options": {
            "candidates": 1, "quality": "full", "strict": False, "output": "composite",
            "format": "png", "cache": True,
        },
        "priority": "normal",
        "expires_in_s": None,
        "timeout_s": 300,
        "webhook": None,
    }  # fmt: skip


def test_a_job_has_another_seed_each_time_when_none_was_given(caller: Caller) -> None:
    seeds = {caller.job()["request"]["options"]["seed"] for _ in range(4)}
    assert len(seeds) == 4
    assert caller.job(options={"seed": 0})["request"]["options"]["seed"] == 0


def test_a_job_shows_what_was_asked_when_much_was_said(caller: Caller) -> None:
    asked = {
        "mask": {"polygon": [[5.5, 5], [60, 5], [60, 45], [5, 45]]},
        "rounds": [[DRAG], [drag(28, 20, 30, 22)]],
        "options": {"seed": 7, "output": "canvas", "format": "webp", "strict": True},
        "priority": "low",
        "expires_in_s": 60,
        "timeout_s": 30,
        "metadata": {"order": "1234"},
    }
    job = caller.job(drags=..., **asked)
    request = job["request"]
    assert {name: request[name] for name in asked if name not in ("options", "metadata")} == {
        name: part for name, part in asked.items() if name not in ("options", "metadata")
    }
    assert request["options"].items() >= asked["options"].items()
    assert "drags" not in request
    assert job["metadata"] == {"order": "1234"}
    assert job["expires_at"] is not None


def test_a_job_can_be_submitted_again_when_its_request_is_sent_as_it_was_shown(
    caller: Caller,
) -> None:
    for changes in ({}, {"drags": ..., "rounds": [[DRAG]]}, {"mask": RECT, "expires_in_s": 9}):
        request = caller.job(**changes)["request"]
        again = caller.post("/v1/jobs", json=request)
        assert again.status_code == 202, again.text
        assert again.json["request"] == request


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/validate"])
def test_a_parameter_is_refused_when_the_address_takes_none(caller: Caller, path: str) -> None:
    answer = caller.post(f"{path}?x=1", json=caller.body())
    assert {(e["pointer"], e["code"]) for e in answer.json["errors"]} == {("/x", "unknown_field")}
