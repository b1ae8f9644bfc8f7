"""What receivers do to webhooks: a storm of failures, and receivers that hang beside others.

    python -m benchmarks.webhooks [--postgres] storm [--events 10000] [--endpoints 8]
    python -m benchmarks.webhooks [--postgres] hang [--receivers 500] [--hanging 5] [--rounds 3]

Real processes: a worker of the queues `webhooks` and `maintenance`, beat, a Valkey, and SQLite in
memory, or with `--postgres` a PostgreSQL in memory. The receiver is this process, over sockets of
this machine. In a storm time is compressed by `TOWLINE_WEBHOOK_TIME_SCALE`, and the worker is
killed (SIGKILL) again and again. It fails (exit status 1) if an event does not arrive, arrives
under another id, or comes earlier or later than the schedule allows (`webhook_schedule.py`).
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from standardwebhooks import Webhook

from benchmarks.webhook_schedule import WAITS_S, Outage, Rules, Try, early_tries, latest
from shared.jobs.tables import jobs
from shared.migrations import migrate
from shared.services import Services, build_services
from shared.settings import Settings
from shared.webhooks.schedule import DELAYS_S
from shared.webhooks.tables import webhook_attempts, webhook_deliveries
from tests.broker import Valkey
from tests.crew import Crew, Member, wait_until
from tests.crowded import Crowd, name_of
from tests.factories import Factory
from tests.receiver import HANG, RESET, Message, Receiver, Reply
from tests.servers.postgres import Postgres

QUEUES = "webhooks,maintenance"
HERE: dict[str, Any] = {
    "webhook_allow_http": True,
    "webhook_ports": ("*",),
    "webhook_networks": ("127.0.0.0/8",),
    "webhook_max_endpoints": 1000,
    "secret_key": "only for benchmarks",
    "drain_s": 0.5,
}
SCALE = 0.002  #: of a storm: 75 h 35 min become 9 min 4 s, five days 14 min 24 s
TIMEOUT_S = 1.0  #: of a storm, so that hanging does not take all of that
SHARE = 0.05  #: of the messages, for each kind of failure
KILL_EVERY_S, DOWN_S = 15.0, 10.0
ASKED_S = 1  #: by `Retry-After`
#: Added to what the schedule allows: ten thousand events are due at once, through one process.
MARGIN_S = 300.0


@contextmanager
def crew_of(postgres: Postgres | None, **changes: Any) -> Iterator[Crew]:
    """Services on a new database and broker; processes are started by whoever wants them."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="towline-", dir=memory) as name:
        folder = Path(name)
        broker = Valkey(folder)
        broker.start()
        sqlite = f"sqlite:///{folder / 'towline.db'}"
        url = sqlite if postgres is None else postgres.url(postgres.create())
        migrate(url)
        settings = Settings(
            home=folder, database_url=url, redis_url=broker.url, **{**HERE, **changes}
        )
        crew = Crew(build_services(settings), folder)
        try:
            yield crew
        finally:
            crew.end()
            crew.services.database.close()
            broker.kill()


class Storm:
    """A receiver that fails in five ways, and is down for a while."""

    def __init__(self, events: int) -> None:
        self.random = random.Random(7)
        self.arrived: Counter[str] = Counter()  # all that came
        self.accepted: Counter[str] = Counter()  # what was answered with 2xx
        self.accepted_at: dict[str, float] = {}  # for the first time, by event
        self.kinds: Counter[str] = Counter()
        self.is_down = False
        self.outages: list[Outage] = []  # of the worker
        self.secrets: dict[str, str] = {}
        self.all_accepted = threading.Event()
        self._events = events

    def behave(self, message: Message) -> Reply:
        Webhook(self.secrets[message.path]).verify(message.body, dict(message.headers))
        self.arrived[message.id] += 1
        kind, reply = self._choose()
        self.kinds[kind] += 1
        if kind == "204":
            self.accepted[message.id] += 1
            self.accepted_at.setdefault(message.id, time.time())
            if len(self.accepted) == self._events:
                self.all_accepted.set()
        return reply

    def _choose(self) -> tuple[str, Reply]:
        if self.is_down:
            return "down", RESET
        replies = {
            "hangs": HANG,
            "redirects": Reply(302, {"location": "/elsewhere"}),
            "resets": RESET,
            "500": Reply(500),
            "429": Reply(429, {"retry-after": str(ASKED_S)}),
        }
        at = int(self.random.random() / SHARE)
        names = list(replies)
        return (names[at], replies[names[at]]) if at < len(names) else ("204", Reply(204))


def storm(
    events: int,
    endpoints: int,
    postgres: Postgres | None = None,
    *,
    margin_s: float = MARGIN_S,
    kill_every_s: float = KILL_EVERY_S,
    down_s: float = DOWN_S,
    kills: int = 1000,
) -> None:
    """Every event arrives in time, under one id, however often the worker dies."""
    changes = {"webhook_time_scale": SCALE, "webhook_timeout_s": TIMEOUT_S, "sweep_s": 1.0}
    state = Storm(events)
    with crew_of(postgres, **changes) as crew, Receiver(state.behave) as receiver:
        services = crew.services
        _queued_jobs(services, events, endpoints)
        for number in range(endpoints):
            path = f"/{number}"
            _, state.secrets[path] = services.webhooks.endpoints.create(
                name_of(number), url=receiver.url(path), events=["job.*"], description="",
                disabled=False,
            )  # fmt: skip
        crew.start("worker", "beat")
        over = threading.Event()
        killer = threading.Thread(
            target=_trouble, args=(crew, over, state, kill_every_s, down_s, kills)
        )
        killer.start()
        began_s = time.monotonic()
        _expire_all(services)
        written_s = time.monotonic() - began_s
        _wait_for_all(services, state, margin_s)
        all_s = time.monotonic() - began_s
        over.set()
        killer.join()
        wait_until(
            lambda: not _count(services, "pending"), 120
        )  # what was not recorded comes again
        _report_storm(crew, state, events, written_s, all_s)
        _check_times(services, state, margin_s)


def _wait_for_all(services: Services, state: Storm, margin_s: float) -> None:
    """Until all were accepted, or nothing is left to be sent, or the schedule is long over."""
    limit_s = time.monotonic() + 2 * sum(DELAYS_S) * SCALE + margin_s
    while not state.all_accepted.wait(1.0) and time.monotonic() < limit_s:
        if not _count(services, "pending"):
            return


def _expire_all(services: Services) -> None:
    """End every queued job, two hundred in a transaction, as the sweep does."""
    with services.database.writing() as connection:
        connection.execute(update(jobs).values(expires_at=1))
    while services.upkeep.expire_waiting():
        pass


def _queued_jobs(services: Services, count: int, holders: int) -> list[tuple[str, str]]:
    crowd = Crowd(services.database)
    crowd.accounts(holders)
    crowd.jobs("queued", count, accounts=holders)
    return [(name_of(n % holders), f"job_{1_000_000_000_000 + n}") for n in range(count)]


def _trouble(
    crew: Crew, over: threading.Event, state: Storm, kill_every_s: float, down_s: float, kills: int
) -> None:
    """Kill the worker (SIGKILL) again and again; after its first death the receiver is down."""
    down_until_s = 0.0
    worker: Member | None = None
    died_at = time.time()
    while not over.is_set() and len(crew.members) <= kills + 1:  # with beat
        if worker is not None:
            died_at = time.time()
            worker.signal(signal.SIGKILL)
            worker.process.wait()
            down_until_s = down_until_s or time.monotonic() + down_s
        worker = crew.worker(queues=QUEUES)
        worker.wait_for_ready()
        state.outages.append(Outage(died_at, time.time()))
        until_s = time.monotonic() + kill_every_s
        while time.monotonic() < until_s and not over.is_set():
            state.is_down = time.monotonic() < down_until_s
            time.sleep(0.05)
    over.wait(down_s)
    state.is_down = False


def _count(services: Services, status: str) -> int:
    query = select(func.count()).where(webhook_deliveries.c.status == status)
    with services.database.reading() as connection:
        return connection.scalar(query) or 0


def _report_storm(crew: Crew, state: Storm, events: int, written_s: float, all_s: float) -> None:
    with crew.services.database.reading() as connection:
        query = select(webhook_deliveries.c.event_id, webhook_deliveries.c.created_at)
        created = {row.event_id: row.created_at / 1000 for row in connection.execute(query)}
        tries = connection.scalar(select(func.count()).select_from(webhook_attempts))
    failed = _count(crew.services, "failed")
    ids = set(created)
    took = sorted(at - created[event] for event, at in state.accepted_at.items())
    duplicates = state.accepted.total() - len(state.accepted)
    deaths = sum(member.process.poll() == -signal.SIGKILL for member in crew.members)
    print(f"events {events}, ids {len(ids)}, arrived and accepted {len(state.accepted)}")
    print(f"ids that nobody promised: {len(set(state.arrived) - ids)}; failed for good: {failed}")
    print(f"arrivals {state.arrived.total()}, by answer {dict(state.kinds)}")
    print(f"accepted more than once: {duplicates} messages; worker killed {deaths} times")
    print(f"tries in the log {tries}; events written in {written_s:.1f} s, all in {all_s:.1f} s")
    print(f"from event to acceptance: p50 {_at(took, 0.5):.2f} s, p99 {_at(took, 0.99):.2f} s,"
          f" longest {took[-1]:.2f} s; the schedule has {sum(DELAYS_S) * SCALE:.0f} s")  # fmt: skip
    assert len(ids) == events, "one id for each event"
    assert set(state.arrived) == ids, "every event arrived at least once, and nothing else"
    assert len(state.accepted) + failed == events


def _check_times(services: Services, state: Storm, margin_s: float) -> None:
    """Whether each event came when the schedule allows; those that failed had all their tries."""
    rules = Rules(scale=SCALE, lease_s=services.webhooks.dispatch.lease_s, margin_s=margin_s)
    late, spare_s, early = [], [], 0
    for event, created, tries in _logs(services):
        early += early_tries(tries, rules)
        if event not in state.accepted_at:
            assert len(tries) == len(WAITS_S), f"{event} was given up after {len(tries)} tries"
            continue
        spare_s.append(latest(created, tries, state.outages, rules) - state.accepted_at[event])
        if spare_s[-1] < 0:
            late.append(event)
    print(f"later than the schedule allows: {len(late)}, tries before their time: {early}")
    print(f"margin {margin_s:.0f} s, of which {min(spare_s):.1f} s or more were left to each")
    assert not late, f"too late: {late[:10]}"
    assert not early


def _logs(services: Services) -> Iterator[tuple[str, float, list[Try]]]:
    """Each event, when it was made, and the tries that are in its log."""
    those, tried = webhook_deliveries.c, webhook_attempts.c
    query = (
        select(those.event_id, those.created_at, tried.at, tried.duration_ms, tried.http_status,
               tried.error)
        .join(webhook_attempts, tried.delivery_id == those.id)
        .order_by(those.event_id, tried.attempt)
    )  # fmt: skip
    with services.database.reading() as connection:
        rows = connection.execute(query).all()
    for (event, created), group in groupby(rows, lambda row: (row.event_id, row.created_at)):
        yield event, created / 1000, [
            Try(
                began=row.at / 1000,
                ended=(row.at + row.duration_ms) / 1000,
                is_success=row.error is None,
                retry_after_s=ASKED_S if row.http_status == 429 else 0.0,
            )
            for row in group
        ]  # fmt: skip


def hang(receivers: int, hanging: int, rounds: int, events: int, postgres: Postgres | None) -> None:
    """The delivery time of those that are well, beside some that hang and beside none."""
    print(f"{receivers} receivers, {events} events each, of {receivers - hanging} that are well:")
    times: dict[int, list[float]] = {0: [], hanging: []}
    for _ in range(rounds):
        for sick in times:
            took = _hang_once(receivers, sick, hanging, events, postgres)
            times[sick] += took
            print(f"  {sick} hang: p50 {_at(took, 0.5):.0f} ms, p99 {_at(took, 0.99):.0f} ms,"
                  f" longest {took[-1]:.0f} ms, {len(took)} messages", flush=True)  # fmt: skip
    without, beside = (sorted(times[sick]) for sick in times)
    print(f"  p99 in all: without {_at(without, 0.99):.0f} ms, beside {_at(beside, 0.99):.0f} ms,"
          f" ratio {_at(beside, 0.99) / _at(without, 0.99):.2f}")  # fmt: skip


def _hang_once(
    receivers: int, sick: int, hanging: int, events: int, postgres: Postgres | None
) -> list[float]:
    """Milliseconds from event to arrival at those that never hang, sorted."""
    well = receivers - hanging
    took: list[float] = []
    created: dict[str, float] = {}
    enough = threading.Event()

    def behave(message: Message) -> Reply:
        number = int(message.path[1:])
        if number < sick:
            return HANG
        if number >= hanging:
            took.append((time.time() - created[message.json["data"]["id"]]) * 1000)
            if len(took) == well * events:
                enough.set()
        return Reply()

    with crew_of(postgres) as crew, Receiver(behave) as receiver:
        queued = _queued_jobs(crew.services, receivers * events, receivers)
        for number in range(receivers):
            Factory(crew.services).endpoint(name_of(number), url=receiver.url(f"/{number}"))
        crew.worker(queues=QUEUES).wait_for_ready()
        crew.start("worker", "beat")
        for account, job in queued:
            created[job] = time.time()
            crew.services.jobs.cancel(account, job)
            time.sleep(max(0, 0.01 - (time.time() - created[job])))  # a hundred in a second
        assert enough.wait(120), f"{len(took)} of {well * events} arrived"
    return sorted(took)


def _at(values: list[float], share: float) -> float:
    return values[min(int(share * len(values)), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL of its own")
    parts = parser.add_subparsers(dest="part", required=True)
    first = parts.add_parser("storm")
    first.add_argument("--events", type=int, default=10_000)
    first.add_argument("--endpoints", type=int, default=8)
    first.add_argument("--margin", type=float, default=MARGIN_S, help="seconds")
    first.add_argument("--kill-every", type=float, default=KILL_EVERY_S, help="seconds")
    second = parts.add_parser("hang")
    second.add_argument("--receivers", type=int, default=500)
    second.add_argument("--hanging", type=int, default=5)
    second.add_argument("--rounds", type=int, default=3)
    second.add_argument("--events", type=int, default=4)
    given = parser.parse_args()
    with ExitStack() as ends:
        postgres = Postgres() if given.postgres else None
        if postgres is not None:
            ends.callback(postgres.close)
            postgres.start()
        if given.part == "storm":
            storm(
                given.events, given.endpoints, postgres,
                margin_s=given.margin, kill_every_s=given.kill_every,
            )  # fmt: skip
        else:
            hang(given.receivers, given.hanging, given.rounds, given.events, postgres)


if __name__ == "__main__":
    main()
