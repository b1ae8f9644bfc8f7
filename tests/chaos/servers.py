"""The three servers, for as many runs as one likes: Valkey, PostgreSQL and a Ceph gateway.

Valkey forgets everything when it dies. What the gateway stored stays: it is killed, its disk
(Ceph's OSD, which has it in memory) is not.
"""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.broker import Valkey
from tests.chaos.actors import Actor, Supervisor
from tests.chaos.faults import POSTGRES, REDIS, S3
from tests.crew import wait_until
from tests.servers.family import family
from tests.servers.postgres import Postgres
from tests.servers.s3 import S3Server, running_s3_server

ANSWER_S = 30.0


@dataclass(frozen=True)
class Servers:
    """All three, up."""

    valkey: Valkey
    postgres: Postgres
    s3: S3Server
    actors: dict[str, Actor]

    def ports(self) -> dict[str, int]:
        """Where each listens."""
        return {
            REDIS: self.valkey.port,
            POSTGRES: self.postgres.port,
            S3: int(self.s3.url.rpartition(":")[2]),
        }

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send it to every process of a server."""
        if name != POSTGRES:
            self.actors[name].signal(number)
            return
        for pid in self.postgres.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, name: str) -> None:
        """`kill -9`, and wait until it answers again."""
        if name == POSTGRES:
            self.postgres.crash()
            self.postgres.ensure()
            return
        lives = len(self.actors[name].lives)
        self.actors[name].signal(signal.SIGKILL)
        wait_until(lambda: len(self.actors[name].lives) > lives)
        self.wait_for(name)

    def restart(self) -> None:
        """PostgreSQL, as an operator does it."""
        self.postgres.stop()
        self.postgres.ensure()

    def wait_for(self, name: str) -> None:
        """Until it answers."""
        answers = {REDIS: self.valkey.answers, S3: lambda: _answers(self.s3.url)}[name]
        wait_until(answers, ANSWER_S, f"{name} does not answer")


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Start them; whatever happens, none of them stays."""
    valkey, postgres = Valkey(folder), Postgres(autovacuum="on")
    try:
        postgres.start()
        with running_s3_server() as s3, Supervisor() as supervisor:
            gateway = ["radosgw", "-n", "client.rgw", "-f"]
            environment = os.environ | {"CEPH_CONF": str(s3.folder / "ceph.conf")}
            actors = {
                REDIS: Actor(REDIS, valkey.command, dict(os.environ), folder),
                S3: Actor(S3, gateway, environment, folder),
            }
            for pid in family(s3.pid):  # ours takes the place of the one it came with
                if Path(f"/proc/{pid}/comm").read_text().strip() == "radosgw":
                    os.kill(pid, signal.SIGKILL)
            supervisor.keep(*actors.values())
            servers = Servers(valkey, postgres, s3, actors)
            servers.wait_for(REDIS)
            servers.wait_for(S3)
            yield servers
    finally:
        postgres.close()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
