"""Values of clients, checked against types and made into values of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import pydantic
import pytest

from rtframework.handlers.validation import Mismatch, Problem, convert, converter_of


def take(value: Any, kind: Any) -> Any:
    """What a value of a client becomes."""
    return convert(value, converter_of(kind))


def problems(value: Any, kind: Any) -> list[Problem]:
    """What is wrong with a value of a client."""
    with pytest.raises(Mismatch) as caught:
        take(value, kind)
    return caught.value.problems


@pytest.mark.parametrize(
    ("kind", "value"),
    [(int, "1"), (int, 1.5), (int, True), (str, 1), (bool, 1), (list[int], [1, "2"]), (bytes, "text"), (str, b"x")],
)
def test_conversion_is_strict(kind: Any, value: Any) -> None:
    """``"1"`` would silently be taken for the number 1, and a mistake of a client never be found."""
    problems(value, kind)


def test_bytes_stay_bytes() -> None:
    """Binary would be taken for Base64 text, or refused."""
    assert take(b"\x00", bytes) == b"\x00"
    assert take({"a": b"\xff"}, dict[str, bytes]) == {"a": b"\xff"}


class Nested(msgspec.Struct):
    """A payload as deep as a client likes."""

    inside: list[Nested] = []


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """A payload with nothing else in it."""

    text: str = ""


class Counted(pydantic.BaseModel):
    """A model with fields that can be missing."""

    a: int
    b: int


def test_a_payload_that_is_too_deep_is_refused() -> None:
    """Every client could fill the log with tracebacks, by nesting deeper than Python can follow."""
    value: dict[str, Any] = {}
    for _ in range(10_000):
        value = {"inside": [value]}
    assert problems(value, Nested) == [{"path": "$", "message": "Nested too deeply"}]


def test_what_is_told_of_a_bad_payload_is_bounded() -> None:
    """A client could have the server write answers fifty times as long as what it sends, for seconds."""
    assert len(problems([{}] * 50, list[Counted])) == 100
    assert problems([{}] * 51, list[Counted]) == [{"path": "$", "message": "102 values do not fit"}]
    found = problems({"k" * 100_000: [{}] * 50}, dict[str, list[Counted]])
    assert found[0] == {"path": f"$.{'k' * 100}…[0].a", "message": "Field required"}


def test_keys_are_strings_on_the_wire() -> None:
    """No client could send a ``dict[int, ...]``: JSON has no other keys than strings."""
    kind = dict[int, list[int]]
    assert take({"1": [2]}, kind) == {1: [2]}
    assert problems({"a": [2]}, kind) == [{"path": "$", "message": "Expected `int`, got `str` as a key"}]
    assert problems({"1": ["2"]}, kind) == [{"path": "$[...][0]", "message": "Expected `int`, got `str`"}]


def test_the_client_has_no_say_in_where_the_problem_is() -> None:
    """A client that calls a field so could send those who read the details to another place."""
    assert problems({"a": {"x - at `$.forged`": 1}}, dict[str, Strict]) == [
        {"path": "$[...]", "message": "Object contains unknown field `x - at `$.forged``"}
    ]


class Colour(Enum):
    """Of a pen."""

    RED = "red"


@dataclass
class Point:
    """A dataclass."""

    x: float
    y: float = 0.0


@dataclass
class Line:
    """A dataclass of dataclasses."""

    points: list[Point]
    colour: Colour = Colour.RED


@dataclass(slots=True)
class Drawing:
    """A dataclass with slots."""

    lines: dict[str, Line]
    title: str = ""


class Shared(msgspec.Struct):
    """A Struct of a dataclass."""

    drawing: Drawing
    by: str = "nobody"


def test_defaults_of_dataclasses_are_sent_on() -> None:
    """A default that a client has left out would be there for the handler, and missing for all it is sent to."""
    converter = converter_of(Shared | None)
    shared = convert({"drawing": {"lines": {"a": {"points": [{"x": 1}]}}}}, converter)
    assert msgspec.to_builtins(shared) == {
        "drawing": {"lines": {"a": {"points": [{"x": 1.0, "y": 0.0}], "colour": "red"}}, "title": ""},
        "by": "nobody",
    }
    assert convert(None, converter) is None
