"""The whole of Towline for one run: a database, a bucket, and the processes.

    api-1 api-2   worker-1 worker-2 worker-3   worker-io   beat
      └──────┴───────────┴── a link each ──────────┴─────────┘
                 Valkey, PostgreSQL, Ceph gateway

Who does harm to it is in `harm.py`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import psycopg

from tests.broker import free_port
from tests.chaos.actors import Actor, Supervisor
from tests.chaos.faults import APIS, BEAT, IO, POSTGRES, REDIS, S3, WORKERS
from tests.chaos.network import Network
from tests.chaos.servers import Servers
from tests.crew import REPOSITORY, wait_until
from tests.planted import REDIS_PASSWORD
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY

READY_S = 60.0
THREADS = 4  #: of each worker


@dataclass(frozen=True)
class Times:
    """The product's settings that decide how soon anything recovers, in seconds."""

    lease_s: float = 10.0
    heartbeat_s: float = 1.0
    sweep_s: float = 0.5


class Stage:
    """Everything is up inside the `with` block; nothing of it stays after it."""

    def __init__(self, servers: Servers, folder: Path, times: Times, bug: str | None) -> None:
        self.servers, self.folder, self.times = servers, folder, times
        self._bug = bug
        self.network = Network()
        self._supervisor = Supervisor()
        self.actors: dict[str, Actor] = {}
        self.database_name = ""
        self.bucket = f"chaos-{secrets.token_hex(6)}"
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.network.close)
            for name in ("logs", "marks"):
                (self.folder / name).mkdir(parents=True)
            self.servers.valkey.flush()
            self.servers.s3.client().create_bucket(Bucket=self.bucket)
            self.database_name = self.servers.postgres.create()
            stack.callback(self._drop_database)
            self._python("-m", "shared.migrations")
            stack.enter_context(self._supervisor)
            self._start_actors()
            self._wait_until_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def keys(self, accounts: list[str]) -> dict[str, str]:
        """A key for each account, as an operator makes it."""

        def make(account: str) -> str:
            return self._python("-m", "api", "key", "create", "--account", account).strip()

        with ThreadPoolExecutor() as pool:
            return dict(zip(accounts, pool.map(make, accounts), strict=True))

    def sql(self) -> psycopg.Connection[Any]:
        """A connection past every link."""
        url = self.servers.postgres.url(self.database_name)
        return psycopg.connect(url, autocommit=True, connect_timeout=2)

    def held_by(self, pid: int) -> list[tuple[str, int]]:
        """The jobs and attempts that a worker process had when it stopped."""

        def ask() -> list[tuple[str, int]] | None:
            try:
                with self.sql() as connection:
                    query = "SELECT id, attempt FROM jobs WHERE status = 'running'"
                    query += " AND worker_id LIKE %s"
                    return connection.execute(query, (f"%-{pid}-%",)).fetchall()
            except psycopg.OperationalError:
                return None

        found = wait_until(lambda: (rows := ask()) is not None and [rows], READY_S)
        return found[0]  # type: ignore[no-any-return]

    def _start_actors(self) -> None:
        ports = self.servers.ports()
        for name, command in self._commands().items():
            environment = self._environment()
            links = {server: self.network.connect(name, server, ports[server]) for server in ports}
            environment |= self._where(links)
            if name in APIS:
                port = free_port()
                self.urls[name] = f"http://127.0.0.1:{port}"
                environment |= {"TOWLINE_PORT": str(port)}
            actor = Actor(name, [sys.executable, *command], environment, self.folder / "logs")
            self.actors[name] = actor
        self._supervisor.keep(*self.actors.values())
        wait_until(lambda: all(actor.lives for actor in self.actors.values()))

    def _wait_until_up(self) -> None:
        for url in self.urls.values():
            wait_until(lambda url=url: is_ready(url), READY_S, f"{url} is not ready")
        for name in (*WORKERS, IO):
            log = self.actors[name].life.log
            wait_until(lambda log=log: " ready." in log.read_text(), READY_S, f"{name} is not up")

    def _drop_database(self) -> None:
        self.servers.postgres.ensure()
        self.servers.postgres.drop(self.database_name)

    def _commands(self) -> dict[str, list[str]]:
        run = ["-m", "tests.chaos.worker_main", "run", "--queues"]
        bug = ["--bug", self._bug] if self._bug else []
        return {
            **{name: ["-m", "api", "serve"] for name in APIS},
            **{name: [*run, "warp", *bug] for name in WORKERS},
            IO: [*run, "maintenance,webhooks", *bug],
            BEAT: ["-m", "worker", "beat"],
        }

    def _where(self, ports: dict[str, int]) -> dict[str, str]:
        database = urlsplit(self.servers.postgres.url(self.database_name))
        at = f"{database.username}:{database.password}@127.0.0.1:{ports[POSTGRES]}"
        return {
            "TOWLINE_DATABASE_URL": f"postgresql://{at}/{self.database_name}",
            "TOWLINE_REDIS_URL": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{ports[REDIS]}/0",
            "TOWLINE_S3_URL": f"http://127.0.0.1:{ports[S3]}",
        }

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if "TOWLINE_" not in name}
        return clean | {
            "TOWLINE_HOME": str(self.folder / "home"),
            "TOWLINE_SECRET_KEY": "only for tests",
            "TOWLINE_S3_BUCKET": self.bucket,
            "TOWLINE_S3_ACCESS_KEY": ACCESS_KEY,
            "TOWLINE_S3_SECRET_KEY": SECRET_KEY,
            "TOWLINE_S3_TIMEOUT_S": "3",
            "TOWLINE_LEASE_S": str(self.times.lease_s),
            "TOWLINE_HEARTBEAT_S": str(self.times.heartbeat_s),
            "TOWLINE_SWEEP_S": str(self.times.sweep_s),
            "TOWLINE_WORKER_THREADS": str(THREADS),
            "TOWLINE_DRAIN_S": "1",
            "TOWLINE_API_THREADS": "64",
            "TOWLINE_MAX_WAITS": "48",
            "TOWLINE_MAX_STREAMS": "8",
            "TOWLINE_PROVENANCE": "off",  # so that one edit has one result, whichever job asks
            "TOWLINE_LOG_FORMAT": "json",
            "CHAOS_MARKS": str(self.folder / "marks"),
            "OMP_NUM_THREADS": "1",
        }

    def _python(self, *command: str) -> str:
        environment = self._environment() | self._where(self.servers.ports())
        done = subprocess.run(
            [sys.executable, *command],
            cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def is_ready(url: str, client: httpx.Client | None = None) -> bool:
    """Whether an API process answers, and says that each of its servers does."""
    try:
        ask = client.get if client else httpx.get
        answer = ask(f"{url}/readyz", timeout=1.0)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "ok"
