"""Rows that point to the same pictures, and the one of them that owns these.

    job_1   made them         origin_id NULL    stored_bytes 81234    owns them, pays for them
    job_2   answered from it  origin_id job_1   stored_bytes NULL
    job_3   answered from it  origin_id job_1   stored_bytes NULL

When the owner goes (deleted, or past its retention), the newest of the others is the owner, in the
same transaction; when nobody is left, the pictures go after it. A row that does not own them
takes nothing with it. So the bytes are counted once, whoever goes first.

Whoever adds a row holds one that points to them until the commit (`shared/jobs/cached.py`), so none
appears once the last one is held to go: `docs/decisions/0062-answered-from-an-earlier-result.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import BigInteger, bindparam, exists, select, update

from shared.accounts.usage import STORED_BYTES, add_usage
from shared.jobs.job import keys_in
from shared.jobs.tables import jobs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

#: Columns that `let_go` wants to know of a row.
KNOWN = (
    jobs.c.id,
    jobs.c.account_id,
    jobs.c.origin_id,
    jobs.c.stored_bytes,
    jobs.c.pictures_gone_at,
)

_SHARING = (jobs.c.origin_id == bindparam("of_origin"), jobs.c.pictures_gone_at.is_(None))
_IS_SHARED = select(exists().where(*_SHARING))
_HEIR = (
    select(jobs.c.id)
    .where(*_SHARING)
    .order_by(jobs.c.id.desc())
    .limit(1)
    .with_for_update(key_share=True)
    .scalar_subquery()
)
_PASS_ON = (
    update(jobs)
    .where(jobs.c.id == _HEIR)
    .values(stored_bytes=bindparam("paid_bytes", type_=BigInteger()))
)
_ONE_RESULT = select(jobs.c.result).where(*_SHARING).limit(1)


class Freed(NamedTuple):
    """What goes with a row: its pictures, if nobody else's row points to them; their bytes."""

    has_pictures: bool
    size_bytes: int


def let_go(connection: Connection, row: Any) -> Freed:
    """Of a row that was deleted or says that its pictures are gone, in this transaction.

    `row` has the columns `KNOWN`, as they were before, read while it was held. The account's sum
    is changed here: call it last.
    """
    is_owner = row.origin_id is None or row.stored_bytes is not None
    if not is_owner:
        return Freed(has_pictures=False, size_bytes=0)
    paid_bytes = row.stored_bytes or 0
    of_origin = {"of_origin": row.origin_id or row.id}
    # Again: the one that was found may have gone meanwhile, and another may have come by it
    while connection.scalar(_IS_SHARED, of_origin):
        was_owner_before = row.pictures_gone_at is not None
        if was_owner_before or _pass_on(connection, {**of_origin, "paid_bytes": paid_bytes}):
            return Freed(has_pictures=False, size_bytes=0)
    add_usage(connection, row.account_id, STORED_BYTES, -paid_bytes)
    return Freed(has_pictures=True, size_bytes=paid_bytes)


def _pass_on(connection: Connection, to: dict[str, Any]) -> bool:
    return bool(connection.execute(_PASS_ON, to).rowcount)


def shared_keys(connection: Connection, origin_ids: Iterable[str]) -> set[str]:
    """The objects of these jobs that rows answered from them point to.

    One look-up for each: all rows of one origin name the same objects.
    """
    keys: set[str] = set()
    for origin_id in origin_ids:
        result = connection.scalar(_ONE_RESULT, {"of_origin": origin_id})
        keys.update(keys_in(result))
    return keys
