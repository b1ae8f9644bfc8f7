"""Real servers and real processes for `benchmarks.queue`, and what they cost."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select, text

from benchmarks.queue_rival import rows as bare_rows
from shared.ids import new_id
from shared.jobs.job import Job
from shared.jobs.tables import jobs
from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from tests.broker import Valkey, free_port
from tests.crew import Crew, Member, wait_until
from tests.factories import Factory
from tests.servers.postgres import Postgres

SECRET = "only for the benchmark"  # noqa: S105
EVERY_ONE = 1_000_000  #: a window of wake-ups that is never full
START_S = 120.0
TICKS_S = os.sysconf("SC_CLK_TCK")


class Stoppable(Member):
    """A process that can be made to stand still."""

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While the block runs."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


class Process(Crew):
    """One process on the place's servers, with settings of its own."""

    def __init__(self, services: Services, folder: Path, **changes: object) -> None:
        super().__init__(services, folder)
        self._changes = {f"TOWLINE_{name.upper()}": str(v) for name, v in changes.items()}

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"TOWLINE_SECRET_KEY": SECRET} | self._changes


@dataclass
class Place:
    """A database, a broker and a folder of objects; whatever is started ends with its block."""

    folder: Path
    postgres: Postgres
    valkey: Valkey
    services: Services

    @contextmanager
    def running(self, *command: str, **changes: object) -> Iterator[Stoppable]:
        """A process; it is told to end, and ended if it does not."""
        home = Path(tempfile.mkdtemp(dir=self.folder))
        crew = Process(self.services, home, **changes)
        started = crew.start(*command)
        member = Stoppable(started.process, started.log)
        try:
            yield member
        finally:
            member.signal(signal.SIGTERM)
            try:
                member.wait_for_death(10)
            finally:
                crew.end()

    @contextmanager
    def serving(self, *command: str, processes: int) -> Iterator[tuple[int, Stoppable]]:
        """An API of so many processes, and its port; every submission sends a message."""
        port = free_port()
        changes = {"port": port, "api_processes": processes, "wakeup_window": EVERY_ONE}
        with self.running(*command, "serve", **changes) as member:
            wait_until(lambda: _answers(port), START_S, said=str(member.log))
            yield port, member

    @contextmanager
    def working(self, *command: str, threads: int) -> Iterator[Stoppable]:
        """A worker that takes messages."""
        with self.running(*command, worker_threads=threads) as member:
            member.wait_for_ready()
            yield member

    def empty(self) -> None:
        """No job, no message."""
        with self.services.database.writing() as connection:
            connection.execute(text("TRUNCATE jobs, job_events, turns, bare_jobs CASCADE"))
        self.valkey.flush()

    def fill(self, job: Job, count: int) -> list[str]:
        """So many queued copies of a job, at once; their ids."""
        ids = [new_id("job") for _ in range(count)]
        with self.services.database.writing() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()._asdict()
            connection.execute(insert(jobs), [{**row, "id": job_id} for job_id in ids])
        return ids

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Connections that are opened meanwhile have their statements counted."""
        name = self.services.database.engine.url.database
        for track in ("all", "none"):
            self.postgres.execute(f"ALTER DATABASE {name} SET pg_stat_statements.track = '{track}'")
            self.services.database.close()
            if track == "all":
                yield

    def statements(self) -> Counter[str]:
        """How often the server was sent each statement, by its text; not by itself."""
        query = """SELECT query, sum(calls)::bigint AS calls FROM pg_stat_statements
                   JOIN pg_database ON pg_database.oid = dbid
                   WHERE datname = current_database() AND toplevel
                   AND query NOT LIKE '%pg_stat_statements%' GROUP BY query"""
        with self.services.database.reading_at_once() as connection:
            return Counter({row.query: row.calls for row in connection.execute(text(query))})


@contextmanager
def place() -> Iterator[Place]:
    """PostgreSQL as in service (synced to disk, vacuumed), Valkey, a folder for objects."""
    with tempfile.TemporaryDirectory(prefix="towline-benchmark-") as name:
        folder = Path(name)
        postgres = Postgres(
            folder.parent,
            fsync="on",
            full_page_writes="on",
            autovacuum="on",
            shared_preload_libraries="pg_stat_statements",
        )
        valkey = Valkey(folder)
        services = None
        try:
            postgres.start()
            valkey.start()
            services = _services(folder, postgres, valkey)
            yield Place(folder, postgres, valkey, services)
        finally:
            if services is not None:
                services.database.close()
            valkey.kill()
            postgres.close()


def _services(folder: Path, postgres: Postgres, valkey: Valkey) -> Services:
    name = postgres.create()
    url = postgres.url(name)
    migrate(url)
    settings = Settings(
        home=folder / "home", database_url=url, redis_url=valkey.url, wakeup_window=EVERY_ONE
    )
    services = build_services(settings)
    bare_rows.metadata.create_all(services.database.engine)
    with services.database.writing() as connection:
        connection.execute(text("CREATE EXTENSION pg_stat_statements"))
        # What is counted is counted apart from what is timed
        connection.execute(text(f"ALTER DATABASE {name} SET pg_stat_statements.track = 'none'"))
    services.database.close()
    return services


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of processor that these processes and their children have used."""
    used = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        is_parent = int(path.parent.name) in pids
        if is_parent or int(words[1]) in pids:
            used += sum(map(int, words[11 : 15 if is_parent else 13]))  # its ended children too
    return used / TICKS_S


@dataclass(frozen=True)
class Owner:
    """An account that submits, its key, and its image."""

    account: str
    key: str
    image: str


def an_owner(services: Services, name: str, **facts: int) -> Owner:
    """A new account with an image of its own: of this width and height, or stored as well."""
    key = services.accounts.create_key(name).text
    account = services.accounts.account_of(key)
    assert account is not None
    image = Factory(services).image(account, is_stored=not facts, **facts)
    return Owner(account, key, image.id)
