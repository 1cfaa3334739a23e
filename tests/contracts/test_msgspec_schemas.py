"""Schemas of the types that msgspec knows: of what comes in, and of what goes out."""

from __future__ import annotations

import datetime
import enum
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec import inspect as kinds

from rtframework.contracts.json_schema import BINARY, PREFIX, Direction, Schema, reference
from rtframework.contracts.msgspec_schemas import MsgspecTypes, Named
from rtframework.handlers.validation import Mismatch, convert, converter_of, parts_of
from tests.support.thorough import examples


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Message(Struct):
    """What somebody says.

    At some time."""

    text: Annotated[str, Meta(min_length=1, max_length=9)]
    likes: Annotated[int, Meta(ge=0)] = 0
    seen: datetime.datetime | UnsetType = UNSET


class Closed(Struct, forbid_unknown_fields=True, tag="closed", rename="camel"):
    some_text: str


class Row(Struct, array_like=True):
    x: int
    y: str = ""


class Sparse(Struct, omit_defaults=True):
    x: int
    y: str = ""


@dataclass
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)
    program: Any = field(default=object)


class Options(TypedDict):
    limit: int
    by: NotRequired[Literal["name", "age"]]


class Pair(NamedTuple):
    x: int
    y: str = "a"


def definition(kind: Any, direction: Direction) -> Schema:
    """The schema of a class."""
    info = kinds.type_info(kind)
    names = {each.cls: each.cls.__name__ for each in parts_of(info) if isinstance(each, Named)}
    return MsgspecTypes(names, direction).definition(info)


def schema(kind: Any, direction: Direction = "in") -> Schema:
    """The schema of a type."""
    info = kinds.type_info(kind)
    names = {each.cls: each.cls.__name__ for each in parts_of(info) if isinstance(each, Named)}
    return MsgspecTypes(names, direction).schema(info)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, {"type": "integer"}),
        (None, {"type": "null"}),
        (Any, {}),
        (bytes, BINARY),
        (bytearray, BINARY),
        (memoryview, BINARY),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (
            Annotated[int, Meta(ge=1, lt=9, multiple_of=2)],
            {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "multipleOf": 2},
        ),
        (Annotated[float, Meta(gt=0, le=1)], {"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        (Annotated[str, Meta(pattern="^a", min_length=1)], {"type": "string", "pattern": "^a", "minLength": 1}),
        (Annotated[str, Meta(title="T", description="D")], {"type": "string", "title": "T", "description": "D"}),
        (list, {"type": "array"}),
        (Annotated[list[int], Meta(max_length=3)], {"type": "array", "items": {"type": "integer"}, "maxItems": 3}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (frozenset, {"type": "array", "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (tuple[()], {"type": "array", "minItems": 0, "maxItems": 0}),
        (
            tuple[int, str],
            {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        ),
        (dict, {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (dict[int, Any], {"type": "object"}),
        (dict[Colour, Any], {"type": "object", "propertyNames": reference("Colour")}),
        (dict[Literal[1, 2], Any], {"type": "object", "propertyNames": {"enum": ["1", "2"]}}),
        (dict[Annotated[str, Meta(min_length=2)], Any], {"type": "object", "propertyNames": {"minLength": 2}}),
        (None | int, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", 1], {"enum": [1, "a"]}),
        (Message, reference("Message")),
        (list[Message | None], {"type": "array", "items": {"anyOf": [reference("Message"), {"type": "null"}]}}),
    ],
    ids=str,
)
def test_types_as_they_are_written(kind: Any, expected: Schema) -> None:
    """A client's code would be made from something else than what the server checks."""
    for direction in ("in", "out"):
        found = schema(kind, direction)
        if "enum" in found:
            found["enum"].sort(key=str)
        assert found == expected


def test_bytes_are_bytes_and_no_base64() -> None:
    """msgspec's own schemas say that bytes are text: a client would send Base64, and be refused."""
    assert msgspec.json.schema(bytes) == {"type": "string", "contentEncoding": "base64"}
    assert schema(bytes) == BINARY


def test_a_default_may_be_left_out_of_what_comes_in_and_is_there_in_what_goes_out() -> None:
    """A page would have to send every field, or look for one that is always there."""
    coming, going = definition(Message, "in"), definition(Message, "out")
    assert coming["required"] == ["text"]
    assert coming["properties"]["likes"] == {"type": "integer", "minimum": 0, "default": 0}
    assert going["required"] == ["text", "likes"], "what is UNSET is not sent"
    assert "default" not in going["properties"]["likes"]
    assert coming["description"] == "What somebody says.\n\nAt some time."


@pytest.mark.parametrize(
    ("kind", "coming", "going"),
    [
        (Sparse, ["x"], ["x"]),
        (Point, ["x"], ["x", "y", "tags", "program"]),
        (Options, ["limit"], ["limit"]),
        (Closed, ["type", "someText"], ["type", "someText"]),
    ],
)
def test_what_has_to_be_there(kind: Any, coming: list[str], going: list[str]) -> None:
    """As above, for each way to write a class."""
    assert sorted(definition(kind, "in")["required"]) == sorted(coming)
    assert sorted(definition(kind, "out")["required"]) == sorted(going)


def test_a_tag_and_renamed_fields_are_as_they_go_over_the_wire() -> None:
    """No client could build a message that the server takes."""
    assert definition(Closed, "in") == {
        "title": "Closed",
        "type": "object",
        "properties": {"type": {"enum": ["closed"]}, "someText": {"type": "string"}},
        "required": ["type", "someText"],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", [Row, Pair])
def test_what_is_a_list_on_the_wire_is_one_in_the_schema(kind: Any) -> None:
    """A named tuple would be described as an object."""
    coming, going = definition(kind, "in"), definition(kind, "out")
    assert (coming["type"], coming["minItems"], "maxItems" in coming) == ("array", 1, kind is Pair)
    assert (going["minItems"], going["maxItems"]) == (2, 2)
    assert [each["type"] for each in going["prefixItems"]] == ["integer", "string"]


def test_a_default_that_only_the_program_knows_is_left_out() -> None:
    """The contract of a program with such a default could not be written."""
    properties = definition(Point, "in")["properties"]
    assert properties["y"]["default"] == 0.0
    assert "default" not in properties["program"]


def test_docstrings_that_python_has_written_say_nothing() -> None:
    """Every dataclass would be described by its own signature, every enum as "An enumeration."."""
    assert "description" not in definition(Point, "in")
    assert definition(Colour, "in") == {"title": "Colour", "enum": ["red", "blue"]}


# --- against what the server takes ------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "text", "closed", "name"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "likes", "x", "y", "limit", "by", "type", "someText", "z"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)


def document(kind: Any) -> Schema:
    """A schema with all that it refers to, for a validator."""
    info = kinds.type_info(kind)
    named = {each.cls: each for each in parts_of(info) if isinstance(each, Named)}
    write = MsgspecTypes({each: each.__name__ for each in named}, "in")
    root = write.schema(info)
    whole = {**root, "components": {"schemas": {each.__name__: write.definition(info) for each, info in named.items()}}}
    loaded: Schema = json.loads(json.dumps(whole).replace(PREFIX, "#/components/schemas/"))
    return loaded


@settings(max_examples=examples(1_000))
@given(VALUES, st.sampled_from([Message, Closed, Row, Sparse, Options, Pair, list[Message | None], dict[Colour, int]]))
def test_whoever_keeps_to_the_schema_is_taken(value: Any, kind: Any) -> None:
    """A client that is made from the contract would be refused; or the contract forbid what is allowed."""
    try:
        convert(value, converter_of(kind))
    except Mismatch:
        taken = False
    else:
        taken = True
    assert Draft202012Validator(document(kind)).is_valid(value) is taken
