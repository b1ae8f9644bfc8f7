"""URLs of the object storage itself: a real server accepts what was signed, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from shared.objects import staging_key
from shared.objects.s3 import S3Store, S3Urls
from shared.settings import Settings

pytestmark = pytest.mark.slow

KEY = staging_key("acc_1", "img_1")
OTHER = staging_key("acc_1", "img_2")
DATA = b"\x89PNG and so on"


@pytest.fixture
def store(s3_settings: Callable[..., Settings]) -> S3Store:
    return S3Store(s3_settings())


@pytest.fixture
def sign(s3_settings: Callable[..., Settings]) -> Callable[..., S3Urls]:
    """Signs, with settings of one's own."""

    def sign(**changes: Any) -> S3Urls:
        given = s3_settings()
        return S3Urls(s3_settings(**({"s3_public_url": given.s3_url} | changes)))

    return sign


def put(url: str, data: bytes = DATA, content_type: str = "image/png") -> httpx.Response:
    return httpx.put(url, content=data, headers={"Content-Type": content_type})


def altered(url: str, **changes: str | None) -> str:
    path, query = url.split("?")
    given = {name: values[0] for name, values in parse_qs(query).items()} | changes
    return f"{path}?{urlencode({k: v for k, v in given.items() if v is not None})}"


def test_an_upload_is_taken_when_it_is_what_was_signed(
    store: S3Store, sign: Callable[..., S3Urls]
) -> None:
    upload = sign().upload(KEY, 60, len(DATA), "image/png")
    assert upload.headers == {"Content-Type": "image/png"}
    assert httpx.put(upload.url, content=DATA, headers=upload.headers).status_code == 200
    assert store.get(KEY) == DATA


def test_an_upload_is_refused_by_the_server_when_it_is_not_what_was_signed(
    store: S3Store, sign: Callable[..., S3Urls]
) -> None:
    url = sign().upload(KEY, 60, len(DATA), "image/png").url
    forged = sign(s3_secret_key="a guess").upload(KEY, 60, len(DATA), "image/png").url
    stream = (part for part in (DATA, DATA * 1000))  # without a Content-Length
    refused = {
        "longer": put(url, DATA + b"!"),
        "shorter": put(url, DATA[:-1]),
        "length not said": httpx.put(url, content=stream, headers={"Content-Type": "image/png"}),
        "other type": put(url, content_type="text/html"),
        "other key": put(url.replace(KEY, OTHER)),
        "wrong secret": put(forged),
        "longer good": put(altered(url, **{"X-Amz-Expires": "3600"})),
        "type not bound": put(altered(url, **{"X-Amz-SignedHeaders": "host"})),
        "no signature": put(altered(url, **{"X-Amz-Signature": None})),
        "unsigned": put(url.split("?")[0]),
        "other method": httpx.get(url),
        "delete": httpx.delete(url),
    }
    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(
        refused, 403
    )
    assert store.walk("", "", 10) == []


def test_a_download_is_given_as_a_picture_and_refused_when_it_was_altered(
    store: S3Store, sign: Callable[..., S3Urls]
) -> None:
    store.put(KEY, DATA)
    store.put(OTHER, b"somebody else's")
    url = sign().download(KEY, 60, "image/png")
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'inline; filename="img_1.png"'
    assert answer.headers["Cache-Control"] == "private, max-age=300"
    refused = [
        httpx.get(url.replace(KEY, OTHER)),
        httpx.get(altered(url, **{"response-content-type": "text/html"})),
        httpx.get(altered(url, **{"X-Amz-Expires": "604800"})),
        httpx.get(sign(s3_secret_key="a guess").download(KEY, 60, "image/png")),
        httpx.get(url.split("?")[0]),
        put(url),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert store.get(KEY) == DATA


def test_a_url_opens_nothing_when_its_time_is_over(
    store: S3Store, sign: Callable[..., S3Urls]
) -> None:
    store.put(KEY, DATA)
    down, up = sign().download(KEY, 1, "image/png"), sign().upload(OTHER, 1, len(DATA), "image/png")
    time.sleep(2.1)
    assert [httpx.get(down).status_code, put(up.url).status_code] == [403, 403]


def test_a_url_leads_to_where_clients_reach_the_storage_and_names_no_secret(
    sign: Callable[..., S3Urls],
) -> None:
    urls = sign(s3_public_url="https://files.example:8443")
    for url in (urls.download(KEY, 60, "image/png"), urls.upload(KEY, 60, 5, "image/png").url):
        parts = urlsplit(url)
        assert (parts.scheme, parts.netloc) == ("https", "files.example:8443")
        assert parts.path.endswith(f"/{KEY}")
        assert "hush" not in url
    virtual = sign(s3_public_url="https://files.example", s3_addressing="virtual")
    host = urlsplit(virtual.download(KEY, 60, "image/png")).netloc
    assert host.startswith("test-")
    assert host.endswith(".files.example")


def test_clients_go_through_the_api_when_no_public_url_is_set(store: S3Store) -> None:
    assert store.urls is None
