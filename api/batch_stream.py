"""The lines of a batch on their way into object storage: never more of them in memory than a piece.

They are looked at later, by a worker; here they are counted, so that too many are refused early.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from flask import after_this_request, g, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from api.context import account_id, services
from shared.batches.batch import MAX_BYTES, MAX_LINES
from shared.errors import BatchTooLarge, StorageUnavailable
from shared.ids import new_id
from shared.objects import batch_key

if TYPE_CHECKING:
    from typing import IO

    from flask import Response

log = structlog.get_logger()

PIECE_BYTES = 64 * 1024
TOO_MANY = f"A batch has at most {MAX_LINES} lines and {MAX_BYTES} bytes."


@dataclass(slots=True)
class Received:
    """What a request brought: the id that the batch will have, and its object.

    is_kept: a row that points to it may be there, whatever became of the request.
    """

    batch_id: str
    key: str
    size_bytes: int = 0
    digest: bytes = b""
    is_kept: bool = False


def receive() -> Received:
    """Store the body of this request, once; `BatchTooLarge`, `StorageUnavailable`."""
    if "batch_stream" not in g:
        after_this_request(_discard_unless_kept)
        g.batch_stream = _receive()
    received: Received = g.batch_stream
    return received


def _discard_unless_kept(response: Response) -> Response:
    """Take away what this request stored, if nothing can have been made of it."""
    received: Received | None = g.get("batch_stream")
    if received is None or received.is_kept:
        return response
    try:
        services().objects.delete(received.key)
    except StorageUnavailable as error:  # an orphan: the sweep takes it
        log.warning("stream_left", key=received.key, error=error.message)
    return response


def _receive() -> Received:
    batch_id = new_id("bat")
    received = Received(batch_id, batch_key(account_id(), batch_id))
    if (request.content_length or 0) > MAX_BYTES:
        raise BatchTooLarge(TOO_MANY)
    request.max_content_length = MAX_BYTES + 1  # werkzeug cuts a chunked body off at its limit
    services().objects.put_stream(received.key, _pieces(request.stream, received))
    return received


def _pieces(stream: IO[bytes], received: Received) -> Iterator[bytes]:
    digest, ended = hashlib.sha256(), 0
    while piece := _read(stream):
        received.size_bytes += len(piece)
        ended += piece.count(b"\n")
        lines = ended + (not piece.endswith(b"\n"))
        if received.size_bytes > MAX_BYTES or lines > MAX_LINES:
            raise BatchTooLarge(TOO_MANY)
        digest.update(piece)
        yield piece
    expected = request.content_length
    if expected is not None and received.size_bytes < expected:
        raise ClientDisconnected  # half a batch is none
    received.digest = digest.digest()


def _read(stream: IO[bytes]) -> bytes:
    """The next piece; what breaks here is the client's connection, not the storage."""
    try:
        return stream.read(PIECE_BYTES)
    except RequestEntityTooLarge:
        raise BatchTooLarge(TOO_MANY) from None
    except OSError:
        raise ClientDisconnected from None
