"""The events of a job, as they happen: a stream that is opened again wherever it broke."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from towline._core.backoff import is_worth_repeating, pause_s
from towline._core.context import Ask, Context, address
from towline._core.decoding import decode
from towline._core.effects import Effect, Item, Items, next_part, open_, sleep
from towline._core.patience import AWAY_S
from towline._core.sse import Event, EventReader
from towline._failures import TowlineError, UnreadableAnswer
from towline._flows.transfers import accept
from towline.models import CandidateEvent, JobEvent, OtherEvent, ProgressEvent, StatusEvent

if TYPE_CHECKING:
    from towline._core.effects import Request

COME_BACK_S = 2.0  #: unless the stream says another time
SIGN_OF_LIFE_S = 40.0  #: without one the connection is dead


class _Place:
    """Where in the stream we are, and since when nothing was heard."""

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id
        self.retry_s = COME_BACK_S
        self.heard_at = time.monotonic()
        self._failures = 0

    def heard(self) -> None:
        """The service is there."""
        self.heard_at, self._failures = time.monotonic(), 0

    def after_end(self) -> float:
        """The pause before the next stream."""
        return self.retry_s * random.uniform(1, 1.5)  # noqa: S311

    def after_failure(self, failure: TowlineError, max_retries: int) -> float | None:
        """The same; None to give up."""
        is_away = time.monotonic() - self.heard_at > AWAY_S
        if is_away or not max_retries or not is_worth_repeating(failure):
            return None
        self._failures += 1
        return pause_s(failure, self._failures - 1)


def events(context: Context, job: Any, *, last_event_id: str | None) -> Items[JobEvent]:
    """What happens to a job until it has ended."""
    place = _Place(last_event_id)
    while True:
        try:
            if (yield from _follow(context, job, place)):
                return
            pause: float | None = place.after_end()
        except TowlineError as failure:
            pause = place.after_failure(failure, context.max_retries)
            if pause is None:
                raise
        yield from sleep(pause or 0.0)


def _follow(
    context: Context, job: Any, place: _Place
) -> Generator[Effect | Item[JobEvent], Any, bool]:
    """One stream; True if there is nothing more to be told."""
    opened = yield from open_(_request(context, job, place.last_id))
    yield from accept(opened)
    place.heard()
    if opened.status == 204:
        return True
    reader = EventReader()
    while part := (yield from next_part(opened)):
        place.heard()
        for event in reader.feed(part):
            place.last_id = event.id or place.last_id
            place.retry_s = reader.retry_s or place.retry_s
            told = _told(event)
            yield Item(told)
            if isinstance(told, StatusEvent) and told.is_final:
                return True
    return False


def _request(context: Context, job: Any, last_id: str | None) -> Request:
    headers = {"Accept": "text/event-stream, application/problem+json"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    ask = Ask(
        method="GET",
        path=address("jobs", job, "events"),
        headers=headers,
        wait_s=max(0.0, SIGN_OF_LIFE_S - context.timeouts.silence_s),
    )
    return context.request(ask, float("inf"))  # it lasts as long as the job


def _told(event: Event) -> JobEvent:
    try:
        data = json.loads(event.data)
    except ValueError:
        raise UnreadableAnswer("An event of the stream is no JSON.") from None
    if not isinstance(data, dict):
        raise UnreadableAnswer("An event of the stream is no object.")
    data = {**data, "id": event.id}
    match event.kind:
        case "status":
            return decode(StatusEvent, data)
        case "progress":
            return decode(ProgressEvent, data)
        case "candidate":
            return decode(CandidateEvent, data)
    return OtherEvent(id=event.id, kind=event.kind, raw=data)
