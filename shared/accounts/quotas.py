"""Whether an account has room: asked inside the transaction that takes it.

An account with a limit that counts is held (`hold_account`) until that transaction ends,
so that no rival takes the same room: nothing is overshot. One without pays a look-up by its
primary key and waits for nobody. Counts stop at the limit that they are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, or_, select

from shared.accounts.limits import LIMITS, Limits
from shared.accounts.tables import accounts
from shared.accounts.usage import STORED_BYTES, pixels_of_month, seconds_of_month_left, used
from shared.errors import PixelsSpent, StorageFull, TooManyQueued, Unauthorized
from shared.jobs.tables import QUEUED, RUNNING, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Connection

QUEUED_RETRY_S = 5  #: places in a queue come free soon
STORED_RETRY_S = 3600  #: room comes free when something is deleted, or past its retention

LIMIT_COLUMNS = [accounts.c[f"limit_{name}"].label(name) for name in LIMITS]


def limits_in(row: Mapping[Any, Any], defaults: Limits) -> Limits:
    """Those of a row that has `LIMIT_COLUMNS`."""
    return defaults.overridden({name: row[name] for name in LIMITS})


def limits_of(connection: Connection, account_id: str, defaults: Limits) -> Limits:
    """The account's limits; the defaults if it is gone."""
    row = connection.execute(select(*LIMIT_COLUMNS).where(accounts.c.id == account_id)).first()
    return defaults if row is None else limits_in(row._mapping, defaults)


def hold_account(connection: Connection, account_id: str, defaults: Limits) -> Limits:
    """The account's limits; it cannot be deleted until this transaction ends.

    `Unauthorized` once its deletion has begun.
    """
    row = connection.execute(_HELD, {"held_account": account_id}).first()
    if row is None or row.deleting_at is not None:
        raise Unauthorized("The account of this key is being deleted.")
    limits = limits_in(row._mapping, defaults)
    if limits.are_counted:
        this = select(accounts.c.id).where(accounts.c.id == account_id)
        connection.execute(this.with_for_update(key_share=True))
    return limits


_HELD = (
    select(accounts.c.deleting_at, *LIMIT_COLUMNS)
    .where(accounts.c.id == bindparam("held_account"))
    .with_for_update(read=True, key_share=True)
)


def require_room_for_job(
    connection: Connection, account_id: str, limits: Limits, *, pixels: int, now: int
) -> None:
    """`TooManyQueued`, `PixelsSpent` or `StorageFull` if the account may submit no such job."""
    if limits.queued_jobs is not None:
        queued = count_jobs(connection, account_id, QUEUED, ceiling=limits.queued_jobs)
        if queued >= limits.queued_jobs:
            said = f"{limits.queued_jobs} jobs of this account wait already, as many as may."
            raise TooManyQueued(said, QUEUED_RETRY_S)
    if limits.pixels_per_month is not None:
        left = limits.pixels_per_month - used(connection, account_id, pixels_of_month(now))
        if pixels > left:
            said = f"The job has {pixels} pixels; {max(left, 0)} are left for this month."
            raise PixelsSpent(said, seconds_of_month_left(now))
    require_room_for_bytes(connection, account_id, limits, 1)


def require_room_for_bytes(
    connection: Connection, account_id: str, limits: Limits, size_bytes: int
) -> None:
    """`StorageFull` if so many bytes more are too many."""
    if limits.stored_bytes is None:
        return
    left = limits.stored_bytes - used(connection, account_id, STORED_BYTES)
    if size_bytes > left:
        said = f"{max(left, 0)} of {limits.stored_bytes} bytes are left; delete what is not needed."
        raise StorageFull(said, STORED_RETRY_S)


def is_storage_full(connection: Connection, account_id: str, limits: Limits) -> bool:
    """Whether not one byte more is left to the account."""
    try:
        require_room_for_bytes(connection, account_id, limits, 1)
    except StorageFull:
        return True
    return False


def count_jobs(
    connection: Connection, account_id: str, state: ColumnElement[bool], *, ceiling: int
) -> int:
    """How many jobs of the account are in a state; none is counted beyond `ceiling`."""
    those = select(jobs.c.id).where(jobs.c.account_id == account_id, state).limit(ceiling)
    return connection.scalar(select(func.count()).select_from(those.subquery())) or 0


def running_limit(account_id: Any, default: ColumnElement[int]) -> ColumnElement[int]:
    """In a query: how many jobs of the account may run at once; 0: any number."""
    limit = func.coalesce(accounts.c.limit_running_jobs, default)
    return select(limit).where(accounts.c.id == account_id).scalar_subquery()


def has_room_to_run(account_id: Any, limit: ColumnElement[int]) -> ColumnElement[bool]:
    """In a query: whether one more may run. Those that run are as few as there are threads."""
    running = select(func.count()).where(jobs.c.account_id == account_id, RUNNING)
    return or_(limit == 0, running.scalar_subquery() < limit)


def may_run_one_more(connection: Connection, account_id: str, limit: int) -> bool:
    """For certain: the account is held, so that no rival starts another meanwhile.

    Where a rival holds it, nobody waits: it is as if there were no room.
    """
    if not limit:
        return True
    this = select(accounts.c.id).where(accounts.c.id == account_id)
    held = connection.execute(this.with_for_update(key_share=True, skip_locked=True)).first()
    return held is not None and count_jobs(connection, account_id, RUNNING, ceiling=limit) < limit
