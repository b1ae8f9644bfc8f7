"""How many jobs go before one's own: counted in one statement, and not for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, literal, select, tuple_, union_all

from shared.jobs.tables import QUEUED, jobs
from shared.jobs.turns import OF_ACCOUNT, OF_ENGINE

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select

CEILING = 10_000  #: rows that a count looks at: it must not grow with the queue


def places_of(
    connection: Connection, account_id: str, engine: str, job_ids: Iterable[str]
) -> dict[str, int]:
    """`JobStore.places`."""
    asked = {"of_engine": engine, "of_account": account_id, "of_ids": list(job_ids)}
    ranks: dict[str, int] = {}
    others: list[int] = []
    for row in connection.execute(_PLACES, asked):
        if row.is_job:
            ranks[row.id] = row.number
        else:
            others.append(row.number)
    return {
        job_id: rank + sum(min(count, rank + 1) for count in others)
        for job_id, rank in ranks.items()
    }


def count_waiting(connection: Connection, engine: str) -> int:
    """`JobStore.waiting`."""
    return connection.scalar(_WAITING, {"of_engine": engine}) or 0


_QUEUED = and_(jobs.c.engine == OF_ENGINE, QUEUED)
_OWN = and_(_QUEUED, jobs.c.account_id == OF_ACCOUNT)


def _accounts(*where: ColumnElement[bool]) -> Select[tuple[str]]:
    """The account of each row that is counted."""
    accounts = select(jobs.c.account_id).where(_QUEUED, *where).order_by(jobs.c.account_id)
    return accounts.limit(CEILING)


def _places() -> CompoundSelect[Any]:
    """The rank of each wanted job among its account's own, and how many each other has queued."""
    wanted = (
        select(jobs.c.priority, jobs.c.id)
        .where(_OWN, jobs.c.id.in_(bindparam("of_ids", expanding=True)))
        .cte("wanted")
    )
    last = select(wanted).order_by(wanted.c.priority.desc(), wanted.c.id.desc()).limit(1)
    line = (
        select(jobs.c.priority, jobs.c.id)
        .where(_OWN, tuple_(jobs.c.priority, jobs.c.id) <= last.scalar_subquery())
        .order_by(jobs.c.priority, jobs.c.id)
        .limit(CEILING)
        .subquery("line")
    )
    in_order = (line.c.priority, line.c.id)
    ranked = select(line.c.id, (func.row_number().over(order_by=in_order) - 1).label("rank"))
    ranks = ranked.subquery("ranks")
    own = select(
        literal(1).label("is_job"),
        wanted.c.id,
        func.coalesce(ranks.c.rank, CEILING).label("number"),
    ).select_from(wanted.outerjoin(ranks, ranks.c.id == wanted.c.id))
    sides = (jobs.c.account_id < OF_ACCOUNT, jobs.c.account_id > OF_ACCOUNT)  # not to read the own
    counted = union_all(*(select(_accounts(side).subquery()) for side in sides)).subquery("others")
    others = select(literal(0), counted.c.account_id, func.count()).group_by(counted.c.account_id)
    return union_all(own, others)


_PLACES = _places()
_WAITING = select(func.count()).select_from(_accounts().subquery())
