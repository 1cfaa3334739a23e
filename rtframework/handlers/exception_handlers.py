"""Functions that turn an exception into an answer for the client."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ..concurrency import maybe_await
from ..exceptions import ConfigurationError, ContractError
from ..types import Packet
from .annotations import where
from .dependencies import IN_ERROR, Scope
from .signatures import wire_rest

F = TypeVar("F", bound=Callable[..., Any])


class ExceptionHandler:
    """A function ``(socket, error)`` that turns an exception into an answer; further parameters are injected."""

    __slots__ = ("_plan", "function")

    def __init__(self, kind: type[BaseException], function: Callable[..., Any]) -> None:
        who = f"the handler {where(function)} of {kind.__name__}"
        self._plan = wire_rest(who, function, ("socket", "error"), IN_ERROR)
        self.function = function

    async def __call__(self, socket: Any, error: BaseException, packet: Packet | None) -> Any:
        """Call the function. Return an ``EventError`` or an answer for the client; ``None``: ask the next handler."""
        if self._plan is None:
            result = self.function(socket, error)
        else:
            result = self._plan.apply(Scope(socket, packet), self.function, (socket, error), ())
        return await maybe_await(result)


class ExceptionHandlers:
    """The exception handlers of a namespace, of a parent namespace, or of a server.

    ``outer``: the handlers to ask next, when none of these answers.
    """

    __slots__ = ("_handlers", "outer")

    def __init__(self, outer: ExceptionHandlers | None = None) -> None:
        self._handlers: dict[type[BaseException], ExceptionHandler] = {}
        self.outer = outer

    def __bool__(self) -> bool:
        return bool(self._handlers) or bool(self.outer)

    @property
    def functions(self) -> dict[type[BaseException], Callable[..., Any]]:
        """The registered functions, by class of exception."""
        return {kind: handler.function for kind, handler in self._handlers.items()}

    def for_kind(self, kind: type[BaseException], spoken_of_as: str) -> Callable[[F], F]:
        """Make a decorator that adds a handler. ``spoken_of_as``: the name of its owner in messages.

        Raises :class:`~rtframework.ConfigurationError` for anything but a class of exceptions.
        """
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            decorator = f"@{spoken_of_as}.exception_handler"
            raise ConfigurationError(
                f"{decorator} is for a class of exceptions, not {kind!r}: write {decorator}(PermissionError)"
            )
        return partial(self.add, kind)

    def add(self, kind: type[BaseException], function: F) -> F:
        """Add a handler. Raises :class:`~rtframework.ConfigurationError` for a class that has one."""
        if kind in self._handlers:
            raise ConfigurationError(f"{kind.__name__} has an exception handler already")
        self._handlers[kind] = ExceptionHandler(kind, function)
        return function

    async def explain(self, socket: Any, error: BaseException, packet: Packet | None) -> Any:
        """Ask the handlers, innermost and most specific first. Return the first answer, or ``None``.

        Exceptions of a handler are not caught.
        """
        # A handler for Exception would hide the ContractErrors of strict mode from the test.
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
