"""Handlers with a rate, and the decorator that gives a function one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..exceptions import ConfigurationError, RateLimited
from ..limits.rates import ADDRESS, CONNECTION, USER, Rate, Rates, rates_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..limits.limit import Limit
    from ..types import Packet
    from .event import Event
    from .handler import Handler
    from .returns import CheckedHandler

F = TypeVar("F", bound=Callable[..., Any])

_MARK: Final = "__rtframework_rate__"


def limited(rate: Rates) -> Callable[[F], F]:
    """Limit how often the decorated event handler runs: under ``@io.event``, in a ``Namespace`` class, anywhere.

    It is what ``@io.on("message", rate=...)`` does, for handlers that are registered by their name. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        class Chat(Namespace):
            @limited("5/s")
            async def on_message(self, socket: Socket, text: str) -> None:
                await self.emit("message", text)
    """
    if callable(rate):
        raise ConfigurationError('limited() needs a rate: write @limited("10/s") above the function')
    rates = rates_of("rate", rate, (CONNECTION, USER, ADDRESS))

    def mark(function: F) -> F:
        setattr(function, _MARK, rates)
        return function

    return mark


def rates_for(function: Callable[..., Any], rate: Rates, *, of_socket: bool) -> Mapping[str, Rate]:
    """Return the rates of a handler: those given with its registration, or else those of :func:`limited`.

    Raises :class:`~rtframework.ConfigurationError`; also for a handler of one socket (``of_socket``) that is to be
    limited together with others.
    """
    rates: Mapping[str, Rate] = getattr(function, _MARK, {})
    if rate is not None:
        rates = rates_of("rate", rate, (CONNECTION, USER, ADDRESS))
    shared = next((scope for scope in rates if scope != CONNECTION), None)
    if of_socket and shared is not None:
        raise ConfigurationError(
            f"a handler of one socket has a rate for its connection only, not for {shared!r}: write it with @io.on"
        )
    return rates


class LimitedHandler:
    """A handler that does not run beyond its rate: then it raises ``RateLimited``."""

    __slots__ = ("_handler", "_limit", "is_async", "name", "ordered")

    def __init__(self, handler: Handler | CheckedHandler, limit: Limit) -> None:
        self._handler = handler
        self._limit = limit
        self.is_async = handler.is_async
        self.name = handler.name
        self.ordered = handler.ordered

    def __call__(
        self, socket: Any, args: Sequence[Any], packet: Packet | None = None, event: Event | None = None
    ) -> Any:
        """Call the handler. Raises :class:`~rtframework.RateLimited`."""
        wait = socket._take(self._limit, self.name)
        if wait:
            raise RateLimited(wait)
        return self._handler(socket, args, packet, event)
