"""The table of buckets: by key, bounded, with the event loop's clock."""

from __future__ import annotations

from rtframework import Rate, RateLimiter
from tests.support.clients import held_clock


async def test_each_key_has_its_own_rate() -> None:
    """One client would use up what others may do."""
    async with held_clock() as clock:
        limiter = RateLimiter("2/s")
        assert [limiter.take("ada") for _ in range(3)] == [0.0, 0.0, 0.5]
        assert limiter.take("bob") == 0.0
        await clock.advance(0.5)
        assert [limiter.take("ada"), limiter.take("ada")] == [0.0, 0.5]
        limiter.forget("ada")
        limiter.forget("nobody")
        assert limiter.take("ada", 2) == 0.0


async def test_the_table_is_bounded() -> None:
    """An attacker with a million addresses would use up the memory."""
    async with held_clock():
        limiter = RateLimiter(Rate(1), most=100)
        limiter.take("first")
        for number in range(50):
            limiter.take(number)
        assert limiter.take("first"), "asked for again: it is not the next to go"
        for number in range(100, 1_000):
            limiter.take(number)
            limiter.take("first")
        assert len(limiter) == 100
        assert limiter.take("first")
        assert not limiter.take(0), "forgotten: it begins anew"


async def test_refusals_take_nothing() -> None:
    """A client that goes on asking would never be let in again."""
    async with held_clock() as clock:
        limiter = RateLimiter(Rate(1))
        limiter.take("ada")
        for _ in range(9):
            await clock.advance(0.1)
            assert limiter.take("ada")
        await clock.advance(0.1)
        assert not limiter.take("ada")
