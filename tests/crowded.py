"""Fills a database with very many jobs, by one statement each: for plans and benchmarks."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from sqlalchemy import text

from shared.jobs.labels import label_of
from tests.factories import a_spec

if TYPE_CHECKING:
    from shared.db import Database

_COUNT = "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n + 1 < :count)"
_ACCOUNTS = """
INSERT INTO accounts (id, name, created_at)
{count} SELECT 'acc_' || (100000 + :first + n), 'crowd ' || (:first + n), 0 FROM c
"""
_TURNS = """
INSERT INTO turns (engine, account_id, served_at)
{count} SELECT 'warp', 'acc_' || (100000 + :first + n), n + 1 FROM c
"""
_JOBS = """
INSERT INTO jobs (id, account_id, engine, priority, spec, metadata, image_id, timeout_s, status,
                  attempt, losses, retries, run_after, step, result, created_at, started_at,
                  claimed_at, deadline_at, finished_at, lease_until, retain_until)
{count} SELECT 'job_' || (1000000000000 + :start + n), 'acc_' || (100000 + :first + n % :accounts),
    'warp', 1, {spec}, {metadata}, 'img_none', 86400, :status,
    :attempt, 0, 0, 0, 0, {result}, :now, :started, :started, :deadline, :finished,
    :lease, :retain
FROM c
"""
_LABELS = """
INSERT INTO job_labels (account_id, label, job_id)
SELECT account_id, :label, id FROM jobs WHERE id >= :first AND image_id = 'img_none'
"""
_ENTRIES = """
INSERT INTO audit_log (id, account_id, action, subject, details, actor, actor_id, created_at)
{count} SELECT 'aud_' || (1000000000000 + n), 'acc_' || (100000 + n % :accounts), 'job.created',
    'job_' || n, {details}, 'key', CAST(n % 100 AS TEXT), :now
FROM c
"""
_ENDPOINTS = """
INSERT INTO webhook_endpoints (id, account_id, url, events, description, secret, created_at)
{count} SELECT 'ep_' || (100000 + n), 'acc_' || (100000 + n), 'https://hooks.example/', {events},
    '', {secret}, 0 FROM c
"""
_DELIVERIES = """
INSERT INTO webhook_deliveries (id, account_id, event_id, event_type, job_id, endpoint_id, lane,
                                status, attempt, tries, next_at, created_at, asked_at, finished_at)
{count} SELECT 'dlv_' || (1000000000000 + :start + n), 'acc_' || (100000 + n % :accounts),
    'evt_' || (1000000000000 + :start + n), 'job.succeeded', 'job_' || (1000000000000 + n % 100),
    'ep_' || (100000 + n % :accounts),
    'acc_' || (100000 + n % :accounts) || '/' || 'ep_' || (100000 + n % :accounts),
    :status, 0, 0, :now + (n % 10) * 60000, :now, :now, :finished
FROM c
"""
METADATA = {"batch": "crowd"}
_DAY_MS = 86_400_000


class Crowd:
    """Accounts are numbered; each method says which ones it fills."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs = 0
        self._deliveries = 0

    def accounts(self, count: int, *, first: int = 0) -> None:
        """As many accounts, all of which had a turn once."""
        with self._database.writing() as connection:
            for statement in (_ACCOUNTS, _TURNS):
                connection.execute(
                    text(statement.format(count=_COUNT)), {"count": count, "first": first}
                )

    def jobs(self, status: str, count: int, *, first: int = 0, accounts: int = 1) -> None:
        """As many jobs in a state, dealt out to `accounts` accounts from `first` on."""
        now = int(time.time() * 1000)
        begun = status != "queued"
        ended = status == "succeeded"
        values = {
            "count": count, "first": first, "accounts": accounts, "start": self._jobs,
            "spec": json.dumps(a_spec().to_json()), "metadata": json.dumps(METADATA),
            "status": status, "attempt": int(begun), "now": now,
            "started": now if begun else None, "deadline": now + _DAY_MS if begun else None,
            "finished": now if ended else None, "retain": now + _DAY_MS if ended else None,
            "lease": now + _DAY_MS if status == "running" else None,
            "result": json.dumps({"timings": {"run_ms": 20.0}}) if ended else None,
        }  # fmt: skip
        is_sqlite = self._database.engine.dialect.name == "sqlite"
        json_value = ":{}" if is_sqlite else "CAST(:{} AS JSON)"
        columns = {name: json_value.format(name) for name in ("spec", "metadata", "result")}
        statement = _JOBS.format(count=_COUNT, **columns)
        with self._database.writing() as connection:
            if not is_sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(statement), values)
            first = f"job_{1_000_000_000_000 + self._jobs}"
            (pair,) = METADATA.items()
            connection.execute(text(_LABELS), {"label": label_of(*pair), "first": first})
        self._jobs += count

    def entries(self, count: int, *, accounts: int = 1) -> None:
        """As many entries of the audit log, dealt out to the first accounts."""
        details = "'{}'" if self._database.engine.dialect.name == "sqlite" else "CAST('{}' AS JSON)"
        values = {"count": count, "accounts": accounts, "now": int(time.time() * 1000)}
        with self._database.writing() as connection:
            connection.execute(text(_ENTRIES.format(count=_COUNT, details=details)), values)

    def deliveries(self, status: str, count: int, *, accounts: int = 1) -> None:
        """As many webhook deliveries in a state, dealt out to an endpoint of each account."""
        now = int(time.time() * 1000)
        is_sqlite = self._database.engine.dialect.name == "sqlite"
        events = "'[\"*\"]'" if is_sqlite else "CAST('[\"*\"]' AS JSON)"
        secret = "x'00'" if is_sqlite else "decode('00', 'hex')"
        endpoints = _ENDPOINTS.format(count=_COUNT, events=events, secret=secret)
        values = {
            "count": count, "start": self._deliveries, "accounts": accounts, "status": status,
            "now": now, "finished": None if status == "pending" else now,
        }  # fmt: skip
        with self._database.writing() as connection:
            if not is_sqlite:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            if not self._deliveries:
                connection.execute(text(endpoints), {"count": accounts})
            connection.execute(text(_DELIVERIES.format(count=_COUNT)), values)
        self._deliveries += count

    def settle(self) -> None:
        """What PostgreSQL's autovacuum does by itself; SQLite has nothing of the kind."""
        if self._database.engine.dialect.name == "postgresql":
            with self._database.engine.connect() as connection:
                outside = connection.execution_options(isolation_level="AUTOCOMMIT")
                outside.execute(text("SET statement_timeout = 0"))
                outside.execute(text("VACUUM ANALYZE"))
                outside.execute(text("RESET statement_timeout"))


def name_of(account: int) -> str:
    """The id of an account of the crowd."""
    return f"acc_{100_000 + account}"


def endpoint_of(account: int) -> str:
    """The id of the endpoint of an account of the crowd."""
    return f"ep_{100_000 + account}"
