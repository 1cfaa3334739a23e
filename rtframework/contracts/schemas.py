"""The JSON Schemas of types, as what clients may send and as what they get."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import UNSET
from msgspec import inspect as kinds

from ..payloads import has_model, parts_of

Schema: TypeAlias = dict[str, Any]

Direction: TypeAlias = Literal["in", "out"]
"""Seen from the server: a field with a default may be left out of what comes in, and is there in what goes out."""

_TEMPLATE: Final = "#/components/schemas/{name}"
_PREFIX: Final = _TEMPLATE.format(name="")
_ONE: Final = ("items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not")
_SEVERAL: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_BY_NAME: Final = ("properties", "patternProperties")
"""Keywords whose values are schemas: one, a list, or many by names of the user's."""

BINARY: Final[Schema] = {"type": "string", "format": "binary"}


class Schemas:
    """The schemas of all types of a contract at once, so that each has one name everywhere.

    ``components``: those that have a name, by name. A type that looks different in the two directions, and is used in
    both, has two: ``Message`` is what clients get, ``MessageInput`` what they may send. ``reserved``: names that none
    may have. ``differs``: whether a schema without names in it reads differently in the two directions, for what is
    made of it.
    """

    def __init__(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        reserved: Collection[str] = (),
        differs: Callable[[Schema], bool] = lambda schema: False,
    ) -> None:
        self._roots: dict[Direction, list[tuple[Any, Schema]]] = {"in": [], "out": []}
        self._named: dict[Direction, dict[str, Schema]] = {"in": {}, "out": {}}
        every = [*inputs, *outputs]
        self._read_msgspec([each for each in every if not has_model(each)])
        self._read_pydantic([each for each in every if has_model(each)])
        self._names = self._choose_names(inputs, outputs, reserved, differs)
        self.components: dict[str, Schema] = {}
        self.direction_of: dict[str, Direction] = {}
        """Of each component, the direction that it is written for."""
        for direction in ("in", "out"):
            for name, chosen in self._names[direction].items():
                if chosen not in self.components:
                    self.components[chosen] = self._rename(self._named[direction][name], direction)
                    self.direction_of[chosen] = direction
        self.components = dict(sorted(self.components.items()))

    def of(self, kind: Any, direction: Direction) -> Schema:
        """The schema of one of the types, with references to ``components``."""
        schema = next(schema for known, schema in self._roots[direction] if known == kind)
        return self._rename(schema, direction)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read_msgspec(self, types: Sequence[Any]) -> None:
        classes = {
            info.cls: info
            for kind in types
            for info in parts_of(kinds.type_info(kind))
            if isinstance(info, kinds.StructType | kinds.DataclassType | kinds.NamedTupleType)
        }
        schemas, components = msgspec.json.schema_components(
            [*types, *classes], schema_hook=_any_object, ref_template=_TEMPLATE
        )
        clean = {name: _clean(schema) for name, schema in components.items()}
        self._named["in"].update(clean)
        out = {name: _without_defaults(schema) for name, schema in clean.items()}
        for info, reference in zip(classes.values(), schemas[len(types) :], strict=True):
            name = reference["$ref"].removeprefix(_PREFIX)
            out[name] = _always_complete(out[name], info)
        self._named["out"].update(out)
        for kind, schema in zip(types, schemas, strict=False):
            self._roots["in"].append((kind, _clean(schema)))
            self._roots["out"].append((kind, _without_defaults(_clean(schema))))

    def _read_pydantic(self, types: Sequence[Any]) -> None:
        if not types:
            return
        from pydantic import TypeAdapter
        from pydantic.json_schema import GenerateJsonSchema

        class Complete(GenerateJsonSchema):
            """Fields with defaults are there in what goes out."""

            def field_is_required(self, field: Any, total: bool) -> bool:
                given = self.mode == "serialization" and field["type"] != "typed-dict-field"
                return given or super().field_is_required(field, total)

        modes: dict[Direction, Literal["validation", "serialization"]] = {"in": "validation", "out": "serialization"}
        for kind in types:
            for direction, mode in modes.items():
                # In a list, so that a model at the top has a name like any other.
                adapter: Any = TypeAdapter(list[kind])  # type: ignore[valid-type]
                whole = adapter.json_schema(mode=mode, ref_template=f"{_PREFIX}{{model}}", schema_generator=Complete)
                neat = _clean if direction == "in" else _neat
                defined = {name: neat(schema) for name, schema in whole.get("$defs", {}).items()}
                names = {name: self._free_name(name, schema, direction) for name, schema in defined.items()}
                for name, schema in defined.items():
                    self._named[direction][names[name]] = _replace_refs(schema, names)
                self._roots[direction].append((kind, _replace_refs(neat(whole["items"]), names)))

    def _free_name(self, name: str, schema: Schema, direction: Direction) -> str:
        """A name that no other class has: pydantic and msgspec know nothing of each other."""
        taken = self._named[direction].get(name)
        while taken is not None and taken != schema:
            name += "_"
            taken = self._named[direction].get(name)
        return name

    # --- names ------------------------------------------------------------------------------------------------------

    def _choose_names(
        self,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        reserved: Collection[str],
        differs: Callable[[Schema], bool],
    ) -> dict[Direction, dict[str, str]]:
        used = {"in": self._reachable(inputs, "in"), "out": self._reachable(outputs, "out")}
        differing = self._differing(differs)
        taken = set(reserved)
        names: dict[Direction, dict[str, str]] = {"in": {}, "out": {}}
        for name in sorted(used["in"] | used["out"]):
            chosen = _unused(_identifier(name), taken)
            taken.add(chosen)
            names["out"][name] = names["in"][name] = chosen
        for name in sorted(used["in"] & used["out"] & differing):
            chosen = _unused(f"{names['out'][name]}Input", taken)
            taken.add(chosen)
            names["in"][name] = chosen
        return {
            "in": {name: chosen for name, chosen in names["in"].items() if name in used["in"]},
            "out": {name: chosen for name, chosen in names["out"].items() if name in used["out"]},
        }

    def _reachable(self, types: Sequence[Any], direction: Direction) -> set[str]:
        found: set[str] = set()
        waiting = [schema for kind, schema in self._roots[direction] if any(kind == each for each in types)]
        while waiting:
            for name in _refs(waiting.pop()):
                if name not in found:
                    found.add(name)
                    waiting.append(self._named[direction][name])
        return found

    def _differing(self, differs: Callable[[Schema], bool]) -> set[str]:
        coming, going = self._named["in"], self._named["out"]
        names = coming.keys() & going.keys()
        found = {name for name in names if coming[name] != going[name] or any(map(differs, _schemas(coming[name])))}
        while more := {name for name in names - found if not found.isdisjoint(_refs(coming[name]))}:
            found |= more
        return found

    def _rename(self, schema: Schema, direction: Direction) -> Schema:
        return _replace_refs(schema, self._names[direction])


def _any_object(kind: type) -> Schema:
    """Asked for the classes that msgspec does not know: ``object`` alone gets so far."""
    return {}


def _identifier(name: str) -> str:
    """A name without what generics and modules bring into it."""
    if name.isidentifier() and not name.endswith("_"):
        return name
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W+|_", name.replace("<locals>", ""))) or "Type"


def _unused(name: str, taken: Collection[str]) -> str:
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name}{number}"
    return chosen


def parts(schema: Schema) -> Iterator[Schema]:
    """The schemas that a schema is made of."""
    for key, value in schema.items():
        if key in _ONE and isinstance(value, dict):
            yield value
        elif key in _SEVERAL and isinstance(value, list):
            yield from value
        elif key in _BY_NAME and isinstance(value, dict):
            yield from value.values()


def rebuild(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """The same schema of other parts."""
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


def _clean(schema: Schema) -> Schema:
    """The same schema for data that are not all text: bytes go as they are."""
    cleaned = rebuild(schema, _clean)
    if schema.get("type") == "string" and schema.get("contentEncoding") == "base64":
        del cleaned["contentEncoding"]
        cleaned = {**BINARY, **cleaned}
    if "description" in schema:
        cleaned["description"] = inspect.cleandoc(schema["description"])
    cleaned.pop("discriminator", None)  # the tags of the types it is about say the same
    return cleaned


def _without_defaults(schema: Schema) -> Schema:
    """What is always there needs no default."""
    changed = rebuild(schema, _without_defaults)
    changed.pop("default", None)
    return changed


def _neat(schema: Schema) -> Schema:
    return _without_defaults(_clean(schema))


def _always_complete(schema: Schema, info: Any) -> Schema:
    """The schema of an object whose fields are sent, whether they have defaults or not."""
    if "prefixItems" in schema:
        return {**schema, "minItems": len(schema["prefixItems"])}
    if "properties" not in schema:
        return schema
    config = getattr(get_origin(info.cls) or info.cls, "__struct_config__", None)
    if config is not None and config.omit_defaults:
        return schema
    optional = {field.encode_name for field in info.fields if _may_be_unset(info.cls, field)}
    return {**schema, "required": [name for name in schema["properties"] if name not in optional]}


def _may_be_unset(owner: Any, field: kinds.Field) -> bool:
    owner = get_origin(owner) or owner
    if dataclasses.is_dataclass(owner):
        # msgspec does not set what has not come, and sends what is set; with slots there is nothing but what is set.
        return field.name in vars(owner) and "__slots__" not in vars(owner)
    return field.default is UNSET or any(
        each.name == field.name and msgspec.UnsetType in get_args(each.type)
        for each in (msgspec.structs.fields(owner) if hasattr(owner, "__struct_config__") else ())
    )


def _schemas(schema: Schema) -> Iterator[Schema]:
    """A schema and all that are in it."""
    yield schema
    for each in parts(schema):
        yield from _schemas(each)


def _refs(schema: Schema) -> Iterator[str]:
    for each in _schemas(schema):
        if "$ref" in each:
            yield each["$ref"].removeprefix(_PREFIX)


def _replace_refs(schema: Schema, names: Mapping[str, str]) -> Schema:
    replaced = rebuild(schema, lambda each: _replace_refs(each, names))
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_PREFIX)
        replaced["$ref"] = _PREFIX + names.get(name, name)
    return replaced
