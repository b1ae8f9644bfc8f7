"""Clients of the API, as careful people write them, and each notes down what it was told.

Each asks for one job after the other and follows it to its end. An answer that does not come,
or is 503, is asked for again at the other API process; a submission is then sent anew, under
another token, and the first one may have been taken or not.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

import httpx

from tests.chaos.edits import PICTURES, RARE, Order, order, picture
from tests.chaos.promises import FINAL, Promises

TIMEOUT_S = 8.0
WAIT_S = 4  #: `Prefer: wait`
PAUSE_S = 0.1  #: after an answer that did not come


class Gone(Exception):
    """The run is over, and this client with it."""


@dataclass
class Desk:
    """Where clients take the number of their next job, until there are enough."""

    jobs: int
    seed: int
    first: Sequence[str] = RARE  #: acts of the first jobs
    taken: int = 0
    is_closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> tuple[Order, random.Random] | None:
        """A job to ask for, and the chance that decides what else its client does."""
        with self._lock:
            if self.is_closed or self.taken >= self.jobs:
                return None
            number, self.taken = self.taken, self.taken + 1
        chance = random.Random(f"{self.seed}/{number}")
        return order(number, chance, self.first), chance


class Client:
    """One, with a key of an account."""

    tokens = count()

    def __init__(
        self,
        name: str,
        account: str,
        key: str,
        urls: list[str],
        desk: Desk,
        promises: Promises,
        images: dict[int, str],
    ) -> None:
        """`images`: of the account, by the picture's number; clients of one account share it."""
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.account = account
        self._desk, self._promises = desk, promises
        self._apis = cycle(
            httpx.Client(
                base_url=url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=TIMEOUT_S,
                trust_env=False,
            )
            for url in urls
        )
        self._api = next(self._apis)
        self._images = images
        self._give_up_at: float | None = None
        self.error: Exception | None = None

    def give_up_at(self, moment: float) -> None:
        """Ask for nothing any more after this moment (`time.monotonic()`)."""
        self._give_up_at = moment

    def _run(self) -> None:
        try:
            while taken := self._desk.next():
                self._work(*taken)
        except Gone:
            pass
        except Exception as error:  # noqa: BLE001 - told by whoever joins it
            self.error = error

    def _work(self, wanted: Order, chance: random.Random) -> None:
        if chance.random() < 0.03:
            self._upload(wanted.number + 1000)  # of no use but to be kept
        job = self._submit(wanted, chance)
        if job is None:
            return
        if wanted.act == "linger" or chance.random() < 0.04:
            self._cancel(job["id"], chance)
        job = self._follow(job)
        draw = chance.random()
        if draw < 0.03:
            self._retry(job, wanted)
        elif draw < 0.07:
            self._delete(job["id"])
        elif draw < 0.10:
            self._look(job["id"])

    # One request each

    def _submit(self, wanted: Order, chance: random.Random) -> dict[str, Any] | None:
        body = {**wanted.body, "image": self._image(wanted.picture)}
        headers = {"Prefer": f"wait={WAIT_S}"} if chance.random() < 0.3 else {}
        return self._send("/v1/jobs", wanted, headers, body)

    def _retry(self, job: dict[str, Any], wanted: Order) -> None:
        again = self._send(f"/v1/jobs/{job['id']}/retry", wanted, {}, None, job["id"])
        if again is not None:
            self._follow(again)

    def _send(
        self,
        path: str,
        wanted: Order,
        headers: dict[str, str],
        body: dict[str, Any] | None,
        retried_from: str | None = None,
    ) -> dict[str, Any] | None:
        """Until it is accepted or refused."""
        while True:
            token = str(next(self.tokens))
            what = {"act": wanted.act, "edit": f"{self.account} {wanted.edit}"}
            self._promises.note(
                "sent", token=token, account=self.account, retried_from=retried_from, **what
            )
            given = None if body is None else {**body, "metadata": {"token": token}}
            answer = self._try("POST", path, json=given, headers=headers)
            if answer is None:
                continue
            if answer.status_code in (200, 202):
                job: dict[str, Any] = answer.json()
                self._promises.job("accepted", job, token=token)
                return job
            self._promises.note("refused", token=token, status=answer.status_code, said=answer.text)
            return None

    def _follow(self, job: dict[str, Any]) -> dict[str, Any]:
        while job["status"] not in FINAL:
            job = self._look(job["id"], {"Prefer": f"wait={WAIT_S}"}) or job
        return job

    def _look(self, job_id: str, headers: dict[str, str] | None = None) -> dict[str, Any] | None:
        answer = self._ask("GET", f"/v1/jobs/{job_id}", headers=headers)
        if answer.status_code != 200:
            self._promises.note("missing", job=job_id, status=answer.status_code, said=answer.text)
            raise Gone
        job: dict[str, Any] = answer.json()
        self._promises.job("seen", job)
        return job

    def _cancel(self, job_id: str, chance: random.Random) -> None:
        time.sleep(chance.uniform(0, 0.6))
        self._promises.note("cancel_asked", job=job_id)
        answer = self._ask("POST", f"/v1/jobs/{job_id}/cancel")
        if answer.status_code == 200:
            self._promises.job("cancel", answer.json())

    def _delete(self, job_id: str) -> None:
        self._promises.note("delete_asked", job=job_id)
        answer = self._ask("DELETE", f"/v1/jobs/{job_id}")
        self._promises.note("delete", job=job_id, status=answer.status_code)

    def _image(self, place: int) -> str:
        if place not in self._images:
            self._images[place] = self._upload(place)
        return self._images[place]

    def upload_all(self) -> None:
        """The pictures of the catalogue."""
        for place in range(PICTURES):
            self._image(place)

    def _upload(self, number: int) -> str:
        data = picture(number)
        answer = self._ask(
            "POST", "/v1/images", content=data, headers={"Content-Type": "image/png"}
        )
        assert answer.status_code in (200, 201), answer.text
        image = answer.json()
        self._promises.note("image", image=image["id"], sha256=image["sha256"])
        return str(image["id"])

    # However often it takes

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            answer = self._try(method, path, **options)
            if answer is not None:
                return answer

    def _try(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        """The answer; None when nobody knows what became of the request."""
        if self._give_up_at is not None and time.monotonic() > self._give_up_at:
            raise Gone
        try:
            answer = self._api.request(method, path, **options)
        except httpx.HTTPError:
            answer = None
        if answer is None or answer.status_code >= 500:
            if answer is not None and answer.status_code != 503:
                self._promises.note("broken", status=answer.status_code, said=answer.text)
            self._api = next(self._apis)
            time.sleep(PAUSE_S)
            return None
        return answer
