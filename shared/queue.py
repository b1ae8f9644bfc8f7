"""The broker: names of tasks and queues, the Celery app, and the wake-ups.

A message says only that an engine has work; the database says which. So a message may be
lost, sent twice or late, and nothing about a job changes: the sweep sends what is missing.
It is therefore acknowledged early, sent without a retry, and never more than a window of
them waits for an engine (`docs/architecture/03-queue.md`).

All messages of one kind are alike but for their id: Celery makes the first, and the others are
copies, which a script in Redis puts into the queue as far as the window has room
(`docs/decisions/0032-a-wake-up-is-a-copy.md`).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

log = structlog.get_logger()

RUN_JOBS = "towline.run_jobs"
SWEEP = "towline.sweep"
MAINTENANCE = "maintenance"
WEBHOOKS = "webhooks"

SEND_TIMEOUT_S = 0.25
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


def working_app(redis_url: str) -> Celery:
    """An app that takes messages.

    A message that was taken is gone (`ack_emulation`): it is not kept in Redis beside the
    queue until it is acknowledged, which nobody waits for and takes two round trips.
    """
    options = {"socket_keepalive": True, "health_check_interval": 10, "ack_emulation": False}
    return _app(redis_url, options)


def _app(broker_url: str, transport_options: Mapping[str, object]) -> Celery:
    app = Celery("towline", broker=broker_url, set_as_current=False)
    app.conf.update(_CONFIG, broker_transport_options=dict(transport_options))
    return app


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as Celery makes it and Redis keeps it, with a gap where its id belongs."""

    text: str
    gap: str

    def copy(self) -> str:
        """One more message, with an id of its own."""
        return self.text.replace(self.gap, str(uuid.uuid4()))


_making = threading.Lock()  #: that memory has one queue of a name


@cache
def envelope_of(task: str, queue: str, *arguments: str) -> Envelope:
    """What calls the task, made by sending it once to a broker in this process's memory."""
    gap = str(uuid.uuid4())
    with _making, _app("memory://", {}) as app, app.connection() as connection:
        app.send_task(task, args=list(arguments), queue=queue, task_id=gap)
        message = connection.default_channel._get(queue)
    message["properties"]["delivery_tag"] = gap
    return Envelope(json.dumps(message), gap)


#: KEYS: the queue. ARGV: how many may wait in it; messages, of which those are put that have room.
_PUSH = """
local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1])
for n = 2, math.min(room + 1, #ARGV) do
  redis.call('LPUSH', KEYS[1], ARGV[n])
end
"""


class Wakeups:
    """Sends wake-ups: at most `window` wait for an engine, and none when the broker is away."""

    def __init__(self, redis_url: str, *, window: int) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=SEND_TIMEOUT_S,
            socket_connect_timeout=SEND_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._push = self._redis.register_script(_PUSH)
        self._window = window
        self._closed_until = 0.0

    def send(self, engine: str) -> None:
        """One more job waits: send one more message, if the window has room."""
        self._send(engine, 1, self._window)

    def top_up(self, engine: str, due: int) -> None:
        """So many jobs wait: send the messages that are missing, within the window."""
        limit = min(due, self._window)
        self._send(engine, limit, limit)

    def _send(self, engine: str, count: int, limit: int) -> None:
        """Send `count` messages, unless `limit` wait already; one round trip."""
        if time.monotonic() < self._closed_until:
            return
        envelope = envelope_of(RUN_JOBS, engine, engine)
        try:
            self._push([engine], [limit, *(envelope.copy() for _ in range(count))])
        except (redis.RedisError, OSError) as error:
            self._closed_until = time.monotonic() + BREAK_S
            log.warning("wakeup_not_sent", engine=engine, error=str(error))

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
