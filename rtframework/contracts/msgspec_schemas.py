"""The JSON Schemas of the types that msgspec supports, for both directions.

msgspec's own schemas describe decoded JSON only; these also describe data that goes out, with bytes as binary.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, UnsetType
from msgspec import inspect as kinds

from ..handlers.validation import BYTES
from .docstrings import to_markdown
from .json_schema import BINARY, Direction, Schema, is_json, reference

Named = kinds.StructType | kinds.DataclassType | kinds.TypedDictType | kinds.NamedTupleType | kinds.EnumType
"""Types whose schema is written once, as a component, and referred to by name."""

_PLAIN: Final[Mapping[type, Schema]] = {
    kinds.NoneType: {"type": "null"},
    kinds.BoolType: {"type": "boolean"},
    kinds.IntType: {"type": "integer"},
    kinds.FloatType: {"type": "number"},
    kinds.StrType: {"type": "string"},
    kinds.BytesType: BINARY,
    kinds.ByteArrayType: BINARY,
    kinds.MemoryViewType: BINARY,
    kinds.DateTimeType: {"type": "string", "format": "date-time"},
    kinds.DateType: {"type": "string", "format": "date"},
    kinds.TimeType: {"type": "string", "format": "time"},
    kinds.TimeDeltaType: {"type": "string", "format": "duration"},
    kinds.UUIDType: {"type": "string", "format": "uuid"},
    kinds.DecimalType: {"type": "string", "format": "decimal"},
}
_BOUNDS: Final = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_SIZES: Final = {"array": ("minItems", "maxItems"), "object": ("minProperties", "maxProperties")}


class MsgspecTypes:
    """Writes schemas for one direction. ``names``: the name of each class."""

    def __init__(self, names: Mapping[Any, str], direction: Direction) -> None:
        self._names = names
        self._direction = direction

    def schema(self, info: kinds.Type) -> Schema:
        """Return the schema of a type, with references to classes."""
        extra: Schema = {}
        while isinstance(info, kinds.Metadata):
            extra = {**extra, **(info.extra_json_schema or {})}
            info = info.type
        if isinstance(info, Named):
            return {**extra, **reference(self._names[info.cls])}
        return {**self._unnamed(info), **extra}

    def definition(self, info: Any) -> Schema:
        """Return the schema of a class, for the component that references point to."""
        schema: Schema = {"title": self._names[info.cls]}
        description = _description(info)
        if description:
            schema["description"] = description
        if isinstance(info, kinds.EnumType):
            return {**schema, "enum": [each.value for each in info.cls]}
        written = {field.encode_name: self._field(field) for field in info.fields}
        required = [field.encode_name for field in info.fields if self._is_there(info, field)]
        tag = getattr(info, "tag_field", None)
        if tag is not None:
            written = {tag: {"enum": [info.tag]}, **written}
            required = [tag, *required]
        closed = getattr(info, "forbid_unknown_fields", False)
        is_tuple = isinstance(info, kinds.NamedTupleType)  # which takes no more items than it has, as a Struct does
        if is_tuple or getattr(info, "array_like", False):
            schema |= {"type": "array", "prefixItems": list(written.values()), "minItems": len(required)}
            return {**schema, "maxItems": len(written)} if is_tuple or closed or self._direction == "out" else schema
        schema |= {"type": "object", "properties": written, "required": required}
        return {**schema, "additionalProperties": False} if closed else schema

    def _field(self, field: kinds.Field) -> Schema:
        schema = self.schema(field.type)
        if self._direction == "in" and field.default not in (NODEFAULT, UNSET):
            try:
                default = msgspec.to_builtins(field.default, builtin_types=BYTES, str_keys=True)
            except (TypeError, ValueError, RecursionError):  # an object of the program, which has no JSON form
                return schema
            if is_json(default):
                schema["default"] = default
        return schema

    def _is_there(self, info: Any, field: kinds.Field) -> bool:
        if field.required or self._direction == "in" or isinstance(info, kinds.TypedDictType):
            return field.required
        owner = get_origin(info.cls) or info.cls
        config = getattr(owner, "__struct_config__", None)
        if config is None:
            return True
        if config.omit_defaults and not config.array_like:
            return False
        declared = next(each.type for each in msgspec.structs.fields(owner) if each.name == field.name)
        return field.default is not UNSET and UnsetType not in get_args(declared)

    def _unnamed(self, info: Any) -> Schema:
        schema: Schema = dict(_PLAIN.get(type(info), {}))
        for name, keyword in _BOUNDS.items():
            if getattr(info, name, None) is not None:
                schema[keyword] = getattr(info, name)
        if isinstance(info, kinds.StrType):
            return schema | _sizes(info, "minLength", "maxLength")
        if isinstance(info, kinds.LiteralType):
            return {"enum": list(info.values)}
        if isinstance(info, kinds.UnionType):
            return self._union(info.types)
        if isinstance(info, kinds.TupleType):
            count = len(info.item_types)
            schema = {"type": "array", "minItems": count, "maxItems": count}
            return {**schema, "prefixItems": [self.schema(each) for each in info.item_types]} if count else schema
        if isinstance(info, kinds.CollectionType):
            unique = {"uniqueItems": True} if isinstance(info, kinds.SetType | kinds.FrozenSetType) else {}
            schema = {"type": "array", **self._part("items", info.item_type), **unique}
            return schema | _sizes(info, *_SIZES["array"])
        if isinstance(info, kinds.DictType):
            schema = {"type": "object", **self._keys(info.key_type)}
            return schema | self._part("additionalProperties", info.value_type) | _sizes(info, *_SIZES["object"])
        return schema

    def _union(self, members: Sequence[kinds.Type]) -> Schema:
        # None last, as it is usually written.
        ordered = sorted(members, key=lambda each: isinstance(each, kinds.NoneType))
        return {"anyOf": [self.schema(each) for each in ordered]}

    def _part(self, keyword: str, info: kinds.Type) -> Schema:
        schema = self.schema(info)
        return {keyword: schema} if schema else {}

    def _keys(self, info: kinds.Type) -> Schema:
        schema = self.schema(info)
        if "enum" in schema:
            return {"propertyNames": {"enum": [str(each) for each in schema["enum"]]}}
        if "$ref" in schema:
            return {"propertyNames": schema}
        schema.pop("type", None)
        return {"propertyNames": schema} if schema and isinstance(info, kinds.StrType) else {}


def _sizes(info: Any, least: str, most: str) -> Schema:
    found = {least: info.min_length, most: info.max_length}
    return {keyword: value for keyword, value in found.items() if value is not None}


def _description(info: Any) -> str:
    """Return the docstring of a class; empty if Python has generated it."""
    owner = get_origin(info.cls) or info.cls
    text = inspect.cleandoc(vars(owner).get("__doc__") or "")
    written_by_python = text == "An enumeration." or text.startswith(f"{owner.__name__}(")
    return "" if written_by_python else to_markdown(text)
