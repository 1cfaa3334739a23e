"""What a packet may carry, and how results become answers."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework.exceptions import ConfigurationError, DecodeError
from rtframework.packets import (
    MAX_ID,
    check_event,
    check_event_name,
    check_payload,
    event_key,
    from_ack,
    is_name_within,
    number_of,
    to_ack,
)
from rtframework.types import RESERVED_EVENTS


def test_event_names() -> None:
    """A program would emit or register what no client can receive or send."""
    assert check_event_name("chat message") == "chat message"
    for number in (0, 5, -5, MAX_ID, -MAX_ID):
        assert check_event_name(number) == number
    names: list[Any] = [*RESERVED_EVENTS, "", None, 1.5, 1.0, math.nan, True, b"x", MAX_ID + 1, -MAX_ID - 1, 10**5000]
    for name in names:
        with pytest.raises(ConfigurationError):
            check_event_name(name)


def test_members_of_enums_are_their_values() -> None:
    """Logs and contracts would show the name that a member has in Python, which no client knows."""

    class Kind(enum.IntEnum):
        SAY = 1

    class Word(str, enum.Enum):  # noqa: UP042 - programs still write it so
        SAY = "say"
        LEAVE = "disconnect"

    for member in (Kind.SAY, Word.SAY):
        name = check_event_name(member)
        assert (type(name), name) in ((int, 1), (str, "say"))
        assert event_key(member) == str(member.value)
    with pytest.raises(ConfigurationError, match="reserved"):
        check_event_name(Word.LEAVE)


@pytest.mark.parametrize("number", [0, 1, -1, 10, MAX_ID, -MAX_ID])
def test_the_key_of_an_integer_is_its_string(number: int) -> None:
    """An event that a client names by a number would not be found, or another one would."""
    assert event_key(number) == event_key(str(number)) == str(number)
    assert number_of(str(number)) == number


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "a1",
        "01",
        "-0",
        "+1",
        "--1",
        "-",
        "1 ",
        " 1",
        "1_0",
        "1.0",
        "1e3",
        "١",
        "²",
        str(MAX_ID + 1),
        "9" * 5000,
    ],
)
def test_the_key_of_no_integer(key: str) -> None:
    """A handler for another event would be called, as JavaScript has other keys for these."""
    assert number_of(key) is None
    assert event_key(key) == key


def test_integers_are_bounded_as_names_are() -> None:
    """A limit would hold for strings alone; or whatever a foreign serializer takes for a name would pass it."""
    assert is_name_within(123, 3)
    assert is_name_within(-12, 3)
    for name in (1234, -123, True, 1.5, None, MAX_ID + 1, 10**5000):
        assert not is_name_within(name, 3)
    assert not is_name_within(MAX_ID + 1, 1_024)


@pytest.mark.parametrize(
    ("result", "args"),
    [(None, []), (0, [0]), ("", [""]), ((), []), ((1, 2), [1, 2]), ([1, 2], [[1, 2]]), ((None,), [None])],
)
def test_results_and_acknowledgements(result: Any, args: list[Any]) -> None:
    """A client would get something else than what the handler returned."""
    assert to_ack(result) == args


def test_named_tuples_and_answers() -> None:
    """A point that a handler returns would arrive as two arguments, and one answer as a list."""

    class Point2(NamedTuple):
        x: int
        y: int

    assert to_ack(Point2(1, 2)) == [Point2(1, 2)]
    assert from_ack([]) is None
    assert from_ack([1]) == 1
    assert from_ack([None]) is None
    assert from_ack([1, 2]) == (1, 2)


EVENT, ACK, CONNECT, DISCONNECT, REFUSED = 2, 3, 0, 1, 4


@pytest.mark.parametrize(
    ("kind", "data", "id"),
    [
        (EVENT, ["say"], None),
        (EVENT, ["say", None, b"x"], 0),
        (EVENT, [1, b"x"], 0),
        (EVENT, [-MAX_ID], None),
        (ACK, [], 0),
        (ACK, [1, 2], MAX_ID),
        (CONNECT, None, None),
        (CONNECT, {"token": "x"}, None),
        (DISCONNECT, None, None),
        (REFUSED, "no", None),
        (REFUSED, {"message": "no"}, None),
    ],
)
def test_what_a_packet_may_carry(kind: int, data: Any, id: int | None) -> None:
    """Clients that keep to the protocol would be cut off; or get a copy, which costs."""
    assert check_payload(kind, data, id) is data


@pytest.mark.parametrize(
    ("kind", "data", "id"),
    [
        (EVENT, None, None),
        (EVENT, [], None),
        (EVENT, {"0": "say"}, None),
        (EVENT, ("say",), None),
        (EVENT, [5.0], None),
        (EVENT, [True], None),
        (EVENT, [None], None),
        (EVENT, [MAX_ID + 1], None),
        (EVENT, [-(10**400)], None),
        (EVENT, [b"say"], None),
        (EVENT, [["say"]], None),
        (ACK, [1], None),
        (ACK, None, 1),
        (ACK, {"a": 1}, 1),
        (CONNECT, "token", None),
        (CONNECT, [], None),
        (CONNECT, False, None),
        (DISCONNECT, {}, None),
        (DISCONNECT, 0, None),
        (REFUSED, None, None),
        (REFUSED, ["no"], None),
        (REFUSED, 4, None),
    ],
)
def test_what_no_packet_may_carry(kind: int, data: Any, id: int | None) -> None:
    """A client would cause errors in the middle of the server, which relies on this check."""
    with pytest.raises(DecodeError, match="invalid payload"):
        check_payload(kind, data, id)


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_no_client_sends_what_is_reserved(name: str) -> None:
    """A client would pretend that another one has connected or left."""
    with pytest.raises(DecodeError, match="a reserved event name"):
        check_event([name, "transport close"])


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_an_answer_comes_back_as_it_was_returned(value: Any) -> None:
    """What a handler returns would be something else for ``emit_with_ack`` on the other side."""
    assert from_ack(to_ack(value)) == value


@given(st.lists(st.none() | st.integers(), min_size=2))
def test_several_values_come_back_as_a_tuple(values: list[Any]) -> None:
    """One list, and several values, could not be told apart."""
    assert from_ack(to_ack(tuple(values))) == tuple(values)


def test_ids_are_numbers_that_javascript_can_count_to() -> None:
    """An answer would come back under the id of another one: a double cannot hold more."""
    assert float(MAX_ID) == MAX_ID
    assert float(MAX_ID + 2) != MAX_ID + 2
