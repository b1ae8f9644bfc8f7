"""The whole service with the tiny model of the golden data, on the CPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from shared.imaging import decode
from tests.golden.place import CHECKPOINTS
from tests.integration.editor import FINAL, Editor
from tests.integration.embedded.running import REPOSITORY, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.embedded.running import EmbeddedService, StartService

for module in ("torch", "diffusers", "transformers"):
    pytest.importorskip(module)
pytestmark = pytest.mark.slow

CAT = (REPOSITORY / "infra" / "embedded" / "sample" / "image.png").read_bytes()
RECT = [100, 40, 260, 200]
DRAGS = [{"handle": [168, 87], "target": [167, 72]}]
STEPS = 3
QUICK = {"steps": STEPS, "guidance": 1}  #: half the work
LONG = 50  #: steps of an edit that is not meant to end
PATIENCE_S = 120.0  #: with what takes seconds on a quiet machine


@pytest.fixture(scope="module")
def service(start_any_service: StartService) -> EmbeddedService:
    service = start_any_service(
        TOWLINE_ENGINES="warp,lightningdrag",
        TOWLINE_MODEL_DIR=str(CHECKPOINTS),
        TOWLINE_BATCH_WAIT_MS="500",
        TOWLINE_HEARTBEAT_S="0.5",  # how soon a cancel is heard of
        TOWLINE_DRAIN_S="0.5",
    )
    service.wait_until_up()
    return service


@pytest.fixture(scope="module")
def editor(service: EmbeddedService) -> Iterator[Editor]:
    with service.api() as api:
        yield Editor(api)


@pytest.fixture(scope="module")
def image(editor: Editor) -> str:
    return str(editor.upload(CAT)["id"])


def body(image: str, **options: Any) -> dict[str, Any]:
    return {
        "image": image,
        "mask": {"rect": RECT},
        "drags": DRAGS,
        "engine": "lightningdrag",
        "options": options,
    }


@pytest.fixture(scope="module")
def watched(editor: Editor, image: str) -> tuple[dict[str, Any], list[int]]:
    """A job with a seed of the server's choice, and the steps that were seen on the way."""
    job, seen = editor.submit(**body(image, **QUICK)), [0]
    assert job["progress"] == {"step": 0, "steps": STEPS}
    deadline_s = time.monotonic() + PATIENCE_S
    while job["status"] not in FINAL:
        assert time.monotonic() < deadline_s, job
        job = editor.api.get(f"/v1/jobs/{job['id']}").json()
        assert job["progress"]["steps"] == STEPS
        if job["progress"]["step"] != seen[-1]:
            seen.append(job["progress"]["step"])
        time.sleep(0.02)
    return job, seen


def test_an_edit_tells_its_steps_and_changes_nothing_outside_of_the_mask(
    editor: Editor, watched: tuple[dict[str, Any], list[int]]
) -> None:
    job, seen = watched
    assert job["status"] == "succeeded", job["error"]
    assert seen == sorted(seen)
    assert len(seen) >= 3
    assert seen[-1] == STEPS
    assert job["result"]["model_digest"].startswith("ld1:lcm:float32:")
    data = editor.result(job)
    assert b"compositeWithTrainedAlgorithmicMedia" in data
    before, after = decode(CAT).pixels_HWC, decode(data).pixels_HWC
    changed_HW = (before != after).any(axis=-1)
    inside_HW = np.zeros(changed_HW.shape, np.bool_)
    inside_HW[RECT[1] : RECT[3], RECT[0] : RECT[2]] = True
    assert not changed_HW[~inside_HW].any()
    assert changed_HW[inside_HW].mean() > 0.5


def test_an_edit_is_replayed_by_its_seed_bit_for_bit(
    editor: Editor, image: str, watched: tuple[dict[str, Any], list[int]]
) -> None:
    """The pictures' bytes, that is: a file names its job."""
    first, _ = watched
    seed = first["result"]["candidates"][0]["seed"]
    anew = {**QUICK, "cache": False}
    others = [editor.edit(**body(image, seed=each, **anew)) for each in (seed, seed ^ 1)]
    made = [decode(editor.result(job)).pixels_HWC for job in (first, *others)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_an_edit_with_its_seed_is_answered_from_its_result(
    editor: Editor, image: str, watched: tuple[dict[str, Any], list[int]]
) -> None:
    first, _ = watched
    seed = first["result"]["candidates"][0]["seed"]
    again = editor.submit(**body(image, seed=seed, **QUICK))
    assert (again["status"], again["result"]["cached"]) == ("succeeded", True)
    assert again["progress"] == {"step": STEPS, "steps": STEPS}
    assert editor.result(again) == editor.result(first)
    other = editor.submit(**body(image, seed=seed, **QUICK | {"guidance": 1.5}))
    assert other["result"] is None
    cancel(editor, other)


def test_an_edit_is_canceled_in_the_middle(editor: Editor, image: str) -> None:
    job = editor.submit(**body(image, steps=LONG))
    assert job["request"]["options"]["guidance"] == 3.0  # LCM's, which is loaded

    wait_until(lambda: any(progress(editor, [job])), PATIENCE_S)
    assert editor.api.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    ended = editor.finish(job)
    assert (ended["status"], ended["result"]) == ("canceled", None)
    assert 1 <= ended["progress"]["step"] < LONG


def test_jobs_share_a_batch_and_one_that_is_canceled_leaves_it(editor: Editor, image: str) -> None:
    work = {"steps": LONG, "guidance": 1}
    before = editor.submit(**body(image, **work))  # while it runs, the others gather in the line
    wait_until(lambda: any(progress(editor, [before])), PATIENCE_S)
    jobs = [editor.submit(**body(image, seed=seed, **work)) for seed in (1, 2, 3)]
    wait_until(lambda: len(progress(editor, jobs)) == 3, PATIENCE_S)
    cancel(editor, before)
    wait_until(lambda: len(steps := progress(editor, jobs)) == 3 and all(steps), PATIENCE_S)
    cancel(editor, jobs.pop(1))
    reached = max(progress(editor, jobs))
    wait_until(lambda: min(progress(editor, jobs)) > reached, PATIENCE_S)
    for job in jobs:
        cancel(editor, job)


def progress(editor: Editor, jobs: list[dict[str, Any]]) -> list[int]:
    """How far those are that run."""
    states = [editor.api.get(f"/v1/jobs/{job['id']}").json() for job in jobs]
    return [state["progress"]["step"] for state in states if state["status"] == "running"]


def cancel(editor: Editor, job: dict[str, Any]) -> None:
    """Cancel a job that runs."""
    assert editor.api.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    assert editor.finish(job)["status"] == "canceled"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (
            {"mask": {"rect": [160, 80, 163, 83]}, "drags": [[[160, 80], [162, 82]]]},
            "mask_empty_on_canvas",
        ),
        ({"drags": [[[160, 80], [170, 80]], [[160.01, 80.01], [190, 80]]]}, "duplicate_handle"),
        ({"options": {"split_px": 1}, "drags": [[[110, 80], [250, 80]]]}, "too_many_rounds"),
        ({"options": {"strict": True}}, "option_not_supported"),
    ],
)
def test_what_the_model_could_not_do_is_refused_at_submission(
    editor: Editor, image: str, change: dict[str, Any], code: str
) -> None:
    asked = body(image) | change
    asked["drags"] = [
        {"handle": drag[0], "target": drag[1]} if isinstance(drag, list) else drag
        for drag in asked["drags"]
    ]
    answer = editor.api.post("/v1/jobs", json=asked)
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == [code]
    verdict = editor.api.post("/v1/jobs/validate", json=asked).json()
    assert verdict["canvas"] == {"width": 640, "height": 448}


def test_a_model_folder_that_cannot_be_used_is_said_when_the_service_starts(
    start_service: StartService, tmp_path: object
) -> None:
    service = start_service(TOWLINE_ENGINES="lightningdrag", TOWLINE_MODEL_DIR=str(tmp_path))
    assert service.process.wait(PATIENCE_S) == 1
    assert "unet/diffusion_pytorch_model.safetensors" in service.said
    assert "public at" in service.said


def test_a_drain_gives_an_edit_back_between_two_steps(
    service: EmbeddedService, editor: Editor, image: str
) -> None:
    job = editor.submit(**body(image, steps=LONG, guidance=1))

    def now(name: str) -> Any:
        return editor.api.get(f"/v1/jobs/{job['id']}").json()[name]

    wait_until(lambda: any(progress(editor, [job])), PATIENCE_S)
    service.child("worker-lightningdrag").signal(15)
    wait_until(lambda: now("status") == "queued", PATIENCE_S)
    wait_until(lambda: now("attempt") == 2, PATIENCE_S)
    cancel(editor, job)
