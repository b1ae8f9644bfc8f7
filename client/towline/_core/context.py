"""What all calls of one client share: where the service is, the key, how patient it is."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from towline._core.effects import Payload, Request
from towline._core.payloads import Bytes, as_json
from towline._failures import ConfigurationError
from towline.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

URL_VARIABLE = "TOWLINE_URL"
KEY_VARIABLE = "TOWLINE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"
MAX_RETRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request of the API, before it has a time and a place.

    wait_s: the service may hold it for so long before it says anything.
    timeout_s: for all of the call, repeats included; or `deadline`, when that must have ended.
    """

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Payload | None = None
    wait_s: float = 0.0
    timeout_s: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Made once for each client."""

    base_url: str
    api_key: str = field(repr=False)
    timeouts: Timeouts
    max_retries: int
    user_agent: str

    @classmethod
    def of(
        cls,
        base_url: str | None,
        api_key: str | None,
        timeout: float | Timeouts | None,
        max_retries: int,
        user_agent: str,
    ) -> Context:
        """From what was given, then from the environment; `ConfigurationError`."""
        url = (base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).strip().rstrip("/")
        url = url.removesuffix("/v1")
        key = (api_key or os.environ.get(KEY_VARIABLE) or "").strip()
        _require_url(url)
        if not key:
            raise ConfigurationError(f"There is no API key: give `api_key`, or set {KEY_VARIABLE}.")
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ConfigurationError("The API key has characters that no key has.")
        if max_retries < 0:
            raise ConfigurationError("max_retries must be 0 or more.")
        try:
            timeouts = Timeouts.of(timeout)
        except ValueError as error:
            raise ConfigurationError(f"The timeout cannot be used: {error}.") from None
        return cls(url, key, timeouts, max_retries, user_agent)

    def deadline(self, ask: Ask) -> float:
        """Until when all of a call must have ended, if it begins now."""
        if ask.deadline is not None:
            return ask.deadline
        return time.monotonic() + (ask.timeout_s or self.timeouts.call_s + ask.wait_s)

    def transfer_deadline(self, timeout_s: float | None) -> float:
        """The same of what carries files, however many requests it is made of."""
        return time.monotonic() + (timeout_s or self.timeouts.transfer_s)

    def request(self, ask: Ask, deadline: float) -> Request:
        """To the API, with the key."""
        query = f"?{urlencode(ask.query, quote_via=quote)}" if ask.query else ""
        headers = {
            "Authorization": f"Bearer {self.api_key}",
            "Accept": "application/json, application/problem+json",
            "User-Agent": self.user_agent,
            **ask.headers,
        }
        return Request(
            ask.method,
            f"{self.base_url}{ask.path}{query}",
            headers,
            ask.body,
            deadline,
            self.timeouts.connect_s,
            self.timeouts.silence_s + ask.wait_s,
        )

    def signed_request(
        self,
        method: str,
        url: str,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        body: Payload | None = None,
    ) -> Request:
        """To wherever a signed URL leads: the key has no business there."""
        headers = {"User-Agent": self.user_agent, "Accept": "*/*", **(headers or {})}
        connect_s, silence_s = self.timeouts.connect_s, self.timeouts.silence_s
        return Request(method, url, headers, body, deadline, connect_s, silence_s)


def _require_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and parts.hostname and not parts.query
        is_good = is_good and parts.username is None and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigurationError("base_url must be such as https://towline.example, without a key.")


def address(folder: str, thing: Any = None, action: str = "") -> str:
    """`/v1/jobs/job_.../cancel`; a thing is named by its id, or is a model that has one."""
    path = f"/v1/{folder}"
    if thing is not None:
        path += f"/{quote(id_of(thing), safe='')}"
    return f"{path}/{action}" if action else path


def id_of(thing: Any) -> str:
    """Of a model, or the id itself; `TypeError`."""
    found = thing if isinstance(thing, str) else getattr(thing, "id", None)
    if not isinstance(found, str) or found in ("", ".", ".."):
        raise TypeError(f"expected an id, or a thing that has one, not {type(thing).__name__}")
    return found


def posting(
    path: str,
    json: Any = None,
    *,
    key: str | None = None,
    is_keyed: bool = True,
    wait_s: float | None = None,
    timeout_s: float | None = None,
) -> Ask:
    """A POST. Its `Idempotency-Key` is made here, once, and is the same in all its repeats."""
    headers = dict(prefer(wait_s))
    if is_keyed:
        headers["Idempotency-Key"] = quoted_key(key) if key is not None else str(uuid.uuid4())
    body = None
    if json is not None:
        headers["Content-Type"] = "application/json"
        body = Bytes(as_json(json))
    return Ask(
        method="POST",
        path=path,
        headers=headers,
        body=body,
        wait_s=wait_s or 0.0,
        timeout_s=timeout_s,
    )


def quoted_key(key: str) -> str:
    """A key of the caller's, as a structured-field string (RFC 9651); `ValueError`."""
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("an idempotency key is 1 to 255 visible ASCII characters")
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def prefer(wait_s: float | None) -> dict[str, str]:
    """The header that asks to wait so many seconds."""
    return {"Prefer": f"wait={int(wait_s)}"} if wait_s and wait_s >= 1 else {}
