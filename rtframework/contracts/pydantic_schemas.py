"""The JSON Schemas of types with pydantic models in them, which pydantic writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .json_schema import PREFIX, Direction, Schema, is_json, rebuild


class _Complete(GenerateJsonSchema):
    """Fields with defaults are there in what goes out."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Return whether a field has to be there, or is."""
        given = self.mode == "serialization" and field["type"] != "typed-dict-field"
        return given or super().field_is_required(field, total)


def read_models(kinds: Sequence[Any], direction: Direction) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of types, and those that have names, by name; of all at once, so that no two are called the same."""
    mode: JsonSchemaMode = "validation" if direction == "in" else "serialization"
    adapters: list[Any] = [_adapter(kind) for kind in kinds]
    whole, named = TypeAdapter.json_schemas(
        [(number, mode, adapter) for number, adapter in enumerate(adapters)],
        ref_template=f"{PREFIX}{{model}}",
        schema_generator=_Complete,
    )
    clean = _clean if direction == "in" else _without_defaults
    roots = [clean(whole[number, mode]["items"]) for number in range(len(adapters))]
    return roots, {name: clean(schema) for name, schema in named.get("$defs", {}).items()}


def _adapter(kind: Any) -> Any:
    # In a list, so that a model at the top has a name like any other.
    return TypeAdapter(list[kind])


def _clean(schema: Schema) -> Schema:
    cleaned = rebuild(schema, _clean)
    cleaned.pop("discriminator", None)  # the tags of the models say the same, and AsyncAPI writes it in another way
    if not is_json(cleaned.get("default")):
        del cleaned["default"]
    return cleaned


def _without_defaults(schema: Schema) -> Schema:
    """Copy a schema without its defaults: what is always there needs none."""
    changed = rebuild(_clean(schema), _without_defaults)
    changed.pop("default", None)
    return changed
