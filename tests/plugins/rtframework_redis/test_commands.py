"""Commands as bytes: the fast way gives what the slow one gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework_redis.commands import Argument, begin, bulk, pack, read_streams

PARTS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.binary(), st.integers(-(2**63), 2**63 - 1))


@given(st.lists(PARTS, min_size=1), st.lists(st.binary(), max_size=3))
def test_a_command_in_two_steps_is_the_same(first: list[Argument], rest: list[bytes]) -> None:
    """Redis would read entries that nobody has written."""
    made = begin(len(first) + len(rest), *first) + b"".join(map(bulk, rest))
    assert made == pack((*first, *rest))


def test_a_wrong_number_of_parts_is_refused() -> None:
    """Redis would take the next command for the rest of this one."""
    with pytest.raises(ValueError, match="2 of 1 parts"):
        begin(1, "GET", "a")
    with pytest.raises(ValueError, match="0 of 1 parts"):
        begin(1)
    with pytest.raises(TypeError):
        pack((None,))  # type: ignore[arg-type]


def test_streams_of_both_protocols() -> None:
    """Without RESP3 no event would be read."""
    entries = [[b"1-0", [b"a", b"b"]]]
    assert list(read_streams({b"s": entries})) == [(b"s", entries)]
    assert [tuple(each) for each in read_streams([[b"s", entries]])] == [(b"s", entries)]
    assert list(read_streams(None)) == []
    with pytest.raises(TypeError, match="bytes"):
        read_streams(b"OK")
