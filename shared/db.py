"""The database: one engine, one schema, one way to open a transaction.

Times are whole milliseconds since 1970 in UTC, read from the database's own clock
(`now_ms`), so that workers whose clocks disagree still agree on a lease; see
`docs/decisions/0003-times-are-milliseconds-of-the-database.md`.

SQLite: WAL, and transactions that say at once whether they will write. A reader that
turns writer fails immediately whatever the busy timeout, so writers send
`BEGIN IMMEDIATE`. No I/O other than SQL inside a transaction.

PostgreSQL: writers see what others have committed (READ COMMITTED) and lock the rows on which
they decide; readers see one moment. Whatever waits has a limit: for a connection of the pool,
for the server, for a lock, for an answer, for the next statement of a transaction. What runs into
one is `DatabaseUnavailable`: 503 with `Retry-After`, or another try by a worker. See
`docs/architecture/06-database.md`.
"""

from __future__ import annotations

import select
import sqlite3
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, BigInteger, Engine, MetaData, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from shared.errors import DatabaseUnavailable
from shared.telemetry.statements import trace_statements
from shared.telemetry.tracing import detail, is_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Executable, Table
    from sqlalchemy.pool import ConnectionPoolEntry

_Statement = TypeVar("_Statement", bound="Executable")

BUSY_TIMEOUT_MS = 5_000
_BEGIN = "towline_begin"
_NOTES = "towline_notes"
_CALLS = "towline_calls"
#: No request holds a connection while it waits, so few are enough for many threads.
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 10, "pool_timeout": 5}

#: How long a connection is taken for a good one, unless the server has said something since.
_TRUST_S = 5.0

_READING: dict[str, dict[str, Any]] = {
    "sqlite": {_BEGIN: "BEGIN"},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
_WRITING: dict[str, dict[str, Any]] = {"sqlite": {_BEGIN: "BEGIN IMMEDIATE"}, "postgresql": {}}
#: PostgreSQL makes a transaction of one statement by itself: no BEGIN and no COMMIT are sent.
_AT_ONCE: dict[str, dict[str, Any]] = {
    "sqlite": {_BEGIN: "BEGIN IMMEDIATE"},
    "postgresql": {"isolation_level": "AUTOCOMMIT"},
}
_READING_AT_ONCE = {**_AT_ONCE, "sqlite": _READING["sqlite"]}

#: What libpq is told unless the URL says otherwise. A server that vanished without a word is
#: noticed within 15 s; a process that was frozen inside a transaction holds its locks for 5 s.
_LIBPQ: dict[str, Any] = {
    "application_name": "towline",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
    "options": (
        "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=5s"
    ),
}
#: Only what is `planned_once` is prepared; all else is planned for its values each time.
_PSYCOPG: dict[str, Any] = {"prepare_threshold": sys.maxsize}
_PLANNED_ONCE = "towline_planned_once"
#: Not `OperationalError`s, and yet no bug: a server that is being replaced is read-only for a
#: while, and a transaction that idled was ended.
_AWAY = {"25006", "25P03"}

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def insert_unless_there(connection: Connection, table: Table) -> Any:
    """`INSERT` whose `on_conflict_...` both of our databases understand."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table)


def announce(connection: Connection, topic: str) -> None:
    """Whoever listens to the topic (`Database.after_commit`) is called once this is committed."""
    connection.get_execution_options()[_NOTES].add(topic)


def on_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Call this once the transaction is committed; it must not raise."""
    connection.get_execution_options()[_CALLS].append(call)


def planned_once(statement: _Statement) -> _Statement:
    """To be parsed and planned by PostgreSQL once for each connection, not at each use.

    For statements that find their rows by primary keys: the best plan of any other depends on
    its values.
    """
    return statement.execution_options(**{_PLANNED_ONCE: True})


class now_ms(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock, in milliseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    # Of the statement, not `clock_timestamp()`: no index can be searched for what changes meanwhile
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000 AS BIGINT)"


class Database:
    """An engine and its kinds of transaction: to read, to write; of many statements, or of one."""

    def __init__(self, url: str, *, prepares: bool = True) -> None:
        """Connects to nothing yet. Without `prepares`, nothing is `planned_once` after all."""
        self.engine = _make_engine(url)
        if prepares and self.engine.dialect.name == "postgresql":
            event.listen(self.engine, "do_execute", _prepare)
        if is_tracing():
            trace_statements(self.engine)
        self._listeners: dict[str, Callable[[], None]] = {}

    def after_commit(self, topic: str, call: Callable[[], None]) -> None:
        """Call this after each commit that noted the topic; it must not raise."""
        self._listeners[topic] = call

    @property
    def writes_by_one_statement(self) -> bool:
        """Whether one statement may change several tables (a CTE that writes): PostgreSQL."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent view."""
        with detail("read"), self._transaction(_READING) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; committed on leaving, rolled back on an exception."""
        with detail("write"), self._transaction(_WRITING) as connection:
            yield connection

    @contextmanager
    def reading_at_once(self) -> Iterator[Connection]:
        """To read with one statement, which sees one moment by itself."""
        with self._transaction(_READING_AT_ONCE) as connection:
            yield connection

    @contextmanager
    def writing_at_once(self) -> Iterator[Connection]:
        """To write with one statement: a second one would be a transaction of its own."""
        with self._transaction(_AT_ONCE) as connection:
            yield connection

    @contextmanager
    def _transaction(self, kind: dict[str, dict[str, Any]]) -> Iterator[Connection]:
        notes: set[str] = set()
        calls: list[Callable[[], None]] = []
        options = {**kind[self.engine.dialect.name], _NOTES: notes, _CALLS: calls}
        try:
            with (
                self.engine.connect() as connection,
                connection.execution_options(**options).begin(),
            ):
                yield connection
        except PoolTimeout as error:
            raise DatabaseUnavailable("Too many wait for a connection to the database.") from error
        except OperationalError as error:
            raise DatabaseUnavailable("The database did not answer.") from error
        except DBAPIError as error:
            if not (error.connection_invalidated or _sqlstate(error) in _AWAY):
                raise
            raise DatabaseUnavailable("The connection to the database broke.") from error
        for call in (*calls, *(self._listeners[topic] for topic in notes & self._listeners.keys())):
            call()

    def ping(self) -> None:
        """Whether the database answers; `DatabaseUnavailable`."""
        with self.reading_at_once() as connection:
            connection.exec_driver_sql("SELECT 1")

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _make_engine(text: str) -> Engine:
    url = make_url(text)
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        arguments = {**_LIBPQ, **url.query, **_PSYCOPG}
        engine = create_engine(url, connect_args=arguments, **_POOL)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", partial(_try_if_doubtful, engine))
        return engine
    if url.get_backend_name() != "sqlite":
        raise ValueError("the database's URL begins with postgresql:// or sqlite:///")
    return _make_sqlite(url)


def _prepare(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Whether this has executed the statement, in SQLAlchemy's place."""
    if _PLANNED_ONCE not in context.execution_options:
        return False
    cursor.execute(statement, parameters, prepare=True)
    return True


_USED = "towline_used"  #: when a connection came back to the pool


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info[_USED] = time.monotonic()


def _try_if_doubtful(
    engine: Engine, connection: Any, record: ConnectionPoolEntry, _proxy: object
) -> None:
    """Ask the server before a connection is used, where it may have gone meanwhile.

    Asking each time would be a round trip for every transaction. A server that ends, or ends a
    connection, says so: then there is something to read, which costs no round trip to see.
    """
    used = record.info.get(_USED)
    if used is None or (time.monotonic() - used < _TRUST_S and not _has_news(connection)):
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error  # the pool connects anew


def _has_news(connection: Any) -> bool:
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _make_sqlite(url: URL) -> Engine:
    path = url.database
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    arguments = {"isolation_level": None, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, **_POOL)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _send_begin)
    return engine


def _set_pragmas(dbapi_connection: Any, _record: Any) -> None:
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is gone from the file as well
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """A new file is switched once, and by one: SQLite does not wait here, so we do."""
    limit = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.01)
        else:
            return


def _send_begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))
