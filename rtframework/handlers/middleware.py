"""Middleware chains: composed once, when the last link is known, not once per event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
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


class Passage:
    """A client on its way through connect middleware."""

    __slots__ = ("found", "is_through")

    def __init__(self) -> None:
        self.found: Mapping[Hashable, Any] | None = None
        self.is_through = False
        """Whether the end was reached: nobody on the way refused, and nobody forgot to go on."""


def compose(middlewares: Sequence[Link], endpoint: Link) -> Link:
    """One function with the endpoint's parameters that runs the middlewares, first one outermost, then the endpoint.

    Each middleware is called as ``middleware(*args, call_next)``; ``await call_next()`` runs the rest and gives its
    result.
    """
    chain = endpoint
    for middleware in reversed(middlewares):
        chain = _link(middleware, chain)
    return chain


def connect_link(middleware: Callable[..., Any]) -> Link:
    """Connect middleware as a link, called with ``(socket, passage, call_next)``.

    Raises :class:`~rtframework.ConfigurationError` for a function that cannot be such middleware.
    """
    plan = _plan("connect middleware", middleware, ("socket", "call_next"), IN_CONNECTION)
    if plan is None:
        return lambda socket, passage, call_next: middleware(socket, call_next)
    return lambda socket, passage, call_next: plan.run(
        Scope(socket, None, passage), partial(_pass, middleware, (socket, call_next), passage)
    )


def event_link(middleware: Callable[..., Any]) -> Link:
    """Event middleware as a link, called with ``(socket, event, call_next)``.

    Raises :class:`~rtframework.ConfigurationError` for a function that cannot be such middleware.
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
    """One function that has every observer see a client that asks for a namespace, the first one outermost."""

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
    """Run middleware; those after it need not ask again for what it has got."""
    before = passing.found
    passing.found = plan.share(values, before or {})
    try:
        return await plan.call(middleware, leading, (), values)
    finally:
        passing.found = before
