"""An S3 server that answers badly, late, or not at all: tried again for a while, then told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.errors import NotFound, StorageUnavailable
from shared.objects.s3 import BODY_TRIES, TRIES, S3Store
from shared.settings import Settings
from tests.broker import free_port
from tests.servers.s3 import SECRET_KEY
from tests.servers.s3_proxy import (
    Behaviour,
    S3Proxy,
    altered,
    broken,
    cut_short,
    done_but_hung_up,
    hung_up,
    late,
    overloaded,
    pass_on,
)

pytestmark = pytest.mark.slow

KEY = "results/acc_1/job_1/1/0.png"
DATA = bytes(range(256)) * 1000
CALLS: dict[str, Callable[[S3Store], Any]] = {
    "put": lambda store: store.put(KEY, DATA),
    "get": lambda store: store.get(KEY),
    "size": lambda store: store.size(KEY),
    "delete": lambda store: store.delete(KEY),
    "walk": lambda store: store.walk("results/", "", 10),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
def direct(s3_settings: Callable[..., Settings]) -> S3Store:
    return S3Store(s3_settings())


@pytest.fixture
def store(s3_settings: Callable[..., Settings], proxy: S3Proxy, direct: S3Store) -> S3Store:
    """Behind the proxy; an object is there."""
    direct.put(KEY, DATA)
    return S3Store(s3_settings(s3_url=proxy.url, s3_timeout_s=0.5))


@calls
@pytest.mark.parametrize("failure", [overloaded, broken, late, hung_up])
def test_a_call_goes_through_when_the_server_fails_for_a_moment(
    store: S3Store, proxy: S3Proxy, call: Callable[[S3Store], Any], failure: Behaviour
) -> None:
    proxy.behave(failure)
    call(store)
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("call", [CALLS["put"], CALLS["get"]], ids=["put", "get"])
def test_a_call_is_unavailable_after_a_few_tries_when_the_server_is_overloaded_for_long(
    store: S3Store, proxy: S3Proxy, call: Callable[[S3Store], Any]
) -> None:
    proxy.behave(always=overloaded)
    with pytest.raises(StorageUnavailable, match="503") as caught:
        call(store)
    assert len(proxy.requests) == TRIES
    assert "hush" not in caught.value.message


def test_a_call_is_unavailable_within_its_tries_when_no_answer_ever_comes(
    store: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave(always=late)
    begun_s = time.monotonic()
    with pytest.raises(StorageUnavailable, match="ReadTimeoutError"):
        store.get(KEY)
    assert len(proxy.requests) == TRIES
    assert time.monotonic() - begun_s < TRIES * 0.5 + 3


def test_a_call_is_unavailable_when_nobody_listens(s3_settings: Callable[..., Settings]) -> None:
    store = S3Store(s3_settings(s3_url=f"http://127.0.0.1:{free_port()}"))
    for call in CALLS.values():
        with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
            call(store)


def test_the_bytes_are_asked_for_again_when_the_answer_breaks_off(
    store: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave(cut_short)
    assert store.get(KEY) == DATA
    proxy.behave(always=cut_short)
    with pytest.raises(StorageUnavailable):
        store.get(KEY)
    assert len(proxy.requests) == BODY_TRIES


def test_nothing_is_stored_when_the_bytes_changed_on_their_way(
    store: S3Store, direct: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave(always=altered)
    with pytest.raises(StorageUnavailable, match="400 XAmzContentSHA256Mismatch"):
        store.put(KEY, b"another")
    assert direct.get(KEY) == DATA


def test_an_object_is_there_once_when_the_answer_to_its_put_was_lost(
    store: S3Store, direct: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave(done_but_hung_up)
    store.put(KEY, b"another")
    assert direct.get(KEY) == b"another"
    proxy.behave(done_but_hung_up)
    store.delete(KEY)
    with pytest.raises(NotFound):
        direct.get(KEY)


def test_the_store_serves_again_at_once_when_the_server_is_back(
    store: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave(always=overloaded)
    with pytest.raises(StorageUnavailable):
        store.get(KEY)
    proxy.behave()
    begun_s = time.monotonic()
    assert store.get(KEY) == DATA
    assert time.monotonic() - begun_s < 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"s3_secret_key": "wrong"}, "403 SignatureDoesNotMatch"),
        ({"s3_access_key": "nobody"}, "403 InvalidAccessKeyId"),
        ({"s3_bucket": "no-such-bucket"}, "404 NoSuchBucket"),
    ],
)
def test_the_message_says_what_is_wrong_and_no_secret_when_the_settings_are_wrong(
    s3_settings: Callable[..., Settings], wrong: dict[str, str], said: str
) -> None:
    store = S3Store(s3_settings(**wrong))
    with pytest.raises(StorageUnavailable) as caught:
        store.get(KEY)
    assert said in caught.value.message
    for secret in (SECRET_KEY, "wrong", "nobody", store._settings.s3_url):
        assert secret not in caught.value.message
    for call in (*CALLS.values(), S3Store.check):
        with pytest.raises(StorageUnavailable):
            call(store)


def test_a_key_is_taken_from_where_aws_keeps_it_when_the_settings_have_none(
    s3_settings: Callable[..., Settings],
    direct: S3Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = s3_settings()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    store = S3Store(s3_settings(s3_access_key="", s3_secret_key=""))
    with pytest.raises(StorageUnavailable, match="no access key"):
        store.check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", given.s3_access_key.get_secret_value())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", given.s3_secret_key.get_secret_value())
    direct.put(KEY, DATA)
    assert store.get(KEY) == DATA, "a key that comes later is found, without a new start"


def test_the_check_is_one_request_that_writes_nothing_and_is_not_tried_again(
    store: S3Store, proxy: S3Proxy
) -> None:
    proxy.behave()
    store.check()
    assert [method for method, _ in proxy.requests] == ["HEAD"]
    proxy.behave(always=overloaded)
    with pytest.raises(StorageUnavailable):
        store.check()
    assert len(proxy.requests) == 1


def test_the_check_does_not_wait_long_when_the_server_does_not_answer(
    s3_settings: Callable[..., Settings],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begun_s = time.monotonic()
        with pytest.raises(StorageUnavailable):
            S3Store(s3_settings(s3_url=url, s3_timeout_s=60)).check()
        assert time.monotonic() - begun_s < 4


def test_checksums_that_not_every_server_knows_are_not_sent(store: S3Store, proxy: S3Proxy) -> None:
    seen: list[dict[str, str]] = []

    def look(exchange: Any) -> None:
        seen.append(exchange.headers)
        pass_on(exchange)

    proxy.behave(always=look)
    for call in CALLS.values():
        call(store)
    names = {name.lower() for headers in seen for name in headers}
    assert not {name for name in names if "checksum" in name or "trailer" in name}
    assert seen[0]["X-Amz-Content-SHA256"] != "UNSIGNED-PAYLOAD"
