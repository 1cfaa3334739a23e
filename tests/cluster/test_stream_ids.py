"""Ids of entries: compared as numbers, and offsets of clients that are none are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.stream_ids import BEGINNING, is_id, next_id, parse_id
from rtframework.exceptions import DecodeError

numbers = st.integers(0, 2**64 - 1)


@given(numbers, numbers)
def test_ids_are_compared_as_numbers(at: int, sequence: int) -> None:
    """As text, 9-0 would come after 10-0, and a client would miss what lies between."""
    assert parse_id(f"{at}-{sequence}") == (at, sequence)
    if (at, sequence) != (2**64 - 1, 2**64 - 1):
        assert parse_id(next_id(f"{at}-{sequence}")) > (at, sequence)
    assert parse_id(BEGINNING) <= (at, sequence)


@given(st.text())
def test_other_offsets_are_refused(offset: str) -> None:
    """A client could send anything, and Redis would answer with an error."""
    if is_id(offset):
        assert offset.replace("-", "", 1).isdigit()
    else:
        with pytest.raises(DecodeError):
            parse_id(offset)


@pytest.mark.parametrize(
    "offset", ["", "-", "1", "1-", "-1", "1-2-3", "1-x", "+", "$", "99999999999999999999-0", "١-٢"]
)
def test_almost_ids_are_refused(offset: str) -> None:
    """Redis gives some of these a meaning of its own."""
    assert not is_id(offset)
