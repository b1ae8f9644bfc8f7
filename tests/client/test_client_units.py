"""The parts that send nothing: pauses, decoding, streams of lines; and what must not be seen."""

from __future__ import annotations

import email.utils
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import towline
from tests.client.conftest import DRAG, LARGE, SMALL, noise
from towline import ConfigurationError, Timeouts, Towline, errors
from towline._core.backoff import FIRST_S, LONGEST_S, is_worth_repeating, pause_s, retry_after_s
from towline._core.decoding import decode
from towline._core.lines import Lines
from towline._core.patience import AWAY_S, Patience
from towline._core.pictures import content_type_of, size_of
from towline._core.sse import EventReader
from towline._failures import ConnectionFailed, UnreadableAnswer
from towline.models import Engine, Image, Job, KeyInfo
from towline.testing import FakeTowline

KEY = "tow_visible_SECRETPART"


def test_pauses_grow_and_are_never_longer_than_said() -> None:
    lost = ConnectionFailed("lost")
    for repeats in range(40):
        most = min(LONGEST_S, FIRST_S * 2**repeats)
        found = [pause_s(lost, repeats) for _ in range(200)]
        assert all(pause is not None and 0 <= pause <= most for pause in found)
        assert max(found) > most / 2  # type: ignore[type-var,operator]
        assert min(found) < most / 2  # type: ignore[type-var,operator]


@pytest.mark.parametrize("asked", [0.0, 7.0, 60.0])
def test_a_pause_is_not_shorter_than_it_was_asked_for(asked: float) -> None:
    refused = towline.LimitExceeded("hush", status=429, retry_after=asked)
    pause = pause_s(refused, 0)
    assert pause is not None
    assert asked <= pause <= asked + 1
    assert pause_s(towline.LimitExceeded("no", status=429, retry_after=61), 0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 0 ", 0), (None, None), ("", None), ("soon", None), ("-1", None), ("1.5", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 99 Oct 2015", None)],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds
    later = retry_after_s(email.utils.formatdate(time.time() + 30, usegmt=True))
    assert later is not None
    assert 28 < later <= 30


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [(400, "malformed_request", False), (401, "unauthorized", False), (404, "not_found", False),
     (408, "unknown", True), (409, "idempotency_key_in_flight", True),
     (409, "job_not_final", False), (410, "idempotency_key_gone", False),
     (422, "invalid_request", False),
     (429, "rate_limited", True), (500, "internal_error", True), (501, "unknown", False),
     (502, "unknown", True), (503, "storage_unavailable", True), (504, "unknown", True)],
)  # fmt: skip
def test_only_what_may_succeed_is_sent_again(status: int, code: str, again: bool) -> None:
    assert is_worth_repeating(towline.APIError("no", status=status, code=code)) is again
    assert is_worth_repeating(towline.CallTimedOut("late"))
    assert not is_worth_repeating(ValueError("ours"))


def test_a_wait_never_runs_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers at once is asked every few seconds; one that holds, without a pause."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience = Patience(600)
    pauses = []
    for _ in range(20):
        assert patience.hold_s() == 30
        pauses.append(patience.after_answer())
    assert pauses[0] >= 0.3
    assert min(pauses[10:]) >= 7
    assert max(pauses) <= 12.5
    patience.hold_s()
    now += 30
    assert patience.after_answer() == 0.0
    lost = ConnectionFailed("lost")
    held = []
    for _ in range(6):
        held.append(patience.hold_s())
        now += 5  # a proxy that cuts off what is held
        assert patience.after_failure(lost) is not None
    assert held == [30, 15, 7, 3, 1, 0]
    now += AWAY_S
    assert patience.after_failure(lost) is None
    assert patience.after_failure(errors.NotFound("no", status=404)) is None


def test_a_wait_is_over_when_its_time_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    patience = Patience(10)
    now += 9.5
    assert (patience.hold_s(), patience.left_s()) == (0, 0.5)
    assert patience.after_answer() <= 0.5
    now += 5
    assert patience.left_s() == 0


IMAGE = {
    "id": "img_1", "width": 1, "height": 2, "content_type": "image/png", "size_bytes": 3,
    "sha256": "00", "created_at": "2026-11-24T16:00:00.123Z",
    "expires_at": "2026-12-24T17:00:00+01:00", "url": "https://x/?signature=hidden",
}  # fmt: skip


def test_what_is_not_known_is_kept_when_the_service_is_newer() -> None:
    image = decode(Image, {**IMAGE, "colour_space": "p3"})
    assert image.raw["colour_space"] == "p3"
    assert image.created_at.isoformat() == "2026-11-24T16:00:00.123000+00:00"
    assert image.expires_at.isoformat() == "2026-12-24T16:00:00+00:00"
    assert "hidden" not in repr(image)
    assert image == decode(Image, IMAGE)


@pytest.mark.parametrize(
    "change",
    [{"id": None}, {"id": 5}, {"created_at": "yesterday"}, {"created_at": 5}, {"width": "1"}],
    ids=str,
)
def test_an_answer_is_unreadable_when_it_has_another_form(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswer, match="Image"):
        decode(Image, {**IMAGE, **change})
    with pytest.raises(UnreadableAnswer):
        decode(Image, {name: value for name, value in IMAGE.items() if name != "id"})
    with pytest.raises(UnreadableAnswer):
        decode(Image, [IMAGE])


def test_what_may_be_absent_is_none_when_an_older_service_does_not_say_it() -> None:
    told = decode(KeyInfo, {"id": "k", "scopes": None, "created_at": "2026-11-24T16:00:00Z"})
    assert (told.name, told.expires_at, told.scopes) == (None, None, ())


def test_a_state_that_is_new_is_no_error(faked: Any, fake: FakeTowline) -> None:
    image = faked.images.upload(noise(*SMALL))
    job = faked.jobs.create(image, [DRAG])
    assert decode(Job, {**job.raw, "status": "paused"}).is_final is False
    assert decode(Engine, {
        "name": "e", "is_default": True, "up": False, "threads": 0, "model_digest": None,
        "options": {"x": {"type": "enum", "default": None, "minimum": 1, "maximum": None,
                          "choices": ["a"]}},
    }).options["x"].choices == ("a",)  # fmt: skip


def test_lines_are_whole_wherever_they_were_cut() -> None:
    text = 'één\nzwei\r\n\n{"a": 1}\nhalf'.encode()
    for size in range(1, len(text) + 1):
        lines, found = Lines(), []
        for start in range(0, len(text), size):
            found += lines.feed(text[start : start + size])
        assert found == ["één".encode(), b"zwei", b"", b'{"a": 1}']


def test_events_are_read_as_the_standard_has_them() -> None:
    reader = EventReader()
    told = list(
        reader.feed(
            b"retry: 1500\n\n: alive\n\nid: 1.0\nevent: status\ndata: a\ndata:b\nunknown\n\n"
            b"data: no kind\n\nid: 2\n\nevent: lost"
        )
    )
    assert [(each.id, each.kind, each.data) for each in told] == [
        ("1.0", "status", "a\nb"),
        ("1.0", "message", "no kind"),
    ]
    assert reader.retry_s == 1.5


def test_the_header_of_a_picture_tells_its_size() -> None:
    import io

    from PIL import Image as Pillow

    for form, kind in (("PNG", "png"), ("JPEG", "jpeg"), ("WEBP", "webp")):
        for options in ({}, {"lossless": True}) if form == "WEBP" else ({},):
            file = io.BytesIO()
            Pillow.new("RGB", (70, 31)).save(file, form, **options)
            data = file.getvalue()
            assert content_type_of(data[:16]) == f"image/{kind}"
            assert size_of(data) == (70, 31)
            assert size_of(data[:14]) is None
    alpha = io.BytesIO()
    Pillow.new("RGBA", (70, 31)).save(alpha, "WEBP", lossless=False)
    assert size_of(alpha.getvalue()) == (70, 31)
    assert content_type_of(b"GIF89a") is None


@pytest.mark.parametrize(
    ("url", "key"),
    [("ftp://x", "k"), ("towline.example", "k"), ("https://k@x", "k"), ("https://x?a=b", "k"),
     ("https://x:abc", "k"), ("https://x", ""), ("https://x", "a b"), ("https://x", "a\nb"),
     ("https://x", "schlüssel")],
)  # fmt: skip
def test_a_client_is_not_made_when_it_could_not_work(
    url: str, key: str, form: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigurationError):
        Towline(url, key)


def test_the_environment_says_where_and_who(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTowline(api_key="tow_from_env")
    monkeypatch.setenv("TOWLINE_URL", "https://elsewhere.example/base/")
    monkeypatch.setenv("TOWLINE_API_KEY", " tow_from_env\n")
    with Towline(transport=fake) as client:
        assert repr(client) == "Towline('https://elsewhere.example/base')"
        with pytest.raises(errors.NotFound):
            client.account.get()
    assert fake.requests[0].path == "/base/v1/account"
    with Towline("https://here.example/v1/", transport=fake) as client:
        client.account.get()


@pytest.mark.parametrize("change", [{"call_s": 0}, {"silence_s": -1}, {"connect_s": float("nan")}])
def test_no_timeout_is_none(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Timeouts(**change)
    with pytest.raises(ConfigurationError):
        Towline(api_key="k", timeout=-1)


def test_no_secret_is_seen_wherever_one_looks(
    form: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """repr, messages, whole tracebacks, and all that is logged, by httpx and httpcore too."""
    caplog.set_level(logging.DEBUG)
    fake, seen = FakeTowline(), []
    with form("https://towline.test", KEY, transport=fake, max_retries=0) as client:
        image = client.images.upload(noise(*LARGE))
        endpoint = client.webhook_endpoints.create("https://app.example/")
        seen += [repr(client), repr(image), repr(endpoint), repr(client.webhook_secret.get())]
        job = client.jobs.wait(client.jobs.create(image, [DRAG]))
        seen += [repr(job), repr(list(client.jobs.events(job)))]
        client.jobs.picture(job)
        for fault in ("reset", "silent", "cut", "unreachable", 500, 401):
            fake.fail(fault)  # type: ignore[arg-type]
            try:
                client.jobs.get(job)
            except towline.TowlineError as error:
                seen += [repr(error), str(error), "".join(traceback.format_exception(error))]
        for fault in ("reset", 403):
            fake.fail(fault, path="/objects/*", times=9)  # type: ignore[arg-type]
            with pytest.raises(towline.TowlineError) as caught:
                client.jobs.picture(job)
            seen.append("".join(traceback.format_exception(caught.value)))
    text = "\n".join(seen) + caplog.text
    assert "HTTP Request: PUT https://towline.test/objects/staging" in caplog.text
    for secret in (KEY, "SECRETPART", "signature=fake", "whsec_", endpoint.secret):
        assert secret not in text


def test_the_key_goes_nowhere_when_the_address_redirects(form: Callable[..., Any]) -> None:
    asked: list[httpx.URL] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(308, headers={"Location": "https://evil.example/"})

    transport = httpx.MockTransport(redirect)
    with (
        form("https://towline.test", KEY, transport=transport) as client,
        pytest.raises(ConfigurationError, match="redirect"),
    ):
        client.account.get()
    assert [url.host for url in asked] == ["towline.test"]


def test_a_gateway_of_no_known_words_is_told_by_its_status(form: Callable[..., Any]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="<html>Forbidden</html>")

    with (
        form(api_key="k", transport=httpx.MockTransport(answer)) as client,
        pytest.raises(towline.RequestError) as caught,
    ):
        client.account.get()
    assert (caught.value.code, caught.value.status, caught.value.errors) == ("unknown", 403, ())


def test_a_key_of_ones_own_is_sent_as_a_quoted_string(faked: Any, fake: FakeTowline) -> None:
    image = faked.images.upload(noise(*SMALL))
    faked.jobs.create(image, [DRAG], idempotency_key='an "order", no. 7')
    assert fake.requests[-1].headers["Idempotency-Key"] == '"an \\"order\\", no. 7"'
    for key in ("", "schlüssel", "a\nb"):
        with pytest.raises(ValueError, match="idempotency key"):
            faked.jobs.create(image, [DRAG], idempotency_key=key)


def test_each_call_has_a_key_of_its_own_and_keeps_it(faked: Any, fake: FakeTowline) -> None:
    image = faked.images.upload(noise(*SMALL))
    fake.fail("lost", method="POST")
    fake.fail(503, method="POST", retry_after=0)
    first, second = faked.jobs.create(image, [DRAG]), faked.jobs.create(image, [DRAG])
    keys = [each.headers.get("Idempotency-Key") for each in fake.requests[1:]]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] not in (None, keys[0])
    assert first.id != second.id
