"""Addresses that may not connect for a time."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from typing import Final

from ..exceptions import ConfigurationError
from .addresses import network_of

MOST: Final = 10_000
"""Bans at once. Beyond: the oldest is lifted."""


class Bans:
    """Bans by address, IPv6 by /64; bounded, and over by themselves."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        """The end of each ban, by the event loop's clock; the newest ban comes last."""

    def __bool__(self) -> bool:
        """Tell whether there may be a ban."""
        return bool(self.until)

    def add(self, address: str, seconds: float) -> str:
        """Ban an address. Return its key. Raises :class:`~rtframework.ConfigurationError`."""
        key = _key(address)
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds < math.inf:
            raise ConfigurationError(f"a ban is a number of seconds above zero, not {seconds!r}")
        self.until.pop(key, None)
        now = asyncio.get_running_loop().time()
        if len(self.until) >= MOST:
            self.until = {each: until for each, until in self.until.items() if until > now}
            if len(self.until) >= MOST:
                del self.until[next(iter(self.until))]
        self.until[key] = now + seconds
        return key

    def lift(self, address: str) -> bool:
        """End a ban. Return ``False`` if there was none."""
        return self.until.pop(_key(address), None) is not None

    def left(self, address: str | None) -> float:
        """Return the seconds for which an address is still banned; 0.0 if it is not."""
        key = network_of(address)
        until = self.until.get(key)
        if until is None:
            return 0.0
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            del self.until[key]
        return max(0.0, left)

    def all(self) -> dict[str, float]:
        """Return the seconds left of each ban, by the address or the /64."""
        now = asyncio.get_running_loop().time()
        return {key: until - now for key, until in self.until.items() if until > now}


def _key(address: str) -> str:
    """Return the key of an address, or of one that :meth:`Bans.all` has returned. Raises ``ConfigurationError``."""
    plain = address.removesuffix("/64") if isinstance(address, str) else ""
    try:
        ipaddress.ip_address(plain)
    except ValueError:
        raise ConfigurationError(
            f"an address is a string such as '203.0.113.7' or '2001:db8::1', not {address!r}"
        ) from None
    return network_of(plain)
