"""What a packet may carry, and how results become answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.exceptions import ConfigurationError, DecodeError
from rtframework.packets import MAX_ID, check_event, check_event_name, check_payload, from_ack, to_ack
from rtframework.types import RESERVED_EVENTS


def test_event_names() -> None:
    """A program would emit or register what no client can receive or send."""
    assert check_event_name("chat message") == "chat message"
    for name in (*RESERVED_EVENTS, "", None, 5, b"x"):
        with pytest.raises(ConfigurationError):
            check_event_name(name)  # type: ignore[arg-type]


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
        (EVENT, [5], None),
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


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=5))
def test_an_answer_comes_back_as_it_was_returned(value: Any) -> None:
    """What a handler returns would be something else for ``emit_with_ack`` on the other side."""
    assert from_ack(to_ack(value)) == value


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(), min_size=2))
def test_several_values_come_back_as_a_tuple(values: list[Any]) -> None:
    """One list, and several values, could not be told apart."""
    assert from_ack(to_ack(tuple(values))) == tuple(values)


def test_ids_are_numbers_that_javascript_can_count_to() -> None:
    """An answer would come back under the id of another one: a double cannot hold more."""
    assert float(MAX_ID) == MAX_ID
    assert float(MAX_ID + 2) != MAX_ID + 2
