"""The schema's history leads to the tables that the code has, however it is walked."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect
from structlog.testing import capture_logs

from shared.accounts.store import AccountStore
from shared.db import Database, metadata
from shared.errors import DatabaseUnavailable
from shared.migrations import alembic_config, migrate, online
from shared.services import Services
from tests.crew import wait_until
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


HEAD = """
import sqlalchemy as sa
from alembic import op

from shared.migrations import online

revision, down_revision = {revision!r}, {before!r}


def upgrade():
    {change}
"""
MIGRATIONS = Path(online.__file__).parent


class Later:
    """The version of this code that comes next: the same history, and more behind it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder / "migrations"
        shutil.copytree(MIGRATIONS, self._folder)
        self._revisions = sorted(
            path.stem.partition("_")[0] for path in self._folder.glob("versions/*.py")
        )

    def add(self, change: str) -> None:
        """One more migration, which does this."""
        before, revision = self._revisions[-1], f"9{len(self._revisions):03}"
        text = HEAD.format(revision=revision, before=before, change=change)
        (self._folder / "versions" / f"{revision}_later.py").write_text(text)
        self._revisions.append(revision)

    def migrate(self, processes: int = 1) -> None:
        if processes > 1:
            in_processes(_walk, [(self.url, self._folder)] * processes)
        else:
            _walk(self.url, self._folder)

    def version(self) -> Any:
        return self.ask("SELECT version_num FROM alembic_version")[0][0]

    def ask(self, statement: str) -> list[Any]:
        database = Database(self.url)
        with database.reading() as connection:
            rows = list(connection.exec_driver_sql(statement))
        database.close()
        return rows


def _walk(url: str, folder: Path) -> None:
    config = alembic_config(url)
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    command.upgrade(config, "head")


@pytest.fixture
def later(database_url: str, tmp_path: Path) -> Later:
    return Later(database_url, tmp_path)


@pytest.fixture
def later_postgres(postgres_url: str, tmp_path: Path) -> Later:
    return Later(postgres_url, tmp_path)


def test_a_version_starts_on_the_schema_of_the_next_when_one_goes_back_to_it(later: Later) -> None:
    later.add("op.add_column('jobs', sa.Column('later', sa.Text()))")
    later.migrate()
    with capture_logs() as said:
        migrate(later.url)
    assert later.version().startswith("9")
    assert {"schema": later.version(), "event": "schema_is_newer_and_stays"}.items() <= said[
        0
    ].items()


def test_a_migration_stays_when_the_one_after_it_fails(later_postgres: Later) -> None:
    later = later_postgres
    later.add("op.add_column('jobs', sa.Column('later', sa.Text()))")
    later.add("op.add_column('jobs', sa.Column('half', sa.Text())), op.execute('SELECT 1/0')")
    with pytest.raises(Exception, match="division by zero"):
        later.migrate()
    columns = {row[0] for row in later.ask(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'jobs'"
    )}  # fmt: skip
    assert "later" in columns
    assert "half" not in columns
    assert later.version() == later._revisions[-2]


@pytest.mark.slow
def test_others_are_served_while_a_migration_waits_for_a_table(later_postgres: Later) -> None:
    """A backup reads the table all the while; requests come behind the migration that waits."""
    later = later_postgres
    later.add("op.add_column('jobs', sa.Column('later', sa.Text()))")
    with psycopg.connect(later.url) as backup, psycopg.connect(later.url, autocommit=True) as one:
        backup.execute("SELECT count(*) FROM jobs")
        with capture_logs() as said:
            migrating = threading.Thread(target=later.migrate)
            migrating.start()
            wait_until(lambda: _is_waited_for(one))
            one.execute("SET lock_timeout = '3s'")  # more than one try lasts
            one.execute("SELECT count(*) FROM jobs")
            backup.rollback()
            migrating.join(60)
        assert not migrating.is_alive()
    assert later.version() == later._revisions[-1]
    assert "table_in_use" in [entry["event"] for entry in said]


def _is_waited_for(connection: psycopg.Connection) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'jobs'::regclass"
    return connection.execute(waiting).fetchone() == (1,)


def test_a_migration_gives_up_when_a_table_is_never_free(
    later_postgres: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = later_postgres
    later.add("op.add_column('jobs', sa.Column('later', sa.Text()))")
    monkeypatch.setattr(online, "GIVE_UP_S", 0.0)
    before = later.version()
    with psycopg.connect(later.url) as backup:
        backup.execute("SELECT count(*) FROM jobs")
        with pytest.raises(DatabaseUnavailable, match="A table was not free"):
            later.migrate()
    assert later.version() == before


@pytest.mark.slow
def test_an_index_is_built_while_others_write_though_the_last_try_was_cut_off(
    later_postgres: Later,
) -> None:
    """And others wait to migrate, too: an index waits for every statement that is under way."""
    later = later_postgres
    later.add("online.create_index('ix_jobs_later', 'jobs', ['step'])")
    with psycopg.connect(later.url, autocommit=True) as one, psycopg.connect(later.url) as writer:
        writer.execute("UPDATE jobs SET step = 0")
        one.execute("SET statement_timeout = '500ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            one.execute("CREATE INDEX CONCURRENTLY ix_jobs_later ON jobs (step)")
        assert _validity(one) == [(False,)]
        migrating = threading.Thread(target=later.migrate, args=(2,))
        migrating.start()
        wait_until(lambda: _builds(one), limit_s=55)
        writer.execute("UPDATE jobs SET step = 0")  # nobody's way is barred
        writer.commit()
        migrating.join(60)
        assert _validity(one) == [(True,)]
    assert later.version() == later._revisions[-1]


def _validity(connection: psycopg.Connection) -> list[Any]:
    return connection.execute(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
        " WHERE relname = 'ix_jobs_later'"
    ).fetchall()


def _builds(connection: psycopg.Connection) -> bool:
    return bool(
        connection.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%INDEX CONCURRENTLY%'"
            " AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        ).fetchone()
    )
