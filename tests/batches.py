"""Batches for tests: lines, and what works on them in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from shared.accounts.usage import pixels_of_month, used
from shared.batches.batch import NewBatch
from shared.db import now_ms
from shared.errors import EngineFailed
from shared.ids import new_id
from shared.jobs.tables import jobs
from shared.objects import batch_key
from shared.webhooks.tables import webhook_deliveries
from tests.factories import a_result
from worker.batches import Tender
from worker.watch import Drain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.batches.batch import Batch
    from shared.jobs.job import Job
    from shared.services import Services

PIXELS = 64 * 48  #: of the factory's picture
DRAG = {"handle": [20, 20], "target": [28, 20]}  #: fits the factory's picture of 64 x 48


def a_line(image: str, custom_id: str, **changes: Any) -> dict[str, Any]:
    """A job of a batch that is right, but for the changes."""
    return {"custom_id": custom_id, "image": image, "drags": [DRAG], **changes}


def lines_for(image: str, count: int, **changes: Any) -> list[dict[str, Any]]:
    return [a_line(image, f"item {n}", **changes) for n in range(1, count + 1)]


def jsonl(lines: Iterable[Any]) -> bytes:
    """Text and bytes go in as they are."""
    return b"".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
    )


def send(services: Services, account_id: str, data: bytes, **new: Any) -> Batch:
    """A batch as the API would make it, not looked at yet."""
    batch_id = new_id("bat")
    key = batch_key(account_id, batch_id)
    services.objects.put(key, data)
    return services.batches.create(
        account_id, batch_id, NewBatch(**new), object_key=key, size_bytes=len(data)
    )


def tender_of(services: Services) -> Tender:
    return Tender(services, Drain())


def tend(services: Services) -> None:
    """All that batches want at this moment, but for a rest that one has been given."""
    tender_of(services).tend()


def failed_batch(services: Services, account_id: str, image: str) -> str:
    """The id of one whose only item failed."""
    batch = send(services, account_id, jsonl(lines_for(image, 1)))
    tend(services)
    run_all(services, lambda job: services.leases.fail(job, EngineFailed("no")))
    return batch.id


def now(services: Services, batch: Batch) -> Batch:
    """The batch as it is at this moment."""
    return services.batches.get(batch.account_id, batch.id)[0]


def run_all(
    services: Services, end: Callable[[Job], Any] | None = None, limit: int | None = None
) -> list[Job]:
    """Claim jobs and end each, until none is due."""
    ended: list[Job] = []
    while limit is None or len(ended) < limit:
        job = services.leases.claim_next("warp", "worker")
        if job is None:
            break
        if end is None:
            assert services.leases.succeed(job, a_result(job))
        else:
            end(job)
        ended.append(job)
    return ended


def results_of(services: Services, batch: Batch) -> list[tuple[str | None, str | None]]:
    """Each line's name, and the state of its job."""
    items = services.batches.items(batch.account_id, batch.id, after_line=0, limit=10_000)
    return [(item.custom_id, item.job.status.value if item.job else None) for item in items]


def charged(services: Services, account_id: str) -> int:
    with services.database.reading() as connection:
        month = pixels_of_month(connection.scalar(select(now_ms())) or 0)
        return used(connection, account_id, month)


def told(services: Services, batch: Batch) -> list[tuple[str, dict[str, Any]]]:
    """What was promised about a batch: the event, and its data."""
    query = select(webhook_deliveries.c.event_type, webhook_deliveries.c.data)
    with services.database.reading() as connection:
        rows = connection.execute(query.where(webhook_deliveries.c.data.is_not(None))).all()
    return [(row.event_type, row.data) for row in rows if row.data["id"] == batch.id]


def count_jobs(services: Services) -> int:
    with services.database.reading() as connection:
        return connection.scalar(select(func.count()).select_from(jobs)) or 0


def fail(services: Services) -> Any:
    return lambda job: services.leases.fail(job, EngineFailed("no"))
