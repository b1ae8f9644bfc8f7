"""One run of the suite: everything up, the load and the faults, then the judgement."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from tests.chaos.director import Director, Played, Probe
from tests.chaos.edits import RARE
from tests.chaos.evidence import Evidence, gather
from tests.chaos.faults import WORKERS, Fault, script
from tests.chaos.load import Client, Desk
from tests.chaos.oracle import Violation, judge
from tests.chaos.promises import Promises
from tests.chaos.recovery import Felt, feel
from tests.chaos.stage import Stage, Times

if TYPE_CHECKING:
    from tests.chaos.servers import Servers

LOOK_S = 0.2
#: Of a process that was told to end; it may not have been ready to be told, or was killed then.
TOLD = (0, -signal.SIGTERM, -signal.SIGKILL)


@dataclass(frozen=True)
class Plan:
    """What is to be done. The load is over after so many jobs, or so many seconds.

    quiet_s: how long, without load and faults, everything that was accepted may take to end.
    patience_s: beyond the limits of `recovery.py`, for a machine that has other things to do.
    """

    seed: int
    jobs: int = 10**9
    seconds: float = float("inf")
    every_s: float = 2.0
    clients: int = 12
    accounts: int = 3
    quiet_s: float = 120.0
    patience_s: float = 0.0
    times: Times = field(default_factory=Times)
    bug: str | None = None
    first: tuple[str, ...] = RARE  #: acts of the first jobs
    faults: tuple[Fault, ...] | None = None  #: instead of the seed's

    def script(self) -> Iterator[Fault]:
        """The faults, in order."""
        if self.faults is not None:
            return iter(self.faults)
        return script(self.seed, every_s=self.every_s, lease_s=self.times.lease_s)


@dataclass
class Result:
    """What became of it."""

    plan: Plan
    evidence: Evidence
    played: list[Played]
    felt: Felt
    violations: list[Violation]
    load_s: float
    quiet_s: float


def run(plan: Plan, servers: Servers, folder: Path) -> Result:
    """Play the plan on servers that are up; what is written down lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    promises = Promises(folder / "promises.jsonl")
    with Stage(servers, folder / "stage", plan.times, plan.bug) as stage:
        keys = stage.keys([f"account {n}" for n in range(plan.accounts)])
        desk = Desk(plan.jobs, plan.seed, plan.first)
        clients = _clients(plan, stage, keys, desk, promises)
        director = Director(stage, plan.script(), folder / "faults.jsonl")
        probes = {name: Probe(name, url) for name, url in stage.urls.items()}
        begun_at = time.time()
        with ExitStack() as stack:
            for probe in probes.values():
                probe.start()
                stack.callback(probe.stop)
            director.start()
            with closing(director):
                for client in clients:
                    client.thread.start()
                while time.time() < begun_at + plan.seconds and desk.taken < plan.jobs:
                    time.sleep(LOOK_S)
                desk.is_closed = True
            load_end = time.time()
            _wait_for_quiet(stage, clients, plan.quiet_s)
            end = time.time()
        promises.close()
        evidence = gather(stage, folder / "promises.jsonl", keys)
        evidence.write(folder / "evidence.json")
    signs = {name: probe.good_at for name, probe in probes.items()}
    (folder / "probes.json").write_text(json.dumps({**signs, "load_end": load_end, "end": end}))
    felt = feel(evidence, director.played, signs, plan.times, load_end, end, plan.patience_s)
    violations = sorted(
        {*judge(evidence), *felt.violations, *ended_alone(evidence, director.played)}
    )
    return Result(
        plan, evidence, director.played, felt, violations, load_end - begun_at, end - load_end
    )


def ended_alone(evidence: Evidence, played: list[Played]) -> Iterator[Violation]:
    """Processes that ended though nobody had killed them; a worker may have killed itself."""
    harmed = {fault.pid for fault in played if fault.fault.kind in ("kill", "restart")}
    told = {fault.pid for fault in played if fault.fault.kind == "restart"}
    for ended in evidence.ended:
        if ended.pid in told and ended.status not in TOLD:
            said = f"with status {ended.status} at {ended.at:.1f}, though it was told to"
            yield Violation("ended", ended.name, said)
        killed_itself = ended.name in WORKERS and ended.status == -signal.SIGKILL
        if ended.pid not in harmed and not killed_itself:
            yield Violation("ended", ended.name, f"with status {ended.status} at {ended.at:.1f}")


def _clients(
    plan: Plan, stage: Stage, keys: dict[str, str], desk: Desk, promises: Promises
) -> list[Client]:
    """Some of each account; their pictures are uploaded before anything goes wrong."""
    urls, clients = list(stage.urls.values()), []
    images: dict[str, dict[int, str]] = {account: {} for account in keys}
    for n in range(plan.clients):
        account = list(keys)[n % len(keys)]
        turned = urls[n % len(urls) :] + urls[: n % len(urls)]
        given = (account, keys[account], turned, desk, promises, images[account])
        clients.append(Client(f"client {n}", *given))
        clients[-1].upload_all()
    random.Random(plan.seed).shuffle(clients)
    return clients


def _wait_for_quiet(stage: Stage, clients: list[Client], limit_s: float) -> None:
    """Until every job has ended, or for as long as it may take."""
    deadline = time.monotonic() + limit_s
    for client in clients:
        client.give_up_at(deadline)
    for client in clients:
        client.thread.join()
        if client.error is not None:
            raise client.error
    query = "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')"
    while time.monotonic() < deadline:
        try:
            with stage.sql() as connection:
                if connection.execute(query).fetchone() == (0,):
                    return
        except psycopg.OperationalError:
            pass
        time.sleep(LOOK_S)
