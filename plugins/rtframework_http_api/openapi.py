"""The OpenAPI document of the API, made from its routes and their structs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from rtframework.adapters.cluster_view import VERSION

from .answers import JSON, PROBLEM
from .problems import CODES
from .route import Route

OPENAPI: Final = "3.1.0"

EVERYWHERE: Final = (
    "missing_key",
    "invalid_key",
    "missing_scope",
    "too_many_attempts",
    "not_serving",
    "internal_error",
)
"""Codes that every call may answer."""
WITH_BODY: Final = (
    "invalid_json",
    "invalid_idempotency_key",
    "body_timeout",
    "answer_not_kept",
    "body_too_large",
    "unsupported_media_type",
    "invalid_body",
    "idempotency_key_reused",
)
"""Codes that a POST may answer."""

_REF: Final = "#/components/schemas/{name}"
_PART: Final = re.compile(r"{(\w+)}")


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """An error (RFC 9457). Some have further members."""

    type: str
    title: str
    status: int
    code: Annotated[str, Meta(description="What went wrong, for programs: it does not change.")]
    detail: Annotated[str, Meta(description="What went wrong, for people.")]


def codes_of(route: Route) -> tuple[str, ...]:
    """Return the codes that a call may answer, in the order of ``CODES``."""
    own = {*EVERYWHERE, *route.problems, *(WITH_BODY if route.method == "POST" else ("invalid_query",))}
    return tuple(code for code in CODES if code in own)


def describe(routes: Sequence[Route], prefix: str = "") -> dict[str, Any]:
    """Make the document. ``prefix``: the path that the API is mounted at."""
    schemas, components = msgspec.json.schema_components(
        [ProblemDetails, *(route.takes for route in routes), *(route.gives for route in routes)], ref_template=_REF
    )
    takes, gives = schemas[1 : len(routes) + 1], schemas[len(routes) + 1 :]
    paths: dict[str, Any] = {}
    for route, taken, given in zip(routes, takes, gives, strict=True):
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, taken, given, components)
    for schema in components.values():
        if "description" in schema:  # a docstring
            schema["description"] = schema["description"].replace("``", "`")
    queries = {route.takes.__name__ for route in routes if route.method == "GET"}
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "rtframework HTTP API",
            "version": VERSION or "0",
            "description": "Emit to the clients of a Socket.IO server, throw them out, and see who is there.",
        },
        "servers": [{"url": prefix or "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in queries},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of the API, see `HTTPAPI(io, keys=…)`.",
                }
            },
        },
    }


def _operation(
    route: Route, taken: Mapping[str, Any], given: Mapping[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Needs the scope `{route.scope}`.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in _PART.findall(route.path)
        ],
    }
    shape = components[taken["$ref"].rpartition("/")[2]]
    if route.method == "GET":
        operation["parameters"] += [_parameter(name, schema) for name, schema in shape["properties"].items()]
    else:
        required = bool(shape.get("required"))
        operation["parameters"].append(_IDEMPOTENCY_KEY)
        operation["requestBody"] = {"required": required, "content": {JSON: {"schema": taken}}}
    operation["responses"] = {
        str(route.status): {"description": "The call was made.", "content": {JSON: {"schema": given}}},
        **_problems(codes_of(route)),
    }
    return operation


_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The call is made once, however often it is sent with this key.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def _parameter(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in schema.items() if key != "description"}
    found = {"name": name, "in": "query", "required": False, "schema": rest}
    return {**found, "description": schema["description"]} if "description" in schema else found


def _problems(codes: Sequence[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    schema = {"$ref": _REF.format(name=ProblemDetails.__name__)}
    return {
        str(status): {
            "description": "\n\n".join(f"`{code}`: {CODES[code][1]}" for code in found),
            "content": {PROBLEM: {"schema": schema}},
        }
        for status, found in by_status.items()
    }
