"""The JSON Schemas of types that contain pydantic models, written by pydantic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from .docstrings import to_markdown
from .json_schema import PREFIX, Direction, Schema, is_json, rebuild


class _Complete(GenerateJsonSchema):
    """Schema generator that makes fields with defaults required in data that goes out."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        """Tell whether a field must be sent by clients, or is always sent by the server."""
        given = self.mode == "serialization" and field["type"] != "typed-dict-field"
        return given or super().field_is_required(field, total)


def read_models(kinds: Sequence[Any], direction: Direction) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schemas of types, and the named schemas by name.

    All types are read at once, so that each name is used once.
    """
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
    # Within a list, because a model at the top would be written without a name.
    return TypeAdapter(list[kind])


def _clean(schema: Schema) -> Schema:
    cleaned = rebuild(schema, _clean)
    if isinstance(about := cleaned.get("description"), str):
        cleaned["description"] = to_markdown(about)
    cleaned.pop("discriminator", None)  # the models' tags say the same, and AsyncAPI has another form for it
    if not is_json(cleaned.get("default")):
        del cleaned["default"]
    return cleaned


def _without_defaults(schema: Schema) -> Schema:
    """Copy a schema without its defaults: the server always sends these fields."""
    changed = rebuild(_clean(schema), _without_defaults)
    changed.pop("default", None)
    return changed
