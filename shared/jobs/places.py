"""How many jobs go before one's own: counted in one statement, and not for ever."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, cast, func, null, select, tuple_, union_all

from shared.jobs.tables import QUEUED, jobs
from shared.jobs.turns import OF_ACCOUNT, OF_ENGINE

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, CompoundSelect, Connection, Row, Select, Subquery

CEILING = 10_000  #: rows that a count looks at: it must not grow with the queue


@dataclass(frozen=True, slots=True)
class Line:
    """An engine's line as an account sees it: how many jobs of its own wait, and of each other."""

    own: dict[int, int]  #: by priority
    others: list[int]

    def place(self, priority: int) -> int:
        """How many jobs would start before the next one of this priority."""
        return _place(sum(n for p, n in self.own.items() if p <= priority), self.others)

    def add(self, priority: int, count: int) -> None:
        """So many more of its own; fewer, if that is negative."""
        self.own[priority] = max(0, self.own.get(priority, 0) + count)


def _place(rank: int, others: Iterable[int]) -> int:
    return rank + sum(min(count, rank + 1) for count in others)


def places_of(
    connection: Connection, account_id: str, engine: str, job_ids: Iterable[str]
) -> dict[str, int]:
    """`JobStore.places`."""
    asked = {"of_engine": engine, "of_account": account_id, "of_ids": list(job_ids)}
    ranks, others = _read(connection.execute(_PLACES, asked))
    return {job_id: _place(rank, others) for job_id, rank in ranks.items()}


def line_seen_by(connection: Connection, account_id: str, engine: str) -> Line:
    """The line as it is now."""
    return Line(*_read(connection.execute(_LINE, {"of_engine": engine, "of_account": account_id})))


def _read(rows: Iterable[Row[Any]]) -> tuple[dict[Any, int], list[int]]:
    """The numbers of the account's own, by what they are of; and of each other account."""
    own: dict[Any, int] = {}
    others: list[int] = []
    for row in rows:
        if row.own is None:
            others.append(row.number)
        else:
            own[row.own] = row.number
    return own, others


_QUEUED = and_(jobs.c.engine == OF_ENGINE, QUEUED)
_OWN = and_(_QUEUED, jobs.c.account_id == OF_ACCOUNT)


def _counted(*where: ColumnElement[bool]) -> Subquery:
    """The account and the priority of each row that is counted."""
    those = select(jobs.c.account_id, jobs.c.priority).where(_QUEUED, *where)
    return those.order_by(jobs.c.account_id, jobs.c.priority).limit(CEILING).subquery()


def _ranks() -> Select[Any]:
    """Of each wanted job that is queued: how many of the account's own go before it."""
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
        wanted.c.id.label("own"), func.coalesce(ranks.c.rank, CEILING).label("number")
    ).select_from(wanted.outerjoin(ranks, ranks.c.id == wanted.c.id))


def _own() -> Select[Any]:
    """How many jobs of each priority the account has queued."""
    those = _counted(jobs.c.account_id == OF_ACCOUNT)
    number = func.count().label("number")
    return select(those.c.priority.label("own"), number).group_by(those.c.priority)


def _beside_others(own: Select[Any]) -> CompoundSelect[Any]:
    """A row for each other account as well: two ranges, so that the own are not read again."""
    sides = (jobs.c.account_id < OF_ACCOUNT, jobs.c.account_id > OF_ACCOUNT)
    counted = union_all(*(select(_counted(side)) for side in sides)).subquery("others")
    nobody = cast(null(), own.selected_columns[0].type)
    others = select(nobody, func.count()).select_from(counted).group_by(counted.c.account_id)
    return union_all(own, others)


_PLACES = _beside_others(_ranks())
_LINE = _beside_others(_own())
