"""The webhooks of the fake: endpoints, secrets, and what was sent, which arrives at once."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable

from towline.testing.refusals import Refusal, invalid
from towline.testing.store import Json, Store, found, now

EVENTS = (
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
    "batch.completed",
    "batch.rejected",
    "batch.canceled",
    "endpoint.disabled",
)
FILTERS = ("*", "job.*", "batch.*", "endpoint.*", *EVENTS)
FIELDS = frozenset({"url", "events", "description", "disabled"})


class Webhooks:
    """Who is told what."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.endpoints: dict[str, Json] = {}
        self.deliveries: dict[str, Json] = {}
        self.messages: list[tuple[str, str, Json]] = []  #: event, delivery, body
        self._secrets: dict[str, str] = {}

    def announce(self, kind: str, data: Json, webhook: Json | None) -> None:
        """A message to everybody who wants to know."""
        for endpoint in self.endpoints.values():
            if not endpoint["disabled"] and wants(endpoint["events"], kind):
                self._send(kind, data, endpoint["url"], endpoint["id"])
        if webhook and wants(webhook.get("events", ["*"]), kind):
            self._send(kind, data, webhook["url"], None)

    def _send(self, kind: str, data: Json, url: str, endpoint: str | None) -> Json:
        delivery_id, event_id = self._store.new_id("dlv"), self._store.new_id("evt")
        body = {"type": kind, "timestamp": now(), "data": data}
        self.messages.append((event_id, delivery_id, body))
        attempt = {"attempt": 1, "at": now(), "duration_ms": 1, "http_status": 204, "answer": ""}
        self.deliveries[delivery_id] = {
            "id": delivery_id,
            "event": event_id,
            "type": kind,
            "job": data["id"] if kind.startswith("job.") else None,
            "endpoint": endpoint,
            "url": url,
            "status": "succeeded",
            "created_at": now(),
            "next_attempt_at": None,
            "finished_at": now(),
            "attempts": [{**attempt, "error": None, "detail": None}],
        }
        return self.deliveries[delivery_id]

    def forget(self, job_id: str) -> int:
        """How many messages of a job were forgotten."""
        sent = [key for key, each in self.deliveries.items() if each["job"] == job_id]
        for key in sent:
            del self.deliveries[key]
        return len(sent)

    def secret_of(self, endpoint: str | None) -> str:
        """What messages to it are signed with; None is the account's."""
        return self._secrets.setdefault(endpoint or "account", new_secret())

    def add_endpoint(self, body: Json) -> Json:
        self._check_endpoint(body)
        endpoint_id = self._store.new_id("ep")
        is_disabled = bool(body.get("disabled", False))
        self.endpoints[endpoint_id] = {
            "id": endpoint_id,
            "url": body["url"],
            "events": body.get("events", ["*"]),
            "description": body.get("description", ""),
            "disabled": is_disabled,
            "disabled_at": now() if is_disabled else None,
            "disabled_reason": "owner" if is_disabled else None,
            "failing_since": None,
            "previous_secret_expires_at": None,
            "created_at": now(),
        }
        return self.endpoints[endpoint_id]

    def change_endpoint(self, endpoint_id: str, body: Json) -> Json:
        endpoint = found(self.endpoints, "webhook endpoint", endpoint_id)
        self._check_endpoint({"url": endpoint["url"], **body})
        endpoint.update(body)
        if "disabled" in body:
            endpoint["disabled_at"] = now() if body["disabled"] else None
            endpoint["disabled_reason"] = "owner" if body["disabled"] else None
        return endpoint

    def _check_endpoint(self, body: Json) -> None:
        unknown = [name for name in body if name not in FIELDS]
        wrong = [(f"/{name}", "unknown_field", "there is no such field") for name in unknown]
        if "url" not in body:
            wrong.append(("/url", "missing_field", "this field is needed"))
        elif not str(body["url"]).startswith("https://"):
            wrong.append(("/url", "webhook_url_not_https", "only https is allowed here"))
        for index, name in enumerate(body.get("events", [])):
            if name not in FILTERS:
                wrong.append((f"/events/{index}", "out_of_range", "no event is called so"))
        if wrong:
            raise invalid(wrong)

    def test_endpoint(self, endpoint_id: str) -> Json:
        endpoint = found(self.endpoints, "webhook endpoint", endpoint_id)
        if endpoint["disabled"]:
            raise Refusal("endpoint_disabled", f"{endpoint_id} is disabled.")
        return self._send("endpoint.test", {"id": endpoint_id}, endpoint["url"], endpoint_id)

    def rotate(self, endpoint_id: str | None) -> str:
        """A new secret; None is the account's."""
        self._secrets[endpoint_id or "account"] = new_secret()
        return self._secrets[endpoint_id or "account"]


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def wants(filters: Iterable[str], kind: str) -> bool:
    return not {"*", f"{kind.split('.')[0]}.*", kind}.isdisjoint(filters)
