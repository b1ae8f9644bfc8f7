"""What the database says of the whole service at this moment, for `/metrics`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from shared.batches.tables import ACTIVE as ACTIVE_BATCH
from shared.batches.tables import batches
from shared.db import now_ms
from shared.edits import Priority
from shared.errors import DatabaseUnavailable
from shared.jobs.tables import QUEUED, RUNNING, jobs, workers
from shared.telemetry.metrics import (
    BATCH_ITEMS,
    DATABASE_UP,
    DELIVERY_AGE,
    DUE_DELIVERIES,
    OPEN_BATCHES,
    QUEUE_AGE,
    QUEUED_JOBS,
    RUNNING_JOBS,
    WORKERS_UP,
    FromDatabase,
)
from shared.webhooks.tables import PENDING, webhook_deliveries

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from shared.db import Database

log = structlog.get_logger()

KEPT_S = 5.0  #: several scrapers, or one in a hurry, cost the database no more than one
Sample = tuple[FromDatabase, tuple[str, ...], float]


class DatabaseGauges(Collector):
    """Read from the database when asked; while it is away only `towline_database_up`, as 0."""

    def __init__(self, database: Database, *, alive_s: float) -> None:
        self._database = database
        self._alive_ms = int(alive_s * 1000)
        self._reading = threading.Lock()
        self._read: tuple[float, list[Sample]] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every gauge, with a sample for each of its labels that there are."""
        families: dict[str, GaugeMetricFamily] = {}
        for gauge, labels, value in self._samples():
            family = families.setdefault(
                gauge.name, GaugeMetricFamily(gauge.name, gauge.says, labels=gauge.labels)
            )
            family.add_metric(labels, value)
        yield from families.values()

    def _samples(self) -> list[Sample]:
        with self._reading:
            if self._read is not None and time.monotonic() - self._read[0] < KEPT_S:
                return self._read[1]
            try:
                with self._database.reading() as connection:
                    samples = [*self._ask(connection), (DATABASE_UP, (), 1.0)]
            except DatabaseUnavailable as error:
                log.warning("gauges_not_read", error=error.message)
                return [(DATABASE_UP, (), 0.0)]
            self._read = (time.monotonic(), samples)
            return samples

    def _ask(self, connection: Connection) -> Iterator[Sample]:
        yield from _queues(connection)
        alive = workers.c.seen_at >= now_ms() - self._alive_ms
        for gauge, table, where in ((RUNNING_JOBS, jobs, RUNNING), (WORKERS_UP, workers, alive)):
            counts = select(table.c.engine, func.count()).where(where).group_by(table.c.engine)
            for engine, count in connection.execute(counts):
                yield gauge, (engine,), count
        yield from _batches(connection)
        yield from _deliveries(connection)


def _queues(connection: Connection) -> Iterator[Sample]:
    """An id tells the time of its making, so the index of the queue alone knows the oldest."""
    queues = connection.execute(
        select(jobs.c.engine, jobs.c.priority, func.count(), func.min(jobs.c.id))
        .where(QUEUED)
        .group_by(jobs.c.engine, jobs.c.priority)
    ).all()
    oldest = [first for *_, first in queues]
    ages = select(jobs.c.id, now_ms() - jobs.c.created_at).where(jobs.c.id.in_(oldest))
    age_ms = dict(connection.execute(ages).tuples().all())
    for engine, priority, count, first in queues:
        labels = (engine, Priority(priority).name.lower())
        yield QUEUED_JOBS, labels, count
        yield QUEUE_AGE, labels, age_ms[first] / 1000


def _batches(connection: Connection) -> Iterator[Sample]:
    """Of both states, also of one in which there is none: that says more than no line at all."""
    found = {"validating": (0, 0), "running": (0, 0)}
    open_ones = select(batches.c.status, func.count(), func.sum(batches.c.waiting))
    for status, count, waiting in connection.execute(
        open_ones.where(ACTIVE_BATCH).group_by(batches.c.status)
    ):
        found[status] = (count, int(waiting))
    for status, (count, waiting) in found.items():
        yield OPEN_BATCHES, (status,), count
        yield BATCH_ITEMS, (status,), waiting


def _deliveries(connection: Connection) -> Iterator[Sample]:
    late_ms = now_ms() - func.min(webhook_deliveries.c.next_at)
    due = (PENDING, webhook_deliveries.c.next_at <= now_ms())
    count, oldest_ms = connection.execute(select(func.count(), late_ms).where(*due)).one()
    yield DUE_DELIVERIES, (), count
    yield DELIVERY_AGE, (), (oldest_ms or 0) / 1000
