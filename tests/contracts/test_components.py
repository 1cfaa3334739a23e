"""All types of a contract at once: each has one name everywhere, two where the directions differ."""

from __future__ import annotations

import enum
from typing import Any, Generic, TypeVar

import pydantic
import pytest
from msgspec import Struct, defstruct

from rtframework.contracts.components import Schemas
from rtframework.contracts.json_schema import BINARY, Schema, reference, references

T = TypeVar("T")


class Plain(Struct):
    x: int


class Defaulted(Struct):
    x: int = 0


class Holder(Struct):
    inside: Defaulted


class Page(Struct, Generic[T]):
    items: list[T]


class Colour(enum.Enum):
    RED = "red"


class Model(pydantic.BaseModel):
    colour: Colour
    name: str = ""


class Picture(Struct):
    data: bytes


def test_a_type_that_is_the_same_both_ways_has_one_name() -> None:
    """Clients would have to convert between two types that are one."""
    schemas = Schemas([Plain], [Plain, list[Plain]])
    assert set(schemas.components) == {"Plain"}
    assert schemas.of(Plain, "in") == schemas.of(Plain, "out") == reference("Plain")
    assert schemas.of(list[Plain], "out") == {"type": "array", "items": reference("Plain")}


def test_a_type_that_differs_has_two_names_and_so_has_what_holds_it() -> None:
    """A page would have to send what it may leave out, or check for what is always there."""
    schemas = Schemas([Holder], [Holder])
    assert set(schemas.components) == {"Defaulted", "DefaultedInput", "Holder", "HolderInput"}
    assert schemas.of(Holder, "in") == reference("HolderInput")
    assert list(references(schemas.components["HolderInput"])) == ["DefaultedInput"]
    assert list(references(schemas.components["Holder"])) == ["Defaulted"]
    assert schemas.direction_of == {"Defaulted": "out", "DefaultedInput": "in", "Holder": "out", "HolderInput": "in"}
    assert {name: each["title"] for name, each in schemas.components.items()} == {
        name: name for name in schemas.components
    }


def test_a_type_that_goes_one_way_has_its_own_name() -> None:
    """``MessageInput`` would stand where there is no ``Message``."""
    coming, going = Schemas([Defaulted], []), Schemas([], [Defaulted])
    assert (set(coming.components), coming.direction_of) == ({"Defaulted"}, {"Defaulted": "in"})
    assert (set(going.components), going.direction_of) == ({"Defaulted"}, {"Defaulted": "out"})
    assert coming.components["Defaulted"]["required"] == []
    assert going.components["Defaulted"]["required"] == ["x"]


def test_what_reads_differently_is_said_by_who_writes_it() -> None:
    """In TypeScript binary data are of one type when they come and of many when they are sent."""
    assert set(Schemas([Picture], [Picture]).components) == {"Picture"}
    schemas = Schemas([Picture], [Picture], differs=lambda each: each == BINARY)
    assert set(schemas.components) == {"Picture", "PictureInput"}


def test_reserved_names_are_nobodys() -> None:
    """A type that is called like the language's own would hide it."""
    schemas = Schemas([Plain], [], reserved={"Plain"})
    assert set(schemas.components) == {"Plain2"}


def test_names_of_generic_types_can_be_written() -> None:
    """``Page[int]`` is no name in any language."""
    schemas = Schemas([], [Page[int], Page[Plain]])
    assert set(schemas.components) == {"PageInt", "PagePlain", "Plain"}
    assert list(references(schemas.components["PagePlain"])) == ["Plain"]


def test_two_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    """Two types would be one in the document, and one event's arguments be those of another."""
    other: Any = defstruct("Plain", [("y", str)], module="other.place")
    schemas = Schemas([Plain, other], [])
    assert len(schemas.components) == 2
    assert "Plain" not in schemas.components
    assert schemas.of(Plain, "in") != schemas.of(other, "in")
    assert any(name.startswith("OtherPlace") for name in schemas.components)


def test_models_of_pydantic_stand_beside_structs() -> None:
    """pydantic and msgspec know nothing of each other: an enum of both would be there twice, or two classes be one."""
    namesake: Any = defstruct("Model", [("z", int)])
    schemas = Schemas([Model, namesake, list[Colour]], [Model])
    assert len([name for name in schemas.components if name.startswith("Colour")]) == 1
    models = [name for name in schemas.components if name.startswith("Model")]
    assert len(models) == 3, "the Struct, and the model both ways"
    assert schemas.of(Model, "in") != schemas.of(Model, "out")
    assert schemas.of(namesake, "in") not in (schemas.of(Model, "in"), schemas.of(Model, "out"))


def test_the_order_of_registration_does_not_matter() -> None:
    """A file that is checked in would change with every move of a handler."""
    kinds: list[Any] = [Plain, Holder, Page[int], Model]
    one, other = Schemas(kinds, kinds[:2]), Schemas(kinds[::-1], kinds[1::-1])
    assert list(one.components.items()) == list(other.components.items())


@pytest.mark.parametrize("kinds", [[], [int, list[str], None]], ids=["none", "builtins"])
def test_without_classes_there_are_no_components(kinds: list[Any]) -> None:
    """A server without types of its own could not be described."""
    schemas = Schemas(kinds, kinds)
    assert schemas.components == {}
    expected: list[Schema] = [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]
    assert [schemas.of(each, "in") for each in kinds] == expected[: len(kinds)]
