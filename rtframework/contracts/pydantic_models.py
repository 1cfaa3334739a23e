"""The JSON Schemas of types with pydantic models in them, which pydantic writes."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .schema import PREFIX, Direction, Schema, rebuild


class _Complete(GenerateJsonSchema):
    """Fields with defaults are there in what goes out."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Whether a field has to be there, or is."""
        given = self.mode == "serialization" and field["type"] != "typed-dict-field"
        return given or super().field_is_required(field, total)


def read_model(kind: Any, direction: Direction) -> tuple[Schema, dict[str, Schema]]:
    """The schema of a type, and those that have names, by name."""
    mode: JsonSchemaMode = "validation" if direction == "in" else "serialization"
    # In a list, so that a model at the top has a name like any other.
    adapter: Any = TypeAdapter(list[kind])
    whole = adapter.json_schema(mode=mode, ref_template=f"{PREFIX}{{model}}", schema_generator=_Complete)
    clean = _clean if direction == "in" else _without_defaults
    return clean(whole["items"]), {name: clean(schema) for name, schema in whole.get("$defs", {}).items()}


def _clean(schema: Schema) -> Schema:
    cleaned = rebuild(schema, _clean)
    cleaned.pop("discriminator", None)  # the tags of the models say the same, and AsyncAPI writes it in another way
    return cleaned


def _without_defaults(schema: Schema) -> Schema:
    """What is always there needs no default."""
    changed = rebuild(_clean(schema), _without_defaults)
    changed.pop("default", None)
    return changed
