"""JSON and MessagePack between servers: plain values in, errors of one kind out."""

from __future__ import annotations

import contextlib
import datetime
import math
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.cluster.payloads import (
    JSONReader,
    MsgpackReader,
    as_javascript,
    holds_bytes,
    may_hold_dates,
    to_json,
    to_msgpack,
    to_plain,
)
from rtframework.exceptions import DecodeError, EncodeError


@dataclass
class Point:
    """A value of a program."""

    x: int
    at: datetime.datetime


def test_values_of_a_program_become_plain() -> None:
    """A client of another server would get something else than one of this server."""
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    value = {1: Point(2, at), "id": uuid.UUID(int=1), "set": {3}, "raw": [b"x", bytearray(b"y")]}
    assert to_plain(value) == {
        "1": {"x": 2, "at": "2026-01-01T00:00:00Z"},
        "id": str(uuid.UUID(int=1)),
        "set": [3],
        "raw": [b"x", b"y"],
    }
    assert to_plain([1 + 2j], str) == ["(1+2j)"]
    with pytest.raises(EncodeError):
        to_plain([object()])
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError):
        to_plain(endless)


def test_numbers_have_a_defined_outcome() -> None:
    """A server would send what others cannot read, and these would drop it without a word."""
    assert to_json([float("nan"), float("inf")]) == b"[null,null]"
    assert to_msgpack(float("nan")) == b"\xcb\x7f\xf8" + bytes(6)
    assert to_json([2**70]) == b"[1180591620717411303424]"
    with pytest.raises(EncodeError, match="64 bits"):
        to_msgpack([2**70])
    for encode in (to_json, to_msgpack):
        with pytest.raises(EncodeError):
            encode([object()])


def test_bytes_are_found_at_any_depth() -> None:
    """Bytes would be sent as JSON, and arrive as a string."""
    assert holds_bytes([1, {"a": [{"b": bytearray()}]}])
    assert holds_bytes(memoryview(b""))
    assert not holds_bytes([1, "x", {"a": [None]}])


def test_halves_of_surrogate_pairs_are_mended() -> None:
    """JSON.stringify escapes half of an emoji; a message that was cut there would be dropped."""
    read = JSONReader()
    assert read(b'["\\ud83d", "\\ud83d\\ude00", "\\\\ud83d"]') == ["\ufffd", "😀", "\\ud83d"]
    assert read('["\\udc00x"]') == ["\ufffdx"]
    with pytest.raises(DecodeError):
        read(b'["\\ud83d", NaN]')
    with pytest.raises(DecodeError):
        JSONReader(list[int])(b'["\\ud83d"]')


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_messagepack_comes_back(value: Any) -> None:
    """An argument would arrive changed."""
    assert MsgpackReader()(to_msgpack(value)) == value
    if not holds_bytes(value) and "inf" not in repr(value):
        assert JSONReader()(to_json(value)) == value


@given(st.binary() | st.just(b"\x91" * 100_000) | st.just(b"[" * 100_000))
def test_rubbish_is_refused(data: bytes) -> None:
    """One rubbish message would end a reader."""
    for read in (JSONReader(), MsgpackReader()):
        with contextlib.suppress(DecodeError):
            read(data)


def test_values_are_written_as_javascript_does() -> None:
    """Clients of two servers would get different values, or one of them nothing."""
    moment = datetime.datetime(2026, 1, 1, 1, 0, 0, 123_456, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    value = ["e", {"nan": [math.nan, -math.inf, 1.5], "at": moment}, b"x", None, True]
    assert as_javascript(value) == ["e", {"nan": [None, None, 1.5], "at": "2026-01-01T00:00:00.123Z"}, b"x", None, True]
    for seconds in (0, 1.5, 2**33, 2**35):
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        assert may_hold_dates(to_msgpack([moment])), seconds
    assert not may_hold_dates(to_msgpack(["text", 1.5, b"bytes"]))
