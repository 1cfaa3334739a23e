"""What a packet may carry, and how results become answers."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from rtframework.exceptions import ConfigurationError
from rtframework.packets import check_event_name, from_ack, to_ack
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
