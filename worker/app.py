"""One worker process, put together: Celery takes wake-ups, `run_job` does the work.

On SIGTERM Celery stops taking messages and waits for its threads; `Drain` makes them end,
between two steps at the latest after `TOWLINE_DRAIN_S` seconds, and gives their jobs back.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import signals
from celery.apps.worker import install_worker_term_handler

from shared.engines import ENGINES
from shared.queue import MAINTENANCE, SWEEP, WEBHOOKS, working_app
from shared.telemetry.tracing import stop_tracing
from worker.batches import Tender
from worker.batching import Batched, Limits
from worker.claims import Claims
from worker.deliver import Deliverer
from worker.engines.base import BatchingEngine
from worker.engines.registry import load_engine
from worker.health import BeatHealth, Health, HealthServer
from worker.intake import Intake
from worker.lookout import Broom, Lookout
from worker.memory import keep_freed_memory
from worker.presence import Presence
from worker.run_job import Workplace
from worker.solo import Solo
from worker.tasks import register_tasks
from worker.threads import WakingTaskPool
from worker.watch import Drain, Heart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from celery import Celery

    from shared.services import Services
    from shared.settings import Settings
    from worker.engines.base import Engine

log = structlog.get_logger()

QUEUES = (*ENGINES, MAINTENANCE, WEBHOOKS)
SWEEPS_KEPT = 10  #: how many sweeps late a message may be taken; hosts' clocks differ
LAST_S = 5.0  #: after the drain, until a process that has not ended is ended
IO_THREADS = 4  #: of a worker that runs no engine
ENGINE_THREADS = 2  #: of one whose engine runs each edit by itself
THREADS_PER_ROW = 2  #: one in the batch that runs, one that fetches, stores, or waits for the next


def run_worker(
    services: Services,
    queues: list[str],
    build_engine: Callable[[str, Settings], Engine] = load_engine,
) -> int:
    """Take messages from these queues until told to stop; the exit status.

    `EngineUnusable` if one of the engines cannot be built.
    """
    settings = services.settings
    keep_freed_memory()
    drain = Drain()
    engines = {name: build_engine(name, settings) for name in queues if name in ENGINES}
    threads = settings.worker_threads or _threads_for(engines.values(), settings)
    workplace = _workplace(services, _batched(engines, settings), drain)
    app = working_app(settings.redis_url.get_secret_value())
    intake, broom = (
        Intake(workplace, drain, threads),
        Broom(services, drain, every_s=settings.sweep_s),
    )
    deliverer = Deliverer(services, drain) if WEBHOOKS in queues else None
    tender = Tender(services, drain)
    register_tasks(app, intake, broom, tender, deliverer)
    begin_drain = _drain_on_signals(drain, settings.drain_s, workplace.heart)
    with (
        HealthServer(
            Health(services, intake if engines else None, drain),
            settings.host,
            settings.worker_port,
        ),
        Presence(workplace, threads, every_s=settings.heartbeat_s),
        Lookout(
            intake,
            engines,
            broom if MAINTENANCE in queues else None,
            tender if MAINTENANCE in queues else None,
            deliverer,
            every_s=settings.sweep_s,
        ),
    ):
        worker = _draining(app.Worker)(
            hostname=workplace.claims.worker_id,
            pool=type("Pool", (WakingTaskPool,), {"before_stop": staticmethod(begin_drain)}),
            concurrency=threads,
            queues=",".join(queues),
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
            quiet=True,  # no banner: what is said is a line of the log
        )
        worker.start()
        intake.wait_until_empty()
        if deliverer is not None:
            deliverer.wait_until_idle()
    stop_tracing()
    return int(worker.exitcode or 0)


def _drain_on_signals(drain: Drain, grace_s: float, heart: Heart) -> Callable[[], None]:
    """SIGTERM, SIGINT and SIGQUIT begin the drain; a second one makes it quicker.

    Celery tells of each of them. A job whose engine makes no step, or whose storage does not
    answer, does not keep the process: it is given back without its doing.

    What begins the drain, unless it has begun, comes back.
    """

    def begin_once() -> None:
        if not drain.has_begun:
            begin()

    def begin(**_: object) -> None:
        drain.begin(grace_s)
        threading.Thread(target=end_after_all, name="last-resort", daemon=True).start()

    def end_after_all() -> None:
        log.info("drain_begun")
        while not drain.is_over:
            time.sleep(0.1)
        time.sleep(LAST_S)
        log.error("drain_took_too_long")
        giving = threading.Thread(target=heart.give_back_all, name="give-back", daemon=True)
        giving.start()
        giving.join(LAST_S)  # a job that cannot be given back has its lease
        os._exit(1)

    signals.worker_shutting_down.connect(begin, weak=False, dispatch_uid="drain")
    return begin_once


def _draining(worker: Any) -> Any:
    """Celery's worker, which takes SIGINT and SIGQUIT as it takes SIGTERM, from its first moment.

    It would cut running jobs off at the latter two, at the second signal.
    """

    class Draining(worker):  # type: ignore[misc]
        def install_platform_tweaks(self, worker: object) -> None:
            super().install_platform_tweaks(worker)
            for name in ("SIGTERM", "SIGINT", "SIGQUIT"):
                install_worker_term_handler(self, sig=name, verbose=False)  # prints nothing

    return Draining


def _threads_for(engines: Iterable[Engine], settings: Settings) -> int:
    """How many jobs this process has at once, when the settings do not say."""
    threads = [
        THREADS_PER_ROW * settings.batch_rows
        if isinstance(engine, BatchingEngine)
        else ENGINE_THREADS
        for engine in engines
    ]
    return max(threads, default=IO_THREADS)


def _batched(engines: Mapping[str, Engine], settings: Settings) -> dict[str, Engine]:
    """The same engines; those that can, serve many threads with one batch."""
    limits = Limits(
        rows=settings.batch_rows,
        wait_s=settings.batch_wait_ms / 1000,
        memory=settings.batch_memory_mb * 2**20 or None,
    )
    return {
        name: Batched(engine, limits) if isinstance(engine, BatchingEngine) else engine
        for name, engine in engines.items()
    }


def run_beat(services: Services) -> None:
    """Send the sweep's message every few seconds; one that was not taken in time is void."""
    settings = services.settings
    app: Celery = working_app(settings.redis_url.get_secret_value())
    app.conf.beat_schedule = {
        "sweep": {
            "task": SWEEP,
            "schedule": settings.sweep_s,
            "options": {
                "queue": MAINTENANCE,
                "expires": SWEEPS_KEPT * settings.sweep_s,
                "retry": False,
            },
        }
    }
    app.conf.beat_max_loop_interval = settings.sweep_s
    # Celery's default scheduler keeps a pickle on disk; an interval needs no memory.
    beat: Any = app.Beat(scheduler_cls="celery.beat:Scheduler", quiet=True)
    health = BeatHealth(every_s=settings.sweep_s)
    signals.after_task_publish.connect(health.sent, weak=False, dispatch_uid="health")
    with HealthServer(health, settings.host, settings.worker_port):
        beat.run()


def _workplace(services: Services, engines: Mapping[str, Engine], drain: Drain) -> Workplace:
    settings = services.settings
    worker_id = f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(4)}"
    return Workplace(
        services=services,
        engines=engines,
        heart=Heart(
            services.leases, drain, lease_s=settings.lease_s, heartbeat_s=settings.heartbeat_s
        ),
        solo=Solo(),
        claims=Claims(services.leases, worker_id),
    )
