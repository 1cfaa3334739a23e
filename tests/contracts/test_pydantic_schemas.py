"""Schemas of pydantic's models, one for each direction."""

from __future__ import annotations

import datetime
from typing import Any, Literal

import pydantic
import pytest

from rtframework.contracts.json_schema import reference, references, within
from rtframework.contracts.pydantic_schemas import read_models


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str = pydantic.Field(min_length=1, alias="fullName")
    nick: str = "nobody"
    friends: list[Person] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]


class Owner(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")


class Strange(pydantic.BaseModel):
    limit: float = float("inf")
    at: datetime.datetime = datetime.datetime(2030, 1, 1)


class Account(pydantic.BaseModel):
    """Is sent in another way than it is read."""

    name: str = pydantic.Field(validation_alias="login", serialization_alias="user")
    secret: str = pydantic.Field(exclude=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        """Of the name."""
        return len(self.name)


def read(kind: Any, direction: Any) -> tuple[Any, dict[str, Any]]:
    """The schema of one type, and those it refers to."""
    (root,), named = read_models([kind], direction)
    return root, named


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_model_at_the_top_has_a_name(direction: Any) -> None:
    """The same model would be written in full at each event that takes it."""
    root, named = read(Person, direction)
    assert root == reference("Person")
    assert set(named) == {"Person"}
    assert named["Person"]["description"] == "Somebody."
    assert list(references(named["Person"])) == ["Person"]


def test_a_default_may_be_left_out_of_what_comes_in_and_is_there_in_what_goes_out() -> None:
    """A page would have to send every field, or look for one that is always there."""
    coming, going = read(Person, "in")[1]["Person"], read(Person, "out")[1]["Person"]
    assert coming["required"] == ["fullName"]
    assert coming["properties"]["nick"]["default"] == "nobody"
    assert set(going["required"]) == {"fullName", "nick", "friends"}
    assert all("default" not in each for each in within(going))


def test_aliases_and_computed_fields_are_those_of_the_direction() -> None:
    """A page would look for a field under the name that it is sent by, and for one that nobody ever sends."""
    assert set(read(Account, "in")[1]["Account"]["properties"]) == {"login", "secret"}
    assert set(read(Account, "out")[1]["Account"]["properties"]) == {"user", "length"}


def test_a_discriminator_is_left_to_the_tags() -> None:
    """AsyncAPI writes it in another way: the document would be none."""
    for direction in ("in", "out"):
        named = read(Owner, direction)[1]
        assert all("discriminator" not in each for schema in named.values() for each in within(schema))
        assert set(references(named["Owner"])) == {"Cat", "Dog"}


def test_defaults_that_no_document_can_hold_are_left_out() -> None:
    """The contract of a program with such a default could not be written."""
    properties = read(Strange, "in")[1]["Strange"]["properties"]
    assert "default" not in properties["limit"]
    assert properties["at"]["default"].startswith("2030-01-01")


def test_all_types_are_read_at_once() -> None:
    """Two models of the same name, in different modules, would become one."""

    def other() -> Any:
        class Person(pydantic.BaseModel):
            age: int

        return Person

    roots, named = read_models([Person, other(), list[Cat] | None, dict[str, Person]], "in")
    assert len(roots) == 4
    assert roots[0] != roots[1]
    assert len(named) == 3
    assert next(references(roots[3])) == next(references(roots[0]))
    assert read_models([], "in") == ([], {})
