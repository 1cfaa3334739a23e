"""The decorators that register event handlers: the same for a server, a namespace and a socket."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .mistakes import Advising, given_a_function, given_a_name

if TYPE_CHECKING:
    from ..limits.rates import Rates
    from .registry import HandlerRegistry

F = TypeVar("F", bound=Callable[..., Any])


class Registration(Advising):
    """Registers handlers and catch-alls. Those of a socket are called without the socket: ``(*args)``."""

    __slots__ = ()

    def _registry(self) -> HandlerRegistry:
        """Return the registry to add to."""
        raise NotImplementedError

    def _registered(self) -> HandlerRegistry | None:
        """Return the registry if there may be anything in it."""
        return self._registry()

    @given_a_name
    def on(
        self,
        event: str | int,
        *,
        ordered: bool | None = None,
        rate: Rates = None,
        idempotent: bool | str | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function for an event.

        ``"connection"`` (``"connect"``) is called with ``(socket)`` when a client has passed authentication and
        middleware: the client is accepted when all these handlers have returned, and refused when one raises.
        ``"disconnecting"`` and ``"disconnect"`` are called with ``(socket, reason)``. The results of these three are
        ignored; several handlers of one of them run one after another.

        Handlers of other events are called with ``(socket, *args)``. The result is the acknowledgement, a tuple as
        several values; a handler with a parameter named ``ack`` is given an :class:`~rtframework.Ack` and answers by
        calling it. Several handlers of one event start in the order of registration, without waiting for each other;
        the first that answers is the one whose answer counts, and ``None`` is no answer while another may give one.

        Further parameters are filled by :func:`~rtframework.Depends`.

        ``rate``: how often the handler runs, such as ``"10/s"`` for each connection, see
        :class:`~rtframework.Rate`; or ``{"connection": "10/s", "user": "20/s", "address": "100/s"}``. Beyond, the event
        is answered with the error ``rate_limited``, and the handler does not run. Where there is no ``on``, write
        ``@limited("10/s")``.

        ``idempotent``: serve an event once, and answer its repeats as the first, for clients with the option
        ``retries``. The name of the parameter that has the id which a client gives each event, or of a field of it
        (``"message.id"``); ``True``: the parameter ``event_id`` or ``client_offset``. An event without an id is served
        each time. Where there is no ``on``, write ``@idempotent("event_id")``.

        ``ordered=True``: this event waits until the ordered events before it, of the same socket, are done.

        Handlers of a socket (``socket.on``) are called without it: ``(*args)``, and ``(reason)``. They run after those
        of the namespace. Handlers of a parent namespace are called before those of its children.

        Raises :class:`~rtframework.ConfigurationError` for a reserved name or a wrong signature.

        Example::

            @io.on("connection")
            async def connection(socket: Socket) -> None:
                @socket.on("rename")
                async def rename(name: str) -> None:
                    socket.data["name"] = name
        """
        return partial(self._registry().on, event, ordered=ordered, rate=rate, idempotent=idempotent)

    @given_a_name
    def once(self, event: str | int, *, ordered: bool | None = None) -> Callable[[F], F]:
        """Register the decorated function for the next such event only, whichever socket sends it.

        An event whose arguments do not fit does not count.
        """
        return partial(self._registry().on, event, ordered=ordered, once=True)

    @given_a_function
    def event(self, function: F) -> F:
        """Register the decorated function for the event of its own name."""
        return self.on(function.__name__)(function)

    def off(self, event: str | int, handler: Callable[..., Any] | None = None) -> None:
        """Remove a handler, or all handlers of an event. Nothing happens when there is none.

        Handlers of a parent namespace are removed there, and with it from all children.
        """
        registry = self._registered()
        if registry is not None:
            registry.off(event, handler)

    def listeners(self, event: str | int) -> tuple[Callable[..., Any], ...]:
        """Return the handlers of an event, in the order in which they are called."""
        registry = self._registered()
        return () if registry is None else registry.of(event)

    @given_a_function
    def on_any(self, function: F) -> F:
        """Call the function with ``(socket, event, *args)`` for every event that comes in, before its handlers.

        It sees the event before event middleware. Its result is ignored, and an event that has no handler is answered
        with ``unknown_event`` all the same. It answers itself if it has a parameter named ``ack``: then events without
        a handler are left to it.
        """
        return self._registry().on_any(function)

    @given_a_function
    def prepend_any(self, function: F) -> F:
        """Add a catch-all as :meth:`on_any` does, in front of the others."""
        return self._registry().on_any(function, first=True)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all, or all."""
        registry = self._registered()
        if registry is not None:
            registry.off_any(function)

    def listeners_any(self) -> tuple[Callable[..., Any], ...]:
        """Return the catch-alls."""
        registry = self._registered()
        return () if registry is None else tuple(each.function for each in registry.catch_all)

    @given_a_function
    def on_any_outgoing(self, function: F) -> F:
        """Call the function with ``(socket, event, *args)`` for every event that is sent, once for each receiver.

        Acknowledgements are not shown. A volatile event is, though it may be dropped. The arguments are those given to
        ``emit``, unchecked. A plain function is called before the event is sent. Exceptions are logged.
        """
        return self._registry().on_any_outgoing(function)

    @given_a_function
    def prepend_any_outgoing(self, function: F) -> F:
        """Add a catch-all as :meth:`on_any_outgoing` does, in front of the others."""
        return self._registry().on_any_outgoing(function, first=True)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Remove a catch-all for outgoing events, or all."""
        registry = self._registered()
        if registry is not None:
            registry.off_any_outgoing(function)

    def listeners_any_outgoing(self) -> tuple[Callable[..., Any], ...]:
        """Return the catch-alls for outgoing events."""
        registry = self._registered()
        return () if registry is None else tuple(each.function for each in registry.outgoing)
