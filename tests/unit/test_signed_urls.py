"""URLs that open one object for one method until a time, and nothing else."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import signed_urls
from shared.signed_urls import PATH, UrlSigner

KEY = "images/acc_1/" + "0" * 64 + "/img_1"
SIGNER = UrlSigner("a secret", "https://towline.example")

anything = st.text(max_size=70) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=5)


def _parts(url: str) -> tuple[str, int, int | None, str]:
    split = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    size = int(query["size"]) if "size" in query else None
    key = unquote(split.path.removeprefix(PATH))
    return key, int(query["expires"]), size, query["signature"]


@pytest.mark.parametrize(("method", "size"), [("GET", None), ("PUT", 12), ("PUT", 0)])
def test_a_url_is_accepted_when_it_is_used_as_it_was_signed(method: str, size: int | None) -> None:
    url = SIGNER.sign(method, KEY, 60, size)
    assert url.startswith("https://towline.example/objects/images/")
    key, expires, signed_size, signature = _parts(url)
    assert (key, signed_size) == (KEY, size)
    assert SIGNER.accepts(method, key, expires, size, signature)


def test_a_url_is_refused_when_any_part_of_it_is_another() -> None:
    key, expires, size, signature = _parts(SIGNER.sign("PUT", KEY, 60, 12))
    assert SIGNER.accepts("PUT", key, expires, size, signature)
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for method, other_key, until, bytes_, sign in [
        ("GET", key, expires, size, signature),
        ("HEAD", key, expires, size, signature),
        ("put", key, expires, size, signature),
        ("PUT", key + "2", expires, size, signature),
        ("PUT", key.replace("images", "results"), expires, size, signature),
        ("PUT", key, expires + 1, size, signature),
        ("PUT", key, expires - 1, size, signature),
        ("PUT", key, expires, 13, signature),
        ("PUT", key, expires, None, signature),
        ("PUT", key, expires, size, flipped),
        ("PUT", key, expires, size, signature.upper()),
        ("PUT", key, expires, size, signature[:-1]),
        ("PUT", key, expires, size, ""),
    ]:
        assert not SIGNER.accepts(method, other_key, until, bytes_, sign)


def test_a_url_is_refused_when_another_secret_signed_it() -> None:
    key, expires, size, signature = _parts(UrlSigner("another", "").sign("GET", KEY, 60))
    assert not SIGNER.accepts("GET", key, expires, size, signature)


def test_a_url_is_refused_from_the_second_on_when_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, expires, size, signature = _parts(SIGNER.sign("GET", KEY, 60))
    clock = type("Clock", (), {"time": staticmethod(lambda: expires - 0.001)})
    monkeypatch.setattr(signed_urls, "time", clock)
    assert SIGNER.accepts("GET", key, expires, size, signature)
    clock.time = staticmethod(lambda: float(expires))
    assert not SIGNER.accepts("GET", key, expires, size, signature)


@example("GET", "\udcff", 2**40, None, "0" * 64)
@example("GET", KEY, 2**40, None, "\udcff")
@given(anything, anything, st.integers(), st.none() | st.integers(), anything)
def test_a_url_is_refused_and_nothing_is_raised_when_its_parts_are_garbage(
    method: str, key: str, expires: int, size: int | None, signature: str
) -> None:
    assert not SIGNER.accepts(method, key, expires, size, signature)


@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 10**12), st.integers(0, 10**12))
def test_two_requests_never_share_a_signature_when_parts_run_into_each_other(
    key: str, tail: str, expires: int, size: int
) -> None:
    one = SIGNER._signature("GET", f"{key}\n{tail}", expires, size)
    other = SIGNER._signature("GET", key, expires, size)
    assert one != other


def test_nothing_is_signed_when_there_is_no_secret() -> None:
    with pytest.raises(ValueError, match="TOWLINE_SECRET_KEY"):
        UrlSigner("", "https://towline.example")
