"""Jobs as their owners see them: submit, look, cancel, delete. One transaction a method.

Every method takes the account; another account's job does not exist for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    and_,
    bindparam,
    delete,
    insert,
    literal,
    select,
    true,
    update,
)

from shared.accounts.limits import UNLIMITED, Limits
from shared.accounts.quotas import hold_account, require_room_for_job
from shared.accounts.usage import STORED_BYTES, a_shard, add_usage, charging, pixels_of_month
from shared.audit.trail import by_whom, note, noting
from shared.db import now_ms, on_commit, planned_once
from shared.errors import InvalidRequest, JobNotFinal, NotFound, Violation
from shared.ids import new_id
from shared.images.tables import images
from shared.jobs.job import Job, job_from_row, new_job
from shared.jobs.labels import add_labels, with_labels
from shared.jobs.moves import JobWrite, move_jobs, note_moves, write_jobs
from shared.jobs.places import line_seen_by, places_of
from shared.jobs.state import FINAL, JobState, Move
from shared.jobs.tables import QUEUED, RUNNING, jobs, turns
from shared.jobs.turns import OF_ACCOUNT, OF_ENGINE, PLACE, enter_line
from shared.telemetry.tracing import span, traceparent
from shared.webhooks.tables import webhook_deliveries

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ColumnElement, Connection, Select
    from sqlalchemy.sql.dml import ReturningInsert
    from sqlalchemy.sql.selectable import NamedFromClause

    from shared.db import Database
    from shared.edits import JobSpec
    from shared.idempotency.claims import Completion


class JobStore:
    """What owners may do with jobs."""

    def __init__(
        self, database: Database, *, result_retention_days: float, defaults: Limits = UNLIMITED
    ) -> None:
        self._database = database
        self._defaults = defaults
        self._retention_ms = int(result_retention_days * 86_400_000)

    def submit(
        self,
        account_id: str,
        spec: JobSpec,
        metadata: Mapping[str, str],
        retried_from: str | None = None,
        completion: Completion | None = None,
        limits: Limits | None = None,
    ) -> Job:
        """Promise a job: one row, `queued`, and its event.

        The images are looked at again inside the transaction, so that none can be
        deleted between the check and the promise; `InvalidRequest` if one was. `LimitExceeded`
        if the account may have no such job now. `completion` writes in the same transaction
        what an idempotency key made. `limits`: the account's, if they are known; where none counts
        and there is nothing else to write, PostgreSQL is sent one statement.
        """
        with span("submit job", kind="producer", engine=spec.engine) as submitting:
            values = _new_row(account_id, spec, metadata, retried_from)
            submitting.note(job_id=values["new_id"], retried_from=retried_from)
            return self._submit(account_id, spec, metadata, values, completion, limits)

    def _submit(
        self,
        account_id: str,
        spec: JobSpec,
        metadata: Mapping[str, str],
        values: dict[str, object],
        completion: Completion | None,
        limits: Limits | None,
    ) -> Job:
        is_plain = limits is not None and not limits.are_counted and completion is None
        if is_plain and not metadata and (job := self._submit_at_once(account_id, spec, values)):
            return job
        with self._database.writing() as connection:
            limits = hold_account(connection, account_id, self._defaults)
            if limits.are_counted:
                _require_room(connection, account_id, spec, limits)
            job = _promise(connection, account_id, spec, values)
            on_commit(connection, partial(note_moves, "submit", [job]))
            add_labels(connection, account_id, job.id, metadata)
            if completion is not None:
                completion(connection, job.id, True)
            retried_from = values["new_retried_from"]
            note(connection, account_id, "job.created", job.id, retried_from=retried_from)
            add_usage(connection, account_id, pixels_of_month(job.created_at), job.pixels or 0)
        return job

    def _submit_at_once(
        self, account_id: str, spec: JobSpec, values: dict[str, object]
    ) -> Job | None:
        """The same, with its event, its entry and its charge; None if that is not possible.

        The account is not held: none is deleted while a job of it is on its way, since the
        job's image is held (`shared/accounts/deletion.py` looks for jobs last of all).
        """
        by = by_whom()
        if by is None or not self._database.writes_by_one_statement:
            return None
        entry = {f"entry_{name}": value for name, value in by.items()}
        details = {"retried_from": values["new_retried_from"]}
        given = {**values, **entry, "entry_details": details, "of_shard": a_shard()}
        statement = _AT_ONCE if spec.mask_image is None else _AT_ONCE_WITH_MASK
        known = {
            "metadata": values["new_metadata"],
            "trace_context": values["new_trace_context"],
            **details,
        }
        job_id = str(values["new_id"])
        with self._database.writing_at_once() as connection:
            for row in connection.execute(statement, given):
                job = new_job(account_id, job_id, spec, **known, **row._mapping)
                on_commit(connection, partial(note_moves, "submit", [job]))
                return job
        return None  # it lacks an image, or its account a place in line

    def get(self, account_id: str, job_id: str) -> Job:
        """The job as it is now; `NotFound`."""
        with self._database.reading_at_once() as connection:
            return _read(connection, account_id, job_id)

    def page(
        self,
        account_id: str,
        *,
        limit: int,
        before: str | None = None,
        status: JobState | None = None,
        batch: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> list[Job]:
        """At most `limit` jobs, newest first, older than the job `before`."""
        query, place = with_labels(account_id, metadata or {})
        if before is not None:
            query = query.where(place < before)
        if status is not None:
            query = query.where(jobs.c.status == status.value)
        if batch is not None:
            query = query.where(jobs.c.batch_id == batch)
        with self._database.reading_at_once() as connection:
            rows = connection.execute(query.order_by(place.desc()).limit(limit)).all()
        return [job_from_row(row) for row in rows]

    def cancel(self, account_id: str, job_id: str) -> Job:
        """Cancel a queued job at once, ask a running one to stop, leave a final one alone."""
        mine = and_(jobs.c.id == job_id, jobs.c.account_id == account_id)
        with self._database.writing() as connection:
            # Held, or it could go from running to queued between the two statements
            connection.execute(select(jobs.c.id).where(mine).with_for_update())
            if move_jobs(
                connection,
                Move.CANCEL,
                mine,
                QUEUED,
                cancel_requested_at=now_ms(),
                finished_at=now_ms(),
                retain_until=now_ms() + self._retention_ms,
            ) or _ask_to_stop(connection, mine):
                note(connection, account_id, "job.canceled", job_id)
            return _read(connection, account_id, job_id)

    def delete(self, account_id: str, job_id: str) -> tuple[Job, int]:
        """Forget a final job; what it was, so that its objects can go too. `JobNotFinal`.

        Also how many of its webhook deliveries went with it, sent or not.
        """
        with self._database.writing() as connection:
            job = _read(connection, account_id, job_id)
            if not job.status.is_final:
                raise JobNotFinal(f"{job_id} is {job.status}; cancel it first.")
            told = delete(webhook_deliveries).where(webhook_deliveries.c.job_id == job_id)
            deliveries = connection.execute(told).rowcount
            this = delete(jobs).where(jobs.c.id == job_id).returning(jobs.c.stored_bytes)
            gone = connection.execute(this).first()
            if gone is not None:
                note(connection, account_id, "job.deleted", job_id)
                add_usage(connection, account_id, STORED_BYTES, -(gone.stored_bytes or 0))
        return job, deliveries

    def final_among(self, ids: Iterable[str]) -> set[str]:
        """Those of these jobs that have ended or are gone: nobody needs to wait for them."""
        wanted = set(ids)
        with self._database.reading_at_once() as connection:
            active = connection.scalars(
                select(jobs.c.id).where(
                    jobs.c.id.in_(wanted), jobs.c.status.not_in([s.value for s in FINAL])
                )
            ).all()
        return wanted - set(active)

    def places(self, account_id: str, engine: str, job_ids: Iterable[str]) -> dict[str, int]:
        """How many jobs will start before each of these queued ones; 0 is next.

        Accounts take turns, so a job with r of its own account's jobs before it also
        waits for at most r + 1 jobs of every other account. Beyond `CEILING` it is a
        lower bound.
        """
        with self._database.reading_at_once() as connection:
            return places_of(connection, account_id, engine, job_ids)

    def next_place(self, account_id: str, engine: str, priority: int) -> int:
        """How many jobs would start before one that the account submitted now; see `places`."""
        with self._database.reading_at_once() as connection:
            return line_seen_by(connection, account_id, engine).place(priority)


def _ask_to_stop(connection: Connection, *where: ColumnElement[bool]) -> bool:
    """Whether a running job was asked now, and had not been before."""
    asked = connection.execute(
        update(jobs)
        .where(*where, RUNNING, jobs.c.cancel_requested_at.is_(None))
        .values(cancel_requested_at=now_ms())
    )
    return bool(asked.rowcount)


def _hold_images(connection: Connection, account_id: str, spec: JobSpec) -> int:
    """Make sure that the job's images are there, and stay until the job is written.

    How many pixels the pictures that it asks for will have.
    """
    size_px = 0
    for pointer, image_id in (("/image", spec.image), ("/mask", spec.mask_image)):
        if image_id is None:
            continue
        row = connection.execute(
            select(images.c.object_key, images.c.width, images.c.height)
            .where(images.c.id == image_id, images.c.account_id == account_id)
            .with_for_update(read=True, key_share=True)
        ).first()
        if row is None:
            detail = f"there is no image {image_id}"
            raise InvalidRequest([Violation(pointer, "image_not_found", detail)])
        if row.object_key is None:
            detail = f"the bytes of {image_id} were not completed"
            raise InvalidRequest([Violation(pointer, "image_not_uploaded", detail)])
        size_px = size_px or row.width * row.height
    return size_px * int(spec.options["candidates"])


def _require_room(connection: Connection, account_id: str, spec: JobSpec, limits: Limits) -> None:
    pixels = _hold_images(connection, account_id, spec)
    now = connection.scalar(select(now_ms())) or 0
    require_room_for_job(connection, account_id, limits, pixels=pixels, now=now)


def _new_row(
    account_id: str, spec: JobSpec, metadata: Mapping[str, str], retried_from: str | None
) -> dict[str, object]:
    """The parameters of `_promising`."""
    return {
        "of_engine": spec.engine,
        "of_account": account_id,
        "new_id": new_id("job"),
        "new_priority": int(spec.priority),
        "new_spec": spec.to_json(),
        "new_metadata": dict(metadata),
        "new_image_id": spec.image,
        "new_mask_id": spec.mask_image,
        "new_timeout_s": spec.timeout_s,
        "new_retried_from": retried_from,
        "new_trace_context": traceparent(),
        "new_pictures": int(spec.options["candidates"]),
        "expires_in_ms": None if spec.expires_in_s is None else 1000 * spec.expires_in_s,
    }


def _promising(mask: NamedFromClause | None) -> ReturningInsert[Any]:
    """One statement makes the row from what it stands on, and holds that until the commit.

    The picture, the mask if it is an image, and the account's place in line: so nobody can
    delete an image, or take the account out of the line, before the job is seen.
    """
    picture = images.alias("picture")
    here = turns.join(picture, true())
    needs = [PLACE]
    for image, name in ((picture, "image_id"), (mask, "mask_id")):
        if image is not None:
            needs += [
                image.c.id == _new(name),
                image.c.account_id == OF_ACCOUNT,
                image.c.object_key.is_not(None),
            ]
    names = ("id", "priority", "spec", "metadata", "image_id", "mask_id", "timeout_s")
    values: dict[str, ColumnElement[Any]] = {
        "engine": OF_ENGINE,
        "account_id": OF_ACCOUNT,
        **{name: _new(name) for name in (*names, "retried_from", "trace_context")},
        "status": literal(JobState.QUEUED.value),
        **{name: literal(0) for name in ("attempt", "losses", "retries", "run_after", "step")},
        "pixels": picture.c.width
        * picture.c.height
        * bindparam("new_pictures", type_=BigInteger()),
        "created_at": now_ms(),
        "expires_at": now_ms() + bindparam("expires_in_ms", type_=BigInteger()),
    }
    source = (
        select(*values.values())
        .select_from(here if mask is None else here.join(mask, true()))
        .where(*needs)
        .with_for_update(read=True, key_share=True)
    )
    return insert(jobs).from_select(list(values), source).returning(*jobs.c)


def _new(name: str) -> BindParameter[Any]:
    return bindparam(f"new_{name}", type_=jobs.c[name].type)


_PROMISE = JobWrite(_promising(None), is_by_key=True)
_PROMISE_WITH_MASK = JobWrite(_promising(images.alias("mask")), is_by_key=True)


#: What a new job's row has that is not known before.
DECIDED = ("pixels", "created_at", "expires_at")


def _at_once(promise: JobWrite) -> Select[Any]:
    details = bindparam("entry_details", type_=JSON)
    return promise.with_events_and(
        lambda rows: noting(rows, "job.created", details), charging, giving=DECIDED
    )


_AT_ONCE, _AT_ONCE_WITH_MASK = _at_once(_PROMISE), _at_once(_PROMISE_WITH_MASK)


def _promise(
    connection: Connection, account_id: str, spec: JobSpec, values: dict[str, object]
) -> Job:
    promise = _PROMISE if spec.mask_image is None else _PROMISE_WITH_MASK
    for job in write_jobs(connection, promise, values):
        return job
    _hold_images(connection, account_id, spec)  # it is one of them, or the place in line
    enter_line(connection, spec.engine, account_id)
    (job,) = write_jobs(connection, promise, values)
    return job


_ONE = planned_once(
    select(jobs).where(jobs.c.id == bindparam("of_id"), jobs.c.account_id == OF_ACCOUNT)
)


def _read(connection: Connection, account_id: str, job_id: str) -> Job:
    row = connection.execute(_ONE, {"of_id": job_id, "of_account": account_id}).first()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return job_from_row(row)
