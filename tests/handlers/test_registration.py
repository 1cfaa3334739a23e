"""The decorators: the same for a server, a namespace, a parent and a socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from rtframework import ConfigurationError, Namespace, Server
from rtframework.handlers.registration import Registration
from rtframework.handlers.registry import HandlerRegistry
from rtframework.types import RESERVED_EVENTS


class Bare(Registration):
    """The least that the decorators need; its registry is made when something is registered."""

    def __init__(self, *, of_socket: bool = False) -> None:
        self.made: HandlerRegistry | None = None
        self._of_socket = of_socket

    def _registry(self) -> HandlerRegistry:
        if self.made is None:
            self.made = HandlerRegistry(of_socket=self._of_socket)
        return self.made

    def _registered(self) -> HandlerRegistry | None:
        return self.made


def function(*names: str) -> Callable[..., Any]:
    """Make a function that takes the socket."""

    def handler(socket: Any, *args: Any) -> None: ...

    handler.__name__ = names[0] if names else "handler"
    return handler


ALL = pytest.mark.parametrize("make", [Server, Namespace, lambda: Server().of("/{x}"), Bare])


@ALL
def test_decorators_return_what_they_decorate(make: Callable[[], Registration]) -> None:
    """A decorated function could not be called, nor be decorated again."""
    there = make()
    handler, named = function(), function("said")
    assert there.on("a")(handler) is handler
    assert there.once("a")(handler) is handler
    assert there.event(named) is named
    assert there.listeners("a") == (handler, handler)
    assert there.listeners("said") == (named,)
    for register in (there.on_any, there.prepend_any, there.on_any_outgoing, there.prepend_any_outgoing):
        assert register(handler) is handler


@ALL
def test_the_order_of_registration(make: Callable[[], Registration]) -> None:
    """A guard that is put in front of the others would run behind them."""
    there = make()
    first, second, third = function(), function(), function()
    for handler in (second, third):
        there.on("a")(handler)
        there.on_any(handler)
        there.on_any_outgoing(handler)
    there.prepend_any(first)
    there.prepend_any_outgoing(first)
    assert there.listeners("a") == (second, third)
    assert there.listeners_any() == there.listeners_any_outgoing() == (first, second, third)


@ALL
def test_one_is_removed_or_all(make: Callable[[], Registration]) -> None:
    """A handler would stay, or take those of somebody else with it."""
    there = make()
    one, other = function(), function()
    kinds: list[tuple[Callable[[Any], Any], Callable[..., None], Callable[[], tuple[Any, ...]]]] = [
        (there.on("a"), partial(there.off, "a"), partial(there.listeners, "a")),
        (there.on("disconnect"), partial(there.off, "disconnect"), partial(there.listeners, "disconnect")),
        (there.on_any, there.off_any, there.listeners_any),
        (there.on_any_outgoing, there.off_any_outgoing, there.listeners_any_outgoing),
    ]
    for on, off, listeners in kinds:
        for handler in (one, other, one):
            on(handler)
        off(one)
        assert listeners() == (one, other), "the one that was registered last"
        off(print)
        assert listeners() == (one, other)
        off()
        assert listeners() == ()
        off()


def test_removing_makes_nothing() -> None:
    """Each socket would get a registry because somebody asked who listens."""
    there = Bare()
    there.off("a")
    there.off_any()
    there.off_any_outgoing()
    assert there.listeners("a") == there.listeners_any() == there.listeners_any_outgoing() == ()
    assert there.made is None
    there.on("a")
    assert there.made is not None


def test_connection_has_two_names() -> None:
    """Handlers that are ported from Node ("connect") would never be called."""
    there = Bare()
    handler = function()
    there.on("connect")(handler)
    assert there.listeners("connection") == there.listeners("connect") == (handler,)
    there.off("connection", handler)
    assert there.listeners("connect") == ()


@ALL
def test_reserved_names(make: Callable[[], Registration]) -> None:
    """A handler would be registered for an event that no client can send."""
    there = make()
    for name in RESERVED_EVENTS - {"connect", "disconnect", "disconnecting"}:
        for register in (there.on, there.once):
            with pytest.raises(ConfigurationError):
                register(name)(function())
    with pytest.raises(ConfigurationError):
        there.event(function("connect_error"))


def test_the_order_of_events_is_for_each_handler() -> None:
    """One event that has to be served in turn would make all of them wait."""
    there = Bare()
    there.on("a", ordered=True)(function())
    there.on("b")(function())
    there.once("c", ordered=True)(function())
    there._registry().settle(False)
    assert [there._registry().handlers[name].ordered for name in "abc"] == [True, False, True]


def test_handlers_of_a_socket_take_no_socket() -> None:
    """A handler of one socket would be given its first argument in place of the socket."""
    there = Bare(of_socket=True)

    def takes_nothing() -> None: ...

    def takes_the_reason(reason: str) -> None: ...

    for name in ("a", "disconnect", "disconnecting"):
        there.on(name)(takes_nothing)
    there.on("disconnect")(takes_the_reason)
    assert there.listeners("disconnect") == (takes_nothing, takes_the_reason)
    with pytest.raises(ConfigurationError):
        Bare().on("a")(takes_nothing)


def test_what_it_is_mixed_into_has_to_have_a_registry() -> None:
    """A new class with these decorators would drop all handlers without a word."""
    with pytest.raises(NotImplementedError):
        Registration().on("a")
