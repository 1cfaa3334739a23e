"""An event's way from the engine through catch-alls, middleware and handlers to its acknowledgement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..concurrency import is_cancelled
from ..counters import HANDLER
from ..counters import UNKNOWN as UNKNOWN_EVENT
from ..exceptions import EncodeError, EventError, InvalidPayload, RateLimited
from ..handlers.event import DEFERRED, Event
from ..handlers.group import Explained, HandlerGroup
from ..handlers.handler import LEFT_TO_CATCH_ALL, UNKNOWN
from ..logs import ThrottledLog, printable, quote, show_event
from ..packets import to_ack
from ..types import DisconnectReason, Packet, PacketType
from .devices import read_device
from .membership import State
from .own_rooms import rooms_of
from .repeats import tell_of_one_connection

if TYPE_CHECKING:
    from ..handlers.middleware import Link
    from ..handlers.registry import HandlerRegistry
    from ..limits.limit import Limit
    from ..protocols import Client, Outlet
    from ..types import Handshake
    from .namespace import Namespace

log: Final = logging.getLogger("rtframework.socket")

Serving = Any
"""A handler, several as one, or what serves the events that have none."""

_misfit: Final = ThrottledLog(log, logging.WARNING, "%s does not fit its handler, and no answer is asked for: %s")
_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a handler of %s")
_unsendable: Final = ThrottledLog(log, logging.ERROR, "the acknowledgement of %s cannot be sent")

_LONGEST: Final = 500
"""Characters that a line in the log quotes of a payload."""

_ACK: Final = int(PacketType.ACK)
_INTERNAL_ERROR: Final = EventError("internal_error", "Internal server error").to_payload()
_CANCELLED: Final = EventError("cancelled", "The handler was cancelled").to_payload()

_JOINED: Final = State.JOINED
_CONNECTED: Final = State.CONNECTED


class EventDispatch:
    """Serves the events and acknowledgements of one client in one namespace: the receiving half of a socket.

    No handler that fails harms anybody else: what it raises becomes the answer.
    """

    __slots__ = ("_acks", "_client", "_nsp", "_outlet", "_own", "_state", "_turn", "id")

    id: str
    connected: Any
    handshake: Handshake
    _authenticated: Any
    _pid: str | None
    _nsp: Namespace
    _client: Client
    _state: State
    _outlet: Outlet | None
    """The way to the client; ``None`` before it has joined and after it has left."""
    _own: HandlerRegistry | None
    """The handlers of this socket alone, once there are any."""
    _acks: dict[int, asyncio.Future[list[Any]]] | None
    """The answers that are waited for, by the id of their packet."""
    _turn: asyncio.Lock | None
    """Held by the ordered event that is being served; first come, first served."""

    @property
    def nsp(self) -> str:
        """The name of its namespace."""
        return self._nsp.name

    # --- from the engine --------------------------------------------------------------------------------------------

    def _receive(self, packet: Packet) -> Coroutine[Any, Any, None] | None:
        """Take an EVENT or an ACK; return what serves it."""
        if self._state is not _CONNECTED:
            if self._state is _JOINED:  # it cannot know yet that it is connected
                self._client.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return None
        if packet.type == _ACK:
            future = self._acks.pop(packet.id or 0, None) if self._acks else None
            if future is not None and not future.done():
                future.set_result(packet.data)
            return None
        registry = self._nsp._listening
        if self._own is not None or registry.catch_all:
            return self._receive_watched(packet)
        handler = registry.handlers.get(packet.data[0], UNKNOWN)
        if handler.ordered:
            return self._serve_in_turn(packet, handler)
        return self._serve(packet, handler)

    # --- catch-alls and order ---------------------------------------------------------------------------------------

    def _receive_watched(self, packet: Packet) -> Coroutine[Any, Any, None]:
        """Serve an event of a socket that has handlers of its own, or in a namespace that has catch-alls."""
        of_all, own = self._nsp._listening, self._own
        handler = self._handler_of(packet.data[0])
        catch_alls = of_all.catch_all if own is None else (*of_all.catch_all, *own.catch_all)
        if catch_alls:
            return of_all.watch(catch_alls, self, packet, partial(self._serve_watched, packet, handler))
        return self._serve_in_turn(packet, handler) if handler.ordered else self._serve(packet, handler)

    async def _serve_watched(self, packet: Packet, handler: Serving) -> None:
        if self._state is _CONNECTED:  # a catch-all may have disconnected it
            await (self._serve_in_turn(packet, handler) if handler.ordered else self._serve(packet, handler))

    async def _serve_in_turn(self, packet: Packet, handler: Serving) -> None:
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            await self._serve(packet, handler)

    # --- middleware and handlers ------------------------------------------------------------------------------------

    async def _serve(self, packet: Packet, handler: Serving) -> None:
        """Run the handlers of one event and acknowledge it. Raise nothing but cancellation."""
        try:
            chain = self._nsp._event_chain
            if chain is None:
                result = handler(self, packet.data[1:], packet)
                if handler.is_async or isawaitable(result):
                    result = await result
            else:
                result = await chain(self, Event(packet.data[0], packet.data[1:], packet))
        except Explained as outcome:
            self._answer_failure(packet, outcome.error)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):  # by the program or at shutdown: not to be caught here
                self._nsp._count_refusal("cancelled")
                self._answer(packet, [_CANCELLED])
                raise
            # Exception handlers have been asked already for what observers have seen.
            self._answer_failure(packet, error if self._nsp._is_observed else await self._explain(error, packet))
        else:
            if packet.id is not None and result is not DEFERRED:
                self._answer(packet, to_ack(result))

    async def _serve_observed(self, event: Event, *, chain: Link | None) -> Any:
        """Run middleware, if there is any, handlers and exception handlers: all that observers are to see."""
        try:
            if chain is not None:
                return await chain(self, event)
            handler = self._handler_of(event.name)
            if isinstance(handler, HandlerGroup):  # it answers as early as without observers
                return await handler.observed(self, event)
            result = handler(self, event.args, event.packet, event)
            return await result if isawaitable(result) else result
        except Explained as explained:
            known = explained.error
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            outcome = await self._explain(error, event.packet)
            try:
                if not isinstance(outcome, BaseException):
                    return outcome
                if outcome is error:
                    raise
                raise outcome from error
            finally:
                del outcome  # what is raised holds this frame
        try:
            raise known
        finally:
            del known

    async def _run_handlers(self, event: Event) -> Any:
        """Run the handlers of an event by the name that middleware has left it: the end of an event chain."""
        handler = self._handler_of(event.name)
        if handler is UNKNOWN:
            raise EventError("unknown_event", f"no handler for {event.name!r}")
        result = handler(self, event.args, event.packet, event)
        return await result if handler.is_async or isawaitable(result) else result

    def _handler_of(self, event: str | int) -> Serving:
        """Return the handlers of an event, those of the namespace and those of the socket, as one."""
        of_all, own = self._nsp._listening, self._own
        handler = of_all.handlers.get(event)
        answering = of_all.answering
        if own is not None:
            mine = own.handlers.get(event)
            if mine is not None:
                handler = mine if handler is None else of_all.together(handler, mine)
            answering = answering or own.answering
        if handler is None:
            return LEFT_TO_CATCH_ALL if answering else UNKNOWN
        return handler

    def _take(self, limit: Limit, event: str | int) -> float:
        """Count an event against the limit of its handler. Return 0.0, or the seconds to wait."""
        nsp, client = self._nsp, self._client
        guard = nsp._guard
        user = guard.rate_limit.key_of(self._authenticated) if limit.is_per_user else None
        wait = limit.take(client, client.address, user)
        if wait:
            user = self._authenticated
            guard.hit(HANDLER, address=client.address, user=user, nsp=nsp.name, sid=self.id, event=event)
        return wait

    def _serve_once(
        self, event: str, place: str, id: str, call: Callable[[], Any], refused: Callable[[], RateLimited | None]
    ) -> Awaitable[Any]:
        """Serve the event of an id, unless it was served before."""
        nsp = self._nsp
        assert nsp._host is not None
        return nsp._host.repeats.serve(self, self._scope(), (event, nsp.name, place, id), call, refused)

    def _scope(self) -> str:
        """Return whose ids of events are known: a user's or, without one, those of what survives a reconnect."""
        user = rooms_of(self._authenticated, self._nsp.name)
        if user:
            return next(iter(user))
        device = read_device(self.handshake.auth)
        if device is not None:
            return f"device:{device.id}"
        if self._pid is None:
            tell_of_one_connection()
        return f"socket:{self.id}"

    # --- the answer -------------------------------------------------------------------------------------------------

    async def _explain(self, error: BaseException, packet: Packet | None) -> Any:
        """Ask the exception handlers. Return an answer, another exception, or the one that was given."""
        handlers = self._nsp._exception_handlers
        answer = None
        if handlers:
            try:
                answer = await handlers.explain(self, error, packet)
            except (Exception, asyncio.CancelledError) as another:
                if is_cancelled(another):
                    raise
                return another
        if answer is not None:
            return answer
        if packet is not None and packet.id is None and isinstance(error, InvalidPayload):
            text = str(error)[:_LONGEST]  # names of fields in it are the client's
            _misfit(quote(packet.data[0]), text if text.isprintable() else repr(text), extra=self._where(packet))
        return error

    def _answer_failure(self, packet: Packet, outcome: Any) -> None:
        """Answer an event whose handler has failed with what exception handlers have made of the failure."""
        if isinstance(outcome, EventError):
            if log.isEnabledFor(logging.DEBUG):
                extra = {**self._where(packet), "code": printable(outcome.code)}
                log.debug("event %s refused: %s", quote(packet.data[0]), printable(outcome), extra=extra)
            if self._answer(packet, [outcome.to_payload()]):
                self._nsp._count_refusal(outcome.code)
        elif isinstance(outcome, BaseException):
            label = self._label_of(packet)
            _failed(quote(packet.data[0]), error=outcome, key=label, extra=self._where(packet))
            self._nsp._count_refusal("internal_error")
            self._answer(packet, [_INTERNAL_ERROR])
        else:
            self._answer(packet, to_ack(outcome))

    def _answer(self, packet: Packet, args: list[Any]) -> bool:
        """Acknowledge an event. Return ``False`` when that cannot be encoded: then it is ``internal_error``."""
        try:
            self._acknowledge(packet, args)
        except EncodeError as error:
            label = self._label_of(packet)
            _unsendable(quote(packet.data[0]), error=error, key=label, extra=self._where(packet))
            self._nsp._count_refusal("internal_error")
            self._acknowledge(packet, [_INTERNAL_ERROR])
            return False
        return True

    def _acknowledge(self, packet: Packet, args: list[Any]) -> None:
        """Send the answer to an event, unless it has one. Raises ``EncodeError``."""
        if packet.id is not None:
            if self._outlet is not None:
                self._outlet.send(self._nsp._engine.encode(Packet(_ACK, self._nsp.name, args, packet.id)))
            packet.id = None  # one answer is all that a client takes

    def _where(self, packet: Packet) -> dict[str, Any]:
        return {"nsp": self._nsp.name, "sid": self.id, "event": show_event(packet.data[0])}

    def _label_of(self, packet: Packet) -> tuple[str, str | int]:
        """Return names of the namespace and the event that clients cannot choose at will."""
        name = packet.data[0]
        own = self._own is not None and name in self._own.handlers
        return self._nsp.label, name if own or name in self._nsp._listening.handlers else UNKNOWN_EVENT
