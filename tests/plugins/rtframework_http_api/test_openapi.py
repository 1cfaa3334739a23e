"""The OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from rtframework_http_api.openapi import describe
from rtframework_http_api.route import Route
from rtframework_http_api.routes import ROUTES

DOCUMENT: Final = describe(ROUTES, "/api")


def fixed(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    """An object of these fields and no others."""
    properties = {**required, **optional}
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


def table(names: str, of: Any) -> dict[str, Any]:
    """An object whose names match a pattern."""
    return {"type": "object", "patternProperties": {names: of}, "additionalProperties": False}


TEXT: Final = {"type": "string", "minLength": 1}
A_SCHEMA: Final = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
CONTENT: Final = {**table(r"^application/([a-z]+\+)?json$", fixed({"schema": A_SCHEMA})), "minProperties": 1}
PARAMETER: Final = {
    **fixed(
        {
            "name": TEXT,
            "in": {"enum": ["path", "query", "header"]},
            "required": {"type": "boolean"},
            "schema": A_SCHEMA,
        },
        description=TEXT,
    ),
    "if": {"properties": {"in": {"const": "path"}}},
    "then": {"properties": {"required": {"const": True}}},
}
OPERATION: Final = fixed(
    {
        "operationId": {"type": "string", "pattern": "^[a-z_]+$"},
        "summary": TEXT,
        "responses": table("^[1-5][0-9]{2}$", fixed({"description": TEXT, "content": CONTENT})),
    },
    description=TEXT,
    parameters={"type": "array", "items": PARAMETER, "uniqueItems": True},
    requestBody=fixed({"content": CONTENT, "required": {"type": "boolean"}}),
)
SCHEMA: Final = fixed(
    {
        "openapi": {"const": "3.1.0"},
        "info": fixed({"title": TEXT, "version": TEXT}, description=TEXT),
        "paths": table("^/", fixed({}, get=OPERATION, post=OPERATION)),
    },
    servers={"type": "array", "items": fixed({"url": TEXT})},
    security={"type": "array", "items": table("^key$", {"type": "array", "maxItems": 0})},
    components=fixed(
        {},
        schemas=table("^[a-zA-Z0-9._-]+$", A_SCHEMA),
        securitySchemes=table("^key$", fixed({"type": {"const": "http"}, "scheme": TEXT}, description=TEXT)),
    ),
)
"""What OpenAPI 3.1.0 says of the objects that the document has, in section 4.8."""


def test_it_is_valid() -> None:
    """Tools would refuse it."""
    errors = list(Draft202012Validator(SCHEMA).iter_errors(DOCUMENT))
    assert not errors, errors[0]


def refs(value: Any) -> list[str]:
    """Return all references."""
    if isinstance(value, list):
        return [ref for each in value for ref in refs(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return [*own, *(ref for each in value.values() for ref in refs(each))]


def test_its_references_lead_somewhere() -> None:
    """Tools would refuse it, or have nothing where a type should be."""
    assert {ref.rpartition("/")[2] for ref in refs(DOCUMENT)} == set(DOCUMENT["components"]["schemas"])
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_route_is_described(route: Route) -> None:
    """A client that is made of it could not make this call."""
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    assert (operation["operationId"], operation["summary"]) == (route.name, route.summary)
    assert f"`{route.scope}`" in operation["description"]
    names = {(each["in"], each["name"]) for each in operation["parameters"]}
    fields = route.takes.__struct_encode_fields__
    if route.method == "GET":
        assert {name for place, name in names if place == "query"} == set(fields)
    else:
        assert ("header", "Idempotency-Key") in names
        assert operation["requestBody"]["required"] == any(map(bool, _required(route)))
    assert (("path", "id") in names) == ("{id}" in route.path)
    assert {str(route.status), "401", "403", "429"} <= set(operation["responses"])


def _required(route: Route) -> list[str]:
    found: list[str] = DOCUMENT["components"]["schemas"][route.takes.__name__].get("required", [])
    return found


def test_it_names_the_path_of_the_api_and_the_key() -> None:
    """Calls would go to another path, or be refused."""
    assert DOCUMENT["servers"] == [{"url": "/api"}]
    assert describe(ROUTES)["servers"] == [{"url": "/"}]
    assert DOCUMENT["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
