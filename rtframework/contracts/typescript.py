"""A contract as TypeScript: the interfaces that the ``Socket`` of ``socket.io-client`` takes as type parameters."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from ..exceptions import ConfigurationError
from ..handlers.declarations import NOTHING
from ..namespaces.patterns import without_expressions
from .components import Schemas
from .directions import answers_of, types_of
from .json_schema import BINARY, Dates, Direction, Schema

if TYPE_CHECKING:
    from .model import Argument, Contract, EventContract, NamespaceContract

Platform = Literal["browser", "node"]

_HEADER: Final = """\
// Written by `rtframework typescript`: change the server and write it again, not this file.
/* eslint-disable */
"""
_ERROR: Final = "EventError"
_ERROR_TYPE: Final = """\
/** What an acknowledgement gets when the server refuses an event. */
export interface EventError {
  error: { code: EventErrorCode; message: string; details?: unknown };
}

/** The server's own codes, and any of its handlers. The details of "rate_limited" are `{ retry_after: seconds }`. */
export type EventErrorCode =
  | "cancelled"
  | "internal_error"
  | "invalid_payload"
  | "rate_limited"
  | "unknown_event"
  | (string & {});
"""
_GUARD_FUNCTION: Final = """\
/** Whether an acknowledgement is a refusal, whatever the answer is: `"error" in answer` takes objects only. */
export function isEventError(answer: unknown): answer is EventError {
  const error = (answer as Partial<EventError> | null | undefined)?.error;
  return typeof error?.code === "string" && typeof error.message === "string";
}
"""
_BINARY_IN: Final = "BinaryInput"
_BINARY: Final[dict[Platform, tuple[str, str]]] = {
    "browser": ("ArrayBuffer", "ArrayBuffer | ArrayBufferView | Blob"),
    "node": ("Buffer", "ArrayBuffer | ArrayBufferView"),
}
"""For each platform: the type of received bytes, and the types that can be sent as bytes."""

_JAVASCRIPT: Final = (
    "any arguments await boolean break case catch class const continue debugger default delete do else enum eval "
    "export extends false finally for function if implements import in instanceof interface let new null number object "
    "package private protected public return static string super switch symbol this throw true try typeof undefined "
    "unknown var void while with yield never bigint infer intrinsic keyof readonly unique"
)
_WORDS: Final = frozenset(_JAVASCRIPT.split())
"""Names that neither a parameter nor a type can have."""
_RESERVED: Final = _WORDS | {
    "Array",
    "ArrayBuffer",
    "ArrayBufferView",
    "BinaryInput",
    "Blob",
    "Buffer",
    "Date",
    "EventError",
    "EventErrorCode",
    "Partial",
    "Record",
    "isEventError",
}
_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)


def typescript(
    contract: Contract,
    *,
    dates: Dates | None = None,
    platform: Platform = "browser",
    types_only: bool = False,
) -> str:
    """Return a contract as a module of TypeScript types; equal contracts give equal text.

    For ``"/"`` the interfaces are ``ServerToClientEvents`` and ``ClientToServerEvents``; those of other namespaces have
    the namespace's name in front: ``AdminServerToClientEvents`` for ``"/admin"``. A type that differs between the two
    directions, because clients may leave fields out, is written twice: ``Message`` for data that clients get,
    ``MessageInput`` for data that they send.

    ``dates``: the type of a ``datetime``, ``"string"`` or ``"Date"``; by default that of the server's serializer.
    ``platform``: ``"browser"``, where received bytes are an ``ArrayBuffer``, or ``"node"``, where they are a
    ``Buffer``. ``types_only``: leave out ``isEventError``, the only function, which a ``.d.ts`` file cannot hold.

    An event whose handlers return a value has the acknowledgement as its last parameter; for other events it is
    optional. Arguments and results without an annotation are ``unknown``.

    Raises :class:`~rtframework.ConfigurationError` for another ``dates`` or ``platform``.
    """
    dates = contract.dates if dates is None else dates
    if dates not in get_args(Dates) or platform not in get_args(Platform):
        raise ConfigurationError(f"dates is one of {get_args(Dates)}, platform one of {get_args(Platform)}")
    prefixes = dict(_prefixes(contract.namespaces))
    events = {f"{prefix}{name}" for prefix in prefixes.values() for name in (_RECEIVED, _SENT)}
    inputs, outputs = types_of(contract)
    schemas = Schemas(inputs, outputs, reserved=_RESERVED | events, differs=_is_binary)
    write = _Types(schemas, dates, platform)
    interfaces = [
        text
        for namespace in contract.namespaces
        for text in _interfaces(namespace, prefixes[namespace.name, namespace.kind], write)
    ]
    named = [write.declare(name, schema) for name, schema in schemas.components.items()]
    body = "\n".join([*interfaces, *named])
    shared = []
    if re.search(rf"\b{_ERROR}\b", body):
        shared.append(_ERROR_TYPE)
        if not types_only:
            shared.append(_GUARD_FUNCTION)
    if re.search(rf"\b{_BINARY_IN}\b", body):
        shared.append(f"/** What may be sent as bytes. */\nexport type {_BINARY_IN} = {_BINARY[platform][1]};\n")
    return "\n".join([_HEADER, *interfaces, *shared, *named])


_SENT: Final = "ServerToClientEvents"
_RECEIVED: Final = "ClientToServerEvents"


def _prefixes(namespaces: Sequence[NamespaceContract]) -> Iterator[tuple[tuple[str, str], str]]:
    taken: set[str] = set()
    for each in namespaces:
        name = without_expressions(each.name) if each.kind == "template" else each.name
        words = re.findall(r"[A-Za-z0-9]+", name)
        plain = "".join(word[:1].upper() + word[1:] for word in words)
        if each.name != "/" and not plain[:1].isalpha():
            plain = f"Namespace{plain}"
        numbered = itertools.chain([plain], (f"{plain}{number}" for number in itertools.count(2)))
        prefix = next(each for each in numbered if each not in taken)
        taken.add(prefix)
        yield (each.name, each.kind), prefix


def _interfaces(namespace: NamespaceContract, prefix: str, write: _Types) -> Iterator[str]:
    about = f" {namespace.description}" if namespace.description else ""
    for name, verb, events, direction in (
        (_SENT, "the server emits", namespace.sends, "out"),
        (_RECEIVED, "clients emit", namespace.receives, "in"),
    ):
        lines = [*_comment(f"What {verb} in `{namespace.name}`.{about}"), f"export interface {prefix}{name} {{"]
        for event in events:
            lines += _comment(event.description, "  ")
            lines.append(f"  {_property(event.name)}: {write.function(event, direction)};")  # type: ignore[arg-type]
        yield "\n".join([*lines, "}\n"])


class _Types:
    """Writes TypeScript types from schemas."""

    def __init__(self, schemas: Schemas, dates: Dates, platform: Platform) -> None:
        self._schemas = schemas
        self._date = dates
        self._binary = {"out": _BINARY[platform][0], "in": _BINARY_IN}

    # --- events -----------------------------------------------------------------------------------------------------

    def function(self, event: EventContract, direction: Direction) -> str:
        """Return the type of a listener: ``(data: Message, ack: (answer: string) => void) => void``."""
        arguments = list(zip(_names(event.arguments), event.arguments, strict=True))
        fixed = [f"{name}: {self._argument(each, direction)}" for name, each in arguments if each.required]
        optional = [(name, self._argument(each, direction)) for name, each in arguments if _may_be_left_out(each)]
        rest = [f"...{name}: {_array(self._argument(each, direction))}" for name, each in arguments if each.variadic]
        if event.returns is NOTHING:
            return f"({', '.join([*fixed, *(f'{name}?: {kind}' for name, kind in optional), *rest])}) => void"
        taken = {name for name, _ in arguments}
        name = next(each for each in ("ack", "acknowledge", "answer_", "ack_") if each not in taken)
        needed = direction == "out" or _answers(event.returns)
        ack = f"{name}: {self._ack(event.returns, direction)}"
        if needed and not optional and not rest:
            return f"({', '.join([*fixed, ack])}) => void"
        given = [f"{name}: {kind}" for name, kind in optional]
        # TypeScript allows no optional parameter before a required one, so a tuple is written for each length.
        ways = [[*fixed, *given[:count]] for count in range(len(given))]
        ways.append([*fixed, *given, *rest])
        tuples = [way for each in ways for way in (([*each, ack],) if needed else (each, [*each, ack]))]
        written = " | ".join(f"[{', '.join(each)}]" for each in tuples)
        return f"(...args: {written}) => void"

    def _argument(self, argument: Argument, direction: Direction) -> str:
        kinds = (self.expression(self._schemas.of(kind, direction), direction) for kind in argument.types)
        found = list(dict.fromkeys(kinds))
        return " & ".join(map(_grouped, found)) if len(found) > 1 else found[0] if found else "unknown"

    def _ack(self, returns: Any, direction: Direction) -> str:
        """Return the type of the callback; an error of the server replaces its first argument."""
        back: Direction = "out" if direction == "in" else "in"
        ways = list(answers_of(returns))
        if None in ways:
            return "(...answer: unknown[]) => void"
        kinds = [[self.expression(self._schemas.of(kind, back), back) for kind in way or ()] for way in ways]
        error = [_ERROR] if direction == "in" else []
        if any(len(each) > 1 for each in kinds):
            ways_written = [f"[{', '.join(each)}]" for each in (*kinds, *([error] if error else []))]
            return f"(...answer: {' | '.join(ways_written)}) => void"
        answer = " | ".join(dict.fromkeys([kind for each in kinds for kind in each] + error))
        if not any(kinds):
            return "(error?: EventError) => void" if error else "() => void"
        return f"(answer{'' if all(kinds) else '?'}: {answer}) => void"

    # --- types ------------------------------------------------------------------------------------------------------

    def declare(self, name: str, schema: Schema) -> str:
        """Return the declaration of an interface or an alias."""
        direction = self._schemas.direction_of[name]
        lines = _comment(schema.get("description", ""))
        if _is_interface(schema):
            return "\n".join([*lines, f"export interface {name} {self._object(schema, direction, '')}\n"])
        return "\n".join([*lines, f"export type {name} = {self.expression(schema, direction)};\n"])

    def expression(self, schema: Schema, direction: Direction, indent: str = "") -> str:
        """Return the type expression for a schema."""
        if "$ref" in schema:
            name: str = schema["$ref"].rpartition("/")[2]
            return name
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return " | ".join(dict.fromkeys(json.dumps(value, ensure_ascii=False) for value in values)) or "never"
        for key, sign in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")):
            if key in schema:
                kinds = [self.expression(each, direction, indent) for each in schema[key]]
                kinds = list(dict.fromkeys(kinds))
                return sign.join(map(_grouped, kinds) if key == "allOf" and len(kinds) > 1 else kinds)
        if isinstance(schema.get("type"), list):
            return " | ".join(self.expression({**schema, "type": each}, direction, indent) for each in schema["type"])
        if _is_binary(schema):
            return self._binary[direction]
        kind = schema.get("type")
        if kind == "array":
            return self._array(schema, direction, indent)
        if kind == "object":
            return self._object(schema, direction, indent)
        if kind == "string" and schema.get("format") == "date-time":
            return self._date
        return _PLAIN.get(kind, "unknown") if isinstance(kind, str) else "unknown"

    def _array(self, schema: Schema, direction: Direction, indent: str) -> str:
        first = schema.get("prefixItems")
        items = schema.get("items")
        if first is None:
            return _array(self.expression(items, direction, indent) if isinstance(items, dict) else "unknown")
        least = schema.get("minItems", 0)
        members = [self.expression(each, direction, indent) for each in first]
        members = [each if at < least else f"{_grouped(each)}?" for at, each in enumerate(members)]
        if isinstance(items, dict):
            members.append(f"...{_array(self.expression(items, direction, indent))}")
        return f"[{', '.join(members)}]"

    def _object(self, schema: Schema, direction: Direction, indent: str) -> str:
        properties = schema.get("properties")
        others = schema.get("additionalProperties")
        if others is True:  # a pydantic model with extra="allow"
            others = {}
        if properties is None:
            return self._record(
                schema, self.expression(others, direction, indent) if isinstance(others, dict) else None
            )
        if not properties:
            return "Record<string, never>" if not isinstance(others, dict) else "Record<string, unknown>"
        required = schema.get("required", ())
        lines = ["{"]
        for name, each in properties.items():
            lines += _comment(each.get("description", ""), f"{indent}  ")
            optional = "" if name in required else "?"
            lines.append(f"{indent}  {_property(name)}{optional}: {self.expression(each, direction, indent + '  ')};")
        if isinstance(others, dict):
            lines.append(f"{indent}  [key: string]: unknown;")
        return "\n".join([*lines, f"{indent}}}"])

    def _record(self, schema: Schema, value: str | None) -> str:
        keys = schema.get("propertyNames")
        if isinstance(keys, dict) and ("enum" in keys or "$ref" in keys):
            return f"Partial<Record<{self.expression(keys, 'in')}, {value or 'unknown'}>>"
        return f"Record<string, {value or 'unknown'}>"


def _is_binary(schema: Schema) -> bool:
    return all(schema.get(key) == value for key, value in BINARY.items())


def _is_interface(schema: Schema) -> bool:
    return schema.get("type") == "object" and bool(schema.get("properties"))


def _answers(returns: Any) -> bool:
    """Tell whether an acknowledgement is known to carry a value, in at least one case."""
    ways = list(answers_of(returns))
    return None not in ways and any(ways)


def _may_be_left_out(argument: Argument) -> bool:
    return not argument.required and not argument.variadic


def _names(arguments: Sequence[Argument]) -> list[str]:
    taken = {each.name for each in arguments} | _WORDS
    names = []
    for each in arguments:
        name = each.name
        while name in _WORDS or (name != each.name and name in taken):
            name += "_"
        taken.add(name)
        names.append(name)
    return names


def _grouped(expression: str) -> str:
    return f"({expression})" if " | " in expression or " & " in expression or "=>" in expression else expression


def _array(item: str) -> str:
    return f"{_grouped(item)}[]"


def _property(name: str | int) -> str:
    """Return an event's name or a field's as the name of a property.

    That of an integer is a string: socket.io-client's types ask for ``keyof Events & (string | symbol)``, so an event
    whose key is a number could not be emitted, and in JavaScript both are the same property.
    """
    name = str(name)
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _comment(text: str, indent: str = "") -> list[str]:
    lines = text.replace("*/", "* /").strip().splitlines()
    if not lines:
        return []
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines), f"{indent} */"]
