"""The statements that a job costs the database, as PostgreSQL itself counts them."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator

from benchmarks.queue_load import Connection, post
from benchmarks.queue_place import Place, an_owner
from benchmarks.queue_submissions import body_of
from shared.jobs.job import Job
from shared.jobs.leases import LeaseStore
from shared.services import build_services
from tests.crew import wait_until
from tests.factories import a_result, a_spec


def statements(at: Place, asked: argparse.Namespace) -> Iterator[str]:
    """Each call by itself, then whole jobs through the API and a worker."""
    yield from (
        "## Statements",
        "",
        f"Counted by `pg_stat_statements` over {asked.counted} of each. A statement is a round",
        "trip, also one that opens or ends a transaction. The sweep is not among them.",
        "",
        "| | statements | they are |",
        "| --- | --- | --- |",
    )
    with at.counting():
        for name, counts in _by_call(at, asked.counted):
            yield _row(name, counts, asked.counted)
        yield _row("a whole job, API and worker", _whole(at, asked.counted), asked.counted)


def _by_call(at: Place, count: int) -> Iterator[tuple[str, Counter[str]]]:
    services = build_services(at.services.settings)
    owner = an_owner(services, "is counted")
    at.empty()
    held: list[Job] = []

    def submit() -> None:
        services.jobs.submit(owner.account, a_spec(image=owner.image), {})

    def claim() -> None:
        job = services.leases.claim_next("warp", "counts")
        assert job is not None
        held.append(job)

    submit()  # the account comes into the line
    calls: dict[str, Callable[[], object]] = {
        "key of a request": lambda: services.accounts.account_of(owner.key),
        "image of a request": lambda: services.images.get(owner.account, owner.image),
        "submit": submit,
        "claim": claim,
        "heartbeat": lambda: services.leases.heartbeat(held[-1], 1, 8),
        "succeed": lambda: _succeed(services.leases, held.pop()),
    }
    for name, call in calls.items():
        yield name, _counted(at, call, count)
    services.leases.claim_next("warp", "counts")
    yield "claim, nothing due", _counted(at, lambda: services.leases.claim_next("warp", "c"), count)
    services.database.close()


def _succeed(leases: LeaseStore, job: Job) -> None:
    assert leases.succeed(job, a_result(job))


def _counted(at: Place, call: Callable[[], object], count: int) -> Counter[str]:
    before = at.statements()
    for _ in range(count):
        call()
    return at.statements() - before


def _whole(at: Place, count: int) -> Counter[str]:
    """Submitted one after the other, each done before the next."""
    at.empty()
    owner = an_owner(at.services, "is counted as a whole")
    request = post("/v1/jobs", body_of(owner, is_small=True), f"Authorization: Bearer {owner.key}")
    with (
        at.serving("api", processes=1) as (port, _),
        at.working("benchmarks.queue_worker", threads=2) as worker,
    ):
        connection = Connection(port)
        for measured in (3, count):  # connections are opened, the account comes into the line
            before, ended = at.statements(), len(worker.events("job_succeeded"))
            for number in range(measured):
                connection.send(request)
                wait_until(lambda: len(worker.events("job_succeeded")) > ended + number)  # noqa: B023
            counts = at.statements() - before
        connection.close()
    return counts


def _row(name: str, counts: Counter[str], count: int) -> str:
    kinds: Counter[str] = Counter()
    for text, number in counts.items():
        kinds[_kind(text)] += number
    said = ", ".join(_times(kind, number / count) for kind, number in kinds.most_common())
    return f"| {name} | {sum(kinds.values()) / count:.1f} | {said} |"


def _kind(statement: str) -> str:
    """The statement in a few words: what it does to which tables."""
    plain = " ".join(statement.split())
    done = re.findall(r"\b(INSERT INTO|UPDATE(?! SKIP)|DELETE FROM) ([a-z_]+)", plain)
    if done:
        return " + ".join(f"{verb.split()[0].lower()} {table}" for verb, table in done)
    table = re.search(r"\bFROM ([a-z_]+)", plain)
    return f"select {table[1]}" if table else plain.split()[0].lower()


def _times(kind: str, number: float) -> str:
    return kind if round(number, 1) == 1 else f"{number:.1f} x {kind}"
