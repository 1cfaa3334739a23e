"""A token bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .rates import Rate

_ROUNDING: Final = 1e-6
"""The part of a token by which sums of floats may be wrong: a client that has waited as long as told passes."""


class Bucket:
    """A token bucket, full at first. It has no timer: its level is computed when somebody asks.

    ``now``: seconds of a clock, which may be set back (then the level stays).
    """

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._level = rate.most
        self._at = now

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Return the seconds until an amount may be taken; 0.0 if it may be taken now.

        An amount beyond the burst may be taken from a full bucket, so that nothing is too large for ever.
        """
        rate = self._rate
        self._level = min(rate.most, self._level + max(0.0, now - self._at) * rate.count / rate.per)
        self._at = now
        missing = min(amount, rate.most) - self._level
        return missing * rate.interval if missing > _ROUNDING else 0.0

    def take(self, amount: float = 1.0) -> None:
        """Take an amount, after :meth:`wait` has returned 0.0. A larger one than the burst leaves a debt."""
        self._level -= amount
