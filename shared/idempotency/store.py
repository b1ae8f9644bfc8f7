"""Idempotency keys in the database; one transaction a method.

    free ──take──▶ in flight ──complete──▶ made ──a day──▶ free
                     │   ▲
                     │   └──take, once the lease is over: another holder
                     └──release──▶ free

A key is taken in a transaction of its own, before anything is made. That it has made something is
written in the transaction that makes it, and only by who holds it then: whoever dies leaves both
or neither, and whoever comes back after a rival took over makes nothing.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, exists, select, tuple_, update

from shared.db import insert_unless_there, now_ms
from shared.errors import IdempotencyKeyInFlight, IdempotencyKeyReused
from shared.idempotency.claims import Claim, Made
from shared.idempotency.tables import idempotency_keys as keys

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from shared.db import Database

LEASE_MS = 30_000
MEMORY_MS = 86_400_000
#: A row stays for so long after its time: its holder may only be slow, and still complete it.
LEFT_MS = 3_600_000
SLICE = 500
SLICES = 50  #: of one sweep


class IdempotencyStore:
    """Which keys are in use, and what they made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, account_id: str, key: str, fingerprint: bytes) -> Claim | Made | None:
        """The right to make what the key asks for, what it made before, or None: in flight.

        `IdempotencyKeyReused` if it was used for another request.
        """
        claim = Claim(account_id, key, secrets.token_hex(16))
        fresh = {
            "fingerprint": fingerprint,
            "holder": claim.holder,
            "object_id": None,
            "status": None,
            "expires_at": now_ms() + LEASE_MS,
        }
        with self._database.writing() as connection:
            taken = connection.execute(
                insert_unless_there(connection, keys)
                .values(account_id=account_id, key=key, **fresh)
                .on_conflict_do_update(
                    index_elements=["account_id", "key"],
                    set_=fresh,
                    where=keys.c.expires_at <= now_ms(),
                )
                .returning(keys.c.holder)
            ).first()
            if taken is not None:
                return claim
            row = connection.execute(select(keys).where(_is(account_id, key))).one()
        if row.fingerprint != fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request; take a new one."
            )
        return None if row.object_id is None else Made(row.object_id, row.status)

    def is_in_flight(self, account_id: str, key: str) -> bool:
        """Whether somebody holds the key at present; no reason to ask `take` again before."""
        held = exists().where(
            _is(account_id, key), keys.c.object_id.is_(None), keys.c.expires_at > now_ms()
        )
        with self._database.reading() as connection:
            return bool(connection.scalar(select(held)))

    def complete(self, claim: Claim, object_id: str, status: int) -> None:
        """Write what the request found made already. `IdempotencyKeyInFlight`."""
        with self._database.writing() as connection:
            complete(connection, claim, object_id, status)

    def release(self, claim: Claim) -> None:
        """Give the key back after a refusal; what it made meanwhile stays."""
        with self._database.writing() as connection:
            connection.execute(delete(keys).where(_held_by(claim)))

    def forget_old(self) -> None:
        """Delete the rows whose time is long over."""
        for _ in range(SLICES):
            with self._database.writing() as connection:
                if _forget_slice(connection) < SLICE:
                    return


def complete(connection: Connection, claim: Claim, object_id: str, status: int) -> None:
    """Write what the key made, in the transaction that makes it.

    `IdempotencyKeyInFlight` when a rival took over: the transaction must be rolled back.
    """
    written = connection.execute(
        update(keys)
        .where(_held_by(claim))
        .values(object_id=object_id, status=status, expires_at=now_ms() + MEMORY_MS)
    )
    if not written.rowcount:
        raise IdempotencyKeyInFlight(
            "This request took so long that another one with its Idempotency-Key took over."
        )


def _is(account_id: str, key: str) -> ColumnElement[bool]:
    return and_(keys.c.account_id == account_id, keys.c.key == key)


def _held_by(claim: Claim) -> ColumnElement[bool]:
    return and_(
        _is(claim.account_id, claim.key),
        keys.c.holder == claim.holder,
        keys.c.object_id.is_(None),
    )


def _forget_slice(connection: Connection) -> int:
    is_old = keys.c.expires_at < now_ms() - LEFT_MS
    those = select(keys.c.account_id, keys.c.key).where(is_old).order_by(keys.c.expires_at)
    held = those.limit(SLICE).with_for_update(skip_locked=True)
    name = tuple_(keys.c.account_id, keys.c.key)
    return connection.execute(delete(keys).where(name.in_(held), is_old)).rowcount
