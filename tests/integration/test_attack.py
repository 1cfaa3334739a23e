"""Attackers of all kinds at once: ``tests/attack.py``, for a few seconds."""

from __future__ import annotations

from tests import attack


async def test_honest_clients_lose_nothing_under_attack() -> None:
    """A handful of hostile clients would take the server from everybody else, or its memory from the machine."""
    found = await attack.run(seconds=2.5, attackers=len(attack.ATTACKS), honest=3, max_inbound=100_000_000)
    assert (found["lost"], found["failed"], found["in bounds"]) == (0, [], True), found
    assert found["acks"] >= 3
