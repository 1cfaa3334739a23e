"""Listeners for changes of rooms: a room is created or deleted, a socket joins or leaves."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..exceptions import ConfigurationError
from ..logs import ThrottledLog

log: Final = logging.getLogger("rtframework.rooms")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a listener of %r")

F = TypeVar("F", bound=Callable[..., Any])

CREATE_ROOM: Final = "create_room"
JOIN_ROOM: Final = "join_room"
LEAVE_ROOM: Final = "leave_room"
DELETE_ROOM: Final = "delete_room"

_PARAMETERS: Final = {
    CREATE_ROOM: ("room",),
    JOIN_ROOM: ("room", "sid"),
    LEAVE_ROOM: ("room", "sid"),
    DELETE_ROOM: ("room",),
}


class RoomEvents:
    """The listeners of one room index.

    They are plain functions, called during a join or leave: those of ``create_room`` and ``delete_room`` with
    ``(room)``, those of ``join_room`` and ``leave_room`` with ``(room, sid)``.
    """

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[..., Any]]] = {event: [] for event in _PARAMETERS}

    def on(self, event: str) -> Callable[[F], F]:
        """Register the decorated function. Raises ``ConfigurationError`` for an unknown event or a wrong function."""
        listeners = self._of(event)

        def register(function: F) -> F:
            _check(event, function)
            listeners.append(function)
            return function

        return register

    def off(self, event: str, function: Callable[..., Any]) -> None:
        """Remove a function; does nothing if it was not registered."""
        listeners = self._of(event)
        if function in listeners:
            listeners.remove(function)

    def tell(self, event: str, *args: str) -> None:
        """Call the listeners of an event. An exception is logged, and the other listeners are still called."""
        for listener in self._listeners[event].copy():
            try:
                listener(*args)
            except Exception as error:  # noqa: BLE001 - logged
                _failed(event, error=error, key=event, extra={"event": event})

    def _of(self, event: str) -> list[Callable[..., Any]]:
        if event not in self._listeners:
            raise ConfigurationError(f"an event of rooms is one of {', '.join(self._listeners)}, not {event!r}")
        return self._listeners[event]


def _check(event: str, function: Callable[..., Any]) -> None:
    expected = f"({', '.join(_PARAMETERS[event])})"
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise ConfigurationError(
            f"a listener of {event!r} is called in the middle of a join or leave and cannot wait: "
            "make it a plain function, and let that start a task"
        )
    try:
        inspect.signature(function).bind(*_PARAMETERS[event])
    except TypeError as error:
        raise ConfigurationError(f"a listener of {event!r} must take {expected}: {error}") from None
