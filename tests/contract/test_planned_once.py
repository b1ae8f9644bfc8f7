"""What PostgreSQL plans once for each connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text

from shared.db import Database
from shared.services import Services
from tests.contract.test_round_trips import submit_over_http
from tests.factories import Factory, a_result


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def _prepared(database: Database) -> list[str]:
    with database.reading_at_once() as connection:
        query = "SELECT statement FROM pg_prepared_statements ORDER BY prepare_time"
        return list(connection.scalars(text(query)))


def _run_a_job(services: Services, make: Factory) -> None:
    key = services.accounts.create_key("frequent")
    account = services.accounts.identify(key.text).account_id
    submit_over_http(services, account, make.image(account).id)
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    services.leases.heartbeat(job, 1, 8)
    assert services.leases.succeed(job, a_result(job))


def test_what_finds_its_rows_by_keys_is_planned_once_and_a_claim_is_not(
    services: Services, make: Factory
) -> None:
    for _ in range(3):
        _run_a_job(services, make)
    planned = _prepared(services.database)
    assert len(planned) == len(set(planned))
    for part in ("FROM api_keys", "INSERT INTO jobs", "SET lease_until", "result="):
        assert any(part in statement for statement in planned), part
    assert not any("worker_id=" in statement for statement in planned)


def test_nothing_is_prepared_where_a_pooler_does_not_bear_it(
    build: Callable[..., Services],
) -> None:
    services = build(database_prepares=False)
    _run_a_job(services, Factory(services))
    assert not _prepared(services.database)


def test_statements_that_were_planned_go_on_when_a_migration_adds_a_column(
    services: Services, make: Factory
) -> None:
    _run_a_job(services, make)
    with services.database.writing() as connection:
        for table in ("jobs", "api_keys", "accounts", "images"):
            connection.execute(text(f"ALTER TABLE {table} ADD COLUMN later integer"))
    _run_a_job(services, make)
