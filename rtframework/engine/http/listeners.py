"""Functions of a program that hear what happens to the requests of the protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from ...concurrency import maybe_await
from ...logs import ThrottledLog

log: Final = logging.getLogger("rtframework.engine")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a listener for %s")

EVENTS: Final = ("connection_error", "initial_headers", "headers")


class Listeners:
    """The listeners of one server, by event; see ``rtframework.engine.EngineIO.on``."""

    def __init__(self) -> None:
        self._functions: dict[str, list[Callable[..., Any]]] = {event: [] for event in EVENTS}
        self.of_errors = self._functions["connection_error"]
        """The listeners for ``"connection_error"``."""

    def add(self, event: str, function: Callable[..., Any]) -> None:
        """Register a function, which may be ``async``."""
        self._functions[event].append(function)

    def has(self, *events: str) -> bool:
        """Return whether anybody listens to one of these events."""
        return any(self._functions[event] for event in events)

    async def tell(self, event: str, *args: Any) -> None:
        """Call the listeners of an event, one after another; log what they raise."""
        for listener in self._functions[event]:
            try:
                await maybe_await(listener(*args))
            except Exception as error:  # noqa: BLE001 - logged
                _failed(event, error=error, key=event, extra={"event": event})
