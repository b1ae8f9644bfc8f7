"""Which engines are up, with which model: a table that workers keep fresh."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from shared.db import insert_unless_there, now_ms
from shared.jobs.tables import workers

if TYPE_CHECKING:
    from shared.db import Database


KEPT_S = 1.0  #: how long a model that was seen is used again in this process


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
        self._models: dict[str, tuple[float, str]] = {}

    def seen(self, worker_id: str, engine: str, model_digest: str, threads: int) -> None:
        """Say that a worker is alive."""
        self._models.clear()
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
        self._models.clear()
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

    def model_of(self, engine: str) -> str | None:
        """The digest of the one model that all live workers of an engine have; None: not known.

        As it was at most `KEPT_S` ago, so that not every submission asks.
        """
        seen_at, digest = self._models.get(engine, (0.0, ""))
        if digest and time.monotonic() - seen_at <= KEPT_S:
            return digest
        query = (
            select(workers.c.model_digest)
            .where(workers.c.engine == engine, workers.c.seen_at >= now_ms() - self._alive_ms)
            .distinct()
            .limit(2)
        )
        with self._database.reading_at_once() as connection:
            digests: list[str] = list(connection.scalars(query))
        if len(digests) != 1:
            return None
        self._models[engine] = (time.monotonic(), digests[0])
        return digests[0]
