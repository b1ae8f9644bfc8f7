"""What `towline doctor` finds, each by a service that has it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from tests.client.cli.conftest import KEY, Ran
from towline.cli.app import run
from towline.cli.profiles import Profiles, config_file
from towline.testing import FakeTowline

Doctor = Callable[..., dict[str, dict[str, Any]]]


class Whole(httpx.BaseTransport):
    """The fake, with what it lacks: `/livez`, `/readyz`, the version, the time."""

    def __init__(self, fake: FakeTowline) -> None:
        self._fake = fake
        self.pages: dict[str, Any] = {
            "/livez": {"status": "ok"},
            "/readyz": {"status": "ok", "checks": {"database": {"ok": True}}},
            "/openapi.json": {"info": {"version": "0.9.0"}},
        }
        self.date_s = 0.0
        self.status = 200

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        page = self.pages.get(request.url.path)
        if isinstance(page, Exception):
            raise page
        if page is None:
            return self._fake.handle_request(request)
        date = formatdate(time.time() + self.date_s, usegmt=True)
        return httpx.Response(self.status, json=page, headers={"Date": date, "Location": "/x"})


@pytest.fixture
def whole(fake: FakeTowline) -> Whole:
    return Whole(fake)


@pytest.fixture
def doctor(cli: Callable[..., Ran], whole: Whole, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """The findings by check; the exit code is 1 if one is wrong."""

    def call() -> dict[str, dict[str, Any]]:
        code = run(["doctor", "--json"], transport=whole)
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert code == any(each["state"] == "wrong" for each in found)
        return {each["check"]: each for each in found}

    return call


def test_all_is_well(doctor: Doctor, fake: FakeTowline) -> None:
    found = doctor()
    assert {each["state"] for each in found.values()} == {"ok"}
    assert not fake.images.all


def expect(finding: dict[str, Any], state: str, said: str, todo: str = "") -> None:
    assert finding["state"] == state
    assert said in finding["said"]
    assert todo in (finding["todo"] or "")


def test_no_key_at_all(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOWLINE_API_KEY")
    expect(doctor()["settings"], "wrong", "No API key is known", "towline login")


def test_a_service_that_is_not_there(doctor: Doctor, whole: Whole) -> None:
    whole.pages["/livez"] = httpx.ConnectError("Connection refused")
    found = doctor()
    expect(found["service"], "wrong", "cannot be reached: Connection refused", "make run")
    assert "key" not in found


@pytest.mark.parametrize(
    ("error", "said", "todo"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate", "TLS fails", "SSL_CERT_FILE"),
        ("[Errno -2] Name or service not known", "cannot be reached", "DNS"),
    ],
)
def test_why_a_service_cannot_be_reached(
    doctor: Doctor, whole: Whole, error: str, said: str, todo: str
) -> None:
    whole.pages["/livez"] = httpx.ConnectError(error)
    expect(doctor()["service"], "wrong", said, todo)


def test_an_address_that_leads_elsewhere(doctor: Doctor, whole: Whole) -> None:
    whole.status = 301
    expect(doctor()["service"], "wrong", "leads elsewhere: /x")


def test_an_address_of_something_else(doctor: Doctor, whole: Whole) -> None:
    whole.status = 404
    expect(doctor()["service"], "wrong", "answers 404", "is the address right")


@pytest.mark.parametrize(("apart_s", "state"), [(60, "warning"), (-600, "wrong")])
def test_clocks_that_differ(doctor: Doctor, whole: Whole, apart_s: float, state: str) -> None:
    whole.date_s = apart_s
    expect(doctor()["clock"], state, "s apart", "NTP")


def test_a_key_that_is_not_known(doctor: Doctor, fake: FakeTowline) -> None:
    fake.api_key = "tow_another"
    expect(doctor()["key"], "wrong", "", "towline login")


def test_a_service_that_lacks_something(doctor: Doctor, whole: Whole) -> None:
    checks = {"database": {"ok": True}, "broker": {"ok": False}}
    whole.pages["/readyz"] = {"status": "degraded", "checks": checks}
    expect(doctor()["readiness"], "warning", "degraded: broker does not answer")
    whole.pages["/readyz"]["status"] = "unavailable"
    expect(doctor()["readiness"], "wrong", "unavailable")


def test_another_generation_of_the_service(doctor: Doctor, whole: Whole) -> None:
    whole.pages["/openapi.json"] = {"info": {"version": "7.0.0"}}
    expect(doctor()["version"], "warning", "service 7.0.0, client 0.")


def test_pictures_that_cannot_be_fetched(doctor: Doctor, fake: FakeTowline) -> None:
    fake.fail("unreachable", path="/objects/*")
    expect(doctor()["pictures"], "wrong", "https://towline.test", "TOWLINE_PUBLIC_URL")
    fake.fail(403, path="/objects/*")
    expect(doctor()["pictures"], "wrong", "answers 403")
    assert not fake.images.all


def test_keys_that_others_may_read(doctor: Doctor) -> None:
    Profiles.read(config_file()).keep("default", "https://towline.test", KEY)
    config_file().chmod(0o640)
    expect(doctor()["profiles"], "wrong", "others may read", "chmod 600")


def test_a_key_that_travels_in_the_open(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOWLINE_URL", "http://towline.test")
    expect(doctor()["tls"], "warning", "not https")
    monkeypatch.setenv("TOWLINE_URL", "http://127.0.0.1:1")
    expect(doctor()["tls"], "ok", "none is needed")


def test_a_proxy_without_its_password(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.test:3128")
    finding = doctor()["proxy"]
    expect(finding, "warning", "http://proxy.test", "NO_PROXY=towline.test")
    assert "secret" not in json.dumps(finding)
    monkeypatch.setenv("no_proxy", "towline.test")
    expect(doctor()["proxy"], "ok", "not for towline.test")
