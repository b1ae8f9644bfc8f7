"""Where webhooks may be sent: what a URL may look like, and which addresses may be called.

A URL is read by one strict form and by nothing else: what two parsers could read differently
(credentials, backslashes, names that are numbers, other alphabets, a dot at the end) is
refused. A name says nothing about where it leads, so every address that it has is checked
when a connection is made, and the connection is made to the address that was checked
(`worker/post.py`).

`ipaddress` alone would let loopback through in other clothes (NAT64, 6to4, IPv4-compatible),
so IPv6 is allowed only in 2000::/3 less what is special there, and IPv4 has a list of its own.
Sources: the IANA registries of special-purpose addresses (RFC 6890), and what clouds keep to
themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import urlsplit

from shared.errors import Violation

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048
ANY_PORT = "*"

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?][A-Za-z0-9._~:/?@!$&'()*+,;=%\[\]-]*)?",
)
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
#: Names that lead into a private network by definition (RFC 6761, 6762, 8375; ICANN's .internal).
_PRIVATE_NAMES = re.compile(r"(?:.*\.)?(?:localhost|local|internal|home\.arpa|localdomain)")

_GLOBAL_6 = IPv6Network("2000::/3")
_REFUSED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; metadata of Alibaba's cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: looks public, is the host
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; metadata of Oracle's cloud
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",
    )
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL or an address may not be called; `code` is one of `api/codes.py`."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart. `address` if its host is one; `path` with its query."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def host_header(self) -> str:
        """RFC 9110, 7.2: without the port if it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetRules:
    """What is allowed here beside public addresses by https on port 443.

    ports: more ports; None: any. networks: addresses that may be called although they are
    not public, for a closed network.
    """

    allow_http: bool = False
    ports: frozenset[int] | None = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, allow_http: bool, ports: Iterable[str], networks: Iterable[str]) -> TargetRules:
        """From the texts of the settings."""
        given = list(ports)
        return cls(
            allow_http=allow_http,
            ports=None if ANY_PORT in given else frozenset(map(int, given)),
            networks=tuple(ip_network(text) for text in networks),
        )

    def allows_address(self, address: Address) -> bool:
        """Whether this very address may be connected to."""
        return any(address in network for network in self.networks) or is_public(address)

    def allows_port(self, scheme: str, port: int) -> bool:
        """443 for https, 80 for http, and what the settings add."""
        return self.ports is None or port == _default_port(scheme) or port in self.ports


def is_public(address: Address) -> bool:
    """Whether an address belongs to the Internet at large, and to one host."""
    if isinstance(address, IPv6Address) and (address.scope_id or address not in _GLOBAL_6):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not any(address in network for network in _REFUSED)
    )


def read_target(url: str, rules: TargetRules) -> Target | Refusal:
    """The URL taken apart, or why nothing may be sent to it. Asks nobody: no DNS."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        return _explain(url)
    if match["scheme"] == "http" and not rules.allow_http:
        return Refusal("webhook_url_not_https", "only https is allowed here")
    port = int(match["port"] or _default_port(match["scheme"]))
    if not 1 <= port <= 65_535 or not rules.allows_port(match["scheme"], port):
        return Refusal("webhook_port_refused", f"the port {port} is not allowed here")
    host = _read_host(match["host"].lower())
    if isinstance(host, Refusal):
        return host
    address = None if isinstance(host, str) else host
    if address is not None and not rules.allows_address(address):
        return Refusal("webhook_address_refused", f"{address} is not a public address")
    if isinstance(host, str) and not rules.networks and _is_private_name(host):
        return Refusal("webhook_address_refused", f"{host} is no name of the public Internet")
    path = match["path"] or "/"
    return Target(
        scheme=match["scheme"],
        host=str(host),
        port=port,
        path=path if path.startswith("/") else f"/{path}",
        address=address,
    )


def url_violations(pointer: str, url: str, rules: TargetRules) -> list[Violation]:
    """What is wrong with a URL in a request, before anybody asks where its name leads."""
    target = read_target(url, rules)
    if isinstance(target, Refusal):
        return [Violation(pointer, target.code, target.detail)]
    return []


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL that was accepted: who is called."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _read_host(text: str) -> str | Address | Refusal:
    """A name or an address in its one canonical form."""
    if text.startswith("["):
        try:
            return IPv6Address(text[1:-1])
        except ValueError:
            return Refusal("webhook_url_invalid", f"{text} is no IPv6 address")
    if _NUMBER.fullmatch(text.rsplit(".", 1)[-1]):  # others read 0x7f.1 and 2130706433 as addresses
        try:
            return ip_address(text)
        except ValueError:
            return Refusal("webhook_url_invalid", "write an IPv4 address as four decimal numbers")
    if len(text) > 253 or not _NAME.fullmatch(text):
        return Refusal("webhook_url_invalid", "the host is no name (RFC 1123), or ends in a dot")
    return text


def _is_private_name(host: str) -> bool:
    return "." not in host or _PRIVATE_NAMES.fullmatch(host) is not None


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _explain(url: str) -> Refusal:
    """The likeliest reasons why a URL has not the one form that is taken."""
    authority = re.split(r"[/?#\\]", url.partition("://")[2])[0]
    if len(url) > MAX_URL:
        detail = f"a URL has at most {MAX_URL} characters"
    elif not url.isascii():
        detail = "write it in ASCII: a host as xn--..., the rest percent-encoded"
    elif "@" in authority:
        detail = "credentials in a URL are not taken: webhooks are signed"
    elif "#" in url:
        detail = "a fragment is never sent: leave it out"
    elif "%" in authority:
        detail = "the host must not be percent-encoded or have a zone"
    else:
        detail = "expected https://HOST[:PORT][/PATH] (RFC 3986)"
    return Refusal("webhook_url_invalid", detail)
