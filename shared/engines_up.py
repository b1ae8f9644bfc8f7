"""Which engines are up, with which model: a table that workers keep fresh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from shared.db import insert_unless_there, now_ms
from shared.jobs.tables import workers

if TYPE_CHECKING:
    from shared.db import Database


@dataclass(frozen=True, slots=True)
class EngineUp:
    """What the live workers of one engine say: how many threads in all, which model."""

    engine: str
    threads: int
    model_digest: str


class EnginesUp:
    """The workers that were seen within `alive_s`."""

    def __init__(self, database: Database, *, alive_s: float) -> None:
        self._database = database
        self._alive_ms = int(alive_s * 1000)

    def seen(self, worker_id: str, engine: str, model_digest: str, threads: int) -> None:
        """Say that a worker is alive."""
        with self._database.writing_at_once() as connection:
            row = {"engine": engine, "model_digest": model_digest, "threads": threads}
            statement = insert_unless_there(connection, workers).values(
                id=worker_id, seen_at=now_ms(), **row
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["id"], set_={**row, "seen_at": now_ms()}
                )
            )

    def gone(self, worker_id: str) -> None:
        """Say that a worker has ended."""
        with self._database.writing_at_once() as connection:
            connection.execute(delete(workers).where(workers.c.id == worker_id))

    def forget_dead(self) -> None:
        """Delete the rows of workers that ended without a word."""
        with self._database.writing_at_once() as connection:
            connection.execute(delete(workers).where(workers.c.seen_at < now_ms() - self._alive_ms))

    def all(self) -> dict[str, EngineUp]:
        """The engines that have a live worker."""
        query = (
            select(
                workers.c.engine,
                func.sum(workers.c.threads).label("threads"),
                func.max(workers.c.model_digest).label("model_digest"),
            )
            .where(workers.c.seen_at >= now_ms() - self._alive_ms)
            .group_by(workers.c.engine)
        )
        with self._database.reading_at_once() as connection:
            return {row.engine: EngineUp(*row) for row in connection.execute(query)}
