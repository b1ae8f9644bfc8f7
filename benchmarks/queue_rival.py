"""What the queue is measured beside: the least that anybody would write with the same libraries.

`serve`: an endpoint that checks a JSON body with pydantic, inserts one row with SQLAlchemy and
enqueues with `send_task`, under the gunicorn settings of our API. No key, no image looked up, no
event, no place in the queue, nothing that a retry could hold on to.

`work`: Celery on its own, threads, late acknowledgement, a task that only says when it began.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from typing import Any

from celery import Celery, signals
from flask import Flask, request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import JSON, BigInteger, Column, MetaData, String, Table, create_engine, insert

from api.server import Server
from shared.settings import Settings, read_settings

NO_OP = "bare.no_op"
QUEUE = "bare"

rows = Table(
    "bare_jobs",
    MetaData(),
    Column("id", String(40), primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("status", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)


class Part(BaseModel):
    """Of a body; a field that is not known is an error."""

    model_config = ConfigDict(extra="forbid")


class Rect(Part):
    """x0, y0, x1, y1."""

    rect: tuple[float, float, float, float]


class Drag(Part):
    """From here to there."""

    handle: tuple[float, float]
    target: tuple[float, float]


class Body(Part):
    """The same body that our API is sent."""

    image: str
    mask: Rect
    drags: list[Drag]
    options: dict[str, Any] = {}
    metadata: dict[str, str] = {}


def bare_celery(redis_url: str) -> Celery:
    """Celery with its defaults, and late acknowledgement."""
    app = Celery("bare", broker=redis_url, set_as_current=False)
    app.conf.update(task_acks_late=True, task_ignore_result=True, task_default_queue=QUEUE)
    return app


def bare_app(settings: Settings) -> Flask:
    """One endpoint."""
    app = Flask(__name__)
    database = create_engine(settings.database.replace("://", "+psycopg://", 1))
    celery = bare_celery(settings.redis_url.get_secret_value())

    @app.post("/jobs")
    def submit() -> Any:
        body = Body.model_validate_json(request.get_data())
        row = {
            "id": f"job_{uuid.uuid4().hex}",
            "spec": body.model_dump(),
            "status": "queued",
            "created_at": int(time.time() * 1000),
        }
        with database.begin() as connection:
            connection.execute(insert(rows).values(row))
        celery.send_task(NO_OP, args=[time.time()])
        return row, 202

    return app


class BareServer(Server):
    """Our gunicorn, another app."""

    def load(self) -> Flask:
        """The app of one worker process."""
        return bare_app(self._settings)

    def load_config(self) -> None:
        """Ours, less the hook that looks for our app."""
        super().load_config()
        self.cfg.set("post_worker_init", lambda _: None)


def work(redis_url: str, threads: int) -> int:
    """Run tasks until told to stop."""
    app = bare_celery(redis_url)

    @app.task(name=NO_OP)  # type: ignore[untyped-decorator]
    def no_op(sent_at: float) -> None:
        os.write(1, f"began {sent_at!r} {time.time()!r}\n".encode())

    signals.worker_ready.connect(lambda **_: os.write(1, b"worker ready.\n"), weak=False)
    worker = app.Worker(
        pool="threads",
        concurrency=threads,
        without_mingle=True,
        without_gossip=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve", "work"])
    command = parser.parse_args().command
    settings = read_settings()
    if command == "serve":
        BareServer(settings).run()
        return 0
    return work(settings.redis_url.get_secret_value(), settings.worker_threads or 1)


if __name__ == "__main__":
    sys.exit(main())
