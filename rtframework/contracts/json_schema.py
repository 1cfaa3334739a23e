"""Operations on JSON Schemas as values: their parts, their references, and copies with changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

Schema: TypeAlias = dict[str, Any]

Direction: TypeAlias = Literal["in", "out"]
"""Seen from the server. A field with a default may be missing in data that comes in; it is there in what goes out."""

Dates: TypeAlias = Literal["string", "Date"]
"""The form of a ``datetime`` on arrival: text with JSON, a JavaScript ``Date`` with msgpack."""

BINARY: Final[Schema] = {"type": "string", "format": "binary"}

PREFIX: Final = "#/components/schemas/"

_ONE: Final = ("items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not")
_SEVERAL: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME: Final = ("properties", "patternProperties")
"""Keywords whose values are schemas: one, a list, or many by names of the user's."""


def reference(name: str) -> Schema:
    """Return a schema that refers to a component."""
    return {"$ref": f"{PREFIX}{name}"}


def unused(name: str, taken: set[str], between: str = "") -> str:
    """Return a name that is not taken, with a number behind it if needed, and add it to ``taken``."""
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}{between}{number}"
    taken.add(chosen)
    return chosen


def is_json(value: Any) -> bool:
    """Tell whether a value can be written as JSON, unlike bytes, infinities and objects of a program."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def parts(schema: Schema) -> Iterator[Schema]:
    """Yield the direct parts of a schema."""
    for key, value in schema.items():
        if key in _ONE and isinstance(value, dict):
            yield value
        elif key in _SEVERAL and isinstance(value, list):
            yield from value
        elif key in _BY_NAME and isinstance(value, dict):
            yield from value.values()


def rebuild(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Copy a schema with each of its parts replaced."""
    rebuilt: Schema = {}
    for key, value in schema.items():
        if key in _ONE and isinstance(value, dict):
            rebuilt[key] = change(value)
        elif key in _SEVERAL and isinstance(value, list):
            rebuilt[key] = [change(each) for each in value]
        elif key in _BY_NAME and isinstance(value, dict):
            rebuilt[key] = {name: change(each) for name, each in value.items()}
        else:
            rebuilt[key] = value
    return rebuilt


def within(schema: Schema) -> Iterator[Schema]:
    """Yield a schema and all schemas within it."""
    yield schema
    for each in parts(schema):
        yield from within(each)


def references(schema: Schema) -> Iterator[str]:
    """Yield the names of the components that a schema refers to."""
    for each in within(schema):
        if "$ref" in each:
            yield each["$ref"].removeprefix(PREFIX)


def rename(schema: Schema, names: Mapping[str, str]) -> Schema:
    """Copy a schema with other names in its references."""
    renamed = rebuild(schema, lambda each: rename(each, names))
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(PREFIX)
        renamed["$ref"] = PREFIX + names.get(name, name)
    return renamed
