"""One Engine.IO connection: its state and its heartbeat, over whichever transport it has."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..counters import add
from ..logs import ThrottledLog
from ..types import DisconnectReason
from .base64 import decode_base64
from .collector import no_collections
from .frames import CLOSE, NOOP, PING, JoinedFrames
from .inbound import LARGE, Weighed, count_and_estimate, estimate, widest
from .inbox import Inbox
from .metering import MeteredHandler, MeteredSink, WatchedSink
from .outbox import Cork, Outbox
from .transports.nothing import NO_POLLING, NO_WEBSOCKET, NOBODY, UNHEARD_POLLING, NoTransport
from .transports.polling import PollingTransport
from .transports.websocket import WebSocketTransport

if TYPE_CHECKING:
    from ..options import EngineOptions
    from ..protocols import Frames, Meter
    from .inbox import Call
    from .interfaces import Carrier, MessageHandler, Sink
    from .runner import Runner
    from .transports.upgrade import Upgrade

log: Final = logging.getLogger("rtframework.engine")

OPEN: Final = 0
CLOSING: Final = 1
"""The state in which waiting frames still go out, and no others are read or sent."""
CLOSED: Final = 2

_too_long: Final = ThrottledLog(
    log, logging.WARNING, "closing a connection that sent a message of more than %d bytes (Limits.%s)"
)
_too_many: Final = ThrottledLog(
    log, logging.WARNING, "closing a connection that sent a message of more than %d values (Limits.max_items)"
)
NOOP_CLOSE: Final = JoinedFrames([NOOP, CLOSE])

_no_packet: Final = ThrottledLog(log, logging.INFO, "closing a connection that sent something that is no packet")
_slow: Final = ThrottledLog(
    log, logging.WARNING, "disconnecting a slow consumer: more than %d bytes wait (Limits.max_outbox)"
)


_TOLD_BEFORE: Final = frozenset({DisconnectReason.SERVER_NAMESPACE_DISCONNECT, DisconnectReason.KICKED})
"""Reasons before which the client is told something, which a stock client that polls has to get by itself."""


class Connection(Inbox):
    """A client's connection by Engine.IO; see ``rtframework.protocols.Connection`` for what the framework uses.

    It is made by the engine when a handshake was accepted, and hands its messages to a ``MessageHandler``. Its session
    id is a secret between this client and the server: it appears in no public place.
    """

    __slots__ = (
        "_close_next",
        "_closed",
        "_connect_by",
        "_end_reason",
        "_handler",
        "_heard",
        "_heard_at_ping",
        "_heartbeat_due",
        "_on_closed",
        "_on_connected",
        "_pinging",
        "_state",
        "_transport",
        "address",
        "deadline",
        "outbox",
        "sid",
        "upgrade",
    )

    protocol: int = 4
    """The version of Engine.IO that the client speaks."""
    close_apart: bool = True
    """The JS client heeds a close at once and DISCONNECT one tick later: they must not be in one payload, or it would
    take itself for cut off and come back."""

    def __init__(
        self,
        sid: str,
        *,
        address: str | None,
        transport: Carrier,
        options: EngineOptions,
        cork: Cork,
        on_connected: Callable[[], None],
        on_closed: Callable[[Connection], None],
        runner: Runner,
    ) -> None:
        self.sid = sid
        super().__init__(runner, options)
        self.upgrade: Upgrade | None = None
        """The websocket that may take over."""
        self.address = address
        """The client's network address."""
        self._handler: MessageHandler = NOBODY
        self._transport: Carrier | NoTransport = transport
        self._on_connected: Callable[[], None] | None = on_connected
        self._on_closed = on_closed
        self._state = OPEN
        self._closed: asyncio.Future[None] | None = None
        self._end_reason: str | None = None
        """The reason why the transport has ended, while the end waits behind what came before."""
        self._close_next: Frames | None = None
        limits = options.limits
        self.outbox = Outbox(cork, transport, limits.max_outbox, self, limits.slow_consumer)
        now = self.loop.time()
        self._pinging = False
        self._heard = self._heard_at_ping = 0
        """Bytes that had come when it was last asked for a sign of life, and at the last ping."""
        self._heartbeat_due = now + options.ping_interval
        self._connect_by = now + options.connect_timeout
        self.deadline = min(self._heartbeat_due, self._connect_by)
        transport.serve(self)

    # --- what the framework uses ------------------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        """``"polling"`` or ``"websocket"``."""
        return self._transport.name

    @property
    def is_open(self) -> bool:
        """True while something can be sent."""
        return self._state == OPEN

    @property
    def is_closed(self) -> bool:
        """True when the connection has ended altogether, and nothing waits any more."""
        return self._state == CLOSED

    @property
    def has_dropped(self) -> bool:
        """True when an event was dropped because the client was too slow; volatile ones do not count."""
        return self.outbox.has_gap

    def keep(self) -> None:
        """Lift the limits for a client that has joined no namespace: it has joined one."""
        self._connect_by = math.inf
        if self._on_connected is not None:
            self._count_as_connected()
            transport = self._transport
            if isinstance(transport, WebSocketTransport):
                transport.limit_messages(self._options.limits.max_http_buffer_size)

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Send, in the order of the calls; dropped when the connection is not open."""
        self.outbox.put(frames, volatile)

    def count_dropped(self, reason: str, packets: int) -> None:
        """Count packets for this client that were dropped before they came here."""
        add(self.outbox.counts.dropped, reason, packets)

    def close(self, reason: str = DisconnectReason.FORCED_CLOSE) -> None:
        """Close once what waits was sent. Receivers hear the reason at once; nothing is read any more."""
        apart = reason in _TOLD_BEFORE and self.close_apart
        self._close(reason, CLOSE, apart=apart)

    def _close(self, reason: str, last: Frames, *, apart: bool) -> None:
        """Close; ``last`` is the last payload of a client that polls, or the last part of it, if not ``apart``."""
        if self._state != OPEN:
            return
        self._state = CLOSING
        self._forget_inbox()
        self._let_read()
        self._end(reason)
        # A client that does not come for the rest, or does not answer the close, is given up.
        self.deadline = self.loop.time() + self._options.ping_timeout
        polling = self._transport.name == "polling"
        if polling and apart and len(self.outbox):
            self._close_next = last
        elif polling:
            self.outbox.put_last(last)
        self.outbox.closed = True
        self.outbox.flush()
        if isinstance(self._transport, NoTransport):  # it has ended already, and was about to say so
            self._finish()
        elif not polling:
            self._transport.close()

    # --- what transports use ----------------------------------------------------------------------------------------

    @property
    def polling(self) -> PollingTransport | None:
        """The polling transport, while it is the one in use."""
        transport = self._transport
        return transport if isinstance(transport, PollingTransport) else None

    @property
    def websocket(self) -> WebSocketTransport | None:
        """The websocket, when it is the transport in use."""
        transport = self._transport
        return transport if isinstance(transport, WebSocketTransport) else None

    @property
    def message_limit(self) -> int:
        """The bytes of a message that this client may send: few before it has joined a namespace."""
        limits = self._options.limits
        if self._on_connected is None:
            return limits.max_http_buffer_size
        return min(limits.max_connect_size, limits.max_http_buffer_size)

    @property
    def is_unheard(self) -> bool:
        """True if the client has left by polling while no GET waited: one may be on its way, on another connection."""
        return self._transport is UNHEARD_POLLING

    @property
    def has_poll(self) -> bool:
        """True while a GET of this client waits."""
        return self._transport.name == "polling" and self._transport.writable

    def serve(self, handler: MessageHandler) -> None:
        """Hand messages to the handler from now on."""
        self._handler = handler

    def take(self, packet: str | bytes | Call) -> Coroutine[Any, Any, None] | None:
        """Serve a packet (Engine.IO v4, "Protocol"), or a call. Return what it sets off, if anything is left to do."""
        if self._state != OPEN:
            if packet == "1":
                self.lost(DisconnectReason.TRANSPORT_CLOSE)
            return None
        if not isinstance(packet, str):
            return self._take_message(packet, packet) if isinstance(packet, bytes) else packet()
        kind = packet[:1]
        if kind == "4":
            if len(packet) > LARGE:
                return self._take_message(packet, packet[1:])
            return self._handler.receive(packet[1:])
        if kind == "3":
            if len(packet) > 1:  # our pings carry nothing, so neither do their answers
                self.fail(DisconnectReason.PARSE_ERROR)
            elif self._pinging and not self._has_unread_ping():  # one that nobody asked for counts for nothing
                self._pinging = False
                self._heartbeat_due = self.loop.time() + self._options.ping_interval
                self.deadline = min(self._heartbeat_due, self._connect_by)
                self.outbox.sink = self._metered(self._transport)
        elif kind == "1":
            self._transport.release(NOOP)
            self.lost(DisconnectReason.TRANSPORT_CLOSE)
            self._transport.close()
        elif kind == "2":
            self.fail(DisconnectReason.TRANSPORT_ERROR)  # only servers ping
        elif kind == "b":
            return self._take_base64(packet)
        elif kind not in ("0", "5", "6") or len(packet) > LARGE:
            self.fail(DisconnectReason.PARSE_ERROR)
        return None

    def _take_message(self, packet: str | bytes, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Serve a message that may be large, if there is room for it; if not, later."""
        if len(packet) <= LARGE:
            return self._handler.receive(message)
        if self.inbox is not None and self._runner.defers(self):
            self.inbox.appendleft(packet)
            return None
        if self._parked:
            self.park()
        keeps = self.keeps_binary and isinstance(message, bytes)
        values, size = (0, len(message)) if keeps else count_and_estimate(message)
        if values > self._options.limits.max_items:
            self._fail_of_items()
            return None
        if not self._may_hold(size):
            if self.inbox is not None:
                self.inbox.appendleft(packet)
                self.park()
            return None
        self._runner.yield_soon()
        with no_collections(), Weighed(len(message) if keeps else widest(message)) as made:
            work = self._handler.receive(message)
        if work is None:
            return None
        if not values and not keeps and made.blocks > self._options.limits.max_items:
            work.close()
            self._fail_of_items()
            return None
        self.hold(made.weight)
        return self._holding(made.weight, work)

    def _fail_of_items(self) -> None:
        limit = self._options.limits.max_items
        _too_many(limit, extra={"limit": limit, **self._where()})
        self.fail(DisconnectReason.PARSE_ERROR)

    async def _holding(self, weight: int, work: Coroutine[Any, Any, None]) -> None:
        """Serve a message, and count it until that is done."""
        try:
            await work
        finally:
            self.release(weight)

    def _take_base64(self, packet: str) -> Coroutine[Any, Any, None] | None:
        """Serve a binary message that a client without binary messages sends as text (``forceBase64``)."""
        try:
            data = decode_base64(packet[1:])
        except ValueError:
            self.fail(DisconnectReason.PARSE_ERROR)
            return None
        return self._take_decoded(packet, data)

    def _take_decoded(self, packet: str, message: bytes) -> Coroutine[Any, Any, None] | None:
        """Serve a binary message that came as text, by which its weight cannot be told."""
        if len(packet) > LARGE:
            return self._take_message(packet, message)
        work = self._handler.receive(message)
        if work is None:
            return None
        weight = len(message) if self.keeps_binary else estimate(message)
        self.hold(weight)
        return self._holding(weight, work)

    def end(self, reason: str) -> None:
        """End the connection, whose transport has ended, once what came before has been served."""
        if self.inbox is None or self._state != OPEN:
            self.lost(reason)
        else:
            self.inbox.append(partial(self.lost, reason))
            if self._end_reason is None:  # handlers that hold it up may wait for nothing but the end
                self._end_reason = reason
                self._heartbeat_due = self.deadline = self.loop.time() + self._options.ping_timeout

    def wait_to_read(self) -> None:
        """Read a websocket that has just been opened later, when there is room for what it may send."""
        websocket = self.websocket
        if websocket is not None:
            websocket.pause()
            self._runner.inbound.queue(self)

    def emptied(self) -> None:
        """Let the transport read on: everything that came has been taken."""
        self._transport.resume_reading()
        if self._room_to_read is not None:
            self._let_read()

    def upgraded(self, transport: WebSocketTransport) -> None:
        """Move the connection to a websocket (Engine.IO v4, "Upgrade"), with what waits."""
        old, self._transport = self._transport, transport
        transport.serve(self)
        self.outbox.sink = self._metered(transport)
        self.outbox.counts.upgrades += 1
        self._heard = self._heard_at_ping = 0
        old.release(NOOP)
        if self._state == CLOSING:
            self.outbox.flush()
            transport.close()
        elif isinstance(old, PollingTransport) and old.has_lost_packets:
            self.lost(DisconnectReason.TRANSPORT_ERROR)
            transport.close()
        elif len(self.outbox):
            self.outbox.flush()

    def release_poll(self) -> None:
        """End the waiting GET of a client that is about to move."""
        self._transport.release(NOOP)

    @property
    def is_moving(self) -> bool:
        """True while the client is about to move to a websocket that has proved that it works."""
        return self.upgrade is not None and self.upgrade.probed

    def drained(self) -> None:
        """Hear that a polling client has come for what waited, which ends a closing connection."""
        if self._state != CLOSING:
            return
        if self._close_next is not None:
            last, self._close_next = self._close_next, None
            self.outbox.put_last(last)
        else:
            self._finish()

    def fail(self, reason: str) -> None:
        """Close, because the client broke the protocol, and drop what waits.

        A client that polls gets it after a parse error, as with Node, and then NOOP and CLOSE.
        """
        if self._state == CLOSED:
            return
        if reason == DisconnectReason.PARSE_ERROR:
            _no_packet(extra=self._where())
            if self.polling is not None and len(self.outbox):
                self._close(reason, NOOP_CLOSE, apart=True)
                return
        self.lost(reason)
        self._transport.close()

    def fail_after(self, reason: str) -> None:
        """Fail, once what came before has been served."""
        if self.inbox is None:
            self.fail(reason)
        else:
            self.inbox.append(partial(self.fail, reason))

    def fail_of_size(self) -> None:
        """Close, because a message is too long."""
        self.say_too_long()
        self.fail(DisconnectReason.TRANSPORT_ERROR)

    def say_too_long(self, limit: int | None = None) -> None:
        """Write to the log that a message is too long, with the name of the limit that it was measured by."""
        if limit is None:
            limit = self.message_limit
        name = "max_http_buffer_size" if limit == self._options.limits.max_http_buffer_size else "max_connect_size"
        _too_long(limit, name, extra={"limit": limit, **self._where()})

    def abort(self, reason: str) -> None:
        """Cut off without a word a client that does not answer or does not read."""
        if self._state == CLOSED:
            return
        self.lost(reason)
        self._transport.abort()

    def lost(self, reason: str) -> None:
        """End the connection at once: its transport is gone."""
        if self._state == CLOSED:
            return
        if self._state == OPEN:
            self._state = CLOSING
            self._end(reason)
        self._finish()

    def uses(self, transport: object) -> bool:
        """Return whether this is the transport in use."""
        return self._transport is transport

    def without_transport(self) -> None:
        """Let go of the websocket, which has ended."""
        name = self._transport.name
        if name == "websocket":
            self._transport = self.outbox.sink = NO_WEBSOCKET
        elif name != "polling":
            self._transport = self.outbox.sink = NoTransport(name)

    async def wait_closed(self) -> None:
        """Wait for the end of the connection."""
        if self._state != CLOSED:
            if self._closed is None:
                self._closed = self.loop.create_future()
            # Shielded: a caller that is cancelled must not cancel the future that others wait for.
            await asyncio.shield(self._closed)

    def tick(self, now: float) -> None:
        """Do what is due: ping the client, give it up, or close it because it joined no namespace."""
        if self._state != OPEN:
            self._finish()
            self._transport.abort()
            return
        if self._has_gone(now):
            self.abort(self._end_reason or DisconnectReason.PING_TIMEOUT)
            return
        if self._connect_by <= now:
            self.close(DisconnectReason.FORCED_SERVER_CLOSE)
            return
        if self._heartbeat_due <= now:
            if self._pinging and not self.blocked and not self._is_receiving():
                self.abort(DisconnectReason.PING_TIMEOUT)
                return
            if self._pinging:  # its answer may wait behind what we do not read, or what is still on its way
                if not self.outbox.holds(PING):  # it must not give up on us; and only writing tells of its end
                    self.send(PING)
                self._heartbeat_due = self.deadline = now + self._options.ping_timeout
                return
            self._pinging = True
            # Counted from when the ping was due, not from this sweep: what was announced to the client is exact. But a
            # sweep that comes much too late must not use up the time that the client has.
            timeout = self._options.ping_timeout
            self._heartbeat_due = max(self._heartbeat_due, now - timeout / 10) + timeout
            self._ping()
        self.deadline = min(self._heartbeat_due, self._connect_by)

    def postpone(self, seconds: float) -> None:
        """Give the client so many seconds more: the event loop was blocked, and what it owes us may wait unread."""
        if self._pinging:
            self._heartbeat_due += seconds
        self._connect_by += seconds
        if self._state == OPEN:
            self.deadline = min(self._heartbeat_due, self._connect_by)
        else:
            self.deadline += seconds

    def look(self) -> None:
        """Notice a transport that ended without a word."""
        if self._transport.abandoned:
            self.lost(DisconnectReason.TRANSPORT_ERROR)
        elif self._on_connected is not None and self._runner.inbound.is_queued(self):
            websocket = self.websocket
            if websocket is not None and websocket.peer_has_left:  # asyncio does not tell while nothing is read
                self.abort(DisconnectReason.TRANSPORT_CLOSE)

    def measure(self, meters: tuple[Meter, ...]) -> None:
        """Tell these meters, and no others, what passes from now on."""
        handler = self._handler.handler if isinstance(self._handler, MeteredHandler) else self._handler
        self._handler = MeteredHandler(handler, meters) if meters else handler
        self.outbox.sink = self._metered(self._transport)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        self._hear()
        self.send(PING)
        self.outbox.flush()
        if self._transport.buffered():
            self.outbox.sink = WatchedSink(self.outbox.sink)

    def _has_unread_ping(self) -> bool:
        """Tell whether our ping cannot have reached the client yet: then what looks like an answer is none."""
        sink = self.outbox.sink
        return self.outbox.holds(PING) or (isinstance(sink, WatchedSink) and not sink.has_left)

    def _has_gone(self, now: float) -> bool:
        """Tell whether a client that may owe an answer is not there, though it is not read at the moment.

        Its transport has ended, or it polls, and has not come for a ping.
        """
        if self._heartbeat_due > now:
            return False
        return self._end_reason is not None or (self.blocked and self.polling is not None and self._has_unread_ping())

    def _hear(self) -> None:
        """Count from now on what comes while the client owes an answer."""
        self._heard = self._heard_at_ping = self._transport.received

    def _is_receiving(self) -> bool:
        """Tell whether enough of a long message has come lately: the client can answer no ping before its end."""
        limits = self._options.limits
        received, before = self._transport.received, self._heard
        self._heard = received
        if received - self._heard_at_ping > 2 * limits.max_http_buffer_size:
            return False  # a message has ended, and the answer was not behind it
        return received - before >= limits.least_rate * self._options.ping_timeout

    def _unblock(self) -> None:
        if self._pinging and self._state == OPEN:
            # Its answer may still wait behind events for which there will be no room for a while.
            self._heartbeat_due = max(self._heartbeat_due, self.loop.time() + self._options.ping_timeout)
            self.deadline = min(self._heartbeat_due, self._connect_by)
        super()._unblock()

    def _count_as_connected(self) -> None:
        if self._on_connected is not None:
            self._on_connected()
            self._on_connected = None

    def _where(self) -> dict[str, Any]:
        """Describe the connection for the log, without its session id, which is a secret."""
        return {"address": self.address, "transport": self._transport.name}

    def overflow(self) -> None:
        """Cut off a client for which too much waits."""
        limit = self._options.limits.max_outbox
        _slow(limit, extra={"limit": limit, **self._where()})
        # Not now: a broadcast may be iterating over the members of a room.
        self.loop.call_soon(self.abort, DisconnectReason.SLOW_CONSUMER)

    def _metered(self, transport: Sink) -> Sink:
        meters = self.outbox.meters
        return MeteredSink(transport, meters) if meters else transport

    def _end(self, reason: str) -> None:
        add(self.outbox.counts.closed, reason)
        handler, self._handler = self._handler, NOBODY  # which knows the connection: no circle is to stay
        handler.ended(reason)

    def _finish(self) -> None:
        if self._state == CLOSED:
            return
        self._state = CLOSED
        self._count_as_connected()
        self._transport.release(CLOSE)
        if self._transport.name == "polling":  # a websocket may still have to say goodbye
            polling = self.polling
            is_unheard = polling is not None and polling.is_unheard
            self._transport = self.outbox.sink = UNHEARD_POLLING if is_unheard else NO_POLLING
        self.outbox.clear()
        self._forget_inbox()
        self._let_read()
        if self.upgrade is not None:
            self.upgrade.give_up()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._on_closed(self)
