"""Addresses of clients, as limits count them."""

from __future__ import annotations

import ipaddress


def network_of(address: str | None) -> str:
    """Return the key of a client's address: IPv4 as it is, IPv6 as its /64, because a client has all of these.

    An IPv4 address that is written as IPv6 is that of IPv4. Anything else is a key as it is; ``None`` is ``""``.
    """
    if address is None or ":" not in address:
        return address or ""
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{ipaddress.IPv6Address(parsed.packed[:8] + bytes(8))}/64"
