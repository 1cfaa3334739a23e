"""JSON Schemas as values: their parts, the names in them, and what they are made of again."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtframework.contracts.json_schema import (
    PREFIX,
    Schema,
    is_json,
    parts,
    rebuild,
    reference,
    references,
    rename,
    unused,
    within,
)
from tests.support.thorough import examples

PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "$ref": {"type": "string"},  # a field that is called so
        "friends": {"type": "array", "items": reference("Person")},
    },
    "patternProperties": {"^x-": reference("Extra")},
    "additionalProperties": False,
    "required": ["name"],
}

NAMES = st.sampled_from(["A", "B", "items", "$ref", "anyOf"])
SCHEMAS = st.recursive(
    st.sampled_from([{"type": "string"}, {}, {"enum": ["items", {"$ref": "no schema"}]}, {"default": {"anyOf": 1}}])
    | NAMES.map(reference),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"not": inner, "propertyNames": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries(
            {"prefixItems": st.lists(inner, max_size=2), "additionalProperties": inner | st.booleans()}
        ),
        st.fixed_dictionaries({"properties": st.dictionaries(NAMES, inner, max_size=3)}),
    ),
    max_leaves=10,
)


def test_the_parts_of_a_schema_are_schemas() -> None:
    """What a field is called would be taken for a keyword, and ``additionalProperties: false`` for a schema."""
    assert list(parts(PERSON)) == [*PERSON["properties"].values(), reference("Extra")]
    assert list(parts({"enum": [{"type": "string"}], "default": {"items": {}}, "const": {}})) == []
    assert list(parts({"anyOf": [{"type": "null"}, {}], "items": {"type": "string"}})) == [
        {"type": "null"},
        {},
        {"type": "string"},
    ]


def test_all_references_are_found() -> None:
    """A type would be referred to that is nowhere in the document."""
    assert list(references(PERSON)) == ["Person", "Extra"]
    assert list(references(reference("A"))) == ["A"]
    assert list(references({"properties": {"$ref": {"type": "string"}}})) == []


def test_names_are_changed_in_references_only() -> None:
    """A field that is called like a type would be renamed with it, and no client could fill it."""
    schema = {"properties": {"Person": reference("Person")}, "enum": ["Person"], "title": "Person"}
    assert rename(schema, {"Person": "PersonInput"}) == {
        "properties": {"Person": reference("PersonInput")},
        "enum": ["Person"],
        "title": "Person",
    }
    assert rename(PERSON, {}) == PERSON


def test_names_may_be_exchanged() -> None:
    """A reference that has been renamed would be renamed again."""
    schema = {"anyOf": [reference("A"), reference("B")]}
    assert list(references(rename(schema, {"A": "B", "B": "A"}))) == ["B", "A"]


@settings(max_examples=examples(400))
@given(SCHEMAS)
def test_a_copy_is_the_same_and_the_original_is_left_alone(schema: Schema) -> None:
    """A contract would be written twice in two ways, or a type lose a part of it on the way."""
    before = copy.deepcopy(schema)
    assert rebuild(schema, lambda each: each) == before
    renamed = rename(schema, {"A": "B"})
    assert schema == before
    assert [("B" if name == "A" else name) for name in references(schema)] == list(references(renamed))
    assert rename(renamed, {}) == renamed


@settings(max_examples=examples(400))
@given(SCHEMAS)
def test_everything_within_is_reached(schema: Schema) -> None:
    """A change, of binary data say, would miss what is deep inside."""

    def mark(each: Schema) -> Schema:
        return {**rebuild(each, mark), "x-mark": True}

    assert all("x-mark" in each for each in within(mark(schema)))
    assert len(list(within(mark(schema)))) == len(list(within(schema)))


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "a", [], {"a": [None]}, [1, (2, 3)]])
def test_what_a_document_can_hold(value: Any) -> None:
    """A default that everybody could read would be left out."""
    assert is_json(value)


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("value", [math.nan, -math.inf, b"x", {1, 2}, object(), [object()], endless(), 1j])
def test_what_no_document_can_hold(value: Any) -> None:
    """Writing the contract would fail, or it would be no JSON."""
    assert not is_json(value)


@given(st.lists(st.sampled_from(["A", "A2", "A3", "B"]), max_size=12))
def test_no_name_is_given_twice(names: list[str]) -> None:
    """Two types would be one in the document."""
    taken = {"B"}
    given_ = [unused(name, taken) for name in names]
    assert len(set(given_)) == len(given_)
    assert taken == {"B", *given_}
    assert "B" not in given_


def test_a_name_that_is_free_stays_as_it_is() -> None:
    """Types would be called otherwise than in the program."""
    taken: set[str] = set()
    assert [unused("Message", taken), unused("Message", taken), unused("Message", taken, "_")] == [
        *("Message", "Message2", "Message_2")
    ]
    assert reference("Message") == {"$ref": f"{PREFIX}Message"}
