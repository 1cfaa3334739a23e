"""The handlers and catch-alls of a namespace, or of one socket."""

from __future__ import annotations

import asyncio
import enum
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..concurrency import TaskSet, is_cancelled, maybe_await, run_abreast
from ..exceptions import ConfigurationError, EventError
from ..limits.limit import Limit
from ..logs import ThrottledLog, printable, quote, show_event
from ..packets import check_event_name, event_key, number_of
from .annotations import where
from .dependencies import IN_EVENT, IN_OUTGOING, Place
from .event import CONNECTION, DISCONNECT, DISCONNECTING, LIFECYCLE, NEW_NAMESPACE
from .group import HandlerGroup
from .handler import Handler, LifecycleHandler, SpecialHandler
from .idempotent import EventId, IdempotentHandler, source_for
from .limited import LimitedHandler, rates_for
from .returns import checked
from .signatures import LifecycleSignature, Signature, Signatures

if TYPE_CHECKING:
    from ..limits.rates import Rates
    from ..types import Packet
    from .event import Acknowledging
    from .group import ReadyHandler

log: Final = logging.getLogger("rtframework.socket")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a catch-all, for %s")

F = TypeVar("F", bound=Callable[..., Any])

ANY: Final = "any event"
"""Stands for the event's name of a catch-all in error messages."""


class _CatchAll(enum.Enum):
    """Keys for catch-alls, used in place of an event's name."""

    IN = enum.auto()
    OUT = enum.auto()


class HandlerRegistry:
    """The handlers of a namespace or, with ``of_socket``, of one socket: these are called without the socket.

    ``handlers`` has one callable for each event: a handler, or a group of several; for an event such as ``1`` twice, by
    the integer and by the string, see ``event_key``. ``catch_all``, ``outgoing`` and the values of ``lifecycle`` are
    tuples, which a change replaces, so that a loop over them is not disturbed.

    The registry of a child namespace holds its parent's handlers first, see :meth:`inherit`, followed by its own.
    """

    __slots__ = (
        "_handlers",
        "_heirs",
        "_of_socket",
        "_on_outgoing",
        "_parent",
        "_tasks",
        "answering",
        "catch_all",
        "handlers",
        "lifecycle",
        "ordered",
        "outgoing",
        "signatures",
        "validates",
    )

    def __init__(
        self,
        *,
        ordered: bool | None = None,
        of_socket: bool = False,
        signatures: Signatures | None = None,
        validates: bool = False,
        on_outgoing: Callable[[], None] | None = None,
    ) -> None:
        self.ordered = ordered
        self.validates = validates
        """True if the return values of handlers are validated."""
        self.handlers: dict[str | int, ReadyHandler | HandlerGroup] = {}
        self.catch_all: tuple[Handler, ...] = ()
        self.answering = False
        """True if one of the catch-alls takes ``ack``."""
        self.outgoing: tuple[Handler, ...] = ()
        self.lifecycle: dict[str, tuple[LifecycleHandler, ...]] = {CONNECTION: (), DISCONNECTING: (), DISCONNECT: ()}
        self.signatures = signatures if signatures is not None else weakref.WeakKeyDictionary()
        self._handlers: dict[str, tuple[Handler, ...]] = {}
        self._parent: HandlerRegistry | None = None
        self._heirs: set[HandlerRegistry] | None = None
        self._of_socket = of_socket
        self._on_outgoing = on_outgoing
        self._tasks = TaskSet()

    def __bool__(self) -> bool:
        """Tell whether there is any handler or catch-all."""
        return bool(self._handlers or self.catch_all or self.outgoing or any(self.lifecycle.values()))

    def inherit(self, parent: HandlerRegistry) -> None:
        """Include the handlers of a parent, also those that it gets later, before those registered here."""
        self._parent = parent
        self.signatures = parent.signatures
        for key in (*parent._handlers, *parent.lifecycle, *_CatchAll):
            self._set(key, (*parent._of(key), *self._of(key)))
        if parent._heirs is None:
            parent._heirs = set()
        parent._heirs.add(self)

    def disown(self, heir: HandlerRegistry) -> None:
        """Stop passing changes on to a child that has been closed."""
        assert self._heirs is not None
        self._heirs.discard(heir)

    # --- events -----------------------------------------------------------------------------------------------------

    def on(
        self,
        event: str | int,
        function: F,
        *,
        ordered: bool | None = None,
        once: bool = False,
        rate: Rates = None,
        idempotent: bool | str | None = None,
    ) -> F:
        """Add a handler. Raises :class:`~rtframework.ConfigurationError`."""
        added: Handler | LifecycleHandler
        rates = rates_for(function, rate, of_socket=self._of_socket)
        source = source_for(function, idempotent)
        if event in LIFECYCLE:
            name = key = LIFECYCLE[event_key(event)]
            if rates:
                raise ConfigurationError(f"{name!r} has no rate: write Server(rate_limit=RateLimit(connects=...))")
            if source:
                raise ConfigurationError(f"{name!r} is no event that a client sends: it cannot be idempotent")
            if name == CONNECTION and self._of_socket:
                raise ConfigurationError("a socket is connected already when it can be listened to")
            takes_socket = not self._of_socket
            signature = LifecycleSignature(name, function, takes_socket=takes_socket)
            added = LifecycleHandler(name, function, signature, takes_socket=takes_socket, once=once)
        elif event == NEW_NAMESPACE and not self._of_socket:
            raise ConfigurationError("the server tells of new namespaces: write io.on('new_namespace')")
        else:
            checked_name = check_event_name(event)
            key = event_key(checked_name)
            added = self._handler(checked_name, function, ordered, once)
            added.limit = Limit(rates) if rates else None
            added.event_id = EventId(added.signature, source) if source else None
        self._set(key, (*self._of(key), added))
        return function

    def off(self, event: str | int, function: Callable[..., Any] | None) -> None:
        """Remove a handler of an event, the last one added if it was added several times; ``None``: all of them."""
        self._remove(_key_of(event), function)

    def of(self, event: str | int) -> tuple[Callable[..., Any], ...]:
        """Return the functions that handle an event."""
        return tuple(each.function for each in self._of(_key_of(event)))

    def by_event(self) -> Mapping[str, tuple[Handler, ...]]:
        """Return a live view of the handlers of each event, by its key."""
        return MappingProxyType(self._handlers)

    def settle(self, ordered: bool, validates: bool = False) -> None:
        """Set the order of the handlers that were added without ``ordered``, and whether results are validated."""
        self.validates = validates
        if self.ordered is None:
            self.ordered = ordered
        for event, handlers in self._handlers.items():
            for each in handlers:
                if each.ordered is None:
                    each.ordered = self.ordered
            self._set(event, handlers)

    def take(self, name: str) -> tuple[LifecycleHandler, ...]:
        """Return the handlers of a lifecycle event for running them now, and remove those registered by ``once``."""
        handlers = self.lifecycle[name]
        if any(each.once for each in handlers):
            if self._parent is not None:
                self._parent.take(name)
            self._set(name, tuple(each for each in self.lifecycle[name] if not each.once))
        return handlers

    def _handler(
        self, event: str | int, function: Callable[..., Any], ordered: bool | None, once: bool, place: Place = IN_EVENT
    ) -> Handler:
        if self._of_socket:
            signature = Signature.of_closure(event, function, self.signatures, place)
        else:
            signature = Signature.of(event, function, place=place)
        ordered = self.ordered if ordered is None else ordered
        if not self._of_socket and not once and signature.plan is None:
            return Handler(event, function, signature, ordered=ordered)
        return SpecialHandler(
            event,
            function,
            signature,
            ordered=ordered,
            takes_socket=not self._of_socket,
            spent=self._spent if once else None,
        )

    def _spent(self, handler: Handler) -> bool:
        """Remove a handler registered by ``once``. Return ``False`` if it had been removed already."""
        key = event_key(handler.name)
        handlers = self._handlers.get(key, ())
        if handler not in handlers:
            return False
        self._set(key, tuple(each for each in handlers if each is not handler))
        return True

    # --- catch-alls -------------------------------------------------------------------------------------------------

    def on_any(self, function: F, *, first: bool = False) -> F:
        """Add a catch-all for incoming events; ``first``: before the others."""
        self._add_catch_all(_CatchAll.IN, self._catch_all(function), first)
        return function

    def off_any(self, function: Callable[..., Any] | None) -> None:
        """Remove a catch-all for incoming events; ``None``: all of them."""
        self._remove(_CatchAll.IN, function)

    def on_any_outgoing(self, function: F, *, first: bool = False) -> F:
        """Add a catch-all for outgoing events; ``first``: before the others."""
        added = self._catch_all(function, IN_OUTGOING)
        if added.plan is not None:
            raise ConfigurationError(f"{where(function)}, a catch-all for events that go out, is given nothing else")
        self._add_catch_all(_CatchAll.OUT, added, first)
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None) -> None:
        """Remove a catch-all for outgoing events; ``None``: all of them."""
        self._remove(_CatchAll.OUT, function)

    def _catch_all(self, function: Callable[..., Any], place: Place = IN_EVENT) -> Handler:
        added = self._handler(ANY, function, False, False, place)
        if not any(added.fits(count) for count in (1, 2, 3)):
            raise ConfigurationError(f"a catch-all is given the event's name and its arguments: {function!r}")
        return added

    def _add_catch_all(self, key: _CatchAll, added: Handler, first: bool) -> None:
        there = self._of(key)
        place = self._inherited(key) if first else len(there)
        self._set(key, (*there[:place], added, *there[place:]))

    # --- shared by events and catch-alls ----------------------------------------------------------------------------

    def _of(self, key: str | _CatchAll) -> tuple[Any, ...]:
        """Return the handlers of an event, or the catch-alls of a kind."""
        if key is _CatchAll.IN:
            return self.catch_all
        if key is _CatchAll.OUT:
            return self.outgoing
        assert isinstance(key, str)
        return self.lifecycle[key] if key in self.lifecycle else self._handlers.get(key, ())

    def _inherited(self, key: str | _CatchAll) -> int:
        """Return how many of the handlers of a key are the parent's."""
        return len(self._parent._of(key)) if self._parent is not None else 0

    def _remove(self, key: str | _CatchAll, function: Callable[..., Any] | None) -> None:
        there = self._of(key)
        own = self._inherited(key)
        if function is None:
            self._set(key, there[:own])
            return
        for position in reversed(range(own, len(there))):
            if there[position].function == function:  # bound methods are equal, not identical
                self._set(key, (*there[:position], *there[position + 1 :]))
                return

    def _set(self, key: str | _CatchAll, listening: tuple[Any, ...]) -> None:
        before = len(self._of(key))
        if key is _CatchAll.IN:
            self.catch_all = listening
            self.answering = any(each.takes_ack for each in listening)
        elif key is _CatchAll.OUT:
            self.outgoing = listening
            if self._on_outgoing is not None:
                self._on_outgoing()
        elif isinstance(key, str):
            self._set_handlers(key, listening)
        for heir in self._heirs or ():
            heir._set(key, (*listening, *heir._of(key)[before:]))

    def _set_handlers(self, key: str, handlers: tuple[Any, ...]) -> None:
        if key in self.lifecycle:
            self.lifecycle[key] = handlers
            return
        as_number = number_of(key)
        if handlers:
            ready = [self._ready(each, number) for number, each in enumerate(handlers)]
            self._handlers[key] = handlers
            self.handlers[key] = ready[0] if len(ready) == 1 else HandlerGroup(ready, self._tasks)
            if as_number is not None:
                self.handlers[as_number] = self.handlers[key]
        else:
            self._handlers.pop(key, None)
            self.handlers.pop(key, None)
            if as_number is not None:
                self.handlers.pop(as_number, None)

    def _ready(self, handler: Handler, number: int) -> ReadyHandler:
        """Return a handler with all that is in front of it: the check of its results, its rate, what was served."""
        ready = checked(handler) if self.validates else handler
        if handler.event_id is not None:
            place = f"socket {number}" if self._of_socket else str(number)
            return IdempotentHandler(ready, handler.event_id, place, handler.limit)
        return ready if handler.limit is None else LimitedHandler(ready, handler.limit)

    # --- running ----------------------------------------------------------------------------------------------------

    def together(self, *handlers: ReadyHandler | HandlerGroup) -> HandlerGroup:
        """Make one group of a namespace's handlers and a socket's handlers."""
        return HandlerGroup(
            [one for each in handlers for one in (each.handlers if isinstance(each, HandlerGroup) else (each,))],
            self._tasks,
        )

    async def watch(
        self,
        watchers: Sequence[Handler],
        socket: Acknowledging,
        packet: Packet,
        serve: Callable[[], Any],
    ) -> None:
        """Call the catch-alls for an event, then ``serve``, without waiting for a catch-all that awaits something."""
        works: list[Callable[[], Any]] = [partial(_show, each, socket, packet) for each in watchers]
        works.append(serve)
        await run_abreast(works, self._tasks)


async def _show(handler: Handler, socket: Acknowledging, packet: Packet) -> None:
    """Call a catch-all for an event. Its result and its exceptions have no effect on the event."""
    try:
        await maybe_await(handler(socket, packet.data, packet))
    except EventError as error:  # usually arguments that do not fit the catch-all
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "a catch-all did not take %s: %s", quote(packet.data[0]), printable(error), extra=_where(socket, packet)
            )
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        _failed(quote(packet.data[0]), error=error, extra=_where(socket, packet))


def _key_of(event: str | int) -> str:
    """Return the key of an event, also of one of the lifecycle."""
    key = event_key(event)
    return LIFECYCLE.get(key, key)


def _where(socket: Acknowledging, packet: Packet) -> dict[str, Any]:
    return {"nsp": socket.nsp, "sid": socket.id, "event": show_event(packet.data[0])}
