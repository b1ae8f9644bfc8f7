"""What can befall a request on its way, for `S3Proxy`, which forwards to whatever speaks HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.servers.s3_proxy import Exchange

STALL_S = 3.0


def stalled(exchange: Exchange) -> None:
    """The server does it, and says nothing for longer than the client bears."""
    exchange.forward()
    time.sleep(STALL_S)
    exchange.status = 0


def reset(exchange: Exchange) -> None:
    """RST, before the server has seen anything."""
    exchange.is_reset = True


def done_but_reset(exchange: Exchange) -> None:
    """The server does it; RST is the answer."""
    exchange.forward()
    exchange.status, exchange.is_reset = 0, True


def done_but_half_json(exchange: Exchange) -> None:
    """The server does it; of its answer half comes, as if that were all."""
    exchange.forward()
    exchange.answer = exchange.answer[: len(exchange.answer) // 2]
    exchange.answer_headers = [
        pair for pair in exchange.answer_headers if pair[0].lower() != "content-length"
    ]


def done_but_a_page(exchange: Exchange) -> None:
    """The server does it; a proxy answers 200 with a page of its own."""
    exchange.forward()
    exchange.status, exchange.answer = 200, b"<html>One moment, please</html>"
    exchange.answer_headers = [("Content-Type", "text/html")]


def answering(status: int, retry_after: str | None = None, code: str = "") -> Callable[..., None]:
    """A status, without asking the server."""

    def answer(exchange: Exchange) -> None:
        exchange.status = status
        exchange.answer = json.dumps({"code": code, "detail": "hush", "status": status}).encode()
        exchange.answer_headers = [("Content-Type", "application/problem+json")]
        if retry_after is not None:
            exchange.answer_headers.append(("Retry-After", retry_after))

    answer.__name__ = f"answers_{status}"
    return answer


def done_but(status: int) -> Callable[..., None]:
    """The server does it; something between answers with a status of its own."""

    def answer(exchange: Exchange) -> None:
        exchange.forward()
        exchange.status, exchange.answer = status, b"<html>upstream</html>"
        exchange.answer_headers = [("Content-Type", "text/html")]

    answer.__name__ = f"done_but_{status}"
    return answer
