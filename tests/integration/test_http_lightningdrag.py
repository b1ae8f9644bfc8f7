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
QUICK = {"steps": 2, "guidance": 1}  #: half the work
LONG = 50  #: steps of an edit that is not meant to end


@pytest.fixture(scope="module")
def service(start_any_service: StartService) -> EmbeddedService:
    service = start_any_service(
        TOWLINE_ENGINES="warp,lightningdrag",
        TOWLINE_MODEL_DIR=str(CHECKPOINTS),
        TOWLINE_BATCH_WAIT_MS="2500",  # on a slow machine jobs come slowly
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
        "options": {"steps": STEPS, **options},
    }


def watched(editor: Editor, job: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """The job once it is final, and the steps that were seen on the way."""
    seen: list[int] = []
    deadline_s = time.monotonic() + 120
    while job["status"] not in FINAL:
        assert time.monotonic() < deadline_s, job
        job = editor.api.get(f"/v1/jobs/{job['id']}").json()
        assert job["progress"]["steps"] in (STEPS, LONG)
        if not seen or job["progress"]["step"] != seen[-1]:
            seen.append(job["progress"]["step"])
        time.sleep(0.02)
    return job, seen


def test_an_edit_tells_its_steps_and_changes_nothing_outside_of_the_mask(
    editor: Editor, image: str
) -> None:
    job = editor.submit(**body(image, seed=7))
    assert job["progress"] == {"step": 0, "steps": STEPS}
    assert job["request"]["options"]["guidance"] == 3.0  # LCM's, which is loaded
    job, seen = watched(editor, job)
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


def test_an_edit_is_replayed_by_its_seed_bit_for_bit(editor: Editor, image: str) -> None:
    """The pictures' bytes, that is: a file names its job."""
    first = editor.edit(**body(image, **QUICK))
    seed = first["result"]["candidates"][0]["seed"]
    others = [editor.edit(**body(image, seed=each, **QUICK)) for each in (seed, seed + 1)]
    made = [decode(editor.result(job)).pixels_HWC for job in (first, *others)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_an_edit_is_canceled_in_the_middle(editor: Editor, image: str) -> None:
    job = editor.submit(**body(image, steps=LONG))

    def step() -> int:
        state = editor.api.get(f"/v1/jobs/{job['id']}").json()
        assert state["status"] in ("queued", "running")
        return int(state["progress"]["step"])

    wait_until(lambda: step() >= 1, 60)
    assert editor.api.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    ended = editor.finish(job)
    assert (ended["status"], ended["result"]) == ("canceled", None)
    assert 1 <= ended["progress"]["step"] < LONG


def test_jobs_share_a_batch_and_one_that_is_canceled_leaves_it(editor: Editor, image: str) -> None:
    work = {"steps": LONG, "guidance": 1}
    jobs = [editor.submit(**body(image, seed=seed, **work)) for seed in (1, 2, 3)]
    ids = [job["id"] for job in jobs]

    def running() -> list[int]:
        states = [editor.api.get(f"/v1/jobs/{job_id}").json() for job_id in ids]
        return [state["progress"]["step"] for state in states if state["status"] == "running"]

    wait_until(lambda: len(running()) == 3 and all(running()), 60)
    assert max(running()) - min(running()) <= 1  # none waits for another
    editor.api.post(f"/v1/jobs/{ids[1]}/cancel")
    assert editor.finish(jobs[1])["status"] == "canceled"
    reached = max(running())
    wait_until(lambda: len(running()) == 2 and min(running()) > reached, 60)
    for job_id in (ids[0], ids[2]):
        editor.api.post(f"/v1/jobs/{job_id}/cancel")


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
    assert service.process.wait(120) == 1
    assert "unet/diffusion_pytorch_model.safetensors" in service.said
    assert "public at" in service.said


def test_a_drain_gives_an_edit_back_between_two_steps(
    start_service: StartService, image: str
) -> None:
    service = start_service(
        TOWLINE_ENGINES="warp,lightningdrag",
        TOWLINE_MODEL_DIR=str(CHECKPOINTS),
        TOWLINE_DRAIN_S="0.5",
    )
    service.wait_until_up()
    with service.api() as api:
        own = Editor(api)
        job = own.submit(**body(own.upload(CAT)["id"], steps=LONG))
        wait_until(lambda: api.get(f"/v1/jobs/{job['id']}").json()["progress"]["step"] >= 1, 60)
        service.child("worker-lightningdrag").signal(15)
        wait_until(lambda: api.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued", 10)
        wait_until(lambda: api.get(f"/v1/jobs/{job['id']}").json()["attempt"] == 2, 60)
        api.post(f"/v1/jobs/{job['id']}/cancel")
        assert own.finish(job)["status"] == "canceled"
