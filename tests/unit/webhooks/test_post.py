"""One POST over real sockets: what is dialled, what is read, and what ends it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from shared.webhooks.targets import TargetRules
from tests.broker import free_port
from tests.hostile.urls import ANSWERS
from tests.receiver import HANG, RESET, Receiver, Reply
from worker.post import KEPT_BYTES, Answer, Poster, look_up

NAME = "hooks.example"
CLOSED = TargetRules.of(True, ["*"], ["127.0.0.0/8"])
STRICT = TargetRules.of(True, ["*"], [])


class Names:
    """A look-up that answers as it is told, and remembers what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def post(
    url: str,
    rules: TargetRules = CLOSED,
    timeout_s: float = 5.0,
    names: Names | None = None,
    ca_file: Path | None = None,
) -> Answer:
    poster = Poster(
        rules, timeout_s=timeout_s, ca_file=ca_file, look_up=names or Names(["127.0.0.1"])
    )
    return asyncio.run(poster.post(url, {"webhook-id": "evt_1"}, b'{"a":1}'))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_the_message_arrives_as_it_was_sent_when_all_is_well(receiver: Receiver) -> None:
    answer = post(receiver.url("/hook?a=b", host=NAME))
    (message,) = receiver.received
    assert (answer.http_status, answer.error) == (204, None)
    assert (message.method, message.path, message.body) == ("POST", "/hook?a=b", b'{"a":1}')
    assert message.headers["host"] == f"{NAME}:{receiver.port}"
    assert message.headers["content-type"] == "application/json"
    assert message.headers["webhook-id"] == "evt_1"
    assert message.headers["user-agent"].startswith("Towline/")


def test_the_first_kilobyte_of_an_answer_is_kept_and_no_more(receiver: Receiver) -> None:
    receiver.behave = lambda message: Reply(500, body=b"x" * 10_000_000)
    answer = post(receiver.url())
    assert (answer.http_status, answer.body) == (500, b"x" * KEPT_BYTES)


def test_an_endless_answer_ends_when_enough_was_read(receiver: Receiver) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    receiver.behave = lambda message: Reply(raw=head + b"400\r\n" + b"y" * 1024 + b"\r\n")
    assert post(receiver.url()).http_status == 200


@pytest.mark.parametrize("name", ANSWERS)
def test_no_connection_is_made_when_any_address_of_the_name_is_not_public(
    receiver: Receiver, name: str
) -> None:
    answer = post(receiver.url(host=NAME), STRICT, names=Names(ANSWERS[name]))
    assert answer.error == "webhook_address_refused"
    assert answer.detail == f"{NAME} has an address that is not public"
    assert receiver.connections == 0


def test_a_name_is_looked_up_once_when_the_second_answer_would_lead_elsewhere(
    receiver: Receiver,
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    assert post(receiver.url(host=NAME), names=names).http_status == 204
    assert names.asked == [NAME]


def test_the_next_try_is_refused_when_the_name_leads_elsewhere_by_then(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    url = receiver.url(host=NAME)
    assert [post(url, names=names).error for _ in range(2)] == [None, "webhook_address_refused"]
    assert receiver.connections == 1


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "http://u@127.0.0.1/", "https://2130706433/"])
def test_a_url_is_refused_again_when_the_rules_have_changed_since_it_was_registered(
    url: str,
) -> None:
    assert (post(url, STRICT).error or "").startswith("webhook_")


def test_the_other_address_is_tried_when_the_first_does_not_answer(receiver: Receiver) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])  # nobody listens on the first
    assert post(receiver.url(host=NAME), names=names).http_status == 204


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    with Receiver() as elsewhere:
        receiver.behave = lambda message: Reply(status, {"location": elsewhere.url()})
        assert post(receiver.url()).http_status == status
        assert elsewhere.connections == 0


def test_no_proxy_is_used_when_the_environment_names_one(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert post(receiver.url(host=NAME)).http_status == 204
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (HANG, "timeout"),
        (Reply(200, drip_s=0.1), "timeout"),
        (Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 50, drip_s=0.05), "timeout"),
        (RESET, "connection_broken"),
        (Reply(raw=b""), "connection_broken"),
        (Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "bad_answer"),
        (Reply(raw=b"\0" * 100), "bad_answer"),
        (Reply(200, {"x-long": "y" * 200_000}), "bad_answer"),
    ],
)
def test_a_bad_answer_is_an_error_in_time(receiver: Receiver, reply: Reply, error: str) -> None:
    receiver.behave = lambda message: reply
    began = time.monotonic()
    answer = post(receiver.url(), timeout_s=0.5)
    assert (answer.error, answer.http_status) == (error, None)
    assert time.monotonic() - began < 3
    assert answer.duration_ms <= 2000


@pytest.mark.parametrize("reply", [Reply(200, body=b"z" * 100, drip_s=0.004),
                                   Reply(200, {"content-length": "500"}, body=b"cut")])  # fmt: skip
def test_a_status_counts_when_the_rest_of_the_answer_drips_or_breaks_off(
    receiver: Receiver, reply: Reply
) -> None:
    receiver.behave = lambda message: reply
    assert post(receiver.url(), timeout_s=10).http_status == 200


def test_a_connection_that_nobody_takes_is_an_error() -> None:
    answer = post(f"http://127.0.0.1:{free_port()}/")
    assert (answer.error, answer.detail) == ("connect_failed", "ECONNREFUSED")


def test_a_server_that_takes_connections_and_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("http", "https"):
            assert post(f"{scheme}://127.0.0.1:{port}/", timeout_s=0.3).error == "timeout"


def test_a_name_without_an_address_is_an_error() -> None:
    async def nobody(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    for names in (nobody, Names([])):
        poster = Poster(CLOSED, timeout_s=5, look_up=names)
        answer = asyncio.run(poster.post("https://hooks.example/", {}, b""))
        assert answer.error == "name_not_found"


def test_a_look_up_that_hangs_is_given_up_in_time() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    poster = Poster(CLOSED, timeout_s=0.2, look_up=hang)
    assert asyncio.run(poster.post("https://hooks.example/", {}, b"")).error == "timeout"


def test_every_address_of_a_name_is_found_when_the_system_is_asked() -> None:
    assert "127.0.0.1" in asyncio.run(look_up("localhost", 80))
    for name in ("no-such-name.invalid", "a" * 64 + ".invalid"):
        with pytest.raises(OSError):  # noqa: PT011 - which of its kinds is the system's affair
            asyncio.run(look_up(name, 80))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def tls_receiver(authority: trustme.CA, *names: str) -> Receiver:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return Receiver(tls=context)


def test_names_are_used_for_tls_when_the_address_is_pinned(
    authority: trustme.CA, ca_file: Path
) -> None:
    with tls_receiver(authority, NAME) as receiver:
        answer = post(receiver.url(host=NAME), ca_file=ca_file)
        assert (answer.http_status, answer.error) == (204, None)
        assert receiver.names == [NAME]
        assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"


def test_a_certificate_is_refused_when_it_is_for_another_name(
    authority: trustme.CA, ca_file: Path
) -> None:
    with tls_receiver(authority, "other.example", "127.0.0.1") as receiver:
        answer = post(receiver.url(host=NAME), ca_file=ca_file)
        assert answer.error == "tls_failed"
        assert "ertificate" in (answer.detail or "")
        assert receiver.received == []


def test_a_certificate_is_refused_when_nobody_trusted_has_signed_it(authority: trustme.CA) -> None:
    with tls_receiver(authority, NAME) as receiver:
        assert post(receiver.url(host=NAME)).error == "tls_failed"
        assert receiver.received == []


def test_an_address_in_a_url_needs_a_certificate_of_its_own(
    authority: trustme.CA, ca_file: Path
) -> None:
    with tls_receiver(authority, "127.0.0.1") as receiver:
        assert post(receiver.url(), ca_file=ca_file).http_status == 204
    with tls_receiver(authority, NAME) as receiver:
        assert post(receiver.url(), ca_file=ca_file).error == "tls_failed"
