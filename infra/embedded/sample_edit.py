"""One real edit through the service's own HTTP API, and whether its picture is right."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from infra.embedded.failures import SampleFailed

FOLDER = Path(__file__).with_name("sample")
FINAL = {"succeeded", "failed", "canceled", "expired"}
WAIT_S = 10
ANSWER_S = WAIT_S + 20.0


@dataclass(frozen=True)
class SampleEdit:
    """What the sample edit came to."""

    request: dict[str, Any]  #: the body that was sent, to be sent again
    url: str  #: where the API serves the result
    picture: bytes  #: the result, checked


def send(base_url: str, public_url: str, key: str, engine: str, limit_s: float) -> SampleEdit:
    """Upload the picture and its mask, submit, wait, fetch, check; `SampleFailed` else."""
    source, mask = (FOLDER / "image.png").read_bytes(), (FOLDER / "mask.png").read_bytes()
    try:
        with open_api(base_url, key) as api:
            request = json.loads((FOLDER / "job.json").read_text())
            request |= {"engine": engine, "image": _upload(api, source), "mask": _upload(api, mask)}
            job = _finish(api, _expect(api.post("/v1/jobs", json=request), 202, 200), limit_s)
            candidate = job["result"]["candidates"][0]
            picture = _fetch(candidate["url"].replace(public_url, base_url, 1))
    except httpx.HTTPError as error:
        raise SampleFailed(f"the sample edit failed: {error or type(error).__name__}") from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SampleFailed(f"the API's answer was not understood: {error!r}") from error
    check(source, mask, picture, candidate["sha256"])
    return SampleEdit(request, candidate["url"], picture)


def engine_of(engines: Sequence[str]) -> str:
    """The engine that makes the sample edit: a CPU does it in a moment with `warp`."""
    return "warp" if "warp" in engines else engines[0]


def open_api(base_url: str, key: str = "") -> httpx.Client:
    """A client of our own API: no proxy stands between a machine and itself."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=base_url, headers=headers, timeout=ANSWER_S, trust_env=False)


def is_ready(api: httpx.Client) -> bool:
    """Whether the API and all it depends on are up."""
    try:
        return api.get("/readyz", timeout=1).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def accepts(base_url: str, key: str) -> bool:
    """Whether the API knows this key."""
    try:
        with open_api(base_url, key) as api:
            return api.get("/v1/engines").status_code != httpx.codes.UNAUTHORIZED
    except httpx.HTTPError as error:
        raise SampleFailed(f"the API does not answer: {error or type(error).__name__}") from error


def check(source: bytes, mask: bytes, picture: bytes, sha256: str) -> None:
    """The very bytes that were announced, same size, changed inside the mask and only there."""
    if hashlib.sha256(picture).hexdigest() != sha256:
        raise SampleFailed("the result picture is not the one announced: its sha256 differs")
    before, after, may_change = _pixels(source), _pixels(picture), _pixels(mask)[..., 0] > 0
    if before.shape != after.shape:
        raise SampleFailed(f"the result picture is {after.shape}, its source {before.shape}")
    changed = (before != after).any(axis=-1)
    if changed[~may_change].any():
        raise SampleFailed(f"{changed[~may_change].sum()} pixels changed outside the mask")
    if not changed[may_change].any():
        raise SampleFailed("nothing changed inside the mask")


def _pixels(encoded: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise SampleFailed(f"the result is not a picture: {error}") from None


def _upload(api: httpx.Client, picture: bytes) -> str:
    headers = {"Content-Type": "image/png"}
    return str(_expect(api.post("/v1/images", content=picture, headers=headers), 201, 200)["id"])


def _finish(api: httpx.Client, job: dict[str, Any], limit_s: float) -> dict[str, Any]:
    deadline_s = time.monotonic() + limit_s
    while job["status"] not in FINAL:
        if time.monotonic() > deadline_s:
            raise SampleFailed(f"the sample edit is still {job['status']} after {limit_s:.0f} s")
        answer = api.get(f"/v1/jobs/{job['id']}", headers={"Prefer": f"wait={WAIT_S}"})
        job = _expect(answer, 200)
        time.sleep(0.05)  # an API with too many waits answers at once
    if job["status"] != "succeeded":
        raise SampleFailed(f"the sample edit {job['status']}: {job['error']}")
    return job


def _fetch(url: str) -> bytes:
    # Signed, so without the key: where objects lie is nobody's business but the URL's.
    answer = httpx.get(url, timeout=ANSWER_S, trust_env=False)
    if answer.status_code != httpx.codes.OK:
        raise SampleFailed(f"the result's URL answered {answer.status_code}")
    return answer.content


def _expect(answer: httpx.Response, *statuses: int) -> dict[str, Any]:
    if answer.status_code not in statuses:
        where = f"{answer.request.method} {answer.request.url.path}"
        raise SampleFailed(f"{where} answered {answer.status_code}: {answer.text[:300]}")
    body: dict[str, Any] = answer.json()
    return body
