"""Telling the program of new namespaces: the event "new_namespace"."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .exceptions import ConfigurationError

if TYPE_CHECKING:
    from .namespace import Namespace

F = TypeVar("F", bound=Callable[..., Any])

NEW_NAMESPACE: Final = "new_namespace"

Pending = Callable[[], Awaitable[None]]


class Announcements:
    """The functions that hear of each new namespace, before its first client is let in."""

    def __init__(self) -> None:
        self._functions: list[Callable[[Namespace], Any]] = []

    def on(self, function: F) -> F:
        """Add a function. Raises ``ConfigurationError`` when it cannot be called with a namespace."""
        try:
            inspect.signature(function).bind(object())
        except TypeError as error:
            raise ConfigurationError(f"a handler of {NEW_NAMESPACE!r} must take (namespace): {error}") from None
        self._functions.append(function)
        return function

    def tell(self, namespace: Namespace) -> list[Pending]:
        """Call the plain functions; what is still to be called and awaited. Raises what a function raises."""
        pending: list[Pending] = []
        for function in self._functions:
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
                pending.append(partial(function, namespace))
            else:
                function(namespace)
        return pending
