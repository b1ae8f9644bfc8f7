"""Server-sent events, as the HTML standard has them (section 9.2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from towline._core.lines import Lines


@dataclass(frozen=True, slots=True)
class Event:
    """One of them; `id` is the last that was said."""

    id: str
    kind: str
    data: str


class EventReader:
    """Give it the parts of a stream."""

    def __init__(self) -> None:
        self.retry_s: float | None = None  #: after which to come back, if it was said
        self._lines = Lines()
        self._id = ""
        self._kind = ""
        self._data: list[str] = []

    def feed(self, part: bytes) -> Iterator[Event]:
        """The events that are whole now."""
        for line in self._lines.feed(part):
            if line:
                self._take(line.decode("utf-8", "replace"))
            elif self._data:
                event = Event(self._id, self._kind or "message", "\n".join(self._data))
                self._kind, self._data = "", []
                yield event

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value[:9]) / 1000
