"""How Alembic reaches the database: through ours, so that SQLite behaves as it does in service.

Many may start at once: one migrates, the others wait and find nothing left to do.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import func, select, text

import shared.accounts.tables
import shared.audit.tables
import shared.batches.tables
import shared.idempotency.tables
import shared.images.tables
import shared.jobs.tables
import shared.webhooks.tables
from shared.db import Database, metadata

TABLES = (
    shared.accounts.tables,
    shared.audit.tables,
    shared.batches.tables,
    shared.idempotency.tables,
    shared.images.tables,
    shared.jobs.tables,
    shared.webhooks.tables,
)

LOCK = 0x70771147  #: "towline", nearly: the same for all who migrate one database

database = Database(context.config.attributes["url"])
with database.writing() as connection:
    if connection.dialect.name == "postgresql":  # on SQLite there is one writer anyway
        # However long the one before takes; a change of a big table may take long as well.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        # What others read and write must not queue up behind a change that cannot begin.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()
database.close()
