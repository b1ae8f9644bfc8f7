"""Clients of every kind that go on while something happens to the service, and what they met.

Nobody tries anything twice: whatever is not answered as on a quiet day is in `refused`.
"""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from PIL import Image

from tests.compose.stack import DRAG

LISTENS_S = 20.0  #: to one job at the most


@dataclass
class Load:
    """Submits `per_s` jobs a second, half of them over connections that are kept."""

    url: str
    headers: dict[str, str]
    image: str
    per_s: float
    jobs: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    slowest_s: dict[str, float] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """All clients, until the block is left; then until each has its last answer."""
        each_s = 4 / self.per_s
        loops = [
            *[(self._submit, True, each_s)] * 2,
            *[(self._submit, False, each_s)] * 2,
            (self._poll, True, 0.2),
            (self._poll, False, 0.2),
            (self._list, False, 0.5),
            (self._wait, True, 0.1),
            (self._wait, False, 0.1),
            *[(self._listen, False, 0.1)] * 3,
            (self._upload, False, 2.0),
        ]
        threads = [threading.Thread(target=self._repeat, args=loop) for loop in loops]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _repeat(self, call: Callable[[httpx.Client], None], is_kept: bool, every_s: float) -> None:
        """At a pace of its own; with `is_kept`, over one connection for as long as it lasts."""
        kept = self._client() if is_kept else None
        due = time.monotonic() + random.random() * every_s
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due = max(due + every_s, time.monotonic() - 1.0)
            if kept is not None:
                call(kept)
            else:
                with self._client() as client:
                    call(client)
        if kept is not None:
            kept.close()

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=60, trust_env=False,
            limits=httpx.Limits(keepalive_expiry=30),
        )  # fmt: skip

    @contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        except httpx.HTTPStatusError as error:
            said = f"{error.response.status_code} {error.response.read()[:200]!r}"
            self._refuse(what, said)
        except httpx.HTTPError as error:
            self._refuse(what, f"{type(error).__name__}: {error}")
        with self._lock:
            self.asked[what] += 1
            took_s = time.monotonic() - begun
            self.slowest_s[what] = max(self.slowest_s.get(what, 0.0), took_s)

    def _refuse(self, what: str, why: str) -> None:
        with self._lock:
            self.refused.append(f"{time.strftime('%H:%M:%S')} {what}: {why}")

    def _submit(self, client: httpx.Client) -> None:
        body = {"image": self.image, "drags": [DRAG], "metadata": {"n": str(random.random())}}
        headers = {"Idempotency-Key": f"{random.getrandbits(64):x}"}
        with self._noting("submit"):
            answer = client.post("/v1/jobs", json=body, headers=headers).raise_for_status()
            with self._lock:
                self.jobs.append(answer.json()["id"])

    def _one_of(self, newest: int) -> str | None:
        with self._lock:
            return random.choice(self.jobs[-newest:]) if self.jobs else None

    def _poll(self, client: httpx.Client) -> None:
        if job_id := self._one_of(200):
            with self._noting("poll"):
                client.get(f"/v1/jobs/{job_id}").raise_for_status()

    def _list(self, client: httpx.Client) -> None:
        with self._noting("list"):
            client.get("/v1/jobs", params={"limit": 20}).raise_for_status()

    def _wait(self, client: httpx.Client) -> None:
        if job_id := self._one_of(4):
            with self._noting("wait"):
                client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=10"}).raise_for_status()

    def _listen(self, client: httpx.Client) -> None:
        """A stream may end with the process that it comes from; it may not break off."""
        leaves_at = time.monotonic() + LISTENS_S
        if job_id := self._one_of(4):
            with (
                self._noting("listen"),
                client.stream("GET", f"/v1/jobs/{job_id}/events") as answer,
            ):
                answer.raise_for_status()
                for _ in answer.iter_raw():
                    if self._over.is_set() or time.monotonic() > leaves_at:
                        return

    def _upload(self, client: httpx.Client) -> None:
        picture = io.BytesIO()
        colour = tuple(random.randrange(256) for _ in range(3))
        Image.new("RGB", (256, 256), colour).save(picture, "PNG")
        with self._noting("upload"):
            client.post("/v1/images", files={"file": picture.getvalue()}).raise_for_status()

    def said(self) -> str:
        """One line for each kind of request."""
        return "\n".join(
            f"  {what}: {count} answered, the slowest in {self.slowest_s[what]:.1f} s"
            for what, count in sorted(self.asked.items())
        )
