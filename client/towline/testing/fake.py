"""`FakeTowline`: the service in memory, as a transport of httpx.

It does what the service does as far as a client can see: images, jobs, batches, webhooks,
idempotency keys, signed URLs; its own tests run on it and on the real one alike. No picture is
changed: a job's result is the image that was sent.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import httpx

from towline.testing.batches import Batches
from towline.testing.images import Images
from towline.testing.jobs import Jobs
from towline.testing.refusals import BY_STATUS, Refusal, problem
from towline.testing.routes import answer
from towline.testing.store import Store
from towline.testing.webhooks import Webhooks
from towline.webhooks import sign

#: What goes wrong, beside a status: nobody is there; the connection breaks before anything is done;
#: it is done, but the answer is lost; silence until the client gives up; half an answer.
Fault: TypeAlias = Literal["unreachable", "reset", "lost", "silent", "cut"]


@dataclass(frozen=True, slots=True)
class Received:
    """A request that came to the fake."""

    method: str
    path: str
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)


@dataclass
class _Plan:
    method: str
    path: str
    what: Fault | int
    left: int
    retry_after: str | None


class FakeTowline(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport for `Towline` and `AsyncTowline`; any key is good but `api_key`, if it is given.

    A job ends, and well, when somebody looks at it: see `hold_jobs`, `finish_job`.
    """

    def __init__(self, *, api_key: str | None = None, url: str = "https://towline.test") -> None:
        self.api_key = api_key
        self.store = Store(url)
        self.images = Images(self.store)
        self.webhooks = Webhooks(self.store)
        self.jobs = Jobs(self.store, self.images, self.webhooks)
        self.batches = Batches(self.store, self.jobs, self.webhooks)
        self.remembered: dict[str, tuple[bytes, httpx.Response]] = {}
        self.requests: list[Received] = []
        self._plans: list[_Plan] = []
        self._lock = threading.RLock()

    def fail(
        self,
        what: Fault | int,
        *,
        method: str = "*",
        path: str = "*",
        times: int = 1,
        retry_after: float | str | None = None,
    ) -> None:
        """The next `times` requests that match fail so: a status, or a fault of the connection.

        path: may have wildcards, `/v1/jobs/*`. retry_after: seconds, or an HTTP date.
        """
        said = None if retry_after is None else str(retry_after)
        self._plans.append(_Plan(method, path, what, times, said))

    def hold_jobs(self, *, held: bool = True) -> None:
        """Jobs stay queued until they are finished by hand, or held no more."""
        self.jobs.are_held = held

    def start_job(self, job: Any) -> None:
        """It runs from now on."""
        self.jobs.start(_id_of(job))

    def finish_job(
        self,
        job: Any,
        status: Literal["succeeded", "failed", "canceled", "expired"] = "succeeded",
        *,
        code: str = "engine_failed",
        message: str = "",
    ) -> None:
        """It ends so; code and message are of a job that failed."""
        self.jobs.finish(_id_of(job), status, code, message)

    def webhook_messages(self, endpoint: Any = None) -> list[tuple[bytes, dict[str, str]]]:
        """What was sent to an endpoint, or to the URLs of jobs: bodies and headers, signed now."""
        wanted = None if endpoint is None else _id_of(endpoint)
        found = []
        for event_id, delivery_id, message in self.webhooks.messages:
            delivery = self.webhooks.deliveries.get(delivery_id)
            if delivery is not None and delivery["endpoint"] == wanted:
                body = json.dumps(message).encode()
                secret = self.webhooks.secret_of(wanted)
                found.append((body, sign(secret, event_id, datetime.now(UTC), body)))
        return found

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """For `Towline`."""
        return self._handle(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """For `AsyncTowline`."""
        return self._handle(request, await request.aread())

    def _handle(self, request: httpx.Request, body: bytes) -> httpx.Response:
        path = request.url.path
        with self._lock:
            self.requests.append(Received(request.method, path, request.headers, body))
            plan = self._plan_for(request.method, path)
            _break_before(plan, request)
            if plan is not None and isinstance(plan.what, int):
                return _refused(plan.what, plan.retry_after)
            try:
                response = self._answer(request, body)
            except Refusal as refusal:
                response = refusal.response()
        return _broken_after(plan, request, response)

    def _plan_for(self, method: str, path: str) -> _Plan | None:
        for plan in self._plans:
            if plan.left and plan.method in ("*", method) and fnmatchcase(path, plan.path):
                plan.left -= 1
                return plan
        return None

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        if request.url.path.startswith("/objects/"):
            return answer(self, request, body)
        self._check_key(request.headers.get("Authorization", ""))
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method != "POST":
            return answer(self, request, body)
        print_ = hashlib.sha256(f"{request.method} {request.url}\n".encode() + body).digest()
        if key in self.remembered:
            return self._replayed(key, print_)
        made = answer(self, request, body)
        self.remembered[key] = (print_, made)
        return made

    def _replayed(self, key: str, print_: bytes) -> httpx.Response:
        seen, made = self.remembered[key]
        if seen != print_:
            raise Refusal("idempotency_key_reused", "The key came with another request before.")
        headers = {**made.headers, "Idempotency-Replayed": "true"}
        return httpx.Response(made.status_code, headers=headers, content=made.content)

    def _check_key(self, authorization: str) -> None:
        scheme, _, key = authorization.partition(" ")
        if scheme != "Bearer" or not key or self.api_key not in (None, key):
            raise Refusal("unauthorized", "Send `Authorization: Bearer tow_...`.")


def _break_before(plan: _Plan | None, request: httpx.Request) -> None:
    match plan.what if plan else None:
        case "unreachable":
            raise httpx.ConnectError("nobody is there", request=request)
        case "reset":
            raise httpx.ReadError("the connection was reset", request=request)
        case "silent":
            raise httpx.ReadTimeout("nothing came", request=request)


def _broken_after(
    plan: _Plan | None, request: httpx.Request, response: httpx.Response
) -> httpx.Response:
    match plan.what if plan else None:
        case "lost":
            raise httpx.ReadError("the answer was lost", request=request)
        case "cut":
            half = response.content[: len(response.content) // 2]
            kind = {"Content-Type": response.headers.get("Content-Type", "")}
            return httpx.Response(response.status_code, headers=kind, content=half)
    return response


def _refused(status: int, retry_after: str | None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    code = BY_STATUS.get(status, "unknown")
    return problem(status, code, "The fake was told to fail.", headers=headers)


def _id_of(thing: Any) -> str:
    return thing if isinstance(thing, str) else str(thing.id)
