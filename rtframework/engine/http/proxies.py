"""A client behind proxies: its address, its scheme, and the host that it asked for."""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Final

from ...exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from ...options import ProxyHeaders, TrustedProxies

_UNIX: Final = "unix"
_SCHEMES: Final = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_HOST: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_PAIR: Final = re.compile(r'\s*([\w!#$%&\'*+.^`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*([;,]|$)')
"""One ``name=value`` of a ``Forwarded`` header, with what follows it (RFC 7239, 4)."""


class Proxies:
    """Reads what proxies say; see ``rtframework.options.TrustedProxies``.

    A client can send these headers too, and a proxy adds to them. So they are read from the end, as long as the proxy
    that wrote an entry is trusted; the first address that is not trusted is the client's.
    """

    def __init__(self, trusted: TrustedProxies, headers: ProxyHeaders) -> None:
        self._hops = 0
        self._unix = False
        self._networks: list[IPv4Network | IPv6Network] = []
        self._forwarded = headers == "forwarded"
        if isinstance(trusted, bool) or trusted is None:
            raise ConfigurationError(f"trusted_proxies is a number or addresses, not {trusted!r}")
        if isinstance(trusted, int):
            if trusted < 1:
                raise ConfigurationError(f"trusted_proxies: there cannot be {trusted} proxies")
            self._hops = trusted
            return
        one = isinstance(trusted, str | IPv4Address | IPv6Address | IPv4Network | IPv6Network)
        for each in [trusted] if one else trusted:  # type: ignore[union-attr]
            if each == _UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ip_network(each))  # type: ignore[arg-type]
            except ValueError as error:
                raise ConfigurationError(f"trusted_proxies: {error}") from None

    def seen_through(self, request: web.Request) -> web.Request:
        """Clone a request as the outermost trusted proxy got it: ``remote``, ``scheme``, ``host`` are the client's."""
        peer = request.remote or _UNIX
        if not self._trusts(peer, 0):
            return request
        if self._forwarded:
            elements = _forwarded(request.headers.getall("Forwarded", ()))
            addresses = [element.get("for", "") for element in elements]
            schemes = [element.get("proto", "") for element in elements]
            hosts = [element.get("host", "") for element in elements]
        else:
            addresses = _listed(request, "X-Forwarded-For")
            schemes = _listed(request, "X-Forwarded-Proto")
            hosts = _listed(request, "X-Forwarded-Host")
        client, passed = self._client(peer, addresses)
        scheme = _SCHEMES.get(_of_outermost(schemes, passed).lower(), request.scheme)
        host = _of_outermost(hosts, passed)
        if not _HOST.fullmatch(host):
            host = request.host
        remote = client if client != _UNIX else ""
        try:
            return request.clone(remote=remote, scheme=scheme, host=host)
        except ValueError:  # the request line names a host itself, which no proxy passes on
            return request.clone(remote=remote)

    def _client(self, peer: str, addresses: Sequence[str]) -> tuple[str, int]:
        """Find the first address that is not trusted, or the last known, and count the trusted proxies before it."""
        client, passed = peer, 0
        for entry in reversed(addresses):
            if not self._trusts(client, passed):
                return client, passed
            passed += 1
            address = _address(entry)
            if address is None:  # "unknown", or a name that the proxy gives it
                return client, passed
            client = address
        return client, passed + self._trusts(client, passed)

    def _trusts(self, peer: str, passed: int) -> bool:
        if self._hops:
            return passed < self._hops
        if peer == _UNIX:
            return self._unix
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def _listed(request: web.Request, name: str) -> list[str]:
    """List the words of a header, which may come several times (RFC 9110, 5.3)."""
    return [word.strip() for line in request.headers.getall(name, ()) for word in line.split(",")]


def _of_outermost(values: Sequence[str], passed: int) -> str:
    """Pick the value of the outermost of so many proxies, where each adds one or replaces what was there."""
    return values[max(0, len(values) - passed)] if values and passed else ""


def _address(entry: str) -> str | None:
    """Read the IP address of ``1.2.3.4``, ``1.2.3.4:80``, ``::1``, ``[::1]`` or ``[::1]:80``."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return str(ip_address(entry.partition("%")[0]))  # a zone means nothing here, and may be any text
    except ValueError:
        return None


def _forwarded(lines: Sequence[str]) -> list[dict[str, str]]:
    """List the elements of a ``Forwarded`` header; if one is malformed, those after it only."""
    elements: list[dict[str, str]] = []
    for line in lines:
        element: dict[str, str] = {}
        position = 0
        while position < len(line):
            pair = _PAIR.match(line, position)
            if pair is None:
                # Who has written this cannot be told: what stands before it counts as nobody's.
                elements.clear()
                element = {}
                separator = line.find(",", position)
                position = len(line) if separator < 0 else separator + 1
                elements.append({})
                continue
            name, quoted, plain, end = pair.groups()
            element.setdefault(name.lower(), plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            position = pair.end()
            if end != ";":
                elements.append(element)
                element = {}
        if element:
            elements.append(element)
    return elements
