"""The broker: names of tasks and queues, the Celery app, and the wake-ups.

A message says only that an engine has work; the database says which. So a message may be
lost, sent twice or late, and nothing about a job changes: the sweep sends what is missing.
It is therefore taken without an acknowledgement, sent without a retry, and never more than a
window of them waits for an engine (`docs/architecture/03-queue.md`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import redis
import structlog
from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.engines import ENGINES

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()

RUN_JOBS = "towline.run_jobs"
SWEEP = "towline.sweep"
DELIVER = "towline.deliver"
MAINTENANCE = "maintenance"
WEBHOOKS = "webhooks"

SEND_TIMEOUT_S = 0.25
DELIVERERS = 4  #: messages that wait for deliverers at the most; each works until nothing is due
BREAK_S = 1.0  #: how long nothing is sent after a send that failed

_CONFIG = {
    "task_acks_late": False,
    "task_ignore_result": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "result_backend": None,
    "task_publish_retry": False,
    "task_create_missing_queues": True,
    "task_default_queue": MAINTENANCE,
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": False,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "enable_utc": True,
}


def sending_app(redis_url: str) -> Celery:
    """An app that only sends, and does not wait for a broker that is away."""
    return _app(
        redis_url,
        {
            "socket_timeout": SEND_TIMEOUT_S,
            "socket_connect_timeout": SEND_TIMEOUT_S,
            "max_retries": 0,  # of kombu's own connecting, which `retry=False` does not reach
        },
    )


def working_app(redis_url: str) -> Celery:
    """An app that takes messages; each is gone from the broker once it is taken.

    One that waits for its acknowledgement would be given back when the connection breaks, which
    needs the connection: in a bad moment Celery ends of it.
    """
    app = _app(redis_url, {"socket_keepalive": True, "health_check_interval": 10})
    app.conf.task_queues = [_taken_at_once(name) for name in (*ENGINES, MAINTENANCE, WEBHOOKS)]
    return app


def _taken_at_once(name: str) -> Queue:
    return Queue(name, Exchange(name), name, no_ack=True)  # type: ignore[no-untyped-call]


def _app(redis_url: str, transport_options: dict[str, object]) -> Celery:
    app = Celery("towline", broker=redis_url, set_as_current=False)
    app.conf.update(_CONFIG, broker_transport_options=transport_options)
    return app


class Wakeups:
    """Sends wake-ups: at most `window` wait for an engine, and none when the broker is away."""

    def __init__(self, redis_url: str, *, window: int) -> None:
        self._app = sending_app(redis_url)
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=SEND_TIMEOUT_S,
            socket_connect_timeout=SEND_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._window = window
        self._closed_until = 0.0

    def send(self, engine: str) -> None:
        """One more job waits: send one more message, if the window has room."""
        self._send(engine, lambda waiting: min(1, self._window - waiting))

    def send_deliverer(self) -> None:
        """Deliveries are due: send a message to whoever sends them, unless enough wait."""
        self._send(WEBHOOKS, lambda waiting: min(1, DELIVERERS - waiting), DELIVER, [])

    def top_up(self, engine: str, due: int) -> None:
        """So many jobs wait: send the messages that are missing, within the window."""
        self._send(engine, lambda waiting: min(due, self._window) - waiting)

    def _send(
        self,
        queue: str,
        missing: Callable[[int], int],
        task: str = RUN_JOBS,
        arguments: list[str] | None = None,
    ) -> None:
        arguments = [queue] if arguments is None else arguments
        if time.monotonic() < self._closed_until:
            return
        try:
            for _ in range(missing(self.waiting(queue))):
                self._app.send_task(task, args=arguments, queue=queue, retry=False)
        except (redis.RedisError, OperationalError, OSError) as error:
            self._closed_until = time.monotonic() + BREAK_S
            log.warning("wakeup_not_sent", queue=queue, error=str(error))

    def clear(self, engine: str) -> bool:
        """Nothing is due: every message that still waits is void. Whether there were any.

        Ask the database once more after True: a job whose message was among them has been
        committed before it was sent.
        """
        try:
            return bool(self._redis.delete(engine))
        except (redis.RedisError, OSError):
            return False

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return int(self._redis.llen(queue))

    def ping(self) -> None:
        """Whether the broker answers; `redis.RedisError`."""
        self._redis.ping()
