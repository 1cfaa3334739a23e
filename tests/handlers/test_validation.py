"""Values of clients, checked against types and made into values of them."""

from __future__ import annotations

import datetime
import ipaddress
import json
import pathlib
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.handlers.validation import (
    Mismatch,
    Problem,
    check,
    check_type,
    convert,
    converter_of,
    expect,
    is_pydantic,
    parts_of,
    plainly,
)
from tests.support.thorough import examples


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


# --- models of pydantic -----------------------------------------------------------------------------------------------


class Person(pydantic.BaseModel):
    """What JSON has for dates and ids is a string."""

    name: str = pydantic.Field(alias="fullName", min_length=1)
    born: datetime.date | None = None
    key: uuid.UUID | None = None


class Friends(TypedDict):
    best: Person


class Unsendable:
    """A class of the program's."""


class Holder(msgspec.Struct):
    """A Struct cannot have a model inside."""

    person: Person


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Person, True),
        (list[Person], True),
        (dict[str, Person | None], True),
        (Annotated[Person, "note"], True),
        (int, False),
        (Holder, False),
        (list[Holder], False),
        (Any, False),
        (Literal["a"], False),
    ],
    ids=str,
)
def test_models_are_told_from_other_types(kind: Any, expected: bool) -> None:
    """A list of models would be refused, as nothing that msgspec knows."""
    assert is_pydantic(kind) is expected


def test_a_model_is_read_as_json_would_be() -> None:
    """A date, which is a string on the wire, could not be had by a strict model."""
    key = uuid.UUID(int=7)
    person = take({"fullName": "Ada", "born": "1815-12-10", "key": str(key)}, Person)
    assert (person.name, person.born, person.key) == ("Ada", datetime.date(1815, 12, 10), key)
    assert take([{"fullName": "Ada"}], list[Person])[0].name == "Ada"
    assert take(None, Person | None) is None


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ({}, "$.fullName", "Field required"),
        ({"fullName": ""}, "$.fullName", "at least 1 character"),
        ({"fullName": 5}, "$.fullName", "valid string"),
        ({"fullName": "Ada", "born": "soon"}, "$.born", "valid date"),
        ({"fullName": "Ada", "born": 5}, "$.born", "valid date"),
        ("Ada", "$", "dictionary|object"),
        ({"fullName": b"Ada"}, "$.fullName", "valid string"),
    ],
)
def test_the_problem_of_a_model_has_its_place(value: Any, path: str, said: str) -> None:
    """A form would only be told that something is wrong."""
    found = problems(value, Person)
    assert [each["path"] for each in found] == [path]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(found[0]["message"])


class Visit(pydantic.BaseModel):
    at: datetime.datetime
    key: uuid.UUID


def test_a_date_of_messagepack_may_stand_beside_what_is_a_string() -> None:
    """With MessagePack dates come as dates, and with them no other field of a model could be read."""
    moment = datetime.datetime(1815, 12, 10, tzinfo=datetime.UTC)
    visit = take({"at": moment, "key": str(uuid.UUID(int=1))}, Visit)
    assert (visit.at, visit.key) == (moment, uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Holder, "Person is a model of pydantic inside a type that is none"),
        (complex, "complex is nothing that a client can send"),
        (list[dict[str, complex]], "complex is nothing that a client can send"),
        (Person | Unsendable, "Unsendable"),
    ],
    ids=str,
)
def test_what_no_client_can_send_is_found(kind: Any, said: str) -> None:
    """A handler would be registered whose event nobody can ever send."""
    with pytest.raises(TypeError, match=said):
        converter_of(kind)


# --- what goes out ----------------------------------------------------------------------------------------------------


def passes(value: Any, kind: Any) -> bool:
    """Whether the program may send this as that."""
    try:
        check(value, converter_of(kind))
    except Mismatch:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        (5, int, True),
        ("5", int, False),
        ({1: "a"}, dict[int, str], True),
        ({"a": "a"}, dict[int, str], False),
        (Line([Point(1.0)]), Line, True),
        ({"points": [{"x": 1}]}, Line, True),
        (object(), Line, False),
        (object(), Any, False),
        (Person(fullName="Ada"), Person, True),
        ({"fullName": "Ada"}, Person, True),
        ({"fullName": ""}, Person, False),
        ((1, "a"), tuple[int, str], True),
        (bytearray(b"x"), bytes, True),
    ],
)
def test_what_a_program_sends_is_looked_at_as_it_goes_out(value: Any, kind: Any, fits: bool) -> None:
    """A handler that is right would be refused, or the page get what its types do not say."""
    assert passes(value, kind) is fits


def test_a_value_that_contains_itself_is_a_mismatch() -> None:
    """A handler's answer would end the connection with a RecursionError."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Mismatch):
        check(endless, converter_of(list[Any]))


# --- declared events --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Message", "give the type itself, not its name 'Message'"),
        (Holder, "is a model of pydantic inside a type that is none"),
        (complex, "nobody knows how .*complex.* is sent"),
        (list[complex], "nobody knows how .*complex.* is sent"),
    ],
    ids=str,
)
def test_what_can_be_no_type_of_an_event(kind: Any, said: str) -> None:
    """The contract would be written with a hole in it."""
    with pytest.raises(TypeError, match=said):
        check_type(kind)


@pytest.mark.parametrize("kind", [int, Any, object, Person, list[Person], Drawing, Nested, None], ids=str)
def test_what_is_a_type_of_an_event(kind: Any) -> None:
    """A program could not declare what it emits."""
    check_type(kind)


class Account(pydantic.BaseModel):
    """Is sent in another way than it is read."""

    name: str = pydantic.Field(validation_alias="login", serialization_alias="user")


def test_a_model_may_be_sent_in_another_way_than_it_is_read() -> None:
    """Strict mode would refuse every model with two aliases; or take whatever has the shape of neither."""
    account = Account.model_validate({"login": "ada"})
    sent = account.model_dump(by_alias=True)
    assert sent == {"user": "ada"}
    expect(sent, Account, account)
    expect({"login": "ada"}, Account, {"login": "ada"})
    for given_ in ({"user": "ada"}, Account.model_construct(name=5), None):
        with pytest.raises(Mismatch):
            expect({"user": "ada"}, Account, given_)


def test_keys_of_what_came_over_the_wire_are_strings() -> None:
    """A declared ``dict[int, str]`` would never fit."""
    expect({"1": "a"}, dict[int, str], {1: "a"})
    with pytest.raises(Mismatch):
        expect({"x": "a"}, dict[int, str], {})


# --- values for serializers -------------------------------------------------------------------------------------------


class Named(pydantic.BaseModel):
    name: str = pydantic.Field(serialization_alias="fullName")
    home: pydantic.AnyUrl | None = None


def test_values_of_pydantic_go_as_what_they_hold() -> None:
    """A model, or the address in one of its fields, could not be emitted."""
    hook = plainly(None)
    assert hook(Named(name="Ada")) == {"fullName": "Ada", "home": None}
    assert hook(pydantic.TypeAdapter(pydantic.AnyUrl).validate_python("https://x.example")) == "https://x.example/"
    assert hook(ipaddress.ip_address("192.0.2.1")) == "192.0.2.1"
    assert hook(ipaddress.ip_interface("192.0.2.1/24")) == "192.0.2.1/24"
    assert hook(pathlib.Path("a/b")) == "a/b"
    assert hook(pathlib.PurePosixPath("a/b")) == "a/b"


def test_the_programs_hook_has_the_rest() -> None:
    """A program with types of its own could not send them, or pydantic's no longer."""
    seen: list[Any] = []

    def own(value: Any) -> Any:
        seen.append(value)
        return str(value)

    assert plainly(own)(3 + 4j) == "(3+4j)"
    assert plainly(own)(Named(name="Ada"))["fullName"] == "Ada"
    assert seen == [3 + 4j]
    with pytest.raises(TypeError, match="objects of type complex are unsupported"):
        plainly(None)(3 + 4j)


def test_all_parts_of_a_type_are_seen_once() -> None:
    """A type that refers to itself would be gone through for ever; one part that is left out is never checked."""
    parts = list(parts_of(msgspec.inspect.type_info(dict[str, list[Nested]] | tuple[int, Drawing])))
    kinds = [type(each).__name__ for each in parts]
    assert kinds.count("StructType") == 1
    assert {"DictType", "StrType", "TupleType", "IntType", "DataclassType", "EnumType", "FloatType"} <= set(kinds)
    assert len({id(each) for each in parts}) == len(parts)


# --- against msgspec and json -----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
KINDS = [int, str, bool, float, list[int], dict[str, int], dict[int, str], Nested, Drawing, Person, list[Counted], Any]


@settings(max_examples=examples(800))
@given(JSON, st.sampled_from(KINDS))
def test_whatever_comes_is_a_value_of_the_type_or_a_mismatch(value: Any, kind: Any) -> None:
    """A client would cause any other exception: a traceback in the log for each packet it makes up."""
    before = json.dumps(value)
    made, found = None, None
    try:
        made = take(value, kind)
    except Mismatch as mismatch:
        found = mismatch.problems
    if found is None:
        check(made, converter_of(kind))
    else:
        assert found
        assert all(each["path"].startswith("$") and each["message"] for each in found)
    assert json.dumps(value) == before, "several handlers are given the same arguments"
