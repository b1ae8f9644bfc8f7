"""Event streams of the API in this process, and a reader of what they say.

The reader is that of the HTML Standard (section 9.2.6), for what Towline sends.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from api.context import EXTENSION
from tests.api.calling import Caller, until
from tests.factories import a_result

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from shared.jobs.job import Job
    from shared.services import Services


@dataclass(frozen=True)
class Told:
    """One event. A comment has the type `:`, a change of the retry time `retry`."""

    type: str
    data: Any
    id: str = ""


def read_events(chunks: Iterable[bytes]) -> Iterator[Told]:
    """The events of a stream, each as soon as it is whole."""
    rest = ""
    for chunk in chunks:
        rest += chunk.decode()
        while "\n\n" in rest:
            block, rest = rest.split("\n\n", 1)
            yield _event(block)
    assert rest == "", "the stream broke off inside an event"


def _event(block: str) -> Told:
    if block.startswith(":"):
        return Told(":", block[1:].strip())
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    if fields.keys() == {"retry"}:
        return Told("retry", int(fields["retry"]))
    assert fields.keys() == {"id", "event", "data"}, block
    return Told(fields["event"], json.loads(fields["data"]), fields["id"])


def in_short(events: Iterable[Told]) -> list[str]:
    """What happened: `running`, `3/8`, `#0`; without comments and retry times."""
    words = {
        "status": lambda data: data["status"],
        "progress": lambda data: f"{data['step']}/{data['steps']}",
        "candidate": lambda data: f"#{data['index']}",
    }
    return [words[event.type](event.data) for event in events if event.type in words]


def ask(caller: Caller, job_id: str, last: str | None = None) -> TestResponse:
    headers = {} if last is None else {"Last-Event-ID": last}
    client = caller.client.application.test_client()
    return Caller(client, caller.key, "").get(f"/v1/jobs/{job_id}/events", headers=headers)


class Stream:
    """An open stream, read in a thread of its own."""

    opened: ClassVar[list[Stream]] = []

    def __init__(self, caller: Caller, job_id: str, last: str | None = None) -> None:
        self.notifier = caller.client.application.extensions[EXTENSION].notifier
        self.events: list[Told] = []
        self.answer = ask(caller, job_id, last)
        assert self.answer.status_code == 200, self.answer.text
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.opened.append(self)

    def _read(self) -> None:
        chunks: Any = self.answer.response
        for event in read_events(chunks):
            self.events.append(event)
        self.answer.close()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def wait_for(self, *words: str) -> Stream:
        until(lambda: in_short(self.events) == list(words), 10)
        return self

    def wait_for_end(self) -> list[Told]:
        self._thread.join(10)
        assert self.has_ended
        return self.events


def claim(services: Services) -> Job:
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    return job


def finish(services: Services, job: Job, *names: str) -> None:
    assert services.leases.succeed(job, a_result(job, *names))


def open_streams(caller: Caller) -> int:
    return len(caller.client.application.extensions[EXTENSION].feeds._followers)


def told(caller: Caller, job_id: str, last: str | None = None) -> list[Told]:
    """The events of a stream that ends by itself."""
    return list(read_events(ask(caller, job_id, last).response))  # type: ignore[arg-type]
