"""Token buckets, against a model in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import Rate
from rtframework.limits.bucket import Bucket

STEP = 64
"""Times are multiples of 1/64 s, which floats hold exactly."""


def taken(bucket: Bucket, now: float, amount: float = 1.0) -> bool:
    """Whether an amount could be taken."""
    if bucket.wait(now, amount):
        return False
    bucket.take(amount)
    return True


def test_a_burst_passes_and_then_the_rate() -> None:
    """Clients would be refused that keep to what they were told."""
    bucket = Bucket(Rate(2, burst=5), 100.0)
    assert [taken(bucket, 100.0) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait(100.0) == 0.5
    assert bucket.wait(100.25) == 0.25
    assert [taken(bucket, 100.5) for _ in range(2)] == [True, False]
    assert [taken(bucket, 1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_who_waits_as_long_as_told_gets_in() -> None:
    """Sums of floats would refuse a client again and again for a millionth of a second."""
    bucket, now = Bucket(Rate(3, per=7), 0.1), 0.1
    for _ in range(1000):
        now += bucket.wait(now)
        assert taken(bucket, now)


def test_a_large_amount_passes_a_full_bucket_and_leaves_a_debt() -> None:
    """A message larger than the burst could never be sent."""
    bucket = Bucket(Rate(100, burst=200), 0.0)
    assert taken(bucket, 0.0, 500)
    assert bucket.wait(0.0) == pytest.approx(3.01)
    assert not taken(bucket, 4.9, 500)
    assert taken(bucket, 5.0, 500)


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    """A server that serves again in another event loop would refuse its clients for hours."""
    bucket = Bucket(Rate(1, burst=2), 1000.0)
    assert taken(bucket, 1000.0)
    assert taken(bucket, 0.0)
    assert bucket.wait(0.0) == 1.0
    assert taken(bucket, 1.0)


@given(
    count=st.sampled_from([1, 2, 4, 8, 32]),
    per=st.sampled_from([1, 2, 16, 64]),
    burst=st.integers(1, 50),
    calls=st.lists(st.tuples(st.integers(0, 3 * STEP), st.integers(1, 60)), max_size=60),
)
def test_a_bucket_is_its_model(count: int, per: int, burst: int, calls: list[tuple[int, int]]) -> None:
    """Some order of calls would let more through than the rate, or less."""
    bucket = Bucket(Rate(count, per, burst), 0.0)
    level, now, passed = Fraction(burst), Fraction(0), 0
    for pause, amount in calls:
        now += Fraction(pause, STEP)
        level = min(Fraction(burst), level + Fraction(pause, STEP) * Fraction(count, per))
        missing = min(amount, burst) - level
        assert bucket.wait(float(now), amount) == pytest.approx(max(0.0, float(missing * per / count)), abs=1e-4)
        assert taken(bucket, float(now), amount) == (missing <= 0)
        if missing <= 0:
            level -= amount
            passed += amount
    most = max((amount for _, amount in calls), default=0)
    assert passed <= burst + now * count / per + most
