"""`/v1/batches`: many jobs as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from flask import Response, g, request
from flask_openapi3 import APIBlueprint, RawModel, Tag
from pydantic import ValidationError
from werkzeug.exceptions import RequestEntityTooLarge, UnsupportedMediaType

from api.batch_results import Reader, archive_of, lines_of
from api.batch_stream import receive
from api.context import account_id, context, services
from api.idempotency import completion, idempotent, no_digest, value_digest
from api.openapi import PREFER, lines, operation_id, problems, zip_archive
from api.places import Places
from api.rendering import links_of
from api.schemas.batches import (
    BatchBody,
    BatchesOut,
    BatchesQuery,
    BatchOut,
    BatchPath,
    BatchSettings,
    ResultsQuery,
)
from api.strict_json import StrictRequest
from api.waiting import wanted_wait_s
from shared.batches.batch import Batch, Invalid, Item, NewBatch, show_batch
from shared.batches.lines import item_of, with_defaults
from shared.batches.state import BatchState
from shared.edits import JobWebhook
from shared.errors import (
    BatchTooLarge,
    IdempotencyKeyInFlight,
    InvalidRequest,
    LimitExceeded,
    TooManyStreams,
    Unauthorized,
    Violation,
)
from shared.ids import is_id, new_id
from shared.submission.body import JobWebhookBody
from shared.submission.json_text import shape_violation
from shared.webhooks.events import filter_violations
from shared.webhooks.targets import url_violations

MAX_JSON_BYTES = 16 * 2**20
MAX_DEFAULTS_BYTES = 16 * 1024  #: they are a part of each of up to 1,000 jobs
LINES_TYPES = ("application/jsonl", "application/x-ndjson", "application/jsonlines")
JSONL = "application/jsonl"

batches = APIBlueprint(
    "batches", __name__, url_prefix="/v1/batches", abp_tags=[Tag(name="batches")],
    abp_security=[{"key": []}], operation_id_callback=operation_id,
)  # fmt: skip


class BatchStream(RawModel):
    """Lines, each a job with a `custom_id`; or one JSON body, `BatchBody`."""

    mimetypes = [JSONL, "application/json"]


def _batch_again(batch_id: str, status: int) -> Any:
    return _answer(batch_id), status, _location(batch_id)


def _digest() -> bytes:
    return receive().digest if _is_lines() else value_digest(_json())


@batches.post("", responses={202: BatchOut, **problems(413, 415, 422, 503)})
@idempotent(replay=_batch_again, digest=_digest)
def create_batch(raw: BatchStream) -> Any:
    """Submit many jobs as one: 202, and nothing of it runs before the whole of it is accepted.

    A line of `application/jsonl` is the body of a job and a `custom_id` that no other line has;
    at most 50,000 lines and 200 MiB. They are looked at after the answer: see `status`. What a
    JSON body says of `webhook` and `metadata`, the address of such a batch says:
    `?webhook.url=`, `?webhook.events=` (as often as you like), `?metadata.KEY=`.

    A JSON body has at most 1,000 jobs, which are looked at before the answer: 422 with the `line`
    of each error, counted from 1. `?on_invalid=skip` runs the good ones of either.
    """
    batch = _create_of_lines() if _is_lines() else _create_of_json()
    return show_batch(batch), 202, _location(batch.id)


@batches.get("", responses={200: BatchesOut, **problems(422, 503)})
def list_batches(query: BatchesQuery) -> Any:
    """The account's batches, newest first; `errors` is left out."""
    if query.cursor is not None and not is_id("bat", query.cursor):
        detail = "use the `next_cursor` of the page before"
        raise InvalidRequest([Violation("/cursor", "wrong_format", detail)])
    found = services().batches.page(
        account_id(),
        limit=query.limit + 1,
        before=query.cursor,
        status=BatchState(query.status) if query.status else None,
    )
    page = found[: query.limit]
    next_cursor = page[-1].id if len(found) > query.limit else None
    return {"data": [show_batch(batch) for batch in page], "next_cursor": next_cursor}


@batches.get(
    "/<batch:batch_id>",
    responses={200: BatchOut, **problems(404, 503)},
    openapi_extensions=PREFER,
)
def get_batch(path: BatchPath) -> Any:
    """A batch; with `Prefer: wait=N` as soon as it has ended, or after N seconds as it is."""
    seconds = wanted_wait_s(request.headers.get("Prefer"))
    batch, _ = services().batches.get(account_id(), path.batch_id)
    if seconds is None:
        return _answer(path.batch_id)
    if not batch.status.is_final:
        with context().watcher.seat() as has_seat:  # one of those that jobs are waited for in
            if has_seat:
                context().batch_watcher.wait(batch.id, seconds)
    return _answer(path.batch_id), 200, {"Preference-Applied": f"wait={seconds:.0f}"}


@batches.post("/<batch:batch_id>/cancel", responses={200: BatchOut, **problems(404, 503)})
def cancel_batch(path: BatchPath) -> Any:
    """Cancel a batch, however often: what waits never starts, what runs stops between two steps.

    It is `canceled` once nothing of it runs.
    """
    services().batches.cancel(account_id(), path.batch_id)
    return _answer(path.batch_id)


def _retried_again(batch_id: str, status: int) -> Any:
    return _answer(batch_id), status, _location(batch_id)


@batches.post("/<batch:batch_id>/retry", responses={202: BatchOut, **problems(404, 409, 422, 503)})
@idempotent(replay=_retried_again, digest=no_digest)
def retry_batch(path: BatchPath) -> Any:
    """Submit the items that failed or expired again, as a new batch with `retried_from` set."""
    batch = services().batches.retry(
        account_id(), path.batch_id, completion(202), engines=services().settings.engines
    )
    return _answer(batch.id), 202, _location(batch.id)


@batches.get("/<batch:batch_id>/results", responses={**lines("ItemOut"), **problems(404, 422, 503)})
def get_batch_results(path: BatchPath, query: ResultsQuery) -> Any:
    """What became of each line so far, as JSONL in the order of the lines; also while it runs."""
    at, reader = context(), _reader(path.batch_id)
    items = reader.items(query.after_line, query.limit)
    return _sent(lambda: lines_of(items, links_of(at)), JSONL, at.results, "results")


@batches.get("/<batch:batch_id>/archive", responses={**zip_archive(), **problems(404, 503)})
def get_batch_archive(path: BatchPath) -> Any:
    """A ZIP of every picture so far, and `results.jsonl`, which names the file of each."""
    at, reader = context(), _reader(path.batch_id)
    at.services.batches.get(account_id(), path.batch_id)
    answer = _sent(
        lambda: archive_of(reader, links_of(at), at.services.objects),
        "application/zip", at.archives, "archives",
    )  # fmt: skip
    answer.headers["Content-Disposition"] = f'attachment; filename="{path.batch_id}.zip"'
    return answer


def _create_of_lines() -> Batch:
    new = _settings_of_address()
    received = receive()
    if not received.size_bytes:
        raise InvalidRequest([Violation("", "batch_empty", "there is no job in it")])
    received.is_kept = True
    try:
        return services().batches.create(
            account_id(),
            received.batch_id,
            new,
            object_key=received.key,
            size_bytes=received.size_bytes,
            completion=completion(202),
        )
    except (LimitExceeded, Unauthorized, IdempotencyKeyInFlight):  # no row was written
        received.is_kept = False
        raise


def _create_of_json() -> Batch:
    skips_invalid = _skips_invalid()
    if beside := sorted(set(request.args) - {"on_invalid"}):
        detail = "a JSON body says this itself"
        raise InvalidRequest(Violation(f"/{name}", "unknown_field", detail) for name in beside)
    body = _checked(BatchBody, _json())
    if len(json.dumps(body.defaults)) > MAX_DEFAULTS_BYTES:
        detail = f"as JSON it has at most {MAX_DEFAULTS_BYTES} bytes"
        raise InvalidRequest([Violation("/defaults", "wrong_length", detail)])
    if not body.jobs:
        raise InvalidRequest([Violation("/jobs", "batch_empty", "there is no job in it")])
    new = _new_batch(skips_invalid, body.webhook, body.metadata)
    around, taken = context().surroundings, set[str]()
    items: list[Item] = []
    invalid: list[Invalid] = []
    for line, job in enumerate(body.jobs, 1):
        found = item_of(line, with_defaults(body.defaults, job), account_id(), around)
        if isinstance(found, Item) and found.custom_id in taken:
            detail = f"another job before it is called {found.custom_id!r}"
            twice = Violation("/custom_id", "duplicate_custom_id", detail)
            found = Invalid(line, found.custom_id, [twice])
        if isinstance(found, Invalid):
            invalid.append(found)
        else:
            taken.add(found.custom_id)
            items.append(found)
    if invalid and not skips_invalid:
        raise InvalidRequest(
            Violation(v.pointer, v.code, v.detail, line=each.line)
            for each in invalid
            for v in each.violations
        )
    return services().batches.create_checked(
        account_id(), new_id("bat"), new, items, invalid, completion(202)
    )


def _is_lines() -> bool:
    if request.mimetype in LINES_TYPES:
        return True
    if request.mimetype == "application/json":
        return False
    raise UnsupportedMediaType(f"Send a batch as `{JSONL}` or as `application/json`.")


def _json() -> Any:
    if "batch_json" not in g:
        try:
            g.batch_json = cast("StrictRequest", request).read_json(MAX_JSON_BYTES)
        except RequestEntityTooLarge:
            said = f"A batch as one JSON body has at most {MAX_JSON_BYTES} bytes; send it as lines."
            raise BatchTooLarge(said) from None
    return g.batch_json


def _skips_invalid() -> bool:
    said = request.args.getlist("on_invalid") or ["reject"]
    if said not in (["reject"], ["skip"]):
        detail = "`reject` (the whole batch) or `skip` (its invalid lines)"
        raise InvalidRequest([Violation("/on_invalid", "out_of_range", detail)])
    return said == ["skip"]


def _settings_of_address() -> NewBatch:
    """What a JSON body would say of a batch, from its address."""
    skips_invalid = _skips_invalid()
    value: dict[str, Any] = {}
    wrong = []
    for name, given in request.args.lists():
        head, _, rest = name.partition(".")
        if name == "on_invalid":
            continue
        if name == "webhook.events":
            value.setdefault("webhook", {})["events"] = given
        elif len(given) > 1:
            wrong.append(Violation(f"/{name}", "conflicting_fields", "give it once"))
        elif name == "webhook.url" or (head == "metadata" and rest):
            value.setdefault(head, {})[rest] = given[0]
        else:
            wrong.append(Violation(f"/{name}", "unknown_field", "there is no such parameter"))
    if wrong:
        raise InvalidRequest(wrong)
    said = _checked(BatchSettings, value)
    return _new_batch(skips_invalid, said.webhook, said.metadata)


def _checked(model: type[Any], value: Any) -> Any:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_context=False, include_input=False)
        raise InvalidRequest(shape_violation(entry) for entry in entries) from None


def _new_batch(
    skips_invalid: bool, webhook: JobWebhookBody | None, metadata: dict[str, str]
) -> NewBatch:
    if webhook is None:
        return NewBatch(skips_invalid, None, metadata)
    found = [
        *url_violations("/webhook/url", webhook.url, services().webhooks.rules),
        *filter_violations("/webhook/events", webhook.events),
    ]
    if found:
        raise InvalidRequest(found)
    return NewBatch(skips_invalid, JobWebhook(webhook.url, tuple(webhook.events)), metadata)


def _answer(batch_id: str) -> dict[str, Any]:
    return show_batch(*services().batches.get(account_id(), batch_id))


def _location(batch_id: str) -> dict[str, str]:
    return {"Location": f"/v1/batches/{batch_id}"}


def _reader(batch_id: str) -> Reader:
    return Reader(services().batches, account_id(), batch_id)


def _begun(found: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with its first piece made: so a refusal is an answer, and no broken stream."""
    first = next(found, b"")

    def whole() -> Iterator[bytes]:
        yield first
        yield from found

    return whole()


def _sent(
    make: Callable[[], Iterator[bytes]], content_type: str, places: Places, what: str
) -> Response:
    """A stream, which has a place while it is sent: whoever reads it slowly keeps a thread."""
    owner = account_id()
    if not places.take(owner):
        raise TooManyStreams(f"This server sends as many {what} as it can; ask again soon.")
    try:
        response = Response(_begun(make()), content_type=content_type)
    except BaseException:
        places.give_back(owner)
        raise
    response.call_on_close(partial(places.give_back, owner))
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response
