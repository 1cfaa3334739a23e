"""Middleware chains, composed once, when the last middleware is known, not once per event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .annotations import where
from .dependencies import IN_CONNECTION, IN_EVENT, Passing, Place, Scope
from .signatures import wire_rest

if TYPE_CHECKING:
    from ..protocols import Observer
    from ..types import Handshake
    from .dependency_plan import DependencyPlan

Link = Callable[..., Awaitable[Any]]


def compose(middlewares: Sequence[Link], endpoint: Link) -> Link:
    """Make one function, with the endpoint's parameters, of middlewares and an endpoint; the first is outermost.

    Each middleware is called as ``middleware(*args, call_next)``; ``await call_next()`` runs the rest and returns its
    result.
    """
    chain = endpoint
    for middleware in reversed(middlewares):
        chain = _link(middleware, chain)
    return chain


def connect_link(middleware: Callable[..., Any]) -> Link:
    """Make a link, called with ``(socket, passage, call_next)``, of connect middleware.

    Raises :class:`~rtframework.ConfigurationError` for a function with other parameters.
    """
    plan = _plan("connect middleware", middleware, ("socket", "call_next"), IN_CONNECTION)
    if plan is None:
        return lambda socket, passage, call_next: middleware(socket, call_next)
    return lambda socket, passage, call_next: plan.run(
        Scope(socket, None, passage), partial(_pass, middleware, (socket, call_next), passage)
    )


def event_link(middleware: Callable[..., Any]) -> Link:
    """Make a link, called with ``(socket, event, call_next)``, of event middleware.

    Raises :class:`~rtframework.ConfigurationError` for a function with other parameters.
    """
    plan = _plan("event middleware", middleware, ("socket", "event", "call_next"), IN_EVENT)
    if plan is None:
        return middleware
    return lambda socket, event, call_next: plan.run(
        Scope(socket, event.packet, event), partial(_pass, middleware, (socket, event, call_next), event)
    )


def _link(middleware: Link, rest: Link) -> Link:
    def run(*args: Any) -> Awaitable[Any]:
        return middleware(*args, partial(rest, *args))

    return run


def observing(observers: Sequence[Observer]) -> Callable[[Handshake, Callable[[], Awaitable[str]]], Awaitable[str]]:
    """Make one function that passes a client's CONNECT through all observers, the first one outermost."""

    def run(handshake: Handshake, connect: Callable[[], Awaitable[str]]) -> Awaitable[str]:
        for each in reversed(observers):
            connect = partial(each.connect, handshake, connect)
        return connect()

    return run


def _plan(kind: str, middleware: Callable[..., Any], leading: Sequence[str], place: Place) -> DependencyPlan | None:
    return wire_rest(f"the {kind} {where(middleware)}", middleware, leading, place)


async def _pass(
    middleware: Callable[..., Any], leading: Sequence[Any], passing: Passing, plan: DependencyPlan, values: list[Any]
) -> Any:
    """Run middleware, and share the values of its providers with the middleware and handlers after it."""
    before = passing.found
    passing.found = plan.share(values, before or {})
    try:
        return await plan.call(middleware, leading, (), values)
    finally:
        passing.found = before
