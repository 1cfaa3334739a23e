"""Inspection of a server: its namespaces, middleware and handlers, with their parameters."""

from __future__ import annotations

import functools
import inspect
import linecache
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..handlers.declarations import NOTHING, Declaration
from ..handlers.event import NEW_NAMESPACE
from ..handlers.exception_handlers import ExceptionHandlers
from ..handlers.signatures import Signature
from ..namespaces.namespace import Namespace
from ..namespaces.parent import ParentNamespace
from ..namespaces.patterns import RuleKind, is_namespace

if TYPE_CHECKING:
    from ..server import Server

Kind = Literal["use", "use_event", "on", "on_any", "on_any_outgoing", "on_server_side", "exception_handler", "emits"]


@dataclass(frozen=True, slots=True)
class Place:
    """The source location of a function or declaration."""

    name: str
    module: str
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of an event, with its annotation as text."""

    name: str
    type: str | None
    required: bool
    variadic: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One function or declaration that is registered with a namespace."""

    kind: Kind
    name: str | int | None
    """The event; ``None`` if it is for all events."""
    place: Place
    arguments: tuple[Argument, ...] | None = None
    """The arguments that clients send; ``None`` if they send none, e.g. for middleware."""
    returns: str | None = None
    ack: bool = False
    """True if the handler answers by calling ``ack``."""
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class NamespaceEntry:
    """A namespace, or all namespaces of a parent."""

    name: str
    kind: Literal["name"] | RuleKind
    entries: tuple[Entry, ...]


def take_inventory(server: Server) -> list[NamespaceEntry]:
    """List everything that is registered with a server, in the order of registration, the main namespace first."""
    found = []
    for namespace in server.namespaces.values():
        if namespace.parent is None:
            announced = server.listeners(NEW_NAMESPACE) if namespace.name == "/" else ()
            own = [Entry("on", NEW_NAMESPACE, locate(function)) for function in announced]
            if namespace.name == "/":
                own += _exception_handlers(server._host.exception_handlers)
            found.append(NamespaceEntry(namespace.name, "name", (*own, *_entries_of(namespace))))
    found.sort(key=lambda each: each.name != "/")
    return found + [_parent(parent) for parent in server.parents]


def locate(function: Callable[..., Any]) -> Place:
    """Return the place where a function was defined."""
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    target = inspect.unwrap(target)
    name = getattr(target, "__qualname__", type(target).__qualname__)
    module = getattr(target, "__module__", type(target).__module__)
    target = getattr(target, "__func__", target)
    code = getattr(target, "__code__", None) or getattr(type(target).__call__, "__code__", None)
    if code is None:
        return Place(name, module, None, None)
    return Place(name, module, code.co_filename, _line_of_def(code.co_filename, code.co_firstlineno))


def _parent(parent: ParentNamespace) -> NamespaceEntry:
    entries = list(_entries_of(parent))
    if parent.factory is not Namespace:
        # A class registers its handlers when an instance is made; this instance belongs to no server.
        try:
            own = _entries_of(parent.factory(parent.name if is_namespace(parent.name) else "/"))
            entries += [each for each in own if each not in entries]  # declarations of the class are in both
        except Exception as error:  # noqa: BLE001 - a factory may fail for a name that it does not expect
            print(f"note: what {parent.name} makes by itself is not shown ({error!r})", file=sys.stderr)
    return NamespaceEntry(parent.name, parent.rule.kind, tuple(entries))


def _entries_of(namespace: Namespace) -> Iterator[Entry]:
    listening = namespace._listening
    for connecting in namespace.middlewares:
        yield Entry("use", None, locate(connecting))
    for around in namespace.event_middlewares:
        yield Entry("use_event", None, locate(around))
    yield from _exception_handlers(namespace._exception_handlers)
    for event, hearing in listening.lifecycle.items():
        for each in hearing:
            yield Entry("on", event, locate(each.function))
    for handlers in listening.by_event().values():
        for handler in handlers:
            yield _entry("on", handler.name, handler.function, handler.signature, ordered=bool(handler.ordered))
    for handler in listening.catch_all:
        yield _entry("on_any", None, handler.function, handler.signature)
    for handler in listening.outgoing:
        yield Entry("on_any_outgoing", None, locate(handler.function))
    for event in namespace._server_side_events():
        for handler in namespace._server_side_handlers(event):
            yield _entry("on_server_side", handler.name, handler.function, handler.signature)
    for declaration in namespace.declared:
        yield _declared(declaration)


def _declared(declaration: Declaration) -> Entry:
    file, _, line = declaration.place.rpartition(":")
    return Entry(
        "emits",
        declaration.event,
        Place(str(declaration.event), Path(file).stem, file, int(line)),
        tuple(
            Argument(each.name, None if each.type is Any else _written(each.type), each.required, each.variadic)
            for each in declaration.parameters
        ),
        None if declaration.returns is NOTHING else _written(declaration.returns),
    )


def _exception_handlers(handlers: ExceptionHandlers) -> list[Entry]:
    return [
        Entry("exception_handler", kind.__qualname__, locate(function)) for kind, function in handlers.functions.items()
    ]


def _entry(
    kind: Kind, event: str | int | None, function: Callable[..., Any], signature: Signature, *, ordered: bool = False
) -> Entry:
    written = _annotations(function)
    arguments = tuple(
        Argument(each.name, written.get(each.name), each.required, each.variadic) for each in signature.parameters
    )
    if kind == "on_any":
        arguments = arguments[1:] if arguments and not arguments[0].variadic else arguments
        return Entry(kind, event, locate(function), arguments, ack=signature.takes_ack)
    return Entry(
        kind,
        event,
        locate(function),
        arguments,
        None if signature.takes_ack else written.get("return"),
        signature.takes_ack,
        ordered,
    )


def _annotations(function: Callable[..., Any]) -> dict[str, str]:
    """Return the annotations of a function as text, by parameter, with ``return`` for the result."""
    signature = inspect.signature(function)
    found = [(each.name, each.annotation) for each in signature.parameters.values()]
    found.append(("return", signature.return_annotation))
    return {name: _written(annotation) for name, annotation in found if annotation is not inspect.Signature.empty}


def _written(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        return "None" if annotation is type(None) else annotation.__qualname__.rpartition("<locals>.")[2]
    return str(inspect.formatannotation(annotation)).replace("typing.", "")


def _line_of_def(file: str, first: int) -> int:
    """Return the line of ``def``, below the decorators."""
    for line in range(first, first + 50):
        if linecache.getline(file, line).lstrip().startswith(("def ", "async def ")):
            return line
    return first


def written(arguments: Iterable[Argument]) -> str:
    """Write arguments as in the ``def`` of a function."""
    return ", ".join(
        f"{'*' * each.variadic}{each.name}"
        + (f": {each.type}" if each.type else "")
        + ("" if each.required or each.variadic else " = ..." if each.type else "=...")
        for each in arguments
    )
