"""Functions that say what a client is told of an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, ContractError
from ..types import Packet
from .annotations import where
from .dependencies import IN_ERROR, Scope
from .signatures import wire_rest

F = TypeVar("F", bound=Callable[..., Any])


class ExceptionHandler:
    """A function ``(socket, error)``, which can be injected more."""

    __slots__ = ("_plan", "function")

    def __init__(self, kind: type[BaseException], function: Callable[..., Any]) -> None:
        who = f"the handler {where(function)} of {kind.__name__}"
        self._plan = wire_rest(who, function, ("socket", "error"), IN_ERROR)
        self.function = function

    async def __call__(self, socket: Any, error: BaseException, packet: Packet | None) -> Any:
        """Call it. Return an ``EventError`` or an answer for the client; ``None`` leaves it to other handlers."""
        if self._plan is None:
            result = self.function(socket, error)
        else:
            result = self._plan.apply(Scope(socket, packet), self.function, (socket, error), ())
        return await maybe_await(result)


class ExceptionHandlers:
    """The handlers of a namespace, of many, or of a server. ``outer``: those that are asked next."""

    __slots__ = ("_handlers", "outer")

    def __init__(self, outer: ExceptionHandlers | None = None) -> None:
        self._handlers: dict[type[BaseException], ExceptionHandler] = {}
        self.outer = outer

    def __bool__(self) -> bool:
        return bool(self._handlers) or bool(self.outer)

    @property
    def functions(self) -> dict[type[BaseException], Callable[..., Any]]:
        """The functions that are here, by what they are for."""
        return {kind: handler.function for kind, handler in self._handlers.items()}

    def add(self, kind: type[BaseException], function: F) -> F:
        """Add one. Raises :class:`~rtframework.ConfigurationError`."""
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise ConfigurationError(f"an exception handler is for a class of exceptions, not {kind!r}")
        if kind in self._handlers:
            raise ConfigurationError(f"{kind.__name__} has an exception handler already")
        self._handlers[kind] = ExceptionHandler(kind, function)
        return function

    async def explain(self, socket: Any, error: BaseException, packet: Packet | None) -> Any:
        """Ask the handlers, innermost and most specific first. Return what the client is told, or ``None``.

        Raises what a handler raises.
        """
        # A handler of all exceptions would hide what strict mode has found.
        kinds = (ContractError,) if isinstance(error, ContractError) else type(error).__mro__
        handlers: ExceptionHandlers | None = self
        while handlers is not None:
            for kind in kinds:
                handler = handlers._handlers.get(kind)
                if handler is not None:
                    answer = await handler(socket, error, packet)
                    if answer is not None:
                        return answer
            handlers = handlers.outer
        return None
