"""What is deleted is gone for good: rows, events, labels, objects; the audit log alone stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.api.calling import Caller, is_problem, local
from tests.factories import HOOK, a_picture, a_result, rows_that_name

if TYPE_CHECKING:
    from shared.services import Services

AUDITED = {"audit_log"}


def ended_job(caller: Caller, services: Services, image: str) -> str:
    """A job with labels, events, and two attempts' pictures, the first one's never recorded."""
    caller.job(image=image, metadata={"order": "7"})
    lost = services.leases.claim_next("warp", "worker")
    assert lost is not None
    services.objects.put(f"results/{caller.account_id}/{lost.id}/1/0.png", a_picture())
    services.leases.give_back(lost)
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    for name in ("0.png", "mask.png"):
        services.objects.put(f"results/{caller.account_id}/{job.id}/2/{name}", a_picture())
    services.leases.succeed(job, {**a_result(job), "stored_bytes": 100})
    return job.id


def deleted(row_id: str, *, objects: int, size_bytes: int, deliveries: int = 0) -> dict[str, Any]:
    return {
        "id": row_id,
        "deleted": True,
        "removed": {"objects": objects, "bytes": size_bytes, "deliveries": deliveries},
        "left_to_sweep": False,
    }


def test_nothing_of_a_job_is_left_when_it_is_deleted(caller: Caller, services: Services) -> None:
    image = caller.image()
    job, other = (ended_job(caller, services, image) for _ in range(2))
    tables = set(rows_that_name(services.database, job))
    assert tables >= {"jobs", "job_events", "job_labels"}
    url = caller.get(f"/v1/jobs/{job}").json["result"]["candidates"][0]["url"]
    assert caller.client.get(local(url)).status_code == 200
    used = services.accounts.usage(caller.account_id).stored_bytes
    gone = caller.delete(f"/v1/jobs/{job}")
    assert (gone.status_code, gone.json) == (200, deleted(job, objects=3, size_bytes=100))
    assert set(rows_that_name(services.database, job)) == AUDITED
    assert services.objects.walk(f"results/{caller.account_id}/{job}/", "", 9) == []
    assert is_problem(caller.client.get(local(url)), 404, "not_found")
    assert services.accounts.usage(caller.account_id).stored_bytes == used - 100
    assert len(services.objects.walk(f"results/{caller.account_id}/{other}/", "", 9)) == 3


def test_the_deliveries_of_a_job_are_counted_when_they_go_with_it(
    caller: Caller, services: Services
) -> None:
    for _ in range(2):
        caller.post("/v1/webhook-endpoints", json={"url": HOOK})
    image = caller.image()
    job, other = (ended_job(caller, services, image) for _ in range(2))
    gone = caller.delete(f"/v1/jobs/{job}")
    assert gone.json == deleted(job, objects=3, size_bytes=100, deliveries=2)
    left = caller.get("/v1/webhook-deliveries").json["data"]
    assert [each["job"] for each in left] == [other, other]


def test_nothing_of_an_image_is_left_when_it_is_deleted(caller: Caller, services: Services) -> None:
    image = caller.image()
    ended_job(caller, services, image)
    url = caller.get(f"/v1/images/{image}").json["url"]
    gone = caller.delete(f"/v1/images/{image}")
    size_bytes = len(a_picture())
    assert (gone.status_code, gone.json) == (200, deleted(image, objects=1, size_bytes=size_bytes))
    left = set(rows_that_name(services.database, image))
    assert left == {*AUDITED, "jobs"}, "a job that ended says which image it had, and no more"
    assert services.objects.walk(f"images/{caller.account_id}/", "", 9) == []
    assert is_problem(caller.client.get(local(url)), 404, "not_found")


def test_nothing_of_an_upload_is_left_when_it_is_deleted_before_it_is_complete(
    caller: Caller, services: Services
) -> None:
    data = a_picture(seed=5)
    announced = caller.announce(data).json
    assert caller.client.put(local(announced["upload"]["url"]), data=data).status_code == 200
    assert services.accounts.usage(caller.account_id).stored_bytes == len(data)
    gone = caller.delete(f"/v1/images/{announced['id']}")
    assert gone.json == deleted(announced["id"], objects=1, size_bytes=len(data))
    assert services.objects.walk(f"staging/{caller.account_id}/", "", 9) == []
    assert services.accounts.usage(caller.account_id).stored_bytes == 0
