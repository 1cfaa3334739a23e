"""Telling the program of new namespaces: the event "new_namespace"."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..exceptions import ConfigurationError
from ..handlers.event import NEW_NAMESPACE

if TYPE_CHECKING:
    from .namespace import Namespace

F = TypeVar("F", bound=Callable[..., Any])

Pending = Callable[[], Awaitable[None]]


class Announcements:
    """The functions that are told of each new namespace, before its first client is accepted."""

    def __init__(self) -> None:
        self._listening: tuple[tuple[Callable[[Namespace], Any], bool], ...] = ()
        """Each function; ``True`` if it is to be called once only."""
        self._watchers: list[Callable[[Namespace], None]] = []

    def hear(self, watcher: Callable[[Namespace], None]) -> None:
        """Tell the server's own watcher of each new namespace, after the functions of the program."""
        self._watchers.append(watcher)

    def on(self, function: F, *, once: bool = False) -> F:
        """Add a function. Raises ``ConfigurationError`` when it cannot be called with a namespace."""
        try:
            inspect.signature(function).bind(object())
        except TypeError as error:
            raise ConfigurationError(f"a handler of {NEW_NAMESPACE!r} must take (namespace): {error}") from None
        self._listening = (*self._listening, (function, once))
        return function

    def off(self, function: Callable[..., Any] | None) -> None:
        """Remove a function (its last registration if there are several), or all."""
        there = self.functions
        if function is None:
            self._listening = ()
        elif function in there:
            last = len(there) - 1 - there[::-1].index(function)
            self._listening = (*self._listening[:last], *self._listening[last + 1 :])

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The functions, in the order of registration."""
        return tuple(function for function, _ in self._listening)

    def tell(self, namespace: Namespace) -> list[Pending]:
        """Call the plain functions; return the ``async`` ones, to be awaited. Raises what a function raises."""
        pending: list[Pending] = []
        functions = self.functions
        self._listening = tuple((function, once) for function, once in self._listening if not once)
        for function in functions:
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
                pending.append(partial(function, namespace))
            else:
                function(namespace)
        for watcher in self._watchers:
            watcher(namespace)
        return pending
