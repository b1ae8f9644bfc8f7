"""The oracle itself, on evidence made by hand: it says nothing of what is right, and names
everything that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.evidence import Event, Evidence
from tests.chaos.oracle import judge

NOTHING: dict[str, Any] = {"candidates": [], "mask_key": None}
ACCOUNT, IMAGE = "acc_1", "img_1"
IMAGE_KEY = "images/acc_1/sha/img_1.0"


def _evidence() -> Evidence:
    """Four jobs as they should be: one succeeded at its second attempt, ..."""
    evidence = Evidence([], {}, {}, {}, {}, {}, {})
    evidence.promises.append({"at": 0.0, "what": "image", "image": IMAGE, "sha256": "picture"})
    evidence.images[IMAGE] = {"id": IMAGE, "object_key": IMAGE_KEY}
    evidence.objects[IMAGE_KEY], evidence.hashes[IMAGE_KEY] = 1, "picture"
    _add(
        evidence, "job_1", "warp", ["queued", "running", "queued", "running", "succeeded"], losses=1
    )
    _add(evidence, "job_2", "fail", ["queued", "running", "failed"], code="engine_failed")
    _add(evidence, "job_3", "copy", ["queued", "canceled"])
    _add(evidence, "job_4", "warp", ["queued", "running", "succeeded"])
    for what in ("cancel_asked", "cancel"):
        evidence.promises.append({"at": 9.0, "what": what, "job": "job_3"})
    return evidence


def _add(
    evidence: Evidence, job: str, act: str, states: list[str], losses: int = 0, code: str = ""
) -> None:
    attempt, status = states.count("running"), states[-1]
    key = f"results/{ACCOUNT}/{job}/{attempt}/0.png"
    pictures = [{"key": key, "sha256": f"{act} bytes"}]
    result = {"candidates": pictures, "mask_key": None} if status == "succeeded" else None
    if result:
        evidence.objects[key], evidence.hashes[key] = 1, f"{act} bytes"
    error = {"code": code} if code else None
    evidence.rows[job] = {
        "id": job, "account_id": ACCOUNT, "status": status, "attempt": attempt, "losses": losses,
        "retries": 0, "result": result, "error": error, "metadata": {"token": f"of {job}"},
        "retried_from": None, "started_at": 1, "finished_at": 8000, "expires_at": None,
    }  # fmt: skip
    attempts = [states[: n + 1].count("running") for n in range(len(states))]
    pairs = zip(states, attempts, strict=True)
    evidence.events[job] = [Event(state, n, float(at)) for at, (state, n) in enumerate(pairs)]
    view = {"status": status, "attempt": attempt, "error": error, "pictures": None}
    evidence.answers[job] = view
    sent = {"token": f"of {job}", "act": act, "edit": act, "retried_from": None}
    evidence.promises += [
        {"at": 0.0, "what": "sent", **sent},
        {
            "at": 1.0,
            "what": "accepted",
            "job": job,
            "shown": {**view, "status": "queued", "attempt": 0},
        },
        {"at": 8.0, "what": "seen", "job": job, "shown": view},
    ]


def _forget(evidence: Evidence) -> None:
    del evidence.rows["job_2"], evidence.answers["job_2"]


def _repeat(evidence: Evidence) -> None:
    evidence.events["job_4"] += [Event("running", 2, 9.0), Event("succeeded", 2, 9.5)]
    evidence.rows["job_4"]["attempt"] = 2


def _set(job: str, **values: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.rows[job].update(values)


def _show(job: str, **values: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.answers.update({job: {**evidence.answers[job], **values}})


def _lose_object(evidence: Evidence) -> None:
    key = "results/acc_1/job_1/2/0.png"
    del evidence.objects[key], evidence.hashes[key]


def _spoil_object(evidence: Evidence) -> None:
    evidence.hashes["results/acc_1/job_1/2/0.png"] = "other bytes"


def _leave(key: str) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.objects.update({key: 1})


def _differ(evidence: Evidence) -> None:
    row = evidence.rows["job_4"]
    row["result"]["candidates"][0]["sha256"] = "others"
    evidence.hashes["results/acc_1/job_4/1/0.png"] = "others"


def _note(**line: Any) -> Callable[[Evidence], None]:
    return lambda evidence: evidence.promises.append({"at": 10.0, **line})


WRONG: dict[str, tuple[str, Callable[[Evidence], None]]] = {
    "a row is gone": ("lost", _forget),
    "a job is in no list": ("lost", lambda evidence: evidence.answers.pop("job_1")),
    "a client was told 404": ("lost", _note(what="missing", job="job_1", status=404)),
    "a job is still queued": ("unfinished", _set("job_2", status="queued")),
    "nobody asked for a row": ("stray", _set("job_4", metadata={"token": "of nobody"})),
    "one submission made two rows": ("stray", _set("job_4", metadata={"token": "of job_1"})),
    "a job ran again after its end": ("double", _repeat),
    "a claim has no event": ("history", _set("job_1", attempt=3)),
    "a final answer is another one": ("changed", _show("job_4", pictures=["others"])),
    "a final job runs": ("changed", _show("job_4", status="running")),
    "a picture is gone": ("no_object", _lose_object),
    "a picture has other bytes": ("no_object", _spoil_object),
    "a failed job has a result": ("untrue", _set("job_2", result=NOTHING)),
    "a job has succeeded without a picture": ("untrue", _set("job_1", result=NOTHING)),
    "a result is another attempt's": ("mixed", _set("job_1", attempt=1)),
    "one edit gave two pictures": ("mixed", _differ),
    "an object of nobody's": ("object", _leave("results/acc_1/job_9/1/0.png")),
    "an object of an attempt to come": ("object", _leave("results/acc_1/job_1/3/0.png")),
    "an attempt left more than its row says": ("object", _leave("results/acc_1/job_1/2/1.png")),
    "an attempt that nothing explains": ("attempts", _set("job_1", losses=0)),
    "more losses than allowed": ("attempts", _set("job_1", losses=4)),
    "a failure that nobody asked for": ("outcome", _set("job_2", error={"code": "timeout"})),
    "a cancel that nobody asked for": ("outcome", _set("job_4", status="canceled")),
    "started after its cancel": (
        "cancel", lambda evidence: evidence.events["job_3"].insert(1, Event("running", 1, 9.5))
    ),
    "an image is gone": ("image", lambda evidence: evidence.images.clear()),
    "a bug in the API": ("answer", _note(what="broken", status=500, said="")),
}  # fmt: skip


def test_the_oracle_says_nothing_when_every_promise_was_kept() -> None:
    assert judge(_evidence()) == []


@pytest.mark.parametrize("name", WRONG)
def test_the_oracle_names_what_is_wrong_when(name: str) -> None:
    kind, spoil = WRONG[name]
    evidence = _evidence()
    spoil(evidence)
    assert kind in {violation.kind for violation in judge(evidence)}


def test_what_an_old_attempt_left_is_no_violation() -> None:
    evidence = _evidence()
    _leave("results/acc_1/job_1/1/0.png")(evidence)
    _leave("images/acc_1/sha/img_2.0")(evidence)
    assert judge(evidence) == []
