"""Batches: sent as a stream, read as a stream."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from towline._core.calling import call, model, next_pause_s
from towline._core.context import Ask, Context, address, posting
from towline._core.decoding import decode
from towline._core.effects import Flow, Item, Items, close, next_part, open_, sleep, work
from towline._core.lines import Lines
from towline._core.payloads import File, Spooled, as_json, let_go
from towline._failures import ContentMismatch, TowlineError, UnreadableAnswer
from towline._flows import things
from towline._flows.pages import given, pages
from towline._flows.transfers import accept, save
from towline.inputs import WebhookLike, webhook_json
from towline.models import Batch, BatchItem

if TYPE_CHECKING:
    from towline._core.effects import Payload, Request

OnInvalid: TypeAlias = Literal["reject", "skip"]
Jobs: TypeAlias = "Iterable[Mapping[str, Any]] | str | os.PathLike[str]"
ANSWERED_S = 60.0  #: until the service has taken what it was sent, beyond the usual


def create(
    context: Context,
    jobs: Jobs,
    *,
    on_invalid: OnInvalid,
    webhook: WebhookLike | None,
    metadata: Mapping[str, str] | None,
    key: str | None,
    timeout_s: float | None,
) -> Flow[Batch]:
    """A new batch."""
    deadline = context.transfer_deadline(timeout_s)
    payload = yield from work(lambda: _payload_of(jobs))
    try:
        ask = posting(address("batches"), key=key)
        ask = replace(
            ask,
            headers={**ask.headers, "Content-Type": "application/jsonl"},
            query=_query(on_invalid, webhook, metadata),
            body=payload,
            wait_s=ANSWERED_S,
            deadline=deadline,
        )
        return (yield from call(context, ask, model(Batch)))
    finally:
        let_go(payload)


def _payload_of(jobs: Jobs) -> Payload:
    if isinstance(jobs, str | os.PathLike):
        return File.at(Path(jobs))
    return Spooled(_lines_of(jobs))


def _lines_of(jobs: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for job in jobs:
        yield as_json(dict(job)) + b"\n"


def _query(
    on_invalid: OnInvalid, webhook: WebhookLike | None, metadata: Mapping[str, str] | None
) -> list[tuple[str, str]]:
    told = webhook_json(webhook) or {}
    query = given(on_invalid=None if on_invalid == "reject" else on_invalid)
    for name, value in told.items():
        values = [value] if isinstance(value, str) else value
        query += [(f"webhook.{name}", each) for each in values]
    return query + [(f"metadata.{name}", value) for name, value in (metadata or {}).items()]


def get(
    context: Context, batch: Any, *, wait_s: float | None, timeout_s: float | None
) -> Flow[Batch]:
    """A batch."""
    flow = things.get(context, "batches", batch, Batch, wait_s=wait_s, timeout_s=timeout_s)
    return (yield from flow)


def wait(context: Context, batch: Any, *, timeout_s: float | None) -> Flow[Batch]:
    """A batch that has ended."""
    return (yield from things.wait(context, "batches", batch, Batch, timeout_s=timeout_s))


def cancel(context: Context, batch: Any, *, timeout_s: float | None) -> Flow[Batch]:
    """It as it is then."""
    return (yield from things.act(context, "batches", batch, "cancel", Batch, timeout_s=timeout_s))


def retry(context: Context, batch: Any, *, key: str | None, timeout_s: float | None) -> Flow[Batch]:
    """The new one."""
    ask = posting(address("batches", batch, "retry"), key=key, timeout_s=timeout_s)
    return (yield from call(context, ask, model(Batch)))


def list_all(context: Context, *, status: str | None, page_size: int) -> Items[Batch]:
    """The account's batches."""
    yield from pages(context, address("batches"), Batch, given(status=status), page_size)


def results(context: Context, batch: Any, *, after_line: int) -> Items[BatchItem]:
    """What became of each line; from the next one on when the stream breaks."""
    line, repeats = after_line, 0
    while True:
        came = False
        try:
            opened = yield from open_(_results_after(context, batch, line))
            yield from accept(opened)
            lines = Lines()
            while part := (yield from next_part(opened)):
                for text in lines.feed(part):
                    item = _item(text)
                    came, line, repeats = True, item.line, 0
                    yield Item(item)
            yield from close(opened)
            if not came:
                return
        except TowlineError as failure:
            pause = next_pause_s(failure, repeats, context.max_retries, float("inf"))
            if pause is None:
                raise
            repeats += 1
            yield from sleep(pause)


def _results_after(context: Context, batch: Any, line: int) -> Request:
    ask = Ask(
        method="GET",
        path=address("batches", batch, "results"),
        query=given(after_line=line or None),
        headers={"Accept": "application/jsonl, application/problem+json"},
    )
    return context.request(ask, float("inf"))  # it lasts as long as whoever reads it


def _item(text: bytes) -> BatchItem:
    try:
        return decode(BatchItem, json.loads(text))
    except ValueError:
        raise UnreadableAnswer("A line of the results is no JSON.") from None


def archive(context: Context, batch: Any, to: Path, *, timeout_s: float | None) -> Flow[Path]:
    """All of its pictures, as a file."""
    deadline = context.transfer_deadline(timeout_s)
    headers = {"Accept": "application/zip, application/problem+json"}
    path = address("batches", batch, "archive")

    def request_of(more: Mapping[str, str]) -> Request:
        ask = Ask(method="GET", path=path, headers={**headers, **more})
        return context.request(ask, deadline)

    return (yield from save(context, request_of, to, deadline, _check_zip))


def _check_zip(part: Path) -> None:
    """Its directory is at its end: what has one is whole."""
    try:
        with zipfile.ZipFile(part) as archive:
            archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise ContentMismatch(f"The archive that came is not whole: {error}.") from None
