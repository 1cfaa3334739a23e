"""Bans: for a time, bounded, listed and lifted."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError
from rtframework.limits import bans as module
from rtframework.limits.bans import Bans
from tests.support.clients import held_clock


async def test_a_ban_ends_by_itself() -> None:
    """Whoever gets the address next would be kept out."""
    async with held_clock() as clock:
        bans = Bans()
        assert not bans
        assert bans.add("203.0.113.7", 60) == "203.0.113.7"
        assert bans.add("2001:db8::1", 30) == "2001:db8::/64"
        await clock.advance(20)
        assert bans
        assert (bans.left("203.0.113.7"), bans.left("2001:db8::2"), bans.left("203.0.113.8")) == (40.0, 10.0, 0.0)
        assert bans.left(None) == 0.0
        await clock.advance(15)
        assert bans.left("2001:db8::1") == 0.0
        assert bans.all() == {"203.0.113.7": 25.0}
        bans.add("203.0.113.7", 5)
        await clock.advance(6)
        assert bans.all() == {}
        assert bans.left("203.0.113.7") == 0.0
        assert not bans


async def test_a_ban_is_lifted() -> None:
    """A colleague who mistyped a password would have to wait."""
    async with held_clock():
        bans = Bans()
        bans.add("2001:db8::1", 60)
        (shown,) = bans.all()
        assert bans.lift(shown)
        assert not bans.lift(shown)
        assert not bans


async def test_bans_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with a million addresses would use up the memory."""
    monkeypatch.setattr(module, "MOST", 3)
    async with held_clock() as clock:
        bans = Bans()
        bans.add("10.0.0.1", 100)
        bans.add("10.0.0.2", 1)
        bans.add("10.0.0.3", 100)
        await clock.advance(2)
        bans.add("10.0.0.4", 100)
        assert list(bans.all()) == ["10.0.0.1", "10.0.0.3", "10.0.0.4"], "what is over makes room first"
        bans.add("10.0.0.5", 100)
        assert list(bans.all()) == ["10.0.0.3", "10.0.0.4", "10.0.0.5"]


@pytest.mark.parametrize(
    ("address", "seconds"),
    [("unix", 1), ("", 1), (None, 1), ("10.0.0.0/8", 1), ("10.0.0.1", 0), ("10.0.0.1", True), ("10.0.0.1", "1")],
)
async def test_what_cannot_be_banned_is_told(address: Any, seconds: Any) -> None:
    """A ban would ban nobody."""
    with pytest.raises(ConfigurationError):
        Bans().add(address, seconds)
