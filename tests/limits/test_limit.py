"""A limit: buckets of a connection, a user and an address that are taken from together."""

from __future__ import annotations

from typing import Any

from rtframework import Rate
from rtframework.limits.bucket import Bucket
from rtframework.limits.limit import NO_BUCKETS, Limit
from tests.support.clients import held_clock


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.buckets: dict[Any, Bucket] | None = None


async def test_connections_are_limited_one_by_one() -> None:
    """Clients behind one address would have to share what each may do."""
    async with held_clock():
        limit, other = Limit({"connection": Rate(1)}), Limit({"connection": Rate(1)})
        ada, bob = Line(), Line()
        assert not limit.take(ada, "10.0.0.1")
        assert limit.take(ada, "10.0.0.1") == 1.0
        assert not limit.take(bob, "10.0.0.1")
        assert not other.take(ada, "10.0.0.1")
        assert not limit.is_per_user


async def test_nothing_is_taken_unless_all_have_room() -> None:
    """A client that its address refuses would use up its own limit meanwhile."""
    async with held_clock() as clock:
        limit = Limit({"connection": Rate(1, burst=2), "user": Rate(1, burst=4), "address": Rate(1, burst=3)})
        assert limit.is_per_user
        lines = [Line(), Line()]
        assert [limit.take(lines[number % 2], "2001:db8::1", "ada") for number in range(4)] == [0.0, 0.0, 0.0, 1.0]
        assert not limit.take(lines[1], "10.0.0.1", "ada"), "what its address refused was not taken"
        assert limit.take(Line(), "10.0.0.2", "ada") == 1.0
        assert limit.take(Line(), "2001:db8::2", "bob") == 1.0, "the same /64"
        await clock.advance(1)
        assert not limit.take(Line(), "2001:db8::2", "bob")


async def test_what_is_not_known_has_no_limit() -> None:
    """All clients on a Unix socket, which have no address, would be one; and all without a user."""
    async with held_clock():
        limit = Limit({"user": Rate(1), "address": Rate(1)})
        assert [limit.take(None, None) for _ in range(5)] == [0.0] * 5
        line = Line()
        limit.take(line, None)
        assert line.buckets is None


async def test_connections_share_no_buckets_by_mistake() -> None:
    """All connections that have used a limit once would have one bucket together."""
    async with held_clock():
        limit = Limit({"connection": Rate(1)})
        one, two = Line(), Line()
        one.buckets = two.buckets = NO_BUCKETS
        assert [limit.take(line, None) for line in (one, two, one)] == [0.0, 0.0, 1.0]
        assert NO_BUCKETS == {}
        assert not limit.is_per_address
        assert Limit({"address": Rate(1)}).is_per_address
