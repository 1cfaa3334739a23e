"""How often one address may be wrong about a password."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Final

MAX_ATTEMPTS: Final = 10
"""Attempts of one address within a period."""
PERIOD: Final = 60.0
"""Seconds, from the first of them."""
MAX_ADDRESSES: Final = 10_000


class LoginThrottle:
    """Counts attempts by address, in a bounded table.

    They are counted when they begin, so that many at once gain nothing.
    """

    __slots__ = ("_clock", "_tried")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tried: dict[str, tuple[float, int]] = {}
        """When the first attempt of the period was, and how many there were; the oldest address first."""

    def begin(self, address: str | None) -> float:
        """Count an attempt. Zero when it may go on, else the seconds for which there are to be no more."""
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
        """It was the right password after all."""
        self._tried.pop(_network(address), None)


def _network(address: str | None) -> str:
    """What counts as one address: of IPv6 its first 64 bits, since whoever has one has all of those."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
