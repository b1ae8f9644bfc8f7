"""A submission that an earlier result answers: found by its key, and born succeeded.

Its row points to the pictures of the job that made them (`shared/jobs/pointers.py`). The row that
it was found by is held (`FOR SHARE`) until the commit: so it is neither deleted nor
past its retention before the new one is seen. One that is about to go is passed over, not waited
for.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, bindparam, exists, insert, literal, select

from shared.batches.tally import tally
from shared.db import now_ms, on_commit
from shared.jobs.moves import JobWrite, write_jobs
from shared.jobs.state import JobState
from shared.jobs.tables import jobs
from shared.jobs.turns import OF_ACCOUNT, OF_ENGINE
from shared.telemetry.metrics import CACHE_LOOKUPS
from shared.telemetry.tracing import mark
from shared.webhooks.outbox import tell_of_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Connection, Row
    from sqlalchemy.sql.elements import BindParameter

    from shared.jobs.job import Job

_KEPT = (
    jobs.c.cache_key == bindparam("of_key", type_=jobs.c.cache_key.type),
    jobs.c.account_id == OF_ACCOUNT,
    jobs.c.pictures_gone_at.is_(None),
    jobs.c.retain_until > now_ms(),
)
#: Whether a result with the key `of_key` is kept for the account `of_account`.
IS_ANSWERED = exists().where(*_KEPT)

_EARLIER = (
    select(jobs.c.id, jobs.c.origin_id, jobs.c.result, jobs.c.step, jobs.c.steps)
    .where(*_KEPT)
    .order_by(jobs.c.id.desc())
    .limit(1)
    .with_for_update(read=True, skip_locked=True)
)
_NO_TIME = dict.fromkeys(("queued_ms", "fetch_ms", "run_ms", "store_ms", "total_ms"), 0.0)


def earlier_result(connection: Connection, account_id: str, key: bytes) -> Row[Any] | None:
    """The newest row of the account whose result has this key, held; None."""
    asked = {"of_account": account_id, "of_key": key}
    return connection.execute(_EARLIER, asked).first()


def answer(
    connection: Connection, earlier: Row[Any], values: Mapping[str, Any], *, retention_ms: int
) -> Job:
    """The new job, which has succeeded; its event, and the deliveries to whoever wants to know.

    `values`: those of a new row (`JobStore.submit`), with `of_key`, and `new_batch_id` for the item
    of a batch. It costs the account nothing.
    """
    result = {**earlier.result, "cached": True, "timings": _NO_TIME}
    made = {
        "made_result": result,
        "made_by": earlier.origin_id or earlier.id,
        "at_step": earlier.step,
        "of_steps": earlier.steps,
        "retain_ms": retention_ms,
    }
    (job,) = write_jobs(connection, _ANSWER, {**values, **made})
    tell_of_jobs(connection, [job])
    tally(connection, [job])
    count_lookup(connection, job.spec.engine, "hit")
    told = {"job_id": job.id, "origin": job.origin_id}
    on_commit(connection, partial(mark, "job answer", job.trace_context, **told))
    return job


def count_lookup(connection: Connection, engine: str, outcome: str) -> None:
    """For `towline_cache_lookups_total`, once this is committed: a `hit` or a `miss`."""
    on_commit(connection, partial(CACHE_LOOKUPS.labels(engine, outcome).inc))


def _new(name: str) -> BindParameter[Any]:
    return bindparam(f"new_{name}", type_=jobs.c[name].type)


def _answering() -> JobWrite:
    asked = ("id", "priority", "spec", "metadata", "image_id", "mask_id", "timeout_s")
    values: dict[str, ColumnElement[Any]] = {
        "engine": OF_ENGINE,
        "account_id": OF_ACCOUNT,
        **{name: _new(name) for name in (*asked, "retried_from", "trace_context")},
        "batch_id": bindparam("new_batch_id", None, type_=jobs.c.batch_id.type),
        "status": literal(JobState.SUCCEEDED.value),
        **{name: literal(0) for name in ("attempt", "losses", "retries", "run_after")},
        "step": bindparam("at_step", type_=jobs.c.step.type),
        "steps": bindparam("of_steps", type_=jobs.c.steps.type),
        "result": bindparam("made_result", type_=jobs.c.result.type),
        "origin_id": bindparam("made_by", type_=jobs.c.origin_id.type),
        "cache_key": bindparam("of_key", type_=jobs.c.cache_key.type),
        "created_at": now_ms(),
        "finished_at": now_ms(),
        "expires_at": now_ms() + bindparam("expires_in_ms", type_=BigInteger()),
        "retain_until": now_ms() + bindparam("retain_ms", type_=BigInteger()),
    }
    return JobWrite(insert(jobs).values(values).returning(*jobs.c), is_by_key=True)


_ANSWER = _answering()
