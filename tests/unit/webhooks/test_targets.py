"""Which URLs and addresses webhooks may be sent to."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.targets import Refusal, Target, TargetRules, is_public, origin_of, read_target
from tests.hostile.urls import ANSWERS, GOOD, URLS

STRICT = TargetRules()
CLOSED = TargetRules.of(True, ["*"], ["127.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize("url", URLS, ids=ascii)
def test_a_hostile_url_is_refused_when_it_is_read(url: str) -> None:
    found = read_target(url, STRICT)
    assert isinstance(found, Refusal), found
    assert found.code == URLS[url], found


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_is_taken_when_it_is_read(url: str) -> None:
    found = read_target(url, STRICT)
    assert isinstance(found, Target), found
    assert found.path.startswith("/")
    assert found.port == 443
    assert ":443" not in found.host_header


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_of_dns_holds_an_address_that_is_refused_when_it_is_hostile(name: str) -> None:
    assert not all(STRICT.allows_address(ip_address(text)) for text in ANSWERS[name])


def test_an_address_is_public_only_when_it_is_in_none_of_the_special_networks() -> None:
    public = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1", "100.128.0.1"]
    assert [text for text in public if not is_public(ip_address(text))] == []


@given(st.integers(0, 2**32 - 1), st.sampled_from(["64:ff9b::", "2002::", "::ffff:0:0", "::"]))
def test_no_ipv4_address_comes_through_in_the_clothes_of_ipv6(value: int, prefix: str) -> None:
    shift = 80 if prefix == "2002::" else 0
    assert not is_public(IPv6Address(int(IPv6Address(prefix)) | value << shift))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv4_address_is_public_that_the_standard_library_thinks_is_not(value: int) -> None:
    address = IPv4Address(value)
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_host_is_taken_in_one_spelling_alone(value: int) -> None:
    address = IPv4Address(value)
    a, b, c, d = address.packed
    others = [str(value), hex(value), f"{a}.{b}.{value & 0xFFFF}", f"0{a:o}.{b}.{c}.{d}",
              f"{a}.{b}.{c}.{d}.", f"0x{a:x}.{b}.{c}.{d}"]  # fmt: skip
    for text in others:
        assert isinstance(read_target(f"https://{text}/", CLOSED), Refusal), text
    found = read_target(f"https://{address}/", STRICT)
    assert isinstance(found, Target) == is_public(address)


@given(st.text(max_size=40))
def test_no_text_is_read_as_another_host_than_the_one_that_is_written(text: str) -> None:
    found = read_target(f"https://{text}", STRICT)
    if isinstance(found, Target):
        written = re.split(r"[/?]", text)[0]
        assert written.lower().removesuffix(":443") in (found.host, f"[{found.host}]")


def test_a_closed_network_may_be_called_when_the_settings_say_so() -> None:
    for url in ("http://127.0.0.1:8080/", "https://[fd00::1]:9/", "http://receiver:81/x"):
        assert isinstance(read_target(url, CLOSED), Target), url
    for url in ("https://10.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://u@127.0.0.1/"):
        assert isinstance(read_target(url, CLOSED), Refusal), url
    assert CLOSED.networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))


def test_a_port_is_taken_when_the_settings_name_it() -> None:
    rules = TargetRules.of(False, ["8443"], [])
    assert isinstance(read_target("https://hooks.example:8443/", rules), Target)
    assert isinstance(read_target("https://hooks.example:8444/", rules), Refusal)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example:443/x", "hooks.example"),
        ("https://hooks.example:8443/x", "hooks.example:8443"),
        ("http://hooks.example/x", "hooks.example"),
        ("http://hooks.example:443/x", "hooks.example:443"),
        ("https://[FD00::1]:8443", "[fd00::1]:8443"),
    ],
)
def test_the_host_header_has_a_port_when_it_is_not_the_schemes_own(url: str, host: str) -> None:
    found = read_target(url, CLOSED)
    assert isinstance(found, Target)
    assert found.host_header == host


def test_urls_have_one_origin_when_they_differ_in_path_and_query_alone() -> None:
    urls = [
        "https://A.example/x?y",
        "https://a.example",
        "https://a.example?z",
        "https://a.example/",
    ]
    assert {origin_of(url) for url in urls} == {"https://a.example"}
    assert origin_of("https://a.example:8443/") != origin_of("https://a.example/")
