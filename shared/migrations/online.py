"""To change the schema of a PostgreSQL that serves meanwhile.

A change that needs a table for itself waits until those who use it are through, and all who come
later wait behind it. So it waits a moment alone, lets the others pass, and comes again.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from alembic import op
from alembic.util import CommandError
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from shared.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

    from shared.db import Database

log = structlog.get_logger()

LOCK = 0x70771147  #: "towline", nearly: the same for all who migrate one database
LOCK_TIMEOUT_MS = 1000  #: how long the requests of others are held up by one try
PAUSE_S = 2.0  #: in which they are served
GIVE_UP_S = 300.0
_POLL_S = 0.2
_LOCK_NOT_AVAILABLE = "55P03"


def patient(url: str) -> str:
    """The same database: a change may take long, though it may not wait long for a lock."""
    options = f"-c statement_timeout=0 -c lock_timeout={LOCK_TIMEOUT_MS}"
    options += " -c idle_in_transaction_session_timeout=5s"
    changed = make_url(url).update_query_dict({"options": options})
    return changed.render_as_string(hide_password=False)


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """While nobody else migrates this database, however long the one before takes.

    The lock is asked for again and again, and held by a connection of its own: an index that is
    built `CONCURRENTLY` waits for every snapshot that is older. One who waits for the lock would
    have one; so would one who holds it, if a SELECT were the last that it sent.
    """
    while True:
        with database.writing() as guard:
            if guard.scalar(select(func.pg_try_advisory_xact_lock(LOCK))):
                guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
                yield
                return
        time.sleep(_POLL_S)


def once_unlocked(database: Database, change: Callable[[Connection], None]) -> None:
    """Make the change, again and again while it finds a table in use.

    `DatabaseUnavailable` when a table was never free.
    """
    ends = time.monotonic() + GIVE_UP_S
    while True:
        try:
            with database.engine.connect() as connection:
                change(connection)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            if time.monotonic() > ends:
                raise DatabaseUnavailable(
                    f"A table was not free for {GIVE_UP_S:.0f} s: somebody keeps a transaction"
                    " open (see pg_stat_activity). What was done stays; run it again."
                ) from error
            log.warning("table_in_use", again_in_s=PAUSE_S)
        else:
            return
        time.sleep(PAUSE_S)


def is_newer(context: Any) -> bool:
    """Whether the schema is one that this version does not know; `context` is Alembic's."""
    for head in context.get_context().get_current_heads():
        try:
            context.script.get_revision(head)
        except CommandError:
            log.warning("schema_is_newer_and_stays", schema=head)
            return True
    return False


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """An index of a table that others write meanwhile; `options` as of Alembic's.

    Not part of a transaction, so it belongs into a migration of its own. One that was cut off
    left an index that nobody may use; the next try takes it away first.
    """
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, columns, **options)
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")  # it waits for others, and nobody for it
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)
        op.execute("RESET lock_timeout")


def drop_index(name: str, table: str) -> None:
    """The end of an index whose table others use meanwhile; like `create_index`."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index(name, table)
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.execute("RESET lock_timeout")
