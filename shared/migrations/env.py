"""How Alembic reaches the database: through ours, so that SQLite behaves as it does in service."""

from __future__ import annotations

from alembic import context

import shared.accounts.tables
import shared.images.tables
import shared.jobs.tables
from shared.db import Database, metadata

TABLES = (shared.accounts.tables, shared.images.tables, shared.jobs.tables)

database = Database(context.config.attributes["url"])
with database.writing() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()
database.close()
