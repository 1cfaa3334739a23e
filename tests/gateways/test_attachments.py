"""Bytes in JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import DecodeError
from rtframework.gateways.attachments import cut, emptied, fill

values = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(values, max_size=4))
def test_bytes_come_back_to_their_places(value: list[Any]) -> None:
    """A picture would be another one."""
    attachments: list[bytes] = []
    plain = emptied(value, attachments)
    lengths = [len(each) for each in attachments]
    assert fill(plain, cut(b"".join(attachments), lengths)) == value


def test_what_is_not_there_is_refused() -> None:
    """A client could get bytes that it has not sent."""
    for data, lengths in ((b"ab", [1]), (b"ab", [3]), (b"", [-1, 1]), (b"a", [])):
        with pytest.raises(DecodeError):
            cut(data, lengths)
    for number in (1, -1, "0", None, True):
        with pytest.raises(DecodeError):
            fill([{"_placeholder": True, "num": number}], [b"a"])
    assert fill([{"_placeholder": 1, "num": 9}], [b"a"]) == [{"_placeholder": 1, "num": 9}]


def test_deep_values_take_no_more_than_a_few_levels() -> None:
    """A client could end the process by a million brackets."""
    value: Any = {"_placeholder": True, "num": 0}
    for _ in range(100):
        value = [value]
    assert fill(value, [b"a"]) is value
