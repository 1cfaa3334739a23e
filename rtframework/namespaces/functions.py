"""The functions that a program has registered with a server, and what each is for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from itertools import islice
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from ..logs import place_of

if TYPE_CHECKING:
    from ..handlers.dependency_plan import DependencyPlan
    from ..handlers.registry import HandlerRegistry
    from .host import Host
    from .namespace import Namespace

_SOCKETS: Final = 1000
"""Sockets of a namespace whose own handlers are looked at: they share their code."""


def describe_functions(host: Host) -> dict[CodeType, str]:
    """Return what each function is for, by its code: ``handler send of 'message' (chat/server.py:41)``.

    Safe to call from another thread: a ``RuntimeError`` says that something was registered meanwhile.
    """
    found: dict[CodeType, str] = {}
    for function, kind, of in _functions(host):
        name = getattr(function, "__name__", None) or type(function).__name__
        for code in codes_of(function):
            found.setdefault(code, f"{kind} {name}{of} ({place_of(code)})")
    return found


Found = tuple[Callable[..., Any], str, str]
"""A function, its kind, and what it is for."""


def _functions(host: Host) -> Iterator[Found]:
    for namespace in (*host.namespaces.values(), *host.dynamic.parents):
        yield from _of_namespace(namespace)
    yield from (
        (function, "exception handler", f" of {kind.__name__}")
        for kind, function in host.exception_handlers.functions.items()
    )
    yield from ((function, "handler", " of 'new_namespace'") for function in host.announcements.functions)


def _of_namespace(namespace: Namespace) -> Iterator[Found]:
    yield from _of_registry(namespace._listening)
    for socket in islice(tuple(namespace._membership.sockets.values()), _SOCKETS):
        if socket._own is not None:
            yield from _of_registry(socket._own)
    for event, handlers in namespace._server_side.items():
        yield from ((each.function, "handler", f" of {event!r} of other servers") for each in handlers)
    yield from ((each, "connect middleware", "") for each in namespace.middlewares)
    yield from ((each, "event middleware", "") for each in namespace.event_middlewares)
    for kind, function in namespace._exception_handlers.functions.items():
        yield function, "exception handler", f" of {kind.__name__}"
    if namespace._authenticator is not None:
        yield namespace._authenticator.authenticate, "authenticator", f" {type(namespace._authenticator).__name__}"


def _of_registry(registry: HandlerRegistry) -> Iterator[Found]:
    for event, handlers in registry.by_event().items():
        for each in handlers:
            yield from _with_providers(each.function, each.plan, f" of {event!r}")
    for name, of_lifecycle in registry.lifecycle.items():
        for one in of_lifecycle:
            yield from _with_providers(one.function, one.plan, f" of {name!r}")
    for catch_all in registry.catch_all:
        yield from _with_providers(catch_all.function, catch_all.plan, "", kind="catch-all")
    for outgoing in registry.outgoing:
        yield outgoing.function, "catch-all", " for what goes out"


def _with_providers(
    function: Callable[..., Any], plan: DependencyPlan | None, of: str, kind: str = "handler"
) -> Iterator[Found]:
    yield function, kind, of
    if plan is not None:
        yield from ((each, "provider", "") for each in plan.providers)


def codes_of(function: Callable[..., Any]) -> Iterator[CodeType]:
    """Yield the code of a function, and of what its decorators have wrapped; of a callable object that of its class."""
    seen = set()
    target: Any = function
    while target is not None and id(target) not in seen:
        seen.add(id(target))
        if isinstance(target, functools.partial):
            target = target.func
            continue
        code = getattr(inspect.unwrap(target, stop=_has_code), "__code__", None)
        if code is None and not inspect.isroutine(target):
            made_by = getattr(target, "__init__", None) if isinstance(target, type) else type(target).__call__
            code = getattr(made_by, "__code__", None)
        if isinstance(code, CodeType):
            yield code
        target = getattr(target, "__wrapped__", None)


def _has_code(function: Any) -> bool:
    return hasattr(function, "__code__")
