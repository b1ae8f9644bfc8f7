"""`Idempotency-Key`: the same request again gives what it made, and makes nothing.

Every POST that makes something declares it, `@idempotent(replay=..., digest=...)`, and passes
`completion(...)` to the store that makes it. As draft-ietf-httpapi-idempotency-key-header-07 has
it; what it leaves open is decided in `docs/decisions/0049-what-an-idempotency-key-remembers.md`.

    free        take it, run the view; a refusal gives it back
    in flight   wait for the other request, 2 s at the most, then 409
    made        answer with that, as it is now, and the status of then

A key belongs to its account, to a method, an address and a body.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog
from flask import g, make_response, request

from api.context import account_id, context, services
from shared.errors import (
    IdempotencyKeyGone,
    IdempotencyKeyInFlight,
    IdempotencyKeyMalformed,
    NotFound,
    TowlineError,
)
from shared.idempotency.claims import Claim, Completion, Made
from shared.idempotency.store import complete

if TYPE_CHECKING:
    from flask import Response

    from api.strict_json import StrictRequest

log = structlog.get_logger()

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_CHARACTERS = 255
#: How long a rival sleeps before it looks again: 2 s in all.
PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.3, 0.4, 0.5, 0.5)

#: Either form, for the document.
KEY_PATTERN = r'^("([ !#-\[\]-~]|\\["\\])+"|[!#-+\--:<-\[\]-~]+)$'
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # sf-string, RFC 9651, section 3.3.3
_BARE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # visible, but none of " , ; \

View = TypeVar("View", bound=Callable[..., Any])


def idempotent(
    *, replay: Callable[[str, int], Any], digest: Callable[[], bytes]
) -> Callable[[View], View]:
    """Declare that a route makes something, and heed the key that comes with a request.

    replay: from the id of what was made and the status of then, the answer.
    digest: of the request's body; by it another body is known.
    """

    def declare(view: View) -> View:
        @wraps(view)
        def keyed(**arguments: Any) -> Any:
            key = wanted_key(request.headers.get(HEADER))
            if key is None:
                return view(**arguments)
            found = _take(key, _fingerprint(digest()))
            if isinstance(found, Made):
                return _replayed(found, replay)
            return _run(found, lambda: view(**arguments))

        keyed.is_idempotent = True  # type: ignore[attr-defined]
        return cast("View", keyed)

    return declare


def wanted_key(header: str | None) -> str | None:
    """The key of a header, quoted or bare; `IdempotencyKeyMalformed`."""
    if header is None:
        return None
    text = header.strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not key or not (quoted or _BARE.fullmatch(text)):
        raise IdempotencyKeyMalformed(
            "The Idempotency-Key is empty, or has characters that only a quoted one may have."
        )
    if len(key) > MAX_CHARACTERS:
        raise IdempotencyKeyMalformed(
            f"The Idempotency-Key has {len(key)} characters; at most {MAX_CHARACTERS} are taken."
        )
    return key


def completion(new: int, known: int | None = None) -> Completion | None:
    """What the store that makes something calls in its transaction; None without a key.

    new: the status of the answer when it was made; known: when it was there before.
    """
    claim: Claim | None = g.get("claim")
    if claim is None:
        return None
    return lambda connection, object_id, is_new: complete(
        connection, claim, object_id, new if is_new or known is None else known
    )


def completed(object_id: str, status: int) -> None:
    """Remember the answer of a request that made nothing, since all of it was there."""
    if g.get("claim") is not None:
        services().idempotency.complete(g.claim, object_id, status)


def json_digest() -> bytes:
    """Of a JSON body as it was understood: neither spaces nor the order of names count."""
    return value_digest(cast("StrictRequest", request).get_json())


def value_digest(value: Any) -> bytes:
    """Of what a JSON body says."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def no_digest() -> bytes:
    """Of a request whose body is not read."""
    return b""


def _fingerprint(digest: bytes) -> bytes:
    said = (request.method, request.full_path, request.mimetype)
    return hashlib.sha256("\n".join(said).encode() + b"\n" + digest).digest()


def _take(key: str, fingerprint: bytes) -> Claim | Made:
    """The key, or what it made; while another request holds it, wait for that one."""
    store, account = services().idempotency, account_id()
    found = store.take(account, key, fingerprint)
    if found is None:
        with context().watcher.seat() as has_seat:  # too many who wait would starve the rest
            for pause_s in PAUSES_S if has_seat else ():
                time.sleep(pause_s)
                if not store.is_in_flight(account, key):
                    found = store.take(account, key, fingerprint)
                if found is not None:
                    break
    if found is None:
        raise IdempotencyKeyInFlight(
            "A request with this Idempotency-Key is at work; ask again for what it makes."
        )
    return found


def _run(claim: Claim, view: Callable[[], Any]) -> Any:
    """What fails is not remembered, unless something was made all the same."""
    g.claim = claim
    try:
        return view()
    except BaseException:
        _release(claim)
        raise


def _release(claim: Claim) -> None:
    try:
        services().idempotency.release(claim)
    except TowlineError as error:  # its lease runs out
        log.warning("idempotency_key_kept", error=error.message)


def _replayed(made: Made, replay: Callable[[str, int], Any]) -> Response:
    try:
        answer = make_response(replay(made.object_id, made.status))
    except NotFound:
        raise IdempotencyKeyGone(
            f"This Idempotency-Key made {made.object_id}, which was deleted since."
        ) from None
    answer.headers[REPLAYED] = "true"
    log.info("replayed", made=made.object_id)
    return answer
