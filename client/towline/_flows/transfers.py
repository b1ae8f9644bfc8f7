"""Files up and down, by signed URLs: no key goes along, and nothing half is ever in its place.

A download is written beside its place, under a name with its sha256, and moved there when all of
it is right. What came before a failure is kept, and the next try asks for the rest alone.
"""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from towline._core.calling import accepted, next_pause_s
from towline._core.context import Context
from towline._core.effects import Answer, Flow, Request, close, next_part, open_, send, sleep, work
from towline._failures import ContentMismatch, TowlineError, UnreadableAnswer
from towline.models import Candidate

if TYPE_CHECKING:
    from towline._core.effects import Opened, Payload

RequestOf: TypeAlias = Callable[[Mapping[str, str]], Request]

RANGE_NOT_SATISFIABLE = 416
LONGEST_PROBLEM_BYTES = 2**20
WRITTEN_BYTES = 2**20  #: at once, where so much comes: each write is another thread's


def put(
    context: Context, url: str, headers: Mapping[str, str], payload: Payload, deadline: float
) -> Flow[None]:
    """Bytes to a signed URL; again while that makes sense."""
    repeats = 0
    while True:
        try:
            request = context.signed_request("PUT", url, deadline, headers, payload)
            accepted((yield from send(request)))
            return
        except TowlineError as failure:
            pause = next_pause_s(failure, repeats, context.max_retries, deadline)
            if pause is None:
                raise
        repeats += 1
        yield from sleep(pause)


def fetch(context: Context, url: str, sha256: str, deadline: float) -> Flow[bytes]:
    """What a signed URL opens, in memory, its sha256 checked."""
    repeats = 0
    while True:
        try:
            body = accepted((yield from send(context.signed_request("GET", url, deadline)))).body
            if hashlib.sha256(body).hexdigest() != sha256:
                raise UnreadableAnswer("The bytes that came have not the sha256 of the picture.")
            return body
        except TowlineError as failure:
            pause = next_pause_s(failure, repeats, context.max_retries, deadline)
            if pause is None:
                raise
        repeats += 1
        yield from sleep(pause)


def download(
    context: Context,
    source: Candidate | str,
    to: Path,
    *,
    sha256: str | None = None,
    timeout_s: float | None = None,
) -> Flow[Path]:
    """The file at `to`, with what the source opens."""
    deadline = context.transfer_deadline(timeout_s)
    if isinstance(source, Candidate):
        if source.url is None:
            raise TowlineError("The picture is past its retention, and gone.")
        sha256 = sha256 or source.sha256
        source = source.url
    return (yield from download_by(context, source, to, sha256, deadline))


def download_by(
    context: Context, url: str, to: Path, sha256: str | None, deadline: float
) -> Flow[Path]:
    """The same; what came of it with a sha256 is kept for another try."""

    def request_of(headers: Mapping[str, str]) -> Request:
        return context.signed_request("GET", url, deadline, headers)

    if sha256 is not None:
        part = to.with_name(f".{to.name}.{sha256[:16]}.part")
        try:
            yield from _bring(context, request_of, part, deadline, resumes=True)
            yield from work(lambda: _settle(part, to, sha256))
            return to
        except ContentMismatch:
            pass  # what an older try or a rival left there; once more, by ourselves
    return (yield from save(context, request_of, to, deadline, lambda own: _check(own, sha256)))


def save(
    context: Context,
    request_of: RequestOf,
    to: Path,
    deadline: float,
    check: Callable[[Path], None],
) -> Flow[Path]:
    """The body of an answer, as the file at `to`, if it passes the check."""
    part = to.with_name(f".{to.name}.{uuid.uuid4().hex[:16]}.part")
    try:
        yield from _bring(context, request_of, part, deadline, resumes=False)
        yield from work(lambda: check(part))
        yield from work(lambda: _settle(part, to, None))
        return to
    finally:
        part.unlink(missing_ok=True)


def _bring(
    context: Context, request_of: RequestOf, part: Path, deadline: float, *, resumes: bool
) -> Flow[None]:
    """All of a body in a file; with `resumes` what is there already is not asked for again."""
    repeats = 0
    while True:
        have = (yield from work(lambda: _size_of(part))) if resumes else 0
        try:
            opened = yield from _open(request_of, have)
            if opened is not None:
                yield from _pour(opened, part, have if opened.status == 206 else 0)
            return
        except TowlineError as failure:
            if resumes and (yield from work(lambda: _size_of(part))) > have:
                repeats = 0
            pause = next_pause_s(failure, repeats, context.max_retries, deadline)
            if pause is None:
                raise
        repeats += 1
        yield from sleep(pause)


def _open(request_of: RequestOf, have: int) -> Flow[Opened | None]:
    """The rest of a body, or all of it; None if there is no more."""
    opened = yield from open_(request_of({"Range": f"bytes={have}-"} if have else {}))
    if opened.status == RANGE_NOT_SATISFIABLE and have:
        yield from close(opened)  # it is there, or it is more than there is: the check will say
        return None
    if opened.status == 206 and not opened.headers.get("content-range", "").startswith(
        f"bytes {have}-"
    ):
        raise UnreadableAnswer("Another part of the file came than was asked for.")
    return (yield from accept(opened))


def accept(opened: Opened) -> Flow[Opened]:
    """An answer that is a 2xx; else what the rest of it says, as an exception."""
    if 200 <= opened.status < 300:
        return opened
    body = b""
    while len(body) < LONGEST_PROBLEM_BYTES and (part := (yield from next_part(opened))):
        body += part
    accepted(Answer(opened.status, opened.headers, body))
    raise AssertionError("what is no 2xx is not accepted")


def _pour(opened: Opened, part: Path, start: int) -> Flow[None]:
    with (yield from work(lambda: _file_from(part, start))) as file:
        held = bytearray()
        try:
            while chunk := (yield from next_part(opened)):
                held += chunk
                if len(held) >= WRITTEN_BYTES:
                    yield from work(functools.partial(file.write, held))
                    held = bytearray()
        except TowlineError:  # what came is kept
            yield from work(functools.partial(file.write, held))
            raise
        yield from work(functools.partial(file.write, held))
    yield from close(opened)


def _file_from(part: Path, start: int) -> BinaryIO:
    file = part.open("r+b" if start else "wb")
    file.seek(start)
    return file


def _size_of(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _settle(part: Path, to: Path, sha256: str | None) -> None:
    """Where it belongs, once it is right and on the disk."""
    _check(part, sha256)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(to)


def _check(part: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise ContentMismatch(f"Bytes with sha256 {sha256} were promised, others came: {found}.")
