"""Whose turn it is: for each engine a line of accounts, the one served longest ago first.

An account enters the line with a job and goes to its end with each claim. Those that have nothing
queued are taken out at the head of the line (`leave_line`), so that a claim never walks past
many; at the head it costs them nothing, since a newcomer goes there too.

Nobody waits for a rival here. A claim holds its account's place, so that rivals serve
the next account meanwhile. A submission holds the place too, though beside others, so that the
account is not taken out while a job that nobody sees yet is on its way.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from sqlalchemy import and_, bindparam, delete, func, select, update

from shared.db import insert_unless_there
from shared.jobs.tables import QUEUED, jobs, turns

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select
    from sqlalchemy.sql.dml import ReturningUpdate

SLICE = 200  #: accounts that one transaction takes out at the most


OF_ENGINE = bindparam("of_engine", type_=turns.c.engine.type)
OF_ACCOUNT = bindparam("of_account", type_=turns.c.account_id.type)
PLACE = and_(turns.c.engine == OF_ENGINE, turns.c.account_id == OF_ACCOUNT)
_HELD_PLACE = select(turns.c.engine).where(PLACE).with_for_update(read=True, key_share=True)


def enter_line(connection: Connection, engine: str, account_id: str) -> None:
    """Let the account take part in the engine's turns; a newcomer goes first."""
    place = {"of_engine": engine, "of_account": account_id}
    while connection.execute(_HELD_PLACE, place).first() is None:
        connection.execute(
            insert_unless_there(connection, turns)
            .values(engine=engine, account_id=account_id, served_at=0)
            .on_conflict_do_nothing()
        )


def line_of(is_due: ColumnElement[bool]) -> Select[tuple[str]]:
    """The accounts that have a job of which `is_due` holds, in the order of their turns."""
    return (
        select(turns.c.account_id)
        .where(turns.c.engine == OF_ENGINE, _has_job(is_due))
        .order_by(turns.c.served_at)
    )


def first_of(account_id: ColumnElement[str], is_due: ColumnElement[bool]) -> Select[tuple[str]]:
    """The account's job of which `is_due` holds that goes first: by priority, then by age."""
    return (
        select(jobs.c.id)
        .where(jobs.c.engine == OF_ENGINE, jobs.c.account_id == account_id, is_due)
        .order_by(jobs.c.priority, jobs.c.id)
        .limit(1)
    )


def _has_job(is_due: ColumnElement[bool]) -> ColumnElement[bool]:
    """Asked of one account after the other: an `EXISTS` could become a join of everything."""
    first = first_of(turns.c.account_id, is_due).correlate(turns)
    return first.scalar_subquery().is_not(None)


_SERVED = (
    select(func.coalesce(func.max(turns.c.served_at), 0) + 1)
    .where(turns.c.engine == OF_ENGINE)
    .correlate(None)
    .scalar_subquery()
)


def next_turn(
    is_due: ColumnElement[bool], has_room: ColumnElement[bool]
) -> ReturningUpdate[tuple[str]]:
    """The first account in line that no rival serves: it goes to the line's end."""
    free = line_of(is_due).where(has_room).limit(1).correlate(None)
    held = free.with_for_update(key_share=True, skip_locked=True, of=turns).scalar_subquery()
    return (
        update(turns)
        .where(turns.c.engine == OF_ENGINE, turns.c.account_id == held)
        .values(served_at=_SERVED)
        .returning(turns.c.account_id)
    )


_NOTE_TURN = (
    update(turns)
    .where(
        turns.c.engine == OF_ENGINE,
        turns.c.account_id.in_(
            select(turns.c.account_id)
            .where(PLACE)
            .with_for_update(key_share=True, skip_locked=True)
            .correlate(None)
        ),
    )
    .values(served_at=_SERVED)
)


def note_turn(connection: Connection, engine: str, account_id: str) -> None:
    """The account goes to the end of the line; a rival that holds its place does that itself."""
    connection.execute(_NOTE_TURN, {"of_engine": engine, "of_account": account_id})


_IS_IDLE = ~_has_job(QUEUED)
_HEAD = (
    select(turns.c.account_id, _IS_IDLE.label("is_idle"))
    .where(turns.c.engine == OF_ENGINE)
    .order_by(turns.c.served_at)
    .limit(SLICE)
)


def leave_line(connection: Connection, engine: str) -> int:
    """Take out those at the head that have nothing queued; how many have not, at most `SLICE`."""
    place = {"of_engine": engine}
    head = connection.execute(_HEAD, place)
    idle = [row.account_id for row in takewhile(lambda row: row.is_idle, head)]
    those = (turns.c.engine == engine, turns.c.account_id.in_(idle))
    held = connection.scalars(
        select(turns.c.account_id).where(*those).with_for_update(skip_locked=True)
    ).all()
    # Again, now that they are held: a job may have come meanwhile.
    connection.execute(
        delete(turns).where(turns.c.engine == engine, turns.c.account_id.in_(held), _IS_IDLE), place
    )
    return len(idle)
