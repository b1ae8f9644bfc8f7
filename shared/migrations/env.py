"""How Alembic reaches the database: through ours, so that SQLite behaves as it does in service.

Many may start at once: one migrates, the others wait and find nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import context

import shared.accounts.tables
import shared.audit.tables
import shared.batches.tables
import shared.idempotency.tables
import shared.images.tables
import shared.jobs.tables
import shared.webhooks.tables
from shared.db import Database, metadata
from shared.migrations.online import alone, is_newer, once_unlocked, patient

if TYPE_CHECKING:
    from sqlalchemy import Connection

TABLES = (
    shared.accounts.tables,
    shared.audit.tables,
    shared.batches.tables,
    shared.idempotency.tables,
    shared.images.tables,
    shared.jobs.tables,
    shared.webhooks.tables,
)


def run(connection: Connection) -> None:
    """Walk the history on this connection, unless the schema is beyond it."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        transaction_per_migration=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    if context.config.attributes.get("leaves_newer") and is_newer(context):
        return
    with context.begin_transaction():
        context.run_migrations()


def run_on_sqlite(database: Database) -> None:
    """All in one transaction: who writes is alone there anyway, and nobody is served meanwhile."""
    with database.writing() as connection:
        run(connection)


def run_on_postgresql(database: Database) -> None:
    """Each in a transaction of its own, so that none holds its locks while the next one works."""
    with alone(database):
        once_unlocked(database, run)


url = context.config.attributes["url"]
is_sqlite = url.startswith("sqlite")
database = Database(url if is_sqlite else patient(url))
try:
    (run_on_sqlite if is_sqlite else run_on_postgresql)(database)
finally:
    database.close()
