"""Members by key, and the key with the most, against a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtframework.limits.shares import Shares


def test_the_oldest_of_the_heaviest_goes() -> None:
    """An honest client would have to make room for an attacker."""
    shares: Shares[int] = Shares()
    assert shares.oldest_of_heaviest() is None
    shares.add("honest", 1)
    for number in (2, 3, 4):
        shares.add("attacker", number)
    gone = []
    while len(shares) > 1:
        oldest = shares.oldest_of_heaviest()
        assert oldest is not None
        gone.append(oldest)
        for key in ("honest", "attacker"):
            shares.remove(key, oldest)
    assert gone == [2, 3, 1], "of two with as many, the one that has had them longer"
    assert (shares.count("honest"), shares.count("attacker"), shares.count("nobody")) == (0, 1, 0)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcd"), st.integers(0, 5)), max_size=80))
def test_shares_are_their_model(steps: list[tuple[bool, str, int]]) -> None:
    """After some order of arrivals and departures the wrong one would have to go."""
    shares: Shares[int] = Shares()
    model: dict[str, list[int]] = {}
    for adds, key, member in steps:
        there = model.setdefault(key, [])
        if adds and member not in there:
            shares.add(key, member)
            there.append(member)
        elif not adds:
            shares.remove(key, member)
            if member in there:
                there.remove(member)
        assert len(shares) == sum(map(len, model.values()))
        assert all(shares.count(each) == len(members) for each, members in model.items())
        most = max(map(len, model.values()))
        oldest = shares.oldest_of_heaviest()
        assert (oldest is None) == (most == 0)
        assert oldest is None or any(len(members) == most and members[0] == oldest for members in model.values())
