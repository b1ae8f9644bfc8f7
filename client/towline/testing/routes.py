"""The addresses of the fake, and what it answers there."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import httpx

from towline.testing.jobs import ENGINE, FINAL
from towline.testing.refusals import Refusal, invalid
from towline.testing.store import Json, found, now

if TYPE_CHECKING:
    from towline.testing.fake import FakeTowline

View = Callable[["Call"], httpx.Response]
ROUTES: list[tuple[str, re.Pattern[str], View]] = []


class Call:
    """A request, with what its address names."""

    def __init__(self, fake: FakeTowline, request: httpx.Request, body: bytes, part: str) -> None:
        self.fake, self.request, self.body, self.part = fake, request, body, part
        self.query = dict(request.url.params.multi_items())

    @property
    def json(self) -> Any:
        if self.request.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise Refusal("unsupported_media_type", "Send `Content-Type: application/json`.")
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refusal("malformed_request", "The body is not JSON.") from None

    def waits(self) -> bool:
        return "wait=" in self.request.headers.get("Prefer", "")


def answer(fake: FakeTowline, request: httpx.Request, body: bytes) -> httpx.Response:
    """What the address answers; `Refusal`."""
    methods = set()
    for method, pattern, view in ROUTES:
        match = pattern.fullmatch(request.url.path)
        if match and method == request.method:
            return view(Call(fake, request, body, next(iter(match.groups()), "")))
        if match:
            methods.add(method)
    if methods:
        raise Refusal("method_not_allowed", "The address does not take this method.")
    raise Refusal("not_found", "There is nothing at this address.")


def route(method: str, path: str) -> Callable[[View], View]:
    """`{}` is the part that a view is given."""
    pattern = re.compile(re.escape(path).replace(r"\{\}", "([^/]+)").replace(r"\*", "(.+)"))

    def declare(view: View) -> View:
        ROUTES.append((method, pattern, view))
        return view

    return declare


def said(body: Any, status: int = 200, **headers: str) -> httpx.Response:
    """JSON."""
    return httpx.Response(status, json=body, headers=headers)


def page(call: Call, things: Iterable[Json]) -> httpx.Response:
    """One page, newest first."""
    limit, cursor = int(call.query.get("limit", "50")), call.query.get("cursor")
    if not 1 <= limit <= 200:
        raise invalid([("/limit", "out_of_range", "from 1 to 200")])
    newest = sorted(things, key=lambda each: str(each["id"]), reverse=True)
    rest = [each for each in newest if cursor is None or each["id"] < cursor]
    more = len(rest) > limit
    shown = rest[:limit]
    return said({"data": shown, "next_cursor": shown[-1]["id"] if more else None})


@route("POST", "/v1/images")
def upload_image(call: Call) -> httpx.Response:
    image, is_new = call.fake.images.add(call.body)
    return said(call.fake.images.show(image), 201 if is_new else 200)


@route("POST", "/v1/images/uploads")
def announce_upload(call: Call) -> httpx.Response:
    body = call.json
    image_id, is_new = call.fake.images.announce(body["sha256"], body["size_bytes"])
    url = call.fake.store.link(f"staging/{image_id}")
    headers = {"Content-Type": body["content_type"]}
    upload = {"method": "PUT", "url": url, "headers": headers, "expires_at": now(hours=1)}
    return said({"id": image_id, "upload": upload}, 201 if is_new else 200)


@route("POST", "/v1/images/{}/complete")
def complete_upload(call: Call) -> httpx.Response:
    return said(call.fake.images.show(call.fake.images.complete(call.part)))


@route("GET", "/v1/images/{}")
def get_image(call: Call) -> httpx.Response:
    return said(call.fake.images.show(call.fake.images.get(call.part)))


@route("DELETE", "/v1/images/{}")
def delete_image(call: Call) -> httpx.Response:
    return said(call.fake.images.delete(call.part))


@route("POST", "/v1/jobs")
def submit_job(call: Call) -> httpx.Response:
    jobs = call.fake.jobs
    job = jobs.submit(call.json)
    if call.waits():
        job = jobs.look(job["id"])
    status = 200 if job["status"] in FINAL else 202
    return said(jobs.show(job), status, Location=f"/v1/jobs/{job['id']}")


@route("POST", "/v1/jobs/validate")
def validate_job(call: Call) -> httpx.Response:
    wrong = call.fake.jobs.wrong_with(call.json)
    problems = [{"pointer": at, "code": code, "detail": detail} for at, code, detail in wrong]
    body = {"valid": not wrong, "problems": problems, "canvas": None}
    return said({**body, "estimate": {"queue_s": 0.0, "run_s": 0.0}})


@route("GET", "/v1/jobs")
def list_jobs(call: Call) -> httpx.Response:
    jobs = call.fake.jobs
    shown = [jobs.show(jobs.look(job_id)) for job_id in list(jobs.all)]
    for name, value in call.query.items():
        if name in ("status", "batch"):
            shown = [job for job in shown if job[name] == value]
        elif name.startswith("metadata."):
            label = name.removeprefix("metadata.")
            shown = [job for job in shown if job["metadata"].get(label) == value]
    return page(call, shown)


@route("GET", "/v1/jobs/{}")
def get_job(call: Call) -> httpx.Response:
    return said(call.fake.jobs.show(call.fake.jobs.look(call.part)))


@route("GET", "/v1/jobs/{}/events")
def follow_job(call: Call) -> httpx.Response:
    last_id = call.request.headers.get("Last-Event-ID")
    events = call.fake.jobs.events_after(call.part, last_id)
    if not events and call.fake.jobs.look(call.part)["status"] in FINAL:
        return httpx.Response(204)
    text = "retry: 50\n\n" + "".join(
        f"id: {event_id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
        for event_id, kind, data in events
    )
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=text)


@route("POST", "/v1/jobs/{}/cancel")
def cancel_job(call: Call) -> httpx.Response:
    return said(call.fake.jobs.show(call.fake.jobs.cancel(call.part)))


@route("POST", "/v1/jobs/{}/retry")
def retry_job(call: Call) -> httpx.Response:
    return said(call.fake.jobs.show(call.fake.jobs.retry(call.part)), 202)


@route("DELETE", "/v1/jobs/{}")
def delete_job(call: Call) -> httpx.Response:
    return said(call.fake.jobs.delete(call.part))


@route("POST", "/v1/batches")
def submit_batch(call: Call) -> httpx.Response:
    if call.request.headers.get("Content-Type") != "application/jsonl":
        raise Refusal("unsupported_media_type", "The fake takes `application/jsonl` alone.")
    if not call.body:
        raise invalid([("", "batch_empty", "there is no job in it")])
    events = call.request.url.params.get_list("webhook.events") or ["*"]
    url = call.query.get("webhook.url")
    told = None if url is None else {"url": url, "events": events}
    given = {name.partition("."): value for name, value in call.query.items()}
    labels = {tail: value for (head, _, tail), value in given.items() if head == "metadata"}
    on_invalid = call.query.get("on_invalid", "reject")
    return said(call.fake.batches.add(call.body, on_invalid, told, labels), 202)


@route("GET", "/v1/batches")
def list_batches(call: Call) -> httpx.Response:
    batches = call.fake.batches
    for batch_id in list(batches.all):
        batches.look(batch_id)
    shown = [batches.show(batch_id, with_errors=False) for batch_id in batches.all]
    wanted = call.query.get("status")
    return page(call, [each for each in shown if wanted in (None, each["status"])])


@route("GET", "/v1/batches/{}")
def get_batch(call: Call) -> httpx.Response:
    return said(call.fake.batches.look(call.part))


@route("POST", "/v1/batches/{}/cancel")
def cancel_batch(call: Call) -> httpx.Response:
    return said(call.fake.batches.cancel(call.part))


@route("POST", "/v1/batches/{}/retry")
def retry_batch(call: Call) -> httpx.Response:
    return said(call.fake.batches.retry(call.part), 202)


@route("GET", "/v1/batches/{}/results")
def batch_results(call: Call) -> httpx.Response:
    items = call.fake.batches.items(call.part, int(call.query.get("after_line", "0")))
    items = items[: int(call.query.get("limit", "50000"))]
    text = "".join(json.dumps(item) + "\n" for item in items)
    return httpx.Response(200, headers={"Content-Type": "application/jsonl"}, content=text)


@route("GET", "/v1/batches/{}/archive")
def batch_archive(call: Call) -> httpx.Response:
    file, lines = io.BytesIO(), []
    with zipfile.ZipFile(file, "w") as archive:
        for item in call.fake.batches.items(call.part, 0):
            candidates = (item["result"] or {}).get("candidates", [])
            for candidate in candidates:
                which = f"-{candidate['index']}" if len(candidates) > 1 else ""
                stem = re.sub(r"[^\w.-]", "_", item["custom_id"])
                del candidate["url"]
                candidate["file"] = f"pictures/{item['line']:05d}-{stem}{which}.png"
                key = f"results/{item['job']}/{candidate['index']}"
                archive.writestr(candidate["file"], call.fake.store.objects[key])
            lines.append(json.dumps(item))
        archive.writestr("results.jsonl", "\n".join(lines) + "\n")
    kind = {"Content-Type": "application/zip"}
    return httpx.Response(200, headers=kind, content=file.getvalue())


@route("POST", "/v1/webhook-endpoints")
def create_webhook_endpoint(call: Call) -> httpx.Response:
    endpoint = call.fake.webhooks.add_endpoint(call.json)
    return said({**endpoint, "secret": call.fake.webhooks.secret_of(endpoint["id"])}, 201)


@route("GET", "/v1/webhook-endpoints")
def list_webhook_endpoints(call: Call) -> httpx.Response:
    return page(call, call.fake.webhooks.endpoints.values())


@route("GET", "/v1/webhook-endpoints/{}")
def get_webhook_endpoint(call: Call) -> httpx.Response:
    return said(found(call.fake.webhooks.endpoints, "webhook endpoint", call.part))


@route("PATCH", "/v1/webhook-endpoints/{}")
def change_webhook_endpoint(call: Call) -> httpx.Response:
    return said(call.fake.webhooks.change_endpoint(call.part, call.json))


@route("DELETE", "/v1/webhook-endpoints/{}")
def delete_webhook_endpoint(call: Call) -> httpx.Response:
    found(call.fake.webhooks.endpoints, "webhook endpoint", call.part)
    del call.fake.webhooks.endpoints[call.part]
    return httpx.Response(204)


@route("POST", "/v1/webhook-endpoints/{}/rotate-secret")
def rotate_webhook_endpoint_secret(call: Call) -> httpx.Response:
    endpoint = found(call.fake.webhooks.endpoints, "webhook endpoint", call.part)
    endpoint["previous_secret_expires_at"] = now(days=1)
    return said({**endpoint, "secret": call.fake.webhooks.rotate(call.part)})


@route("POST", "/v1/webhook-endpoints/{}/test")
def test_webhook_endpoint(call: Call) -> httpx.Response:
    return said(call.fake.webhooks.test_endpoint(call.part), 202)


@route("POST", "/v1/webhook-endpoints/{}/replay-failed")
def replay_failed_deliveries(call: Call) -> httpx.Response:
    found(call.fake.webhooks.endpoints, "webhook endpoint", call.part)
    return said({"replayed": 0, "has_more": False}, 202)


@route("GET", "/v1/webhook-deliveries")
def list_webhook_deliveries(call: Call) -> httpx.Response:
    names = ("endpoint", "job", "status")
    wanted = {name: call.query[name] for name in names if name in call.query}
    return page(
        call,
        [
            each
            for each in call.fake.webhooks.deliveries.values()
            if all(each[name] == value for name, value in wanted.items())
        ],
    )


@route("GET", "/v1/webhook-deliveries/{}")
def get_webhook_delivery(call: Call) -> httpx.Response:
    return said(found(call.fake.webhooks.deliveries, "webhook delivery", call.part))


@route("POST", "/v1/webhook-deliveries/{}/replay")
def replay_webhook_delivery(call: Call) -> httpx.Response:
    return said(found(call.fake.webhooks.deliveries, "webhook delivery", call.part), 202)


@route("GET", "/v1/webhook-secret")
def get_webhook_secret(call: Call) -> httpx.Response:
    secret = call.fake.webhooks.secret_of(None)
    return said({"secret": secret, "previous_secret_expires_at": None})


@route("POST", "/v1/webhook-secret/rotate")
def rotate_webhook_secret(call: Call) -> httpx.Response:
    secret = call.fake.webhooks.rotate(None)
    return said({"secret": secret, "previous_secret_expires_at": now(days=1)})


@route("GET", "/v1/engines")
def list_engines(call: Call) -> httpx.Response:
    candidates = {"type": "integer", "default": 1, "minimum": 1, "maximum": 8, "choices": None}
    engine = {"name": ENGINE, "is_default": True, "up": True, "threads": 1, "model_digest": "fake"}
    return said({"data": [{**engine, "options": {"candidates": candidates}}]})


@route("GET", "/v1/account")
def get_account(call: Call) -> httpx.Response:
    jobs = call.fake.jobs.all.values()
    states = [job["status"] for job in jobs]
    usage = {
        "queued_jobs": states.count("queued"),
        "running_jobs": states.count("running"),
        "stored_bytes": sum(len(data) for data in call.fake.store.objects.values()),
        "pixels_per_month": 0,
        "month_ends_at": now(days=30),
    }
    names = ("requests_per_s", "queued_jobs", "running_jobs", "stored_bytes", "pixels_per_month")
    key = {"id": "fake", "name": None, "scopes": ["read", "write", "admin"], "expires_at": None}
    return said(
        {
            "id": "acc_fake",
            "name": "fake",
            "created_at": now(),
            "key": {**key, "created_at": now()},
            "quotas": dict.fromkeys(names),
            "usage": usage,
        }
    )


@route("GET", "/v1/audit-log")
def list_audit_log(call: Call) -> httpx.Response:
    return said({"data": [], "next_cursor": None})


@route("PUT", "/objects/staging/{}")
def put_object(call: Call) -> httpx.Response:
    _check_signature(call)
    call.fake.images.staged[call.part] = call.body
    return httpx.Response(200)


@route("GET", "/objects/*")
def get_object(call: Call) -> httpx.Response:
    _check_signature(call)
    data = call.fake.store.objects.get(call.part)
    if data is None:
        raise Refusal("not_found", "There is nothing at this address.")
    asked = re.fullmatch(r"bytes=(\d+)-", call.request.headers.get("Range", ""))
    if asked is None:
        return httpx.Response(200, content=data)
    start = int(asked[1])
    if start >= len(data):
        return httpx.Response(416, headers={"Content-Range": f"bytes */{len(data)}"})
    place = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return httpx.Response(206, headers={"Content-Range": place}, content=data[start:])


def _check_signature(call: Call) -> None:
    """As object storage does: a signature, and no second way of saying who one is."""
    if call.query.get("signature") != "fake" or "Authorization" in call.request.headers:
        raise Refusal("url_refused", "The URL was not signed here, or its time is over.")
