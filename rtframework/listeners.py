"""Who listens to what: the handlers and catch-alls of a namespace, or of one socket."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .events import (
    CONNECTION,
    DISCONNECT,
    DISCONNECTING,
    LIFECYCLE,
    Handler,
    LifecycleHandler,
    Signature,
    Signatures,
    SpecialHandler,
    check_event_name,
)
from .exceptions import ConfigurationError, EventError
from .running import is_cancelled, run_abreast
from .several import Several

if TYPE_CHECKING:
    from .events import Acknowledging
    from .types import Packet

log: Final = logging.getLogger("rtframework.socket")

F = TypeVar("F", bound=Callable[..., Any])
H = TypeVar("H", bound=Handler | LifecycleHandler)

ANY: Final = "any event"
"""How errors call the event of a catch-all."""


class Listeners:
    """The handlers of a namespace or, with ``of_socket``, of one socket: those are not given the socket.

    ``handlers`` is ready to be used: it holds, by event, one handler, or several that act as one. ``catch_all`` and
    ``outgoing`` are tuples: they are replaced when something changes, so that whoever goes through them is not
    disturbed.
    """

    __slots__ = (
        "_handlers",
        "_of_socket",
        "_on_outgoing",
        "_tasks",
        "answering",
        "catch_all",
        "handlers",
        "lifecycle",
        "ordered",
        "outgoing",
        "signatures",
    )

    def __init__(
        self,
        *,
        ordered: bool | None = None,
        of_socket: bool = False,
        signatures: Signatures | None = None,
        on_outgoing: Callable[[], None] | None = None,
    ) -> None:
        self.ordered = ordered
        self.handlers: dict[str, Handler | Several] = {}
        self.catch_all: tuple[Handler, ...] = ()
        self.answering = False
        """Whether one of the catch-alls takes ``ack``."""
        self.outgoing: tuple[Handler, ...] = ()
        self.lifecycle: dict[str, tuple[LifecycleHandler, ...]] = {CONNECTION: (), DISCONNECTING: (), DISCONNECT: ()}
        self.signatures = signatures if signatures is not None else weakref.WeakKeyDictionary()
        self._handlers: dict[str, tuple[Handler, ...]] = {}
        self._of_socket = of_socket
        self._on_outgoing = on_outgoing
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._handlers or self.catch_all or self.outgoing or any(self.lifecycle.values()))

    # --- events -----------------------------------------------------------------------------------------------------

    def on(self, event: str, function: F, *, ordered: bool | None = None, once: bool = False) -> F:
        """Add a handler. Raises :class:`~rtframework.ConfigurationError`."""
        if event in LIFECYCLE:
            name = LIFECYCLE[event]
            if name == CONNECTION and self._of_socket:
                raise ConfigurationError("a socket is connected already when it can be listened to")
            added = LifecycleHandler(name, function, takes_socket=not self._of_socket, once=once)
            self.lifecycle[name] = (*self.lifecycle[name], added)
            return function
        check_event_name(event)
        self._set(event, (*self._handlers.get(event, ()), self._handler(event, function, ordered, once)))
        return function

    def off(self, event: str, function: Callable[..., Any] | None) -> None:
        """Remove a handler, the one that was added last if it was added several times, or all of the event."""
        if event in LIFECYCLE:
            name = LIFECYCLE[event]
            self.lifecycle[name] = _without(self.lifecycle[name], function)
        else:
            self._set(event, _without(self._handlers.get(event, ()), function))

    def of(self, event: str) -> tuple[Callable[..., Any], ...]:
        """The functions that listen to an event."""
        handlers: Sequence[Handler | LifecycleHandler] = (
            self.lifecycle[LIFECYCLE[event]] if event in LIFECYCLE else self._handlers.get(event, ())
        )
        return tuple(each.function for each in handlers)

    def settle(self, ordered: bool) -> None:
        """Say what holds for those that were added without a word on order."""
        if self.ordered is None:
            self.ordered = ordered
            for event, handlers in self._handlers.items():
                for each in handlers:
                    if each.ordered is None:
                        each.ordered = ordered
                self._set(event, handlers)

    def take(self, name: str) -> tuple[LifecycleHandler, ...]:
        """The handlers of a lifecycle event, to be run now: those that are for one time are not there any more."""
        handlers = self.lifecycle[name]
        if any(each.once for each in handlers):
            self.lifecycle[name] = tuple(each for each in handlers if not each.once)
        return handlers

    def _handler(self, event: str, function: Callable[..., Any], ordered: bool | None, once: bool) -> Handler:
        if self._of_socket:
            signature = Signature.of_closure(event, function, self.signatures)
        else:
            signature = Signature.of(event, function)
        ordered = self.ordered if ordered is None else ordered
        if not self._of_socket and not once and signature.ack_at is None:
            return Handler(event, function, ordered=ordered, signature=signature)
        return SpecialHandler(
            event,
            function,
            ordered=ordered,
            signature=signature,
            takes_socket=not self._of_socket,
            spent=self._spent if once else None,
        )

    def _set(self, event: str, handlers: tuple[Handler, ...]) -> None:
        if handlers:
            self._handlers[event] = handlers
            self.handlers[event] = handlers[0] if len(handlers) == 1 else Several(handlers, self._tasks)
        else:
            self._handlers.pop(event, None)
            self.handlers.pop(event, None)

    def _spent(self, handler: Handler) -> bool:
        """Remove a handler that is for one time; whether this is that time."""
        handlers = self._handlers.get(handler.name, ())
        if handler not in handlers:
            return False
        self._set(handler.name, tuple(each for each in handlers if each is not handler))
        return True

    # --- catch-alls -------------------------------------------------------------------------------------------------

    def on_any(self, function: F, *, first: bool = False) -> F:
        """Add a catch-all for events that come in."""
        added = self._catch_all(function)
        self.catch_all = (added, *self.catch_all) if first else (*self.catch_all, added)
        self.answering = self.answering or added.ack_at is not None
        return function

    def off_any(self, function: Callable[..., Any] | None) -> None:
        """Remove a catch-all, or all."""
        self.catch_all = _without(self.catch_all, function)
        self.answering = any(each.ack_at is not None for each in self.catch_all)

    def on_any_outgoing(self, function: F, *, first: bool = False) -> F:
        """Add a catch-all for events that go out."""
        added = self._catch_all(function)
        if added.ack_at is not None:
            raise ConfigurationError("a catch-all for events that go out has nobody to answer: it takes no `ack`")
        self.outgoing = (added, *self.outgoing) if first else (*self.outgoing, added)
        self._outgoing_changed()
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None) -> None:
        """Remove a catch-all, or all."""
        self.outgoing = _without(self.outgoing, function)
        self._outgoing_changed()

    def _catch_all(self, function: Callable[..., Any]) -> Handler:
        added = self._handler(ANY, function, False, False)
        if not any(added.fits(count) for count in (1, 2, 3)):
            raise ConfigurationError(f"a catch-all is given the event's name and its arguments: {function!r}")
        return added

    def _outgoing_changed(self) -> None:
        if self._on_outgoing is not None:
            self._on_outgoing()

    # --- running ----------------------------------------------------------------------------------------------------

    def together(self, *handlers: Handler | Several) -> Several:
        """Those of a namespace and those of a socket, as one."""
        return Several(
            [one for each in handlers for one in (each.handlers if isinstance(each, Several) else (each,))], self._tasks
        )

    async def watch(
        self,
        watchers: Sequence[Handler],
        socket: Acknowledging,
        packet: Packet,
        serve: Callable[[], Any],
    ) -> None:
        """Show an event to catch-alls, then serve it; a catch-all that waits holds up nobody."""
        works: list[Callable[[], Any]] = [partial(_show, each, socket, packet) for each in watchers]
        works.append(serve)
        await run_abreast(works, self._tasks)


def _without(handlers: tuple[H, ...], function: Callable[..., Any] | None) -> tuple[H, ...]:
    if function is None:
        return ()
    for position in reversed(range(len(handlers))):
        if handlers[position].function == function:  # bound methods are equal, not identical
            return (*handlers[:position], *handlers[position + 1 :])
    return handlers


async def _show(handler: Handler, socket: Acknowledging, packet: Packet) -> None:
    """Let a catch-all see an event. What it returns or raises changes nothing for the event."""
    try:
        result = handler(socket, packet.data, packet)
        if handler.is_async or isawaitable(result):
            await result
    except EventError as error:  # as a rule, arguments that do not fit the catch-all
        log.debug("a catch-all did not take %r: %s", packet.data[0], error, extra=_where(socket, packet))
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        log.exception("unhandled error in a catch-all, for %r", packet.data[0], extra=_where(socket, packet))


def _where(socket: Acknowledging, packet: Packet) -> dict[str, Any]:
    return {"nsp": socket.nsp, "sid": socket.id, "event": packet.data[0]}
