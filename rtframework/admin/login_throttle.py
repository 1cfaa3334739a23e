"""A limit on the login attempts of one address."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Final

MAX_ATTEMPTS: Final = 10
"""Attempts allowed for one address in a period."""
PERIOD: Final = 60.0
"""Seconds of a period, which starts with the first attempt."""
MAX_ADDRESSES: Final = 10_000


class LoginThrottle:
    """Counts attempts by address, in a bounded table.

    An attempt is counted when it begins, so that many attempts at once do not pass the limit.
    """

    __slots__ = ("_clock", "_tried")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[str, tuple[float, int]] = {}
        """By address: the time of the period's first attempt, and the number of attempts; oldest address first."""

    def begin(self, address: str | None) -> float:
        """Count an attempt. Return 0.0 if it is allowed, else the seconds until the next one is."""
        key = _network(address)
        now = self._clock()
        began, count = self._tried.get(key, (now, 0))
        if now - began >= PERIOD:
            began, count = now, 0
            self._tried.pop(key, None)
        if count >= MAX_ATTEMPTS:
            return began + PERIOD - now
        if key not in self._tried and len(self._tried) >= MAX_ADDRESSES:
            del self._tried[next(iter(self._tried))]
        self._tried[key] = (began, count + 1)
        return 0.0

    def forgive(self, address: str | None) -> None:
        """Reset the count of an address, after a login."""
        self._tried.pop(_network(address), None)


def _network(address: str | None) -> str:
    """Return the key of an address: for IPv6 its first 64 bits, because a client has all addresses of its /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
