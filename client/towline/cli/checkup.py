"""The checks of `towline doctor`, one after the other; what stands on a failed one is skipped."""

from __future__ import annotations

import os
import ssl
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from towline import Towline, TowlineError, __version__
from towline.cli.failures import CommandFailed, explained
from towline.cli.login import is_open
from towline.cli.profiles import config_file, is_exposed
from towline.cli.session import Session
from towline.models import Account

ANSWER_S = 10.0
CLOCK_S = 30.0  #: noticed; receivers of webhooks refuse more than 300 s
WEBHOOK_CLOCK_S = 240.0
SOON_S = 14 * 86_400.0
SCOPES = ("read", "write")

State = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What a check found; todo: what to do about it."""

    check: str
    state: State
    said: str
    todo: str = ""


class Checkup:
    """Of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def findings(self) -> Iterator[Finding]:
        """One after the other, as they are found."""
        yield self._permissions()
        try:
            place = self._session.place
        except CommandFailed as failure:
            yield Finding("settings", "wrong", failure.message, failure.hint)
            return
        yield Finding("settings", "ok", f"{place.url}, the key is from {place.source}")
        yield self._proxy(place.url)
        answer, finding = self._reach(place.url)
        yield finding
        if answer is None:
            yield Finding("the rest", "skipped", "nothing more can be said without the service")
            return
        yield self._safety(place.url, answer)
        yield _clock(answer)
        yield self._version(place.url)
        yield self._readiness(place.url)
        try:
            with self._session.client(timeout=ANSWER_S) as client:
                yield from self._with_key(client)
        except TowlineError as error:  # a key that no header could hold
            yield _unwell("key", error)

    def _permissions(self) -> Finding:
        path = config_file()
        if not path.exists():
            return Finding("profiles", "ok", f"none are kept ({path})")
        if is_exposed(path):
            return Finding("profiles", "wrong", "others may read your keys", f"chmod 600 {path}")
        return Finding("profiles", "ok", f"{path} is yours alone")

    def _proxy(self, url: str) -> Finding:
        parts = urlsplit(url)
        proxy = getproxies().get(parts.scheme) or getproxies().get("all")
        if not proxy:
            return Finding("proxy", "ok", "none is set")
        host = parts.hostname or ""
        if proxy_bypass(host):
            return Finding("proxy", "ok", f"one is set, but not for {host}")
        shown = urlsplit(proxy)._replace(netloc=urlsplit(proxy).hostname or "").geturl()
        todo = f"if that is not wanted: NO_PROXY={host}"
        return Finding("proxy", "warning", f"requests go through {shown}", todo)

    def _get(self, url: str, **options: Any) -> httpx.Response:
        with httpx.Client(transport=self._session.transport, timeout=ANSWER_S) as http:
            return http.get(url, **options)

    def _reach(self, url: str) -> tuple[httpx.Response | None, Finding]:
        try:
            began = time.monotonic()
            answer = self._get(f"{url}/livez")
            took_ms = 1000 * (time.monotonic() - began)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return None, _unreachable(url, error)
        if answer.status_code == 200:
            return answer, Finding("service", "ok", f"it answers in {took_ms:.0f} ms")
        if answer.is_redirect:
            to = answer.headers.get("Location", "?").removesuffix("/livez")
            said = f"the address leads elsewhere: {to}"
            return None, Finding("service", "wrong", said, "log in with that address.")
        said = f"{url}/livez answers {answer.status_code}: this is no Towline, or a proxy's page"
        return None, Finding("service", "wrong", said, "is the address right, with nothing after?")

    def _safety(self, url: str, answer: httpx.Response) -> Finding:
        if is_open(url):
            said = "not https: whoever is between can read the key"
            return Finding("tls", "warning", said, "put the service behind TLS, and use https://")
        if urlsplit(url).scheme == "http":
            return Finding("tls", "ok", "none is needed on this machine itself")
        stream = answer.extensions.get("network_stream")
        found = stream.get_extra_info("ssl_object") if stream is not None else None
        if found is None:
            return Finding("tls", "ok", "the certificate is trusted")
        left_s = ssl.cert_time_to_seconds(found.getpeercert()["notAfter"]) - time.time()
        said = f"{found.version()}, the certificate is good for {left_s / 86_400:.0f} days"
        return Finding("tls", "warning" if left_s < SOON_S else "ok", said)

    def _version(self, url: str) -> Finding:
        try:
            version = str(self._get(f"{url}/openapi.json").json()["info"]["version"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return Finding("version", "warning", "the service does not say which version it is")
        said = f"service {version}, client {__version__}"
        if version.split(".")[:1] != __version__.split(".")[:1]:
            return Finding("version", "warning", said, "use a client of the service's version.")
        return Finding("version", "ok", said)

    def _readiness(self, url: str) -> Finding:
        try:
            found = self._get(f"{url}/readyz").json()
            bad = [name for name, each in found["checks"].items() if not each["ok"]]
            status = str(found["status"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return Finding("readiness", "warning", "the service does not say what it lacks")
        if not bad:
            return Finding("readiness", "ok", "all that it depends on answers")
        said = f"{status}: {', '.join(bad)} {'does' if len(bad) == 1 else 'do'} not answer"
        state: State = "wrong" if status == "unavailable" else "warning"
        return Finding("readiness", state, said, "tell the service's operator.")

    def _with_key(self, client: Towline) -> Iterator[Finding]:
        try:
            account = client.account.get()
        except TowlineError as error:
            yield _unwell("key", error)
            return
        yield _key(account)
        yield _limits(account)
        yield self._engines(client)
        if "write" in account.key.scopes:
            yield self._pictures(client)
        else:
            yield Finding("pictures", "skipped", "the key may not upload one to try")

    def _engines(self, client: Towline) -> Finding:
        try:
            found = client.engines.list()
        except TowlineError as error:
            return _unwell("engines", error)
        told = ", ".join(f"{each.name} {'up' if each.up else 'down'}" for each in found)
        if not any(each.up for each in found):
            said = f"no worker is up ({told}): jobs wait"
            return Finding("engines", "wrong", said, "tell the service's operator.")
        down = [each.name for each in found if not each.up]
        return Finding("engines", "warning" if down else "ok", told)

    def _pictures(self, client: Towline) -> Finding:
        """Signed URLs lead to wherever pictures are kept: whether that can be reached from here."""
        data = a_picture()
        try:
            image = client.images.upload(data)
        except TowlineError as error:
            return _unwell("pictures", error)
        try:
            return self._fetch(image.url, data)
        finally:
            try:
                client.images.delete(image)
            except TowlineError as error:
                self._session.terminal.warn(f"the picture to try with was left there: {error}")

    def _fetch(self, url: str, data: bytes) -> Finding:
        origin = urlsplit(url)._replace(path="", query="").geturl()
        try:
            answer = self._get(url)
        except httpx.HTTPError as error:
            said = f"they are at {origin}, which cannot be reached: {_first_line(error)}"
            todo = "TOWLINE_PUBLIC_URL and TOWLINE_S3_PUBLIC_URL of the service must be reachable."
            return Finding("pictures", "wrong", said, todo)
        if answer.status_code != 200 or answer.content != data:
            said = f"{origin} answers {answer.status_code}, and not with the picture"
            return Finding(
                "pictures", "wrong", said, "is there a proxy that changes what it passes?"
            )
        return Finding("pictures", "ok", f"one was uploaded, fetched from {origin}, and deleted")


def _clock(answer: httpx.Response) -> Finding:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding("clock", "warning", "the service does not say what time it is")
    apart_s = abs(theirs - time.time())
    if apart_s < CLOCK_S:
        return Finding("clock", "ok", "the clocks agree")
    said = f"the clocks are {apart_s:.0f} s apart"
    todo = "set the clock by NTP: messages of webhooks older than 300 s are refused."
    return Finding("clock", "wrong" if apart_s > WEBHOOK_CLOCK_S else "warning", said, todo)


def _key(account: Account) -> Finding:
    key = account.key
    said = f"account {account.name}, may {', '.join(key.scopes)}"
    missing = [scope for scope in SCOPES if scope not in key.scopes]
    if missing:
        todo = "editing needs a key that may read and write."
        return Finding("key", "warning", f"{said}, not {', '.join(missing)}", todo)
    if key.expires_at is not None:
        left_s = key.expires_at.timestamp() - time.time()
        said += f", expires in {left_s / 86_400:.0f} days"
        if left_s < SOON_S:
            return Finding("key", "warning", said, "ask for another one in time.")
    return Finding("key", "ok", said)


def _limits(account: Account) -> Finding:
    quotas, usage = account.quotas, account.usage
    full = [
        name.replace("_", " ")
        for name in ("queued_jobs", "stored_bytes", "pixels_per_month")
        if (most := getattr(quotas, name)) is not None and getattr(usage, name) >= 0.9 * most
    ]
    if full:
        said = f"nearly used up: {', '.join(full)}"
        return Finding("limits", "warning", said, "delete what is not needed, or ask for more.")
    jobs = f"{usage.queued_jobs} jobs queued, {usage.running_jobs} running"
    return Finding("limits", "ok", f"{jobs}, {usage.stored_bytes / 2**20:.1f} MiB stored")


def _unreachable(url: str, error: Exception) -> Finding:
    said = f"{url} cannot be reached: {_first_line(error)}"
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return Finding("service", "wrong", said, "give it as https://towline.example")
    text = str(error).lower()
    if "certificate" in text or "ssl" in text:
        todo = "for a certificate of your own: SSL_CERT_FILE=/path/ca.pem"
        return Finding("service", "wrong", f"TLS fails: {_first_line(error)}", todo)
    if "name or service" in text or "nodename" in text or "resolution" in text:
        return Finding("service", "wrong", said, "is the name right, and DNS working?")
    if isinstance(error, httpx.ConnectError):
        todo = "is it running (`make run`), at this address and port, and no firewall between?"
        return Finding("service", "wrong", said, todo)
    return Finding("service", "wrong", said, "is there a firewall or a proxy between?")


def _unwell(check: str, error: TowlineError) -> Finding:
    failure = explained(error)
    return Finding(check, "wrong", failure.message, failure.hint)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def a_picture() -> bytes:
    """A PNG of 64 pixels that nobody has."""
    rows = b"".join(b"\0" + os.urandom(24) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
