"""One limit of a server: token buckets for each connection, user and address."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from typing import Any, Final, Protocol

from .addresses import network_of
from .bucket import Bucket
from .rate_limiter import RateLimiter
from .rates import ADDRESS, CONNECTION, USER, Rate

NO_BUCKETS: Final[dict[Any, Bucket]] = {}
"""The buckets of a connection that has used one of its limits once, which costs it no memory; never filled."""


class Holder(Protocol):
    """A connection, as limits see it."""

    buckets: dict[Any, Bucket] | None
    """The connection's own bucket of each limit, which ends with it; ``None`` rather than empty."""


class Limit:
    """The rates of one kind of thing. Nothing is taken from any bucket unless all have room."""

    __slots__ = ("_address", "_connection", "_user", "is_per_address", "is_per_user")

    def __init__(self, rates: Mapping[str, Rate]) -> None:
        address, user = rates.get(ADDRESS), rates.get(USER)
        self._connection = rates.get(CONNECTION)
        self._address = None if address is None else RateLimiter(address)
        self._user = None if user is None else RateLimiter(user)
        self.is_per_address = address is not None
        """True if connections of one address are counted together."""
        self.is_per_user = user is not None
        """True if the user has to be given."""

    def take(
        self, holder: Holder | None, address: str | None, user: Hashable | None = None, amount: float = 1.0
    ) -> float:
        """Take an amount. Return 0.0 if it was there; otherwise take nothing, and return the seconds to wait for it.

        An address or a user that is not known (``None``) has no limit.
        """
        now = asyncio.get_running_loop().time()
        buckets = []
        if self._connection is not None and holder is not None:
            buckets.append(self._bucket(holder, self._connection, now))
        if self._user is not None and user is not None:
            buckets.append(self._user.bucket(user, now))
        if self._address is not None and address:
            buckets.append(self._address.bucket(network_of(address), now))
        wait = max((each.wait(now, amount) for each in buckets), default=0.0)
        if not wait:
            for each in buckets:
                each.take(amount)
        return wait

    def _bucket(self, holder: Holder, rate: Rate, now: float) -> Bucket:
        if not holder.buckets:
            holder.buckets = {}  # in the place of None, or of NO_BUCKETS
        bucket = holder.buckets.get(self)
        if bucket is None:
            bucket = holder.buckets[self] = Bucket(rate, now)
        return bucket
