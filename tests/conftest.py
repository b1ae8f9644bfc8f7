"""What tests share: a migrated database, the services on it, a real broker."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from shared.db import Database
from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from shared.telemetry.tracing import start_tracing, stop_tracing
from tests.broker import Valkey, free_port
from tests.collector import Collector
from tests.crew import Crew
from tests.factories import Factory
from tests.planted import REDIS_PASSWORD, SECRET_KEY
from tests.search import refuse, refuse_text
from tests.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest_plugins = ["tests.servers.s3", "tests.leaks", "tests.failures", "tests.order"]

# torch reads it when it is imported, later. Small tensors gain nothing from a second thread; where
# both wait for one core, they take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whoever starts the tests in the background may have them ignore Ctrl-C, and what they start with
# them: then a test that presses it waits for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine may be slow or shared: a slow example is no failure.
hypothesis_settings.register_profile("towline", deadline=None, print_blob=True)
hypothesis_settings.load_profile("towline")


@pytest.fixture(autouse=True)
def _no_settings_of_whoever_runs_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(("TOWLINE_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema and nothing in it: to be copied, not written to."""
    path = tmp_path_factory.mktemp("schema") / "towline.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for databases and objects: in memory where there is one, since both sync a lot."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="towline-", dir=place) as name:
        yield Path(name)
        refuse(Path(name))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The PostgreSQL server of this session; a test that stops it starts it again."""
    server = Postgres()
    server.start()
    yield server
    said = server.log
    server.close()
    refuse_text(said, "PostgreSQL's log")


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a database with the newest schema and nothing in it: a template."""
    name = postgres.create()
    migrate(postgres.url(name))
    return name


@pytest.fixture
def sqlite_url(folder: Path, migrated_sqlite: Path) -> str:
    """An empty SQLite database of the newest schema."""
    path = shutil.copy(migrated_sqlite, folder / "towline.db")
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: Postgres, migrated_postgres: str) -> Iterator[str]:
    """An empty PostgreSQL database of the newest schema."""
    name = postgres.create(migrated_postgres)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of the newest schema, of each kind that Towline runs on."""
    wanted = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return str(request.getfixturevalue(wanted))


@pytest.fixture
def database(services: Services) -> Database:
    """The database of `services`."""
    return services.database


@pytest.fixture
def settings(database_url: str, folder: Path) -> Settings:
    """No broker answers; a lease holds for longer than any test runs."""
    return Settings(
        home=folder / "home",
        database_url=database_url,
        redis_url=f"redis://:{REDIS_PASSWORD}@127.0.0.1:{free_port()}/0",
        lease_s=600,
        secret_key=SECRET_KEY,
    )


@pytest.fixture
def build(settings: Settings) -> Iterator[Callable[..., Services]]:
    """Services with settings of one's own; those not named are the test's."""
    built: list[Services] = []

    def build(**changes: object) -> Services:
        built.append(build_services(Settings(**(settings.model_dump() | changes))))
        return built[-1]

    yield build
    for services in built:
        services.database.close()


@pytest.fixture
def services(build: Callable[..., Services]) -> Services:
    """Everything that `build_services` gives, on an empty database."""
    return build()


@pytest.fixture
def make(services: Services) -> Factory:
    """Puts accounts, images and jobs into `services`."""
    return Factory(services)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where the traces of this process go, once it begins to trace, and those of its processes."""
    with Collector() as collector:
        collector.set(monkeypatch)
        yield collector


@pytest.fixture
def tracing(collector: Collector) -> Iterator[Collector]:
    """Traces what this process does; to be asked for before `services`."""
    start_tracing("test")
    yield collector
    stop_tracing()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The broker's process; tests take `broker`."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture
def broker(valkey: Valkey) -> Valkey:
    """A real Valkey that runs and is empty; a test may kill it."""
    valkey.ensure()
    return valkey


@pytest.fixture
def start_crew(
    build: Callable[..., Services], broker: Valkey, tmp_path: Path
) -> Iterator[Callable[..., Crew]]:
    """Real worker processes on a real broker, with settings of one's own."""
    crews: list[Crew] = []

    def start(**changes: object) -> Crew:
        crews.append(Crew(build(redis_url=broker.url, **changes), tmp_path))
        return crews[-1]

    yield start
    for crew in crews:
        crew.end()
