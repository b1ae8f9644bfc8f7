"""The schema's history leads to the tables that the code has, however it is walked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from shared.accounts.store import AccountStore
from shared.db import Database, metadata
from shared.migrations import alembic_config, migrate
from shared.services import Services
from tests.crowd import in_processes
from tests.factories import Factory
from tests.servers.postgres import Postgres


def test_the_migrated_schema_is_that_of_the_tables(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_indexes_are_partial_where_the_tables_say_so(database: Database) -> None:
    """Alembic does not compare the conditions of partial indexes: this does, as they are read."""
    with database.writing() as connection:
        migrated = _indexes(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        assert _indexes(connection) == migrated
        connection.rollback()


def _indexes(connection: Connection) -> dict[str | None, str]:
    seen = inspect(connection)
    return {
        index["name"]: f"{index['column_names']} {_texts(index.get('dialect_options', {}))}"
        for table in metadata.tables
        for index in seen.get_indexes(table)
    }


def _texts(options: dict[str, object]) -> list[tuple[str, str]]:
    return sorted((name, str(value)) for name, value in options.items())


def test_nothing_happens_when_a_database_is_migrated_again(database_url: str) -> None:
    database = Database(database_url)
    key = AccountStore(database).create_key("mine")
    migrate(database_url)
    migrate(database_url)
    assert AccountStore(database).account_of(key.text) is not None
    database.close()


def test_everything_is_gone_and_comes_back_when_a_database_goes_down_and_up(
    database_url: str,
) -> None:
    command.downgrade(alembic_config(database_url), "base")
    database = Database(database_url)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    migrate(database_url)
    assert set(inspect(database.engine).get_table_names()) >= set(metadata.tables)
    database.close()


def test_a_job_is_found_by_its_metadata_when_it_is_older_than_the_labels(
    services: Services, make: Factory
) -> None:
    url = services.settings.database
    jobs = [make.job(metadata={"order": n}) for n in ("1", "2")]
    services.database.close()
    command.downgrade(alembic_config(url), "0001")
    migrate(url)
    for job in jobs:
        page = services.jobs.page(job.account_id, limit=9, metadata=job.metadata)
        assert [found.id for found in page] == [job.id]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Databases without a schema."""
    if request.param == "sqlite":
        yield [f"sqlite:///{tmp_path / 'new folder %' / f'{n}.db'}" for n in range(4)]
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    names = [postgres.create() for _ in range(4)]
    yield [postgres.url(name) for name in names]
    for name in names:
        postgres.drop(name)


@pytest.mark.slow
def test_all_succeed_when_eight_processes_migrate_a_new_database_at_once(
    empty_urls: list[str],
) -> None:
    in_processes(_migrate_all, [(empty_urls,)] * 8)
    for url in empty_urls:
        database = Database(url)
        assert set(inspect(database.engine).get_table_names()) >= set(metadata.tables)
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1
        database.close()


def _migrate_all(urls: list[str]) -> None:
    for url in urls:
        migrate(url)


@pytest.mark.slow
def test_all_succeed_when_several_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    in_processes(_open_all, [([f"sqlite:///{tmp_path / f'{n}.db'}" for n in range(30)],)] * 3)


def _open_all(urls: list[str]) -> None:
    for url in urls:
        database = Database(url)
        with database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (x)")
        database.close()
