"""Turns for attempts to log in: of one address, and of all addresses together."""

from __future__ import annotations

import asyncio
from typing import Final

from ..limits.addresses import network_of
from ..limits.rate_limiter import RateLimiter
from ..limits.rates import Rate

OF_ADDRESS: Final = Rate(10, per=60)
"""Attempts of one address: 10 at once, then one every 6 s."""
AT_ONCE: Final = 20
"""Attempts of all addresses together that need not wait."""
INTERVAL: Final = 1.0
"""Seconds from one of the further attempts to the next. It doubles with every ``AT_ONCE`` attempts in vain."""
LONGEST_INTERVAL: Final = 8.0
QUIET: Final = 600.0
"""Seconds without attempts after which the interval is the shortest again."""
PATIENCE: Final = 15.0
"""Seconds that an attempt may wait for its turn."""
MAX_KNOWN: Final = 100
"""Addresses with a login that are remembered."""


class LoginThrottle:
    """Gives each attempt a turn, so that passwords are checked at a bounded rate, however many are sent.

    An attempt too many waits instead of being refused: ten wrong passwords of somebody behind the same address (NAT)
    delay the right one by seconds. An address that has logged in before does not wait because of others: an attack from
    two thousand addresses does not keep it out.
    """

    __slots__ = ("_in_vain", "_known", "_of_address", "_until")

    def __init__(self) -> None:
        self._of_address = RateLimiter(OF_ADDRESS)
        self._known: dict[str, None] = {}
        """The addresses with a login, the latest last."""
        self._until = 0.0
        """The time until which the attempts of all addresses last, if each takes its interval."""
        self._in_vain = 0
        """Attempts of all addresses since the last login or the last quiet time."""

    def begin(self, address: str | None) -> float:
        """Take a turn. Return the seconds until it comes; more than ``PATIENCE``: there is none, try again then."""
        key = network_of(address)
        now = asyncio.get_running_loop().time()
        bucket = self._of_address.bucket(key, now)
        is_known = key in self._known
        wait = max(bucket.wait(now), 0.0 if is_known else self._wait_for_others(now))
        if wait <= PATIENCE:
            bucket.take()
            if not is_known:
                self._until += self._interval
                self._in_vain += 1
        return wait

    def forgive(self, address: str | None) -> None:
        """Begin anew after a login."""
        key = network_of(address)
        self._of_address.forget(key)
        self._known.pop(key, None)
        self._known[key] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._until, self._in_vain = 0.0, 0

    @property
    def _interval(self) -> float:
        return float(min(LONGEST_INTERVAL, INTERVAL * 2 ** min(self._in_vain // AT_ONCE, 8)))

    def _wait_for_others(self, now: float) -> float:
        if abs(self._until - now) >= QUIET:  # or it is the clock of another event loop
            self._until, self._in_vain = now, 0
        self._until = max(self._until, now)
        return max(0.0, self._until - now - (AT_ONCE - 1) * INTERVAL)
