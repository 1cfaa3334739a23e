"""A contract as an AsyncAPI 3.0 document, for tools of any language and framework.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ..exceptions import ConfigurationError
from ..handlers.declarations import NOTHING
from ..namespaces.patterns import without_expressions
from .components import Schemas
from .directions import answers_of, types_of
from .json_schema import Direction, Schema, rebuild, unused

if TYPE_CHECKING:
    from .model import Argument, Contract, EventContract, NamespaceContract

_ERROR: Final = "EventError"
_OPEN: Final = {"http": "http", "ws": "ws"}
_SECURE: Final = {"http": "https", "ws": "wss"}
_SCHEMES: Final = {"http": _OPEN, "ws": _OPEN, "https": _SECURE, "wss": _SECURE}
_DEFAULT_PATH: Final = "/socket.io/"

_ERROR_SCHEMA: Final[Schema] = {
    "title": _ERROR,
    "description": "What the acknowledgement gets when the server refuses an event.",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "code": {
                    "type": "string",
                    "description": "One of a handler's own, or cancelled, internal_error, invalid_payload, "
                    "rate_limited (its details are {retry_after: seconds}) or unknown_event.",
                },
                "message": {"type": "string"},
                "details": {"description": "More about it; there is none with most codes."},
            },
            "required": ["code", "message"],
        }
    },
    "required": ["error"],
}


def asyncapi(
    contract: Contract,
    *,
    title: str = "Socket.IO server",
    version: str = "1.0.0",
    description: str | None = None,
    url: str | None = None,
) -> dict[str, Any]:
    """Return a contract as an AsyncAPI 3.0 document, a dict of JSON types; equal contracts give equal documents.

    ``title``, ``version`` and ``description`` describe your API. ``url``: the URL of the server, with the path of
    Socket.IO if that is not ``/socket.io/``; then the document names the paths of other protocols, too.

    A channel is a namespace, with the namespace's name as its address. The action "receive" is an event that clients
    emit, "send" one that the server emits. A message has the event's name; its payload is the array of the event's
    arguments. An acknowledgement is the reply, also with an array as its payload.

    Raises :class:`~rtframework.ConfigurationError` for an invalid ``url``.
    """
    inputs, outputs = types_of(contract)
    schemas = Schemas(inputs, outputs, reserved=(_ERROR,))
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    keys: set[str] = set()
    for namespace in contract.namespaces:
        plain = without_expressions(namespace.name) if namespace.kind == "template" else namespace.name
        key = _key("main" if namespace.name == "/" else plain, keys)
        prefix = "" if namespace.name == "/" else f"{key}."
        channel = _Channel(key, prefix, schemas)
        channels[key] = channel.write(namespace)
        operations.update(channel.operations)
    components = {name: _draft_7(schema) for name, schema in schemas.components.items()}
    if any(event.returns is not NOTHING for each in contract.namespaces for event in each.receives):
        components[_ERROR] = _ERROR_SCHEMA
    info = {"title": title, "version": version}
    return {
        "asyncapi": "3.0.0",
        "info": info if description is None else {**info, "description": description},
        "defaultContentType": "application/json",
        **({} if url is None else {"servers": _servers(contract, url)}),
        "channels": channels,
        "operations": operations,
        "components": {"schemas": dict(sorted(components.items()))},
    }


class _Channel:
    """Writer of the channel and the operations of one namespace."""

    def __init__(self, key: str, prefix: str, schemas: Schemas) -> None:
        self.operations: dict[str, Any] = {}
        self._key = key
        self._prefix = prefix
        self._schemas = schemas
        self._messages: dict[str, Any] = {}
        self._keys: set[str] = set()

    def write(self, namespace: NamespaceContract) -> dict[str, Any]:
        for event in namespace.receives:
            self._add(event, "receive", "in")
        for event in namespace.sends:
            self._add(event, "send", "out")
        channel: dict[str, Any] = {"address": _address(namespace), "title": namespace.name}
        if namespace.kind == "expression":
            channel["summary"] = "All namespaces whose names match this regular expression."
        elif namespace.kind == "function":
            channel["summary"] = "All namespaces that a function of the server says yes to."
        if namespace.description:
            channel["description"] = namespace.description
        if namespace.kind == "template" and namespace.params:
            channel["parameters"] = {
                name: {"description": "A part of the namespace's name."} for name in namespace.params
            }
        channel["messages"] = self._messages
        return channel

    def _add(self, event: EventContract, action: str, direction: Direction) -> None:
        back: Direction = "out" if direction == "in" else "in"
        key = _key(f"{action}.{event.name}", self._keys)
        message: dict[str, Any] = {"name": str(event.name), "title": str(event.name)}
        if isinstance(event.name, int):
            message["summary"] = "The event's name is a number."
        if event.description:
            message["description"] = event.description
        message["payload"] = self._arguments(event.arguments, direction)
        self._messages[key] = message
        operation: dict[str, Any] = {"action": action, "channel": {"$ref": f"#/channels/{_escape(self._key)}"}}
        if event.description:
            operation["summary"] = event.description
        operation["messages"] = [self._reference(key)]
        if event.returns is not NOTHING:
            ack = _key(f"{action}.{event.name}.ack", self._keys)
            self._messages[ack] = {
                "name": f"{event.name} (ack)",
                "title": f"The acknowledgement of {event.name}",
                "payload": self._answer(event.returns, back),
            }
            operation["reply"] = {"channel": operation["channel"], "messages": [self._reference(ack)]}
        self.operations[f"{self._prefix}{key}"] = operation

    def _reference(self, key: str) -> dict[str, str]:
        return {"$ref": f"#/channels/{_escape(self._key)}/messages/{_escape(key)}"}

    def _arguments(self, arguments: Sequence[Argument], direction: Direction) -> Schema:
        fixed = [each for each in arguments if not each.variadic]
        rest: Schema | bool = False
        items = []
        for each in arguments:
            schemas = [_draft_7(self._schemas.of(kind, direction)) for kind in each.types]
            schema = {"allOf": schemas} if len(schemas) > 1 else schemas[0] if schemas else {}
            if each.variadic:
                rest = {"title": each.name, **schema}
            elif "$ref" in schema:  # JSON Schema ignores the keywords next to $ref
                items.append({"title": each.name, "allOf": [schema]})
            else:
                items.append({**schema, "title": each.name})
        return _array(items, sum(each.required for each in fixed), rest)

    def _answer(self, returns: Any, direction: Direction) -> Schema:
        """Return the schema of an acknowledgement. The server's may also carry an error, a client's may not."""
        ways = [self._one_answer(each, direction) for each in answers_of(returns)]
        if direction == "out":
            ways.append(_array([{"$ref": f"#/components/schemas/{_ERROR}"}], 1, False))
        return ways[0] if len(ways) == 1 else {"anyOf": ways}

    def _one_answer(self, answer: tuple[Any, ...] | None, direction: Direction) -> Schema:
        if answer is None:
            return {"type": "array"}
        return _array([_draft_7(self._schemas.of(each, direction)) for each in answer], len(answer), False)


def _array(items: Sequence[Schema], least: int, rest: Schema | bool) -> Schema:
    if not items and rest is False:
        return {"type": "array", "maxItems": 0}
    if not items:
        return {"type": "array", "items": rest}
    array: Schema = {"type": "array", "items": list(items), "minItems": least, "additionalItems": rest}
    if rest is False:
        array["maxItems"] = len(items)
    return array


def _draft_7(schema: Schema) -> Schema:
    """Convert a schema to draft 7 of JSON Schema, which AsyncAPI uses: it writes tuples in another way."""
    changed = rebuild(schema, _draft_7)
    if "prefixItems" in changed:
        rest = changed.pop("items", None)
        changed["items"] = changed.pop("prefixItems")
        if rest is not None:
            changed["additionalItems"] = rest
    return changed


def _address(namespace: NamespaceContract) -> str | None:
    if namespace.kind == "name":
        return namespace.name
    if namespace.kind == "template":
        return without_expressions(namespace.name)
    return None


def _servers(contract: Contract, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ConfigurationError(f"a server's URL is like https://example.org or ws://127.0.0.1:8080, not {url!r}")
    schemes = _SCHEMES[parts.scheme]
    servers: dict[str, Any] = {}
    if contract.serves_socketio:
        servers["server"] = {
            "host": parts.netloc,
            "pathname": parts.path if parts.path not in ("", "/") else _DEFAULT_PATH,
            "protocol": schemes["ws"],
            "description": "Socket.IO, protocol 5, over Engine.IO 4.",
        }
    keys = set(servers)
    for each in contract.endpoints:
        servers[_key(each.path, keys)] = {
            "host": parts.netloc,
            "pathname": each.path,
            "protocol": schemes[each.scheme],
            **({"description": each.description} if each.description else {}),
        }
    return servers


def _key(name: str, taken: set[str]) -> str:
    """Return an unused key of the characters that AsyncAPI allows in keys."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "namespace"
    return unused(plain, taken, "-")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
