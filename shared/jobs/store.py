"""Jobs as their owners see them: submit, look, cancel, delete. One transaction a method.

Every method takes the account; another account's job does not exist for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from shared.accounts.usage import a_shard, add_usage, charging, pixels_of_month
from shared.audit.trail import by_whom, note, noting
from shared.db import now_ms, on_commit, planned_once
from shared.errors import InvalidRequest, JobNotFinal, NotFound, Violation
from shared.ids import new_id
from shared.images.tables import images
from shared.jobs.cache_keys import Contents, Maker, cache_key
from shared.jobs.cached import IS_ANSWERED, answer, count_lookup, earlier_result
from shared.jobs.job import Job, job_from_row, new_job
from shared.jobs.labels import add_labels, with_labels
from shared.jobs.moves import JobWrite, move_jobs, note_moves, write_jobs
from shared.jobs.places import line_seen_by, places_of
from shared.jobs.pointers import KNOWN, Freed, let_go
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


@dataclass(frozen=True, slots=True)
class Deleted:
    """A job that is no more, what goes with it, and how many deliveries did, sent or not."""

    job: Job
    freed: Freed
    deliveries: int


class JobStore:
    """What owners may do with jobs."""

    def __init__(
        self,
        database: Database,
        *,
        result_retention_days: float,
        defaults: Limits = UNLIMITED,
        maker_of: Callable[[str], Maker | None] = lambda engine: None,
    ) -> None:
        """maker_of: who would make an engine's pictures now; None: none is looked for."""
        self._database = database
        self._maker_of = maker_of
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
        contents: Contents | None = None,
    ) -> Job:
        """Promise a job: one row, `queued`, and its event.

        With `contents`, which says what its images hold, an earlier result may be the answer:
        then the row is `succeeded`. Give it where the caller chose the seed.

        The images are looked at again inside the transaction, so that none can be
        deleted between the check and the promise; `InvalidRequest` if one was. `LimitExceeded`
        if the account may have no such job now. `completion` writes in the same transaction
        what an idempotency key made. `limits`: the account's, if they are known; where none counts
        and there is nothing else to write, PostgreSQL is sent one statement.
        """
        key = self._key_of(account_id, spec, contents)
        with span("submit job", kind="producer", engine=spec.engine) as submitting:
            values = {**_new_row(account_id, spec, metadata, retried_from), "of_key": key}
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
            job = self._answer(connection, account_id, spec, values)
            details = {"retried_from": values["new_retried_from"]}
            if job is None:
                job = _promise(connection, account_id, spec, values, limits)
            else:
                details["cached"] = True
            add_labels(connection, account_id, job.id, metadata)
            if completion is not None:
                completion(connection, job.id, True)
            note(connection, account_id, "job.created", job.id, **details)
            add_usage(connection, account_id, pixels_of_month(job.created_at), job.pixels or 0)
        return job

    def _key_of(self, account_id: str, spec: JobSpec, contents: Contents | None) -> bytes | None:
        """What an earlier result of this edit would have; None: none is to be looked for."""
        maker = None if contents is None else self._maker_of(spec.engine)
        if contents is None or maker is None:
            return None
        return cache_key(account_id, spec, contents, maker)

    def is_answered(self, account_id: str, spec: JobSpec, contents: Contents) -> bool:
        """Whether a submission of this edit would be answered by an earlier result now."""
        key = self._key_of(account_id, spec, contents)
        if key is None:
            return False
        with self._database.reading_at_once() as connection:
            asked = {"of_account": account_id, "of_key": key}
            return bool(connection.scalar(select(IS_ANSWERED), asked))

    def _answer(
        self, connection: Connection, account_id: str, spec: JobSpec, values: dict[str, object]
    ) -> Job | None:
        """The job, if an earlier result answers it."""
        key = values["of_key"]
        if not isinstance(key, bytes):
            return None
        earlier = earlier_result(connection, account_id, key)
        if earlier is None:
            count_lookup(connection, spec.engine, "miss")
            return None
        _hold_images(connection, account_id, spec)
        return answer(connection, earlier, values, retention_ms=self._retention_ms)

    def _submit_at_once(
        self, account_id: str, spec: JobSpec, values: dict[str, object]
    ) -> Job | None:
        """The same, with its event, its entry and its charge; None if that is not possible.

        Nor is it where an earlier result answers the submission: that is seen on the way.

        The account is not held: none is deleted while a job of it is on its way, since the
        job's image is held (`shared/accounts/deletion.py` looks for jobs last of all).
        """
        by = by_whom()
        if by is None or not self._database.writes_by_one_statement:
            return None
        entry = {f"entry_{name}": value for name, value in by.items()}
        details = {"retried_from": values["new_retried_from"]}
        given = {**values, **entry, "entry_details": details, "of_shard": a_shard()}
        key = values["of_key"]
        statement = _AT_ONCE[spec.mask_image is not None, key is not None]
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
                if key is not None:
                    count_lookup(connection, spec.engine, "miss")
                return job
        return None  # it lacks an image, or its account a place in line; or it is answered

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

    def delete(self, account_id: str, job_id: str) -> Deleted:
        """Forget a final job; what it was, so that its objects can go too. `JobNotFinal`.

        They stay while another job points to them, which then pays for them.
        """
        with self._database.writing() as connection:
            job = _read(connection, account_id, job_id)
            if not job.status.is_final:
                raise JobNotFinal(f"{job_id} is {job.status}; cancel it first.")
            told = delete(webhook_deliveries).where(webhook_deliveries.c.job_id == job_id)
            deliveries = connection.execute(told).rowcount
            this = delete(jobs).where(jobs.c.id == job_id).returning(*KNOWN)
            gone = connection.execute(this).first()
            freed = Freed(has_pictures=False, size_bytes=0)
            if gone is not None:
                note(connection, account_id, "job.deleted", job_id)
                freed = let_go(connection, gone)
        return Deleted(job, freed, deliveries)

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


def _promising(mask: NamedFromClause | None, *further: ColumnElement[bool]) -> ReturningInsert[Any]:
    """One statement makes the row from what it stands on, and holds that until the commit.

    The picture, the mask if it is an image, and the account's place in line: so nobody can
    delete an image, or take the account out of the line, before the job is seen.
    """
    picture = images.alias("picture")
    here = turns.join(picture, true())
    needs = [PLACE, *further]
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


def _unless_answered(mask: NamedFromClause | None) -> JobWrite:
    return JobWrite(_promising(mask, ~IS_ANSWERED), is_by_key=True)


#: By whether its mask is an image, and whether an earlier result may answer it.
_AT_ONCE = {
    (False, False): _at_once(_PROMISE),
    (True, False): _at_once(_PROMISE_WITH_MASK),
    (False, True): _at_once(_unless_answered(None)),
    (True, True): _at_once(_unless_answered(images.alias("mask"))),
}


def _promise(
    connection: Connection,
    account_id: str,
    spec: JobSpec,
    values: dict[str, object],
    limits: Limits,
) -> Job:
    if limits.are_counted:
        _require_room(connection, account_id, spec, limits)
    promise = _PROMISE if spec.mask_image is None else _PROMISE_WITH_MASK
    made = write_jobs(connection, promise, values)
    if not made:
        _hold_images(connection, account_id, spec)  # it is one of them, or the place in line
        enter_line(connection, spec.engine, account_id)
        made = write_jobs(connection, promise, values)
    (job,) = made
    on_commit(connection, partial(note_moves, "submit", [job]))
    return job


_ONE = planned_once(
    select(jobs).where(jobs.c.id == bindparam("of_id"), jobs.c.account_id == OF_ACCOUNT)
)


def _read(connection: Connection, account_id: str, job_id: str) -> Job:
    row = connection.execute(_ONE, {"of_id": job_id, "of_account": account_id}).first()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return job_from_row(row)
