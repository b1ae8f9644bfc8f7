"""A reader of server-sent events, as the HTML Standard has them (section 9.2.6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


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
