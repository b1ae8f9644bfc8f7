"""How many jobs go before one's own: counted in one statement, and not for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, literal, select, tuple_, union_all

from shared.jobs.tables import QUEUED, jobs
from shared.jobs.turns import OF_ACCOUNT, OF_ENGINE

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, Select, Subquery

CEILING = 10_000  #: rows that a count looks at: it must not grow with the queue


def places_of(
    connection: Connection, account_id: str, engine: str, job_ids: Iterable[str]
) -> dict[str, int]:
    """`JobStore.places`."""
    asked = {"of_engine": engine, "of_account": account_id, "of_ids": list(job_ids)}
    ranks, others = _read(connection.execute(_PLACES, asked))
    return {job_id: _place(rank, others) for job_id, rank in ranks.items()}


def next_place_of(connection: Connection, account_id: str, engine: str, priority: int) -> int:
    """`JobStore.next_place`."""
    asked = {"of_engine": engine, "of_account": account_id, "of_priority": priority}
    ranks, others = _read(connection.execute(_NEXT_PLACE, asked))
    return _place(ranks[""], others)


def _read(rows: Iterable[Row[Any]]) -> tuple[dict[str, int], list[int]]:
    """The ranks of the account's own jobs, and how many jobs each other account has queued."""
    ranks: dict[str, int] = {}
    others: list[int] = []
    for row in rows:
        if row.is_own:
            ranks[row.id] = row.number
        else:
            others.append(row.number)
    return ranks, others


def _place(rank: int, others: Iterable[int]) -> int:
    return rank + sum(min(count, rank + 1) for count in others)


_QUEUED = and_(jobs.c.engine == OF_ENGINE, QUEUED)
_OWN = and_(_QUEUED, jobs.c.account_id == OF_ACCOUNT)


def _counted(*where: ColumnElement[bool]) -> Subquery:
    """The account of each row that is counted."""
    accounts = select(jobs.c.account_id).where(_QUEUED, *where).order_by(jobs.c.account_id)
    return accounts.limit(CEILING).subquery()


def _ranks_of_wanted() -> Select[Any]:
    """The rank of each wanted job that is queued."""
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
    return select(
        literal(1).label("is_own"),
        wanted.c.id,
        func.coalesce(ranks.c.rank, CEILING).label("number"),
    ).select_from(wanted.outerjoin(ranks, ranks.c.id == wanted.c.id))


def _rank_of_next() -> Select[Any]:
    """The rank that a new job of a priority would have."""
    those = _counted(jobs.c.account_id == OF_ACCOUNT, jobs.c.priority <= bindparam("of_priority"))
    return select(
        literal(1).label("is_own"), literal("").label("id"), func.count().label("number")
    ).select_from(those)


def _beside_others(own: Select[Any]) -> CompoundSelect[Any]:
    """Those ranks, and a row for each other account: two ranges, so that the own are not read."""
    sides = (jobs.c.account_id < OF_ACCOUNT, jobs.c.account_id > OF_ACCOUNT)
    counted = union_all(*(select(_counted(side)) for side in sides)).subquery("others")
    others = select(literal(0), counted.c.account_id, func.count()).group_by(counted.c.account_id)
    return union_all(own, others)


_PLACES = _beside_others(_ranks_of_wanted())
_NEXT_PLACE = _beside_others(_rank_of_next())
