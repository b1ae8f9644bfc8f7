"""The broker: names of tasks and queues, the Celery app, and the wake-ups.

A message says only that an engine has work; the database says which. So a message may be
lost, sent twice or late, and nothing about a job changes: the sweep sends what is missing.
It is therefore taken without an acknowledgement, sent without a retry, and never more than a
window of them waits for an engine (`docs/architecture/03-queue.md`).

All messages of one kind are alike but for their id: Celery makes the first, and the others are
copies, which a script in Redis puts into the queue as far as the window has room
(`docs/decisions/0032-a-wake-up-is-a-copy.md`).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import redis
import structlog
from celery import Celery
from kombu.entity import Exchange, Queue
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.engines import ENGINES

log = structlog.get_logger()

RUN_JOBS = "towline.run_jobs"
SWEEP = "towline.sweep"
DELIVER = "towline.deliver"
TEND = "towline.tend_batches"
MAINTENANCE = "maintenance"
WEBHOOKS = "webhooks"

SEND_TIMEOUT_S = 0.25
TENDERS = 2  #: messages that wait for those who tend batches at the most
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


def working_app(redis_url: str) -> Celery:
    """An app that takes messages; each is gone from the broker once it is taken.

    One that waits for its acknowledgement would be given back when the connection breaks, which
    needs the connection: in a bad moment Celery ends of it. And it takes two round trips.
    """
    app = _app(redis_url, {"socket_keepalive": True, "health_check_interval": 10})
    app.conf.task_queues = [_taken_at_once(name) for name in (*ENGINES, MAINTENANCE, WEBHOOKS)]
    return app


def _taken_at_once(name: str) -> Queue:
    return Queue(name, Exchange(name), name, no_ack=True)  # type: ignore[no-untyped-call]


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
        self._asked: Counter[str] = Counter()
        self._is_asked = threading.Condition()
        self._sender: threading.Thread | None = None

    def send_soon(self, engine: str) -> None:
        """Send one more message, but wait for no broker: what is asked for meanwhile goes with it.

        A process that dies first sends nothing, as one that dies before it asks.
        """
        with self._is_asked:
            self._asked[engine] += 1
            if self._sender is None or not self._sender.is_alive():  # a fork leaves it behind
                self._sender = threading.Thread(target=self._send_asked, daemon=True)
                self._sender.start()
            self._is_asked.notify()

    def _send_asked(self) -> None:
        while True:
            with self._is_asked:
                self._is_asked.wait_for(lambda: bool(self._asked))
                asked, self._asked = self._asked, Counter()
            for engine, count in asked.items():
                self._send_some(engine, min(count, self._window))

    def send(self, engine: str) -> None:
        """One more job waits: send one more message, if the window has room."""
        self._send_some(engine, 1)

    def _send_some(self, engine: str, count: int) -> None:
        self._send(envelope_of(RUN_JOBS, engine, engine), engine, count, self._window)

    def send_deliverer(self) -> None:
        """Deliveries are due: send a message to whoever sends them, unless enough wait."""
        self._send(envelope_of(DELIVER, WEBHOOKS), WEBHOOKS, 1, DELIVERERS)

    def send_tender(self) -> None:
        """A batch wants to be tended: send a message to whoever does, unless enough wait."""
        self._send(envelope_of(TEND, MAINTENANCE), MAINTENANCE, 1, TENDERS)

    def top_up(self, engine: str, due: int) -> None:
        """So many jobs wait: send the messages that are missing, within the window."""
        limit = min(due, self._window)
        self._send(envelope_of(RUN_JOBS, engine, engine), engine, limit, limit)

    def _send(self, envelope: Envelope, queue: str, count: int, limit: int) -> None:
        """Send `count` messages, unless `limit` wait already; one round trip."""
        if time.monotonic() < self._closed_until:
            return
        try:
            self._push([queue], [limit, *(envelope.copy() for _ in range(count))])
        except (redis.RedisError, OSError) as error:
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
