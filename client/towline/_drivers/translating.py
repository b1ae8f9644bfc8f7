"""Between httpx and the flows: what both drivers share."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import httpx

from towline._failures import (
    CallTimedOut,
    ConfigurationError,
    ConnectionFailed,
    TowlineError,
    UnreadableAnswer,
)

if TYPE_CHECKING:
    from towline._core.effects import Request

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=20)


def timeouts_of(request: Request) -> httpx.Timeout:
    """No part of it longer than all of it may take; `CallTimedOut` if that is over."""
    left_s = left_of(request)
    silence_s = min(request.silence_s, left_s)
    return httpx.Timeout(
        connect=min(request.connect_s, left_s), read=silence_s, write=silence_s, pool=silence_s
    )


def left_of(request: Request) -> float:
    """Seconds until it must have ended."""
    left_s = request.deadline - time.monotonic()
    if left_s <= 0:
        raise out_of_time()
    return left_s


def headers_of(request: Request) -> dict[str, str]:
    """Its headers, and the size of its body, so that it is not sent in chunks."""
    if request.body is None:
        return dict(request.headers)
    return {**request.headers, "Content-Length": str(request.body.size_bytes)}


def lower(headers: httpx.Headers) -> Mapping[str, str]:
    """As flows read them."""
    return {name.lower(): value for name, value in headers.items()}


def out_of_time() -> CallTimedOut:
    """The whole call's time is over."""
    return CallTimedOut("The call was not done in time.")


def translated(error: Exception) -> TowlineError:
    """An exception of httpx as ours. Its text says what happened, and neither URL nor header."""
    said = f"{type(error).__name__}{f': {error}' if str(error) else ''}"
    if isinstance(error, httpx.TimeoutException):
        return CallTimedOut(f"The service was silent for too long ({said}).")
    if isinstance(error, httpx.DecodingError):
        return UnreadableAnswer(f"The answer cannot be decoded ({said}).")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return ConfigurationError(f"The address cannot be used ({said}).")
    return ConnectionFailed(f"The service cannot be reached ({said}).")


class _HideSignatures(logging.Filter):
    """httpx logs each URL; what makes ours open something without a key is left out."""

    _SIGNED = re.compile(r"\?\S*signature=\S*", re.IGNORECASE)

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(self._hidden(each) for each in record.args)
        return True

    def _hidden(self, argument: object) -> object:
        if not isinstance(argument, httpx.URL):
            return argument
        return self._SIGNED.sub("?[signed]", str(argument))


def hide_signatures() -> None:
    """From now on, once for the process."""
    logger = logging.getLogger("httpx")
    if not any(isinstance(each, _HideSignatures) for each in logger.filters):
        logger.addFilter(_HideSignatures())
