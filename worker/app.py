"""One worker process, put together: Celery takes wake-ups, `run_job` does the work.

On SIGTERM Celery stops taking messages and waits for its threads; `Drain` makes them end,
between two steps at the latest after `TOWLINE_DRAIN_S` seconds, and gives their jobs back.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Any

from celery import signals

from shared.engines import ENGINES
from shared.queue import MAINTENANCE, SWEEP, WEBHOOKS, working_app
from worker.engines.registry import load_engine
from worker.presence import Presence
from worker.run_job import Workplace
from worker.solo import Solo
from worker.tasks import register_tasks
from worker.watch import Drain, Heart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery import Celery

    from shared.services import Services
    from worker.engines.base import Engine

QUEUES = (*ENGINES, MAINTENANCE, WEBHOOKS)
SWEEPS_KEPT = 10  #: how many sweeps late a message may be taken; hosts' clocks differ
IO_THREADS = 4  #: of a worker that runs no engine


def run_worker(
    services: Services, queues: list[str], build_engine: Callable[[str], Engine] = load_engine
) -> int:
    """Take messages from these queues until told to stop; the exit status."""
    settings = services.settings
    drain = Drain()
    engines = {name: build_engine(name) for name in queues if name in ENGINES}
    workplace = _workplace(services, engines, drain)
    app = working_app(settings.redis_url.get_secret_value())
    register_tasks(app, workplace, drain)
    signals.worker_shutting_down.connect(
        lambda **_: drain.begin(settings.drain_s), weak=False, dispatch_uid="drain"
    )
    with Presence(workplace, settings.worker_threads, every_s=settings.heartbeat_s):
        worker = app.Worker(
            hostname=workplace.worker_id,
            pool="threads",
            concurrency=settings.worker_threads if workplace.engines else IO_THREADS,
            queues=",".join(queues),
            without_mingle=True,
            without_gossip=True,
            without_heartbeat=True,
        )
        worker.start()
    return int(worker.exitcode or 0)


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
    beat: Any = app.Beat(scheduler_cls="celery.beat:Scheduler")
    beat.run()


def _workplace(services: Services, engines: Mapping[str, Engine], drain: Drain) -> Workplace:
    settings = services.settings
    return Workplace(
        services=services,
        engines=engines,
        heart=Heart(
            services.leases, drain, lease_s=settings.lease_s, heartbeat_s=settings.heartbeat_s
        ),
        solo=Solo(),
        worker_id=f"{socket.gethostname()[:20]}-{os.getpid()}-{secrets.token_hex(4)}",
    )
