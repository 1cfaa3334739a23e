"""A bounded table of token buckets."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Final

from .bucket import Bucket
from .rates import Rate, rate_of

MOST: Final = 10_000
"""Keys of a table: an attacker with a million addresses cannot make it grow."""


class RateLimiter:
    """Limits how often something happens, for each key: a user, an address, a room …

    It keeps a token bucket for each of the last ``most`` keys; the one that was not asked for the longest is
    forgotten, which lets its key begin anew. There is no timer: the event loop's clock is read at each call, so call it
    in the event loop.

    Example::

        searches = RateLimiter("5/min")

        @io.on("search")
        async def search(socket: Socket, text: str) -> str:
            wait = searches.take(socket.user.id)
            if wait:
                raise RateLimited(wait)
            return f"nothing found for {text}"
    """

    __slots__ = ("_buckets", "_most", "rate")

    def __init__(self, rate: Rate | str, *, most: int = MOST) -> None:
        self.rate = rate_of("rate", rate)
        self._most = most
        self._buckets: dict[Hashable, Bucket] = {}
        """The bucket of each key; the one that was asked for last comes last."""

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._buckets)

    def take(self, key: Hashable, amount: float = 1.0) -> float:
        """Take an amount. Return 0.0 if it was there; otherwise take nothing, and return the seconds to wait for it."""
        now = asyncio.get_running_loop().time()
        bucket = self.bucket(key, now)
        wait = bucket.wait(now, amount)
        if not wait:
            bucket.take(amount)
        return wait

    def forget(self, key: Hashable) -> None:
        """Let a key begin anew."""
        self._buckets.pop(key, None)

    def bucket(self, key: Hashable, now: float) -> Bucket:
        """Return the bucket of a key."""
        bucket = self._buckets.pop(key, None)
        if bucket is None:
            bucket = Bucket(self.rate, now)
            if len(self._buckets) >= self._most:
                del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket
