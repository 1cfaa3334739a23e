"""Proxies: whose word on a client's address is taken, and whose is not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from rtframework import ConfigurationError, Server
from rtframework.engine.http.proxies import Proxies
from rtframework.options import ProxyHeaders, TrustedProxies


def seen(
    trusted: TrustedProxies,
    peer: str | None,
    *headers: tuple[str, str],
    by: ProxyHeaders = "x-forwarded",
) -> tuple[str | None, str, str]:
    """Address, scheme and host of a request, as the program sees them."""
    request = make_mocked_request("GET", "/socket.io/?a=1", headers=CIMultiDict([("Host", "inside:8080"), *headers]))
    request = Proxies(trusted, by).seen_through(request.clone(remote=peer) if peer is not None else request)
    return request.remote, request.scheme, request.host


def address(trusted: TrustedProxies, peer: str | None, *entries: str, by: ProxyHeaders = "x-forwarded") -> str | None:
    """The client's address when these are the headers with addresses."""
    name = "X-Forwarded-For" if by == "x-forwarded" else "Forwarded"
    return seen(trusted, peer, *((name, entry) for entry in entries), by=by)[0]


@pytest.mark.parametrize(
    ("hops", "entries", "expected"),
    [
        (1, [], "10.0.0.1"),
        (1, ["1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        (2, ["6.6.6.6", "1.1.1.1", "10.0.0.2"], "1.1.1.1"),
        (3, ["1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        (1, ["2001:db8::1"], "2001:db8::1"),
        (1, ["[2001:db8::1]:443"], "2001:db8::1"),
        (1, ["1.1.1.1:5000"], "1.1.1.1"),
        (1, ["unknown"], "10.0.0.1"),
        (1, ["1.1.1.1, "], "10.0.0.1"),
        (1, ["1.1.1.1, <script>"], "10.0.0.1"),
        (2, ["1.1.1.1, unknown"], "10.0.0.1"),
    ],
)
def test_a_number_of_proxies(hops: int, entries: Sequence[str], expected: str) -> None:
    """A client could give itself any address: that of somebody else, or one that is never banned."""
    assert address(hops, "10.0.0.1", *entries) == expected


@pytest.mark.parametrize(
    ("peer", "entries", "expected"),
    [
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 10.9.9.9"], "1.1.1.1"),
        ("10.0.0.1", ["6.6.6.6, 1.1.1.1, 192.0.2.7, 10.9.9.9"], "1.1.1.1"),
        ("10.0.0.1", ["10.0.0.5, 10.0.0.6"], "10.0.0.5"),
        ("::ffff:10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("::1", ["1.1.1.1"], "1.1.1.1"),
        ("192.0.2.7", ["1.1.1.1"], "1.1.1.1"),
        ("192.0.2.8", ["1.1.1.1"], "192.0.2.8"),
        ("6.6.6.6", ["10.0.0.1"], "6.6.6.6"),
        ("fe80::1%eth0", ["1.1.1.1"], "1.1.1.1"),
        ("fe80::2%eth0", ["1.1.1.1"], "fe80::2%eth0"),
        (None, ["1.1.1.1"], None),
    ],
)
def test_proxies_by_address(peer: str | None, entries: Sequence[str], expected: str | None) -> None:
    """Whoever reaches the server past the proxy would be believed."""
    assert address(["10.0.0.0/8", "192.0.2.7", "::1", ip_network("fe80::1")], peer, *entries) == expected


def test_a_proxy_by_unix_socket() -> None:
    """A socket in the file system has no address that could be named."""
    assert address("unix", None, "1.1.1.1") == "1.1.1.1"
    assert address("unix", None, "6.6.6.6, 1.1.1.1") == "1.1.1.1"
    assert address("unix", "10.0.0.1", "1.1.1.1") == "10.0.0.1"
    assert address(1, None, "1.1.1.1") == "1.1.1.1"
    assert not address("unix", None)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["for=1.1.1.1"], "1.1.1.1"),
        (["for=6.6.6.6, for=1.1.1.1"], "1.1.1.1"),
        (['for=6.6.6.6, For="[2001:db8::1]:4711";proto=https;by=10.0.0.1'], "2001:db8::1"),
        (["for=6.6.6.6", "for=1.1.1.1"], "1.1.1.1"),
        (["for=6.6.6.6, for=_hidden"], "10.0.0.1"),
        (["for=unknown"], "10.0.0.1"),
        (["proto=https"], "10.0.0.1"),
        (['for="1.1.1.1:80"; proto=http'], "1.1.1.1"),
        (['for="a\\"b, for=6.6.6.6", for=1.1.1.1'], "1.1.1.1"),
        # A client that leaves a quote open must not swallow what the proxy adds.
        (['for=", for=1.1.1.1'], "1.1.1.1"),
        (['for="6.6.6.6, for="1.1.1.1:80"'], "1.1.1.1"),
        (["nonsense, for=1.1.1.1"], "1.1.1.1"),
        (["nonsense"], "10.0.0.1"),
        (["for=1.1.1.1, nonsense"], "10.0.0.1"),
    ],
)
def test_the_forwarded_header(entries: Sequence[str], expected: str) -> None:
    """Proxies that speak RFC 7239 only would hide everybody's address."""
    assert address(1, "10.0.0.1", *entries, by="forwarded") == expected


def test_one_kind_of_header_only() -> None:
    """A proxy writes one kind and passes the other on as the client has sent it: that would be believed."""
    both = (("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "for=2.2.2.2;proto=https"))
    assert seen(1, "10.0.0.1", *both)[:2] == ("1.1.1.1", "http")
    assert seen(1, "10.0.0.1", *both, by="forwarded")[:2] == ("2.2.2.2", "https")


@pytest.mark.parametrize(
    ("hops", "proto", "host", "expected"),
    [
        (1, "https", "chat.example.org", ("https", "chat.example.org")),
        (1, "wss", "chat.example.org:444", ("https", "chat.example.org:444")),
        (1, "HTTPS", "[2001:db8::1]:444", ("https", "[2001:db8::1]:444")),
        (1, "http", "", ("http", "inside:8080")),
        (1, "ftp", "a b", ("http", "inside:8080")),
        (1, "https, http", "evil.org, chat.example.org", ("http", "chat.example.org")),
        (2, "https, http", "chat.example.org, middle", ("https", "chat.example.org")),
        (2, "https", "chat.example.org", ("https", "chat.example.org")),
    ],
)
def test_scheme_and_host(hops: int, proto: str, host: str, expected: tuple[str, str]) -> None:
    """Behind a proxy that speaks TLS, or asks for another host, a page would be foreign to its own server."""
    addresses = ", ".join(["1.1.1.1", "10.0.0.2"][:hops])
    headers = (("X-Forwarded-For", addresses), ("X-Forwarded-Proto", proto), ("X-Forwarded-Host", host))
    assert seen(hops, "10.0.0.1", *headers)[1:] == expected
    assert seen("10.0.0.7", "10.0.0.1", *headers)[1:] == ("http", "inside:8080")


def test_scheme_and_host_of_forwarded() -> None:
    """The same by RFC 7239."""
    line = 'for=6.6.6.6;proto=http;host=evil.org, for=1.1.1.1;proto=https;host="chat.example.org:444"'
    assert seen(1, "10.0.0.1", ("Forwarded", line), by="forwarded") == ("1.1.1.1", "https", "chat.example.org:444")


def test_headers_made_to_be_slow() -> None:
    """One request would hold the server up for seconds."""
    for line in ('a="' + ',a=x"' * 1_300, "," * 8_000, 'a="\\",' * 1_200, ";" * 8_000, "a=" * 4_000, " " * 8_000):
        start = time.perf_counter()
        address(1, "10.0.0.1", line, by="forwarded")
        address(8_000, "10.0.0.1", line)
        assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "options",
    [
        {"trusted_proxies": 0},
        {"trusted_proxies": -1},
        {"trusted_proxies": True},
        {"trusted_proxies": "proxy.example.org"},
        {"trusted_proxies": ["10.0.0.1/8"]},
        {"trusted_proxies": [1.5]},
        {"trusted_proxies": 1, "proxy_headers": "x-real-ip"},
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any]) -> None:
    """A server that believes nobody, or everybody, would be noticed in production only."""
    with pytest.raises(ConfigurationError, match=r"trusted_proxies|proxy_headers"):
        Server(**options)
