"""Loaded by schemathesis: half of the well-formed requests get real ids and fitting drags.

Without them a generated job names an image that is not there, and nothing behind the first
check is ever reached. What was reached is written to the file of `REACHED`, a line each.
"""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import schemathesis

WIDTH, HEIGHT = 64, 48
LONGEST_QUERY = 3000
choose = random.Random(4)
api = httpx.Client(
    base_url=os.environ["API"],
    headers={"Authorization": f"Bearer {os.environ['KEY']}"},
    timeout=30,
    trust_env=False,
)


def picture(shade: int, number: int) -> bytes:
    """A grey PNG; `number` makes its bytes another one's."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
        )

    rows = zlib.compress((b"\0" + bytes([shade]) * WIDTH) * HEIGHT)
    head = struct.pack(">LLBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    text = b"Comment\0%d" % number
    chunks = ((b"IHDR", head), (b"tEXt", text), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def an_image(shade: int = 255) -> str:
    data = picture(shade, choose.getrandbits(40))
    answer = api.post("/v1/images", content=data, headers={"Content-Type": "image/png"})
    return str(answer.raise_for_status().json()["id"])


IMAGE, MASK = an_image(shade=90), an_image()


HOOK = "http://127.0.0.1:9/nobody/listens"


def a_job() -> str:
    body = {"image": IMAGE, "drags": [a_drag()], "mask": MASK}
    job = api.post("/v1/jobs", json=body).raise_for_status().json()
    if choose.random() < 0.5:
        api.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    return str(job["id"])


def an_item() -> dict[str, Any]:
    name = f"item-{choose.getrandbits(40)}"
    return {"custom_id": name, "image": IMAGE, "drags": [a_drag()], "mask": MASK, "engine": "warp"}


def a_batch() -> str:
    body = {"jobs": [an_item() for _ in range(choose.randrange(1, 4))]}
    return str(api.post("/v1/batches", json=body).raise_for_status().json()["id"])


def an_endpoint() -> str:
    body = {"url": HOOK, "events": ["job.canceled"]}
    return str(api.post("/v1/webhook-endpoints", json=body).raise_for_status().json()["id"])


def a_delivery() -> str:
    answer = api.post(f"/v1/webhook-endpoints/{ENDPOINT}/test")
    return str(answer.raise_for_status().json()["id"])


def a_drag() -> dict[str, list[int]]:
    x, y = choose.randrange(12, 44), choose.randrange(12, 36)
    return {"handle": [x, y], "target": [x + choose.randrange(1, 8), y]}


ENDPOINT = an_endpoint()
MADE = {
    "image_id": an_image,
    "job_id": a_job,
    "batch_id": a_batch,
    "endpoint_id": an_endpoint,
    "delivery_id": a_delivery,
}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Longer request lines are refused by the server below the API, in its own words."""
    return len(urlencode(case.query, doseq=True)) < LONGEST_QUERY


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Put real things into a well-formed request."""
    if case.meta is None or not case.meta.generation.mode.is_positive or choose.random() < 0.5:
        return
    for name in MADE.keys() & case.path_parameters.keys():
        case.path_parameters[name] = MADE[name]()
    if case.operation.path.startswith("/v1/webhook-endpoints") and isinstance(case.body, dict):
        case.body |= {"disabled": True} | ({"url": HOOK} if "url" in case.body else {})
    if case.operation.path in ("/v1/jobs", "/v1/jobs/validate") and isinstance(case.body, dict):
        fit(case.body)
    if case.operation.path == "/v1/batches" and case.method == "POST":
        fit_batch(case)
    if case.operation.path == "/v1/images":
        data = picture(choose.randrange(256), choose.getrandbits(40))
        case.body = {"file": data} if case.media_type == "multipart/form-data" else data


def fit(body: dict[str, Any]) -> None:
    """Keep of a submission what this server can do."""
    body["image"] = IMAGE
    body["mask"] = choose.choice([None, MASK, {"rect": [0, 0, WIDTH, HEIGHT]}])
    body["engine"] = choose.choice([None, "warp"])
    if body.get("rounds"):
        body["rounds"] = [[a_drag()] for _ in body["rounds"]][:8]
        body.pop("drags", None)
    else:
        body["drags"] = [a_drag()]
        body.pop("rounds", None)
    if body.get("webhook") is not None:
        body["webhook"]["url"] = HOOK
    if isinstance(body.get("options"), dict):
        body["options"] |= {"candidates": 1}
        for name in ("steps", "guidance", "guidance_decay", "split_px"):
            body["options"].pop(name, None)


def fit_batch(case: Any) -> None:
    """The items are ours, in either of its two forms; what else was said stays."""
    items = [an_item() for _ in range(choose.randrange(1, 4))]
    if isinstance(case.body, dict):
        case.body["jobs"] = items
        case.body.pop("defaults", None)
        if case.body.get("webhook") is not None:
            case.body["webhook"]["url"] = HOOK
    else:
        case.body = "".join(json.dumps(item) + "\n" for item in items).encode()


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Write down what was reached."""
    valid = " valid" if b'"valid":true' in response.content.replace(b" ", b"") else ""
    with Path(os.environ["REACHED"]).open("a") as file:
        file.write(f"{case.method} {case.operation.path} {response.status_code}{valid}\n")
