"""The schema's history leads to the tables that the code has, however it is walked."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from shared.accounts.store import AccountStore
from shared.db import Database, metadata
from shared.migrations import alembic_config, migrate
from tests.crowd import in_processes


def test_the_migrated_schema_is_that_of_the_tables(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_indexes_are_partial_where_the_tables_say_so(database: Database) -> None:
    """Alembic does not compare the conditions of partial indexes: this does, by their SQL."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip("the text is SQLite's own")
    made = create_engine("sqlite://")
    metadata.create_all(made)
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with made.connect() as wanted, database.reading() as connection:
        those = {row.name: row.sql for row in wanted.exec_driver_sql(query)}
        assert {row.name: row.sql for row in connection.exec_driver_sql(query)} == those
    made.dispose()


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


@pytest.mark.slow
def test_all_succeed_when_several_processes_migrate_a_new_database_at_once(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / 'new folder %' / f'{n}.db'}" for n in range(4)]
    in_processes(_migrate_all, [(urls,)] * 3)
    for url in urls:
        database = Database(url)
        assert set(inspect(database.engine).get_table_names()) >= set(metadata.tables)
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
