"""A client of the service, for tests."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from typing import Any

import httpx
from PIL import Image

LIMIT_S = 60.0
FINAL = {"succeeded", "failed", "canceled", "expired"}


@dataclass
class Editor:
    """An account's client."""

    api: httpx.Client

    def upload(self, data: bytes) -> dict[str, Any]:
        answer = self.api.post("/v1/images", content=data, headers={"Content-Type": "image/png"})
        assert answer.status_code in (200, 201), answer.text
        return answer.json()  # type: ignore[no-any-return]

    def submit(self, **body: Any) -> dict[str, Any]:
        answer = self.api.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def finish(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it is final."""
        deadline_s = time.monotonic() + LIMIT_S
        while job["status"] not in FINAL:
            assert time.monotonic() < deadline_s, job
            answer = self.api.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=20"})
            assert answer.status_code == 200, answer.text
            job = answer.json()
        return job

    def edit(self, **body: Any) -> dict[str, Any]:
        """A job that succeeded."""
        job = self.finish(self.submit(**body))
        assert job["status"] == "succeeded", job["error"]
        return job

    def fetch(self, url: str) -> bytes:
        """What a signed URL opens, without the key."""
        answer = httpx.get(url, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.content

    def result(self, job: dict[str, Any]) -> bytes:
        """The picture, its hash checked."""
        (candidate,) = job["result"]["candidates"]
        data = self.fetch(candidate["url"])
        assert hashlib.sha256(data).hexdigest() == candidate["sha256"]
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == (candidate["width"], candidate["height"])
        return data
