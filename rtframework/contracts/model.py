"""A server's contract as a value: its namespaces, and the events that each receives and sends."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, Union

from msgspec import Struct

from ..admin.namespace import AdminNamespace
from ..exceptions import ConfigurationError
from ..handlers.annotations import where
from ..handlers.declarations import NOTHING, Declaration
from ..handlers.validation import check_type
from ..namespaces.history import HISTORY
from ..namespaces.namespace import Namespace
from ..namespaces.parent import ParentNamespace
from ..namespaces.patterns import RuleKind
from ..types import Packet, PacketType
from .docstrings import to_markdown
from .json_schema import Dates
from .presence import PRESENCE

if TYPE_CHECKING:
    from ..handlers.signatures import Parameter
    from ..protocols import Serializer
    from ..server import Server

NamespaceKind: TypeAlias = Literal["name"] | RuleKind


class Argument(Struct, frozen=True):
    """One argument of an event."""

    name: str
    types: tuple[Any, ...] = ()
    """The types that the argument must fit, all of them: several if the handlers of an event ask for different types,
    empty if none has an annotation."""
    required: bool = True
    variadic: bool = False
    """True if it stands for any number of arguments, at the end."""


class EventContract(Struct, frozen=True):
    """One event, in one direction."""

    name: str | int
    """As it was first registered: ``1`` and ``"1"`` are the same event."""
    arguments: tuple[Argument, ...] = ()
    returns: Any = NOTHING
    """The type of the acknowledgement: ``None`` for an empty one, ``Any`` without an annotation, ``NOTHING`` if none is
    requested. A tuple is several arguments."""
    description: str = ""
    """The first paragraph of the handler's docstring, or the description of the declaration; and, of an event that is
    served once, which id it has."""
    places: tuple[str, ...] = ()
    """The handlers, or the file and line of the declaration."""


class NamespaceContract(Struct, frozen=True):
    """One namespace, or all namespaces of one pattern."""

    name: str
    """Name, template or regular expression, or the name of the function that decides."""
    kind: NamespaceKind = "name"
    params: tuple[str, ...] = ()
    """Names of the parameters in the template."""
    receives: tuple[EventContract, ...] = ()
    """Events that clients emit, in the order of registration."""
    sends: tuple[EventContract, ...] = ()
    """Events that the server emits, in the order of declaration."""
    description: str = ""


class EndpointContract(Struct, frozen=True):
    """A path at which clients of another protocol than Socket.IO connect."""

    path: str
    """As it is in the application, from its root."""
    scheme: Literal["http", "ws"]
    description: str = ""
    """What is spoken there, in a sentence."""


class Contract(Struct, frozen=True):
    """All namespaces of a server, the main one first."""

    namespaces: tuple[NamespaceContract, ...]
    dates: Dates = "string"
    """Form in which clients get a ``datetime``: a string, as with JSON, or a JavaScript ``Date``, as with msgpack."""
    endpoints: tuple[EndpointContract, ...] = ()
    """The paths of other protocols, in the order in which the server was attached."""
    serves_socketio: bool = True
    """False if the server was attached for other protocols only."""


def describe(server: Server) -> Contract:
    """Return the contract of a server: the handlers and declarations that are registered now.

    Handlers of single sockets, registered by ``socket.on(...)``, and the Admin UI's namespace are not included. Raises
    :class:`~rtframework.ConfigurationError` if a factory of namespaces fails to make one.
    """
    given = [
        _describe(each, each.name, "name", (), _has_history(server, each.name))
        for each in server.namespaces.values()
        if each.parent is None and not isinstance(each, AdminNamespace)
    ]
    given.sort(key=lambda each: each.name != "/")
    parents = [_describe_parent(each, _has_history(server, each.name)) for each in server.parents]
    gateways = server._server.gateways
    endpoints = (EndpointContract(each.path, each.scheme, each.description) for each in gateways)
    return Contract((*given, *parents), _dates(server.serializer), tuple(endpoints), server._attached or not gateways)


class HistoryItem(Struct, frozen=True):
    """One event that was said in a room."""

    id: str
    event: str | int
    args: list[Any]
    at: int


class HistoryMessage(Struct, frozen=True):
    """The argument of the event ``"history"``."""

    room: str
    entries: list[HistoryItem]
    gap: bool
    more: bool


_HISTORY: Final = EventContract(
    HISTORY, (Argument("page", (HistoryMessage,)),), description="What was said in a room that the client has joined."
)


def _has_history(server: Server, nsp: str) -> bool:
    return any(rule.nsp in (None, nsp) for rule in server._host.settings.history)


def _dates(serializer: Serializer) -> Dates:
    decoder = serializer.decoder()
    for frame in serializer.encode(Packet(PacketType.EVENT, "/", ["at", datetime.datetime.now(datetime.UTC)])):
        packet = decoder.decode(frame)
        if packet is not None:
            return "Date" if isinstance(packet.data[1], datetime.datetime) else "string"
    return "string"


def _describe_parent(parent: ParentNamespace, has_history: bool) -> NamespaceContract:
    rule = parent.rule
    name = "/" + "/".join(rule.params) if rule.kind == "template" else "/"
    child = _child_of(parent, name)
    has_presence = parent._presence is not None
    return _describe(child, rule.label, rule.kind, rule.params, has_history, has_presence=has_presence)


def _child_of(parent: ParentNamespace, name: str) -> Namespace:
    """Return an existing child of a parent, or else a new one that belongs to no server."""
    for child in parent.children.values():
        return child
    if parent.factory is Namespace:
        return parent
    try:
        child = parent.factory(name)
        child._inherit(parent)
    except Exception as error:
        raise ConfigurationError(
            f"the factory of {parent.name} cannot make a namespace to describe: {error}"
        ) from error
    parent._listening.disown(child._listening)
    return child


def _describe(
    namespace: Namespace,
    name: str,
    kind: NamespaceKind,
    params: tuple[str, ...],
    has_history: bool,
    *,
    has_presence: bool = False,
) -> NamespaceContract:
    own = type(namespace) not in (Namespace, ParentNamespace)
    present = has_presence or namespace._presence is not None
    sent = [_sent(declaration) for declaration in _declarations(namespace, present)]
    if has_history and all(each.name != HISTORY for each in sent):
        sent.append(_HISTORY)
    return NamespaceContract(
        name,
        kind,
        params,
        tuple(map(_received, namespace._listening.by_event().values())),
        tuple(sent),
        _first_paragraph(type(namespace)) if own else "",
    )


def _declarations(namespace: Namespace, has_presence: bool) -> Iterable[Declaration]:
    yield from namespace.declared
    if has_presence:
        yield from (each for each in PRESENCE if namespace.declared.get(each.event) is None)


def _sent(declaration: Declaration) -> EventContract:
    arguments = tuple(_argument((each,)) for each in declaration.parameters)
    return EventContract(
        declaration.event, arguments, declaration.returns, declaration.description, (declaration.place,)
    )


def _received(handlers: Sequence[Any]) -> EventContract:
    signatures = [each.signature for each in handlers]
    descriptions = (_first_paragraph(each.function) for each in handlers)
    return EventContract(
        handlers[0].name,
        tuple(_arguments([each.parameters for each in signatures])),
        _answer(signatures),
        " ".join(filter(None, (next(filter(None, descriptions), ""), _served_once(handlers)))),
        tuple(dict.fromkeys(where(each.function) for each in handlers)),
    )


def _served_once(handlers: Sequence[Any]) -> str:
    """Tell clients which id lets them send an event again, if all its handlers serve it once."""
    ids = dict.fromkeys(None if each.event_id is None else each.event_id.name for each in handlers)
    if None in ids:
        return ""
    return f"Served once for each {' and '.join(f'`{id}`' for id in ids)}, so that it may be sent again."


def _arguments(handlers: Sequence[Sequence[Parameter]]) -> Iterable[Argument]:
    """Merge the parameters of all handlers of an event, which are called with the same arguments."""
    position = 0
    while True:
        there = [_at(parameters, position) for parameters in handlers]
        found = [each for each in there if each is not None]
        if not found or (len(found) < len(there) and not any(each.required for each in found)):
            return  # one of the handlers takes no further argument
        argument = _argument(found)
        yield argument
        if argument.variadic:
            return
        position += 1


def _at(parameters: Sequence[Parameter], position: int) -> Parameter | None:
    if position < len(parameters):
        return parameters[position]
    return parameters[-1] if parameters and parameters[-1].variadic else None


def _argument(parameters: Sequence[Parameter]) -> Argument:
    types: list[Any] = []
    for each in parameters:
        if _is_known(each.type) and each.type not in types:
            types.append(each.type)
    return Argument(
        parameters[0].name,
        tuple(types),
        required=any(each.required for each in parameters),
        variadic=all(each.variadic for each in parameters),
    )


def _answer(signatures: Sequence[Any]) -> Any:
    """Return the type of an event's acknowledgement: any handler may be the first to answer, so a union of all."""
    found: list[Any] = []
    for each in signatures:
        returns = type(None) if each.returns is None else each.returns
        if each.takes_ack or not _is_known(returns):
            return Any
        if returns not in found:
            found.append(returns)
    return Union[tuple(found)]  # noqa: UP007 - a union of any number of types


def _is_known(kind: Any) -> bool:
    """Tell whether the form in which values of a type are sent is known."""
    if kind in (Any, object, inspect.Parameter.empty):
        return False
    try:
        check_type(kind)
    except (TypeError, NameError, RuntimeError):  # the serializer's enc_hook may send it, in an unknown form
        return False
    return True


def _first_paragraph(documented: Any) -> str:
    if isinstance(documented, type):
        text = inspect.cleandoc(vars(documented).get("__doc__") or "")  # not inherited from Namespace
    else:
        text = (inspect.getdoc(documented) if inspect.isroutine(documented) else None) or ""
    return to_markdown(" ".join(text.partition("\n\n")[0].split()))
