"""Middleware chains: composed once, when the last link is known, not once per event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .protocols import Observer
    from .types import Handshake

Link = Callable[..., Awaitable[Any]]


def compose(middlewares: Sequence[Link], endpoint: Link) -> Link:
    """One function with the endpoint's parameters that runs the middlewares, first one outermost, then the endpoint.

    Each middleware is called as ``middleware(*args, call_next)``; ``await call_next()`` runs the rest and gives its
    result.
    """
    chain = endpoint
    for middleware in reversed(middlewares):
        chain = _link(middleware, chain)
    return chain


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
