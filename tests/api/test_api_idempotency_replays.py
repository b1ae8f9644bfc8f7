"""What a repeated request with an `Idempotency-Key` is answered, as things are by then."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from shared.batches.tables import batches
from shared.errors import DatabaseUnavailable
from shared.idempotency.tables import idempotency_keys
from shared.images.tables import images
from shared.jobs.tables import jobs
from shared.webhooks.tables import webhook_deliveries
from tests.api.calling import Caller, is_problem, local
from tests.api.test_api_idempotency import KEY, ROUTES, count, same
from tests.api.test_api_waiting import beside, finish
from tests.factories import a_picture

if TYPE_CHECKING:
    from sqlalchemy import Table

    from shared.services import Services


@pytest.mark.parametrize("endpoint", ROUTES)
def test_one_thing_is_made_when_the_answer_was_lost_after_its_commit(
    caller: Caller, services: Services, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit comes through, its answer does not: 503, and the key remembers all the same."""
    request_of, table = ROUTES[endpoint]
    request = request_of(caller)
    before = count(services, table)
    real = type(services.database)._transaction

    def lossy(self: Any, kind: Any) -> Any:
        return _lost_once(real, self, kind, table, before)

    monkeypatch.setattr(type(services.database), "_transaction", lossy)
    answer = caller.post(**request, headers=KEY)
    monkeypatch.undo()
    assert is_problem(answer, 503, "database_unavailable")
    again = caller.post(**request, headers=KEY)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(services, table) == before + 1


@pytest.mark.parametrize("endpoint", ROUTES)
def test_a_key_is_gone_when_what_it_made_was_deleted(
    caller: Caller, services: Services, endpoint: str
) -> None:
    request_of, table = ROUTES[endpoint]
    request = request_of(caller)
    made = caller.post(**request, headers=KEY).json["id"]
    if table is jobs:
        caller.post(f"/v1/jobs/{made}/cancel")
        assert caller.delete(f"/v1/jobs/{made}").status_code == 200
    elif table is images:
        assert caller.delete(f"/v1/images/{made}").status_code == 200
    elif table is batches:  # past its retention
        with services.database.writing() as connection:
            connection.execute(batches.delete().where(batches.c.id == made))
        batch_rows = count(services, batches)
        assert is_problem(caller.post(**request, headers=KEY), 410, "idempotency_key_gone")
        assert count(services, batches) == batch_rows
        return
    else:  # a delivery goes with its endpoint
        (hook,) = caller.get("/v1/webhook-endpoints").json["data"]
        assert caller.delete(f"/v1/webhook-endpoints/{hook['id']}").status_code == 204
    before = count(services, table)
    answer = caller.post(**request, headers=KEY)
    assert is_problem(answer, 410, "idempotency_key_gone")
    assert made in answer.json["detail"]
    assert count(services, table) == before
    if table is not webhook_deliveries:  # its endpoint is gone
        another = caller.post(**request, headers={"Idempotency-Key": "another"})
        assert another.status_code < 300


def test_a_replay_shows_the_thing_as_it_is_now(caller: Caller, services: Services) -> None:
    body = caller.body()
    first = caller.post("/v1/jobs", json=body, headers=KEY)
    finish(services)
    again = caller.post("/v1/jobs", json=body, headers=KEY)
    assert same(first, again)
    assert again.json["status"] == "succeeded"
    assert again.json["result"]["candidates"][0]["url"]
    assert again.headers["Location"] == first.headers["Location"]
    waited = caller.post("/v1/jobs", json=body, headers=KEY | {"Prefer": "wait=9"})
    assert (waited.status_code, waited.json["id"]) == (200, first.json["id"])
    assert waited.headers["Preference-Applied"] == "wait=9"
    assert waited.headers["Idempotency-Replayed"] == "true"


def test_a_replay_waits_for_the_job_when_it_is_preferred(
    caller: Caller, services: Services
) -> None:
    body = caller.body()
    first = caller.post("/v1/jobs", json=body, headers=KEY)
    late = caller.post("/v1/jobs", json=body, headers=KEY | {"Prefer": "wait=1"})
    assert (late.status_code, late.json["status"]) == (202, "queued")
    with ThreadPoolExecutor(1) as pool:
        replay = pool.submit(
            beside(caller).post, "/v1/jobs", json=body, headers=KEY | {"Prefer": "wait=60"}
        )
        time.sleep(0.1)
        finish(services)
        answer = replay.result(10)
    assert (answer.status_code, answer.json["status"]) == (200, "succeeded")
    assert answer.json["id"] == first.json["id"]


def test_a_replayed_upload_has_a_fresh_url_that_works(caller: Caller) -> None:
    data = a_picture(seed=3)
    body = {
        "content_type": "image/png",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    first, again = (caller.post("/v1/images/uploads", json=body, headers=KEY) for _ in range(2))
    assert same(first, again)
    upload = again.json["upload"]
    put = caller.client.put(local(upload["url"]), data=data, headers=upload["headers"])
    assert put.status_code == 200
    assert caller.post(f"/v1/images/{first.json['id']}/complete").status_code == 200


class _lost_once:  # noqa: N801 - stands where a context manager's function stands
    """A transaction whose commit is not answered, if it made a row."""

    def __init__(self, real: Any, database: Any, kind: Any, table: Table, before: int) -> None:
        self._inner = real(database, kind)
        self._database, self._table, self._before = database, table, before

    def __enter__(self) -> Any:
        return self._inner.__enter__()

    def __exit__(self, *error: Any) -> Any:
        handled = self._inner.__exit__(*error)
        with self._database.engine.connect() as connection:
            rows = connection.scalar(select(func.count()).select_from(self._table))
            done = connection.scalar(
                select(func.count()).where(idempotency_keys.c.object_id.is_not(None))
            )
        if error[0] is None and rows > self._before and done:
            raise DatabaseUnavailable("The answer to the commit was lost.")
        return handled
