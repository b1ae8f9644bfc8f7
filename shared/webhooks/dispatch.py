"""Deliveries as workers see them: claim, record, give back. One transaction a method.

A claim moves `next_at` past the time that a try may take, so that a worker that dies leaves a
delivery that becomes due again. What a worker writes afterwards carries its attempt: one
that was too slow, and whose delivery is another's by now, changes nothing. A message may
therefore arrive twice, under one id; it is never lost.

Lanes are walked one after the other, from where the last walk ended, so that no lane waits
behind the backlog of another, however long that is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, insert, select, update

from shared.accounts.tables import accounts
from shared.db import now_ms
from shared.errors import SecretUnreadable
from shared.jobs.job import Job, job_from_row
from shared.jobs.tables import jobs
from shared.webhooks.endpoint import DisabledBy
from shared.webhooks.endpoints import secret_row
from shared.webhooks.ends import disable, fail
from shared.webhooks.lanes import STEPS, hold, walk
from shared.webhooks.outbox import account_of
from shared.webhooks.schedule import GIVE_UP_S
from shared.webhooks.status import Status
from shared.webhooks.tables import (
    PENDING,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row, Table

    from shared.db import Database
    from shared.webhooks.sealing import Sealer

deliveries = webhook_deliveries

Room = Callable[[str, int], int]

OUR_FAULTS = ("secret_unreadable", "send_failed")  #: they say nothing about the receiver


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery to be sent now: what is told, to whom, and what signs it.

    `secrets` is empty if they cannot be read. `tries` are those before this one.
    """

    id: str
    account_id: str
    lane: str
    attempt: int
    tries: int
    event_id: str
    event_type: str
    event_at: int
    job: Job | None
    data: dict[str, Any] | None
    endpoint_id: str | None
    url: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one try. `retry_in_ms`: None if it was the last, or the one that arrived."""

    claim: Claim
    is_success: bool
    is_gone: bool
    retry_in_ms: int | None
    duration_ms: int
    http_status: int | None = None
    answer: str | None = None
    error: str | None = None
    detail: str | None = None

    @property
    def status(self) -> Status:
        """Where the delivery stands after it."""
        if self.is_success:
            return Status.SUCCEEDED
        return Status.FAILED if self.retry_in_ms is None else Status.PENDING


class Dispatch:
    """What workers may do with deliveries."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        timeout_s: float,
        time_scale: float,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._lease_ms = int(2 * timeout_s * 1000)
        self._give_up_ms = int(GIVE_UP_S * time_scale * 1000)

    @property
    def lease_s(self) -> float:
        """How long a claimed delivery stays with its worker."""
        return self._lease_ms / 1000

    def claim(self, after: str, room: Room, limit: int) -> tuple[list[Claim], str]:
        """Claim what is due in the lanes that come after one; and the lane to go on after.

        room: how many more a lane may have on their way, when so many of its account's are
        in this claim already. "" begins at the first lane, and is the answer when the last
        was looked at.
        """
        with self._database.reading() as connection:  # most walks find nothing: none waits for them
            lanes = walk(connection, after)
        due = [lane for lane, is_due in lanes if is_due and room(lane, 0) > 0]
        end = lanes[-1][0] if len(lanes) == STEPS else ""
        if not due:
            return [], end
        ids: list[str] = []
        taken: Counter[str] = Counter()
        with self._database.writing() as connection:
            for lane in due:
                account = account_of(lane)
                most = min(room(lane, taken[account]), limit - len(ids))
                held = hold(connection, lane, most) if most > 0 else []
                taken[account] += len(held)
                ids += held
                if len(ids) >= limit and lane != due[-1]:
                    end = lane  # what comes after it has its turn first, next time
                    break
            return self._claim(connection, ids), end

    def _claim(self, connection: Connection, ids: list[str]) -> list[Claim]:
        if not ids:
            return []
        lease = now_ms() + self._lease_ms
        rows = connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(ids))
            .values(attempt=deliveries.c.attempt + 1, next_at=lease, lease_until=lease)
            .returning(*deliveries.c)
        ).all()
        endpoints = _by_id(connection, webhook_endpoints, {row.endpoint_id for row in rows})
        ending = _being_deleted(connection, {row.account_id for row in rows})
        orphaned = {row.id for row in rows if row.account_id in ending}
        disabled = {row.id for row in rows if _is_disabled(endpoints.get(row.endpoint_id))}
        fail(connection, orphaned, "account_deleted", is_claimed=True)
        fail(connection, disabled - orphaned, "endpoint_disabled", is_claimed=True)
        going = [row for row in rows if row.id not in disabled | orphaned]
        those = _by_id(connection, jobs, {row.job_id for row in going})
        return [
            self._read(connection, row, those.get(row.job_id), endpoints.get(row.endpoint_id))
            for row in going
        ]

    def _read(
        self, connection: Connection, row: Row[Any], job: Row[Any] | None, endpoint: Row[Any] | None
    ) -> Claim:
        holder = endpoint or secret_row(connection, self._sealer, row.account_id)
        owner = row.endpoint_id or row.account_id
        return Claim(
            id=row.id,
            account_id=row.account_id,
            lane=row.lane,
            attempt=row.attempt,
            tries=row.tries,
            event_id=row.event_id,
            event_type=row.event_type,
            event_at=row.created_at,
            job=None if job is None else job_from_row(job),
            data=row.data,
            endpoint_id=row.endpoint_id,
            url=row.url if endpoint is None else endpoint.url,
            secrets=self._secrets(holder, owner, row.next_at - self._lease_ms),
        )

    def _secrets(self, row: Row[Any], owner: str, now: int) -> tuple[str, ...]:
        """The secret; and the one before it, while it is good and can be read."""
        try:
            secrets = [self._sealer.open(row.secret, owner)]
        except SecretUnreadable:
            return ()
        if row.previous_secret is not None and row.previous_until > now:
            with suppress(SecretUnreadable):  # the secret key was lost, and a rotation mended it
                secrets.append(self._sealer.open(row.previous_secret, owner))
        return tuple(secrets)

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of tries, those of a claim that was lost excepted."""
        with self._database.writing() as connection:
            # Endpoints first: whoever deletes one locks it before its deliveries as well.
            self._note_health(connection, outcomes)
            now = connection.scalar(select(now_ms())) or 0
            attempts = [
                _attempt(outcome, now)
                for outcome in sorted(outcomes, key=lambda outcome: outcome.claim.id)
                if _settle(connection, outcome)
            ]
            if attempts:
                connection.execute(insert(webhook_attempts), attempts)

    def give_back(self, claims: Collection[Claim]) -> None:
        """Let others send what this worker cannot: due at once, and it was no try."""
        with self._database.writing() as connection:
            for claim in claims:
                connection.execute(
                    update(deliveries)
                    .where(_held_by(claim))
                    .values(next_at=now_ms(), lease_until=None)
                )

    def _note_health(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """One success ends a row of failures; 410, or too long a row, disables the endpoint.

        What the URL answered that an endpoint had before says nothing of the endpoint.
        """
        by_endpoint: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in outcomes:
            claim = outcome.claim
            if claim.endpoint_id is not None and outcome.error not in OUR_FAULTS:
                by_endpoint.setdefault((claim.endpoint_id, claim.url), []).append(outcome)
        for (endpoint_id, url), those in sorted(by_endpoint.items()):
            is_it = and_(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.url == url)
            if any(outcome.is_gone for outcome in those):
                disable(connection, is_it, DisabledBy.GONE)
            elif any(outcome.is_success for outcome in those):
                _set_failing(connection, is_it, since=None)
            else:
                _set_failing(connection, is_it, since=now_ms())
                too_long = webhook_endpoints.c.failing_since < now_ms() - self._give_up_ms
                disable(connection, and_(is_it, too_long), DisabledBy.FAILING)


def _set_failing(connection: Connection, is_it: ColumnElement[bool], since: Any) -> None:
    """Write only what changes: the row is everybody's who sends to the endpoint."""
    column = webhook_endpoints.c.failing_since
    changes = column.is_not(None) if since is None else column.is_(None)
    connection.execute(update(webhook_endpoints).where(is_it, changes).values(failing_since=since))


def _settle(connection: Connection, outcome: Outcome) -> bool:
    """Move the delivery on; False if it is not this claim's any more."""
    values: dict[str, Any] = {"status": outcome.status.value, "tries": outcome.claim.tries + 1}
    if outcome.status is Status.PENDING:
        values["next_at"] = now_ms() + outcome.retry_in_ms
    else:
        values["finished_at"] = now_ms()
    changed = connection.execute(
        update(deliveries).where(_held_by(outcome.claim)).values(lease_until=None, **values)
    )
    return bool(changed.rowcount)


def _attempt(outcome: Outcome, now: int) -> dict[str, Any]:
    return {
        "delivery_id": outcome.claim.id,
        "attempt": outcome.claim.attempt,
        "at": now - outcome.duration_ms,
        "duration_ms": outcome.duration_ms,
        "http_status": outcome.http_status,
        "answer": _fitting("answer", outcome.answer),
        "error": _fitting("error", outcome.error),
        "detail": _fitting("detail", outcome.detail),
    }


def _fitting(column: str, text: str | None) -> str | None:
    """As PostgreSQL takes it: without NUL, and no longer than the column."""
    length = webhook_attempts.c[column].type.length  # type: ignore[attr-defined]
    return text and text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:length]


def _held_by(claim: Claim) -> ColumnElement[bool]:
    return and_(deliveries.c.id == claim.id, deliveries.c.attempt == claim.attempt, PENDING)


def _is_disabled(endpoint: Row[Any] | None) -> bool:
    return endpoint is not None and endpoint.disabled_at is not None


def _being_deleted(connection: Connection, account_ids: Collection[str]) -> set[str]:
    """Those of the accounts whose deletion has begun: nothing is sent for them any more."""
    those = accounts.c.id.in_(account_ids), accounts.c.deleting_at.is_not(None)
    return set(connection.scalars(select(accounts.c.id).where(*those)))


def _by_id(
    connection: Connection, table: Table, ids: Collection[str | None]
) -> dict[Any, Row[Any]]:
    """The rows with these ids."""
    wanted = {each for each in ids if each is not None}
    if not wanted:
        return {}
    return {row.id: row for row in connection.execute(select(table).where(table.c.id.in_(wanted)))}
