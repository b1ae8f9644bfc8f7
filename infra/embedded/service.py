"""The embedded service from start to end, top to bottom. Read this file first."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infra.embedded import sample_edit
from infra.embedded.broker import Broker, answers, require_redis
from infra.embedded.child import Child
from infra.embedded.failures import SampleFailed, StepFailed
from infra.embedded.home import Home, open_home, read_secret, write_atomically, write_secret
from infra.embedded.leftovers import reap
from infra.embedded.port import refuse_taken_port
from infra.embedded.settings import EmbeddedSettings, child_environment
from infra.embedded.stop import StopAsked
from infra.embedded.supervisor import Supervisor
from infra.embedded.terminal import complain, say, shown
from infra.embedded.welcome import welcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.embedded.stop import StopSignals

REPOSITORY = Path(__file__).resolve().parents[2]
ACCOUNT = "local"
STEP_S = 60.0
READY_S = 90.0
SAMPLE_S = 120.0


def services_for(engines: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The modules to run, and with what; each engine has a worker of its own."""
    return {
        "api": ("api", "serve"),
        **{f"worker-{name}": ("worker", "run", "--queues", name) for name in engines},
        "worker-io": ("worker", "run", "--queues", "webhooks,maintenance"),
        "beat": ("worker", "beat"),
    }


def run(stop: StopSignals, *, once: bool) -> int:
    """Start everything, send the sample, stay until told to end; the exit status."""
    settings = EmbeddedSettings.read()
    with open_home(settings.home) as home:
        end_leftovers(home)
        refuse_taken_port(settings.host, settings.port)
        try:
            with Supervisor(stop) as supervisor:
                service = Service(supervisor, home, settings)
                service.start_broker()
                service.migrate()
                service.start_processes()
                key = service.account_key()
                service.send_sample(key, once=once)
                if not once:
                    supervisor.watch()
        except StopAsked:
            say("stopped before the sample was done" if once else "stopped")
            return 1 if once else 0
    return 0


def end_leftovers(home: Home) -> None:
    """What an earlier run left when it was killed; before the port is looked at."""
    names = reap(home.run, home.root)
    if names:
        say(f"an earlier run was killed; ended what it left: {', '.join(names)}")


@dataclass
class Service:
    """The steps of a start."""

    supervisor: Supervisor
    home: Home
    settings: EmbeddedSettings

    def __post_init__(self) -> None:
        given = self.settings.redis_url
        self.broker = Broker.choose(self.home) if given is None else None
        self.environment: Mapping[str, str] = child_environment(
            self.settings,
            redis_url=self.broker.url if self.broker else given or "",
            secret_key=self.home.secret_key(),
        )

    def start_broker(self) -> None:
        """A Valkey of our own, unless a Redis was given."""
        if self.broker is None:
            require_redis(self.environment["TOWLINE_REDIS_URL"])
            return
        child = self.broker.child(self.home, self.environment)
        ready = partial(answers, self.broker.url)
        self.supervisor.start(child)
        self.supervisor.wait_until(ready, STEP_S, "the broker did not answer", child)

    def migrate(self) -> None:
        """Bring the database to the present schema."""
        self.supervisor.run(self._python("migrations", "shared.migrations"), STEP_S)

    def start_processes(self) -> None:
        """The API, the workers and beat; returns when the API is ready."""
        services = services_for(self.settings.engines)
        say(f"starting {', '.join(services)}; their logs are in {shown(self.home.logs)}")
        self.children = {name: self._python(name, *command) for name, command in services.items()}
        for child in self.children.values():
            self.supervisor.start(child)
        with sample_edit.open_api(self.settings.local_url) as api:
            ready, child = partial(sample_edit.is_ready, api), self.children["api"]
            self.supervisor.wait_until(ready, READY_S, "the API was not ready", child)

    def account_key(self) -> str:
        """The key in `HOME/key`; made at the first start, or when the database is a new one."""
        key = read_secret(self.home.key)
        if key and self._is_known(key):
            return key
        child = self._python("key", "api", "key", "create", "--account", ACCOUNT)
        printed = self.supervisor.run(child, STEP_S, capture=True).strip()
        if len(printed.splitlines()) != 1:
            raise StepFailed("`python -m api key create` did not print one key", log=child.log)
        return write_secret(self.home.key, printed)

    def send_sample(self, key: str, *, once: bool) -> None:
        """One real edit over HTTP, then how to go on. A failure ends only what runs once."""
        settings = self.settings
        engine = sample_edit.engine_of(settings.engines)
        send = partial(
            sample_edit.send, settings.local_url, settings.public_url, key, engine, SAMPLE_S
        )
        worker = self.children[f"worker-{engine}"]
        try:
            edit = self.supervisor.call(send, SAMPLE_S + 60, "the sample edit did not end", worker)
        except SampleFailed as failure:
            failure.log = worker.log
            if once:
                raise
            complain(failure)
            say("the service stays up; Ctrl-C ends it")
            return
        write_atomically(self.home.sample_result, edit.picture)
        welcome(self.home, self.settings.local_url, key, edit, stays=not once)

    def _is_known(self, key: str) -> bool:
        question = partial(sample_edit.accepts, self.settings.local_url, key)
        return self.supervisor.call(
            question, STEP_S, "the API did not answer", self.children["api"]
        )

    def _python(self, name: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", *arguments]
        return Child.of(self.home, name, command, self.environment, REPOSITORY)
