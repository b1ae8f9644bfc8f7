"""One call: the request, and its repeats while they make sense.

What is sent is safe to repeat: reading and deleting by nature, a POST that makes something by its
`Idempotency-Key`. So whatever leaves it open whether it was done, is answered by sending it again:
no connection, a broken one, silence, an answer that is cut off, 408, 429, 5xx. 409
`idempotency_key_in_flight` says that the first one is still at work; that is waited for until
the call's time is over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from towline._core.backoff import IN_FLIGHT, is_worth_repeating, pause_s, retry_after_s
from towline._core.context import Ask, Context
from towline._core.decoding import decode
from towline._core.effects import Answer, Flow, send, sleep
from towline._failures import (
    UNKNOWN,
    APIError,
    ConfigurationError,
    Conflict,
    InvalidRequest,
    LimitExceeded,
    RequestError,
    ServerError,
    TowlineError,
    UnreadableAnswer,
    Violation,
)
from towline._problems import BY_CODE

T = TypeVar("T")
Read = Callable[[Answer], T]


def call(
    context: Context, ask: Ask, read: Read[T], *, absent: Callable[[], T] | None = None
) -> Flow[T]:
    """What `read` makes of the answer; `APIError`, `TransportError`.

    absent: what it means that a repeat of a deletion finds nothing.
    """
    deadline = context.deadline(ask)
    repeats = 0
    while True:
        try:
            answer = yield from send(context.request(ask, deadline))
            return read(accepted(answer))
        except TowlineError as failure:
            if absent is not None and repeats and is_absent(failure):
                return absent()
            waits_for_itself = isinstance(failure, APIError) and failure.code == IN_FLIGHT
            used = 0 if waits_for_itself else repeats
            pause = next_pause_s(failure, used, context.max_retries, deadline)
            if pause is None:
                raise
        repeats += not waits_for_itself
        yield from sleep(pause)


def next_pause_s(
    failure: TowlineError, repeats: int, max_retries: int, deadline: float
) -> float | None:
    """Seconds until it is tried again; None if it is not."""
    if repeats >= max_retries or not is_worth_repeating(failure):
        return None
    pause = pause_s(failure, repeats)
    if pause is None or time.monotonic() + pause >= deadline:
        return None
    return pause


def model(kind: type[T]) -> Read[T]:
    """Reads an answer whose body is one of these."""
    return lambda answer: decode(kind, json_of(answer))


def nothing(_: Answer) -> None:
    """Reads an answer that has nothing to say."""


def json_of(answer: Answer) -> Any:
    """Its body; `UnreadableAnswer`."""
    try:
        return json.loads(answer.body)
    except ValueError:
        raise UnreadableAnswer(
            f"The answer ({answer.status}) is no JSON, or was cut off."
        ) from None


def accepted(answer: Answer) -> Answer:
    """The answer, if it is a 2xx; `APIError`, or `ConfigurationError` for a redirect."""
    if 200 <= answer.status < 300:
        return answer
    if answer.status < 400:
        raise ConfigurationError(
            f"The address answers {answer.status}, a redirect; give the one that it leads to."
        )
    raise refusal(answer)


def refusal(answer: Answer) -> APIError:
    """The exception for a problem; of a general class if it is nobody's that we know."""
    body = _problem(answer)
    code = str(body.get("code") or UNKNOWN)
    by_status = {409: Conflict, 422: InvalidRequest, 429: LimitExceeded}
    general = by_status.get(answer.status, ServerError if answer.status >= 500 else RequestError)
    title = str(body.get("title") or "")
    return BY_CODE.get(code, general)(
        str(body.get("detail") or title or f"The service answered {answer.status}."),
        code=code,
        status=answer.status,
        title=title,
        request_id=body.get("request_id") or answer.headers.get("x-request-id"),
        errors=[_violation(each) for each in body.get("errors") or ()],
        retry_after=retry_after_s(answer.headers.get("retry-after")),
    )


def is_absent(failure: TowlineError) -> bool:
    """Whether it says that there is no such thing."""
    return isinstance(failure, APIError) and failure.code == "not_found"


def _problem(answer: Answer) -> dict[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _violation(entry: Any) -> Violation:
    said = entry if isinstance(entry, dict) else {}
    line, custom_id = said.get("line"), said.get("custom_id")
    return Violation(
        str(said.get("pointer") or ""),
        str(said.get("code") or UNKNOWN),
        str(said.get("detail") or ""),
        line if isinstance(line, int) else None,
        custom_id if isinstance(custom_id, str) else None,
    )
