"""Uploads and downloads that go straight to the object storage, past the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shared.objects import staging_key
from shared.services import Services
from tests.api.calling import Caller, caller_of, is_problem
from tests.factories import a_picture, a_result
from tests.servers.s3_proxy import S3Proxy, altered, hung_up, overloaded

pytestmark = pytest.mark.slow

DATA = a_picture(30, 20, seed=7)


@pytest.fixture
def services(build: Callable[..., Services], s3: dict[str, Any], proxy: S3Proxy) -> Services:
    """The API goes through the proxy, clients do not."""
    return build(**s3 | {"s3_url": proxy.url, "s3_public_url": s3["s3_url"], "s3_timeout_s": 0.5})


@pytest.fixture
def caller(services: Services) -> Caller:
    return caller_of(services)


def put(upload: dict[str, Any], data: bytes = DATA) -> httpx.Response:
    """As a client would: just what it was told."""
    return httpx.request(upload["method"], upload["url"], content=data, headers=upload["headers"])


def stored(services: Services) -> list[str]:
    return [found.key.split("/")[0] for found in services.objects.walk("", "", 100)]


def test_a_picture_goes_to_the_storage_and_comes_from_there(
    caller: Caller, services: Services, s3: dict[str, Any]
) -> None:
    announced = caller.announce(DATA).json
    assert announced["upload"]["url"].startswith(f"{s3['s3_url']}/{s3['s3_bucket']}/staging/")
    complete = f"/v1/images/{announced['id']}/complete"
    assert is_problem(caller.post(complete), 409, "image_not_uploaded")
    assert put(announced["upload"]).status_code == 200
    assert stored(services) == ["staging"]
    done = caller.post(complete)
    assert (done.status_code, done.json["width"]) == (200, 30)
    assert stored(services) == ["images"]
    download = httpx.get(done.json["url"])
    assert (download.content, download.headers["Content-Type"]) == (DATA, "image/png")
    assert urlsplit(done.json["url"]).netloc == urlsplit(s3["s3_url"]).netloc
    assert caller.post(complete).json["id"] == announced["id"]


def test_the_pictures_of_a_result_come_from_the_storage(caller: Caller, services: Services) -> None:
    image = caller.image(a_picture())
    submitted = caller.job(image=image, options={"format": "webp"})
    job = services.leases.claim_next("warp", "worker")
    assert job is not None
    result = a_result(job, "0.webp")
    result["mask_key"] = result["candidates"][0]["key"].replace("0.webp", "mask.png")
    for key in (result["candidates"][0]["key"], result["mask_key"]):
        services.objects.put(key, b"picture")
    services.leases.succeed(job, result)
    shown = caller.get(f"/v1/jobs/{submitted['id']}").json["result"]
    for url, content_type in (
        (shown["candidates"][0]["url"], "image/webp"),
        (shown["mask_url"], "image/png"),
    ):
        answer = httpx.get(url)
        assert (answer.content, answer.headers["Content-Type"]) == (b"picture", content_type)


def test_an_upload_is_refused_by_the_storage_when_it_is_not_what_was_announced(
    caller: Caller, services: Services
) -> None:
    upload = caller.announce(DATA).json["upload"]
    other_type = {**upload, "headers": {"Content-Type": "text/html"}}
    refused = [put(upload, DATA + b"!"), put(upload, DATA[:-1]), put(other_type)]
    assert [answer.status_code for answer in refused] == [403] * 3
    assert stored(services) == []


def test_an_upload_is_refused_by_complete_when_its_bytes_are_others_of_the_same_size(
    caller: Caller,
) -> None:
    announced = caller.announce(DATA).json
    complete = f"/v1/images/{announced['id']}/complete"
    put(announced["upload"], bytes(len(DATA)))
    assert is_problem(caller.post(complete), 422, "upload_mismatch")
    put(announced["upload"])
    assert caller.post(complete).status_code == 200


def test_an_object_of_another_size_is_never_read(
    caller: Caller, services: Services, proxy: S3Proxy
) -> None:
    """However it came there: its headers are asked for first."""
    image_id = caller.announce(DATA).json["id"]
    services.objects.put(staging_key(caller.account_id, image_id), bytes(5_000_000))
    proxy.behave()
    answer = caller.post(f"/v1/images/{image_id}/complete")
    assert is_problem(answer, 422, "upload_mismatch")
    assert [method for method, _ in proxy.requests] == ["HEAD"]


@pytest.mark.parametrize("failure", [overloaded, hung_up, altered])
def test_an_upload_is_unavailable_and_no_image_when_the_storage_fails_for_long(
    caller: Caller, proxy: S3Proxy, failure: Any
) -> None:
    announced = caller.announce(DATA).json
    complete = f"/v1/images/{announced['id']}/complete"
    put(announced["upload"])
    if failure is not altered:  # alters what is sent, and a completion reads first
        proxy.behave(always=failure)
        assert is_problem(caller.post(complete), 503, "storage_unavailable")
    proxy.behave(always=failure)
    refused = caller.send_picture(a_picture(seed=9))
    assert is_problem(refused, 503, "storage_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert is_problem(caller.get(f"/v1/images/{announced['id']}"), 409, "image_not_uploaded")
    proxy.behave()
    assert caller.post(complete).status_code == 200
    assert caller.send_picture(a_picture(seed=9)).status_code == 201


def test_readiness_is_one_request_that_writes_nothing_and_fails_fast(
    caller: Caller, services: Services, proxy: S3Proxy
) -> None:
    proxy.behave()
    ready = caller.client.get("/readyz")
    assert ready.json["checks"]["storage"]["ok"] is True
    assert ready.json["checks"]["storage"]["latency_ms"] > 0
    assert [method for method, _ in proxy.requests] == ["HEAD"]
    assert stored(services) == []
    proxy.behave(always=overloaded)
    ready = caller.client.get("/readyz")
    assert (ready.status_code, ready.json["checks"]["storage"]["ok"]) == (503, False)
    assert len(proxy.requests) == 1


def test_an_image_that_is_deleted_leaves_nothing_in_the_storage(
    caller: Caller, services: Services
) -> None:
    image = caller.image(DATA)
    announced = caller.announce(a_picture(seed=9)).json
    put(announced["upload"], a_picture(seed=9))
    for image_id in (image, announced["id"]):
        assert caller.delete(f"/v1/images/{image_id}").status_code == 200
    assert stored(services) == []
