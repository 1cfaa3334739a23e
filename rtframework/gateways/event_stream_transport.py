"""The transport of server-sent events: a response that does not end, straight to the socket."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiohttp import HttpVersion11, web

from ..counters import Counters, add
from ..engine.closed_transport import release
from ..engine.frames import JoinedFrames
from ..engine.http.detach import limit_silence, take_over
from ..logs import ThrottledLog
from ..types import DisconnectReason, PacketType
from .event_stream import CONTENT_TYPE, GAP, HEARTBEAT, LAST_CHUNK, LEFT, EventForm, EventId, chunk, event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..options import EngineOptions
    from ..protocols import Frames
    from .connection import GatewayConnection

log: Final = logging.getLogger("rtframework.gateways")

_not_written: Final = ThrottledLog(
    log, logging.ERROR, "dropped an event for streams of server-sent events: its name has more than one line"
)

_MUCH: Final = 65_536
"""Bytes in the transport's buffer from which the client counts as one that does not read."""
_MOST_IN: Final = 65_536
"""Bytes that a client may send behind its request, where nothing is expected."""

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)


class Refused(NamedTuple):
    """The end of a client that a namespace does not let in."""

    message: str
    data: Any


class EventStream(asyncio.Protocol):
    """The response of one client: the asyncio protocol that aiohttp's gives way to once the client is let in.

    Until then frames wait, so that a refused client gets a status. ``form`` gives the form of frames; ``greet`` gives
    the first event of a client for the payload of its CONNECT, and its id; ``answered`` gets the form of
    an acknowledgement, ``asked`` the id of an event that asks for one. ``first`` is what the stream begins with.
    """

    name: Final = "sse"

    def __init__(
        self,
        request: web.Request,
        *,
        form: Callable[[Frames], EventForm],
        greet: Callable[[dict[str, Any]], tuple[bytes, EventId]],
        answered: Callable[[int, EventForm], None],
        asked: Callable[[int], None],
        options: EngineOptions,
        counts: Counters,
        first: bytes,
    ) -> None:
        self.connection: GatewayConnection | None = None
        self.decision: asyncio.Future[Refused | bool] = asyncio.get_running_loop().create_future()
        """True when the response may begin, ``False`` when the connection has ended before, or the refusal."""
        self.received = 0
        self._request: web.Request | None = request
        self._transport: asyncio.Transport | None = None
        self._is_chunked = request.version >= HttpVersion11
        self._form = form
        self._greet = greet
        self._answered = answered
        self._asked = asked
        self._counts = counts
        self._first = first
        self._prefix = self._entry = self._offset = b""
        """The parts of the last id; with a prefix, which is the client's own, ids are made for each."""
        self._holds = options.limits.slow_consumer == "drop_oldest"
        self._high = min(_MUCH, options.limits.max_outbox // 2)
        self._patience = options.ping_interval + options.ping_timeout
        self._dropped = 0
        """Events that were dropped and of which the client has been told."""
        self._full = False
        self._closing = False

    # --- until it begins ----------------------------------------------------------------------------------------------

    def serve(self, connection: GatewayConnection) -> None:
        """Be the transport of this connection from now on."""
        self.connection = connection

    def refuse(self, message: str, data: Any) -> None:
        """Have the request answered with a refusal."""
        self._decide(Refused(message, data))

    def _decide(self, decision: Refused | bool) -> None:
        if not self.decision.done():
            self.decision.set_result(decision)

    def begin(self, request: web.Request, head: bytes) -> None:
        """Answer the request, take its connection over, and write what waits.

        Raises ``ConnectionResetError`` when the client has gone.
        """
        transport = request.transport
        rest = take_over(request, self, head)
        assert transport is not None
        self._request = None
        self._transport = transport
        if self._holds:
            transport.set_write_buffer_limits(high=self._high)
        limit_silence(transport, self._patience)
        self.received += len(rest)
        self._send(self._first)
        is_closing, self._closing = self._closing, False
        if self.connection is not None:
            self.connection.outbox.flush()
        self._closing = is_closing
        if is_closing:
            self._finish()

    @property
    def abandoned(self) -> bool:
        """True when the client has hung up before the response has begun: aiohttp tells nobody."""
        return self._request is not None and self._request.transport is None

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read what nobody expects: only that the client is there counts, and its end."""
        self.received += len(data)
        if self.received > _MOST_IN and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> None:
        """Take it for the end: no client of HTTP goes on half-open."""
        self.lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything: TCP has ended."""
        self.lose()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.without_transport()
        release(self._transport)

    def lose(self) -> None:
        if self.connection is not None:
            self.connection.lost(DisconnectReason.TRANSPORT_CLOSE)

    def pause_writing(self) -> None:
        """Hear that the kernel does not take what is written."""
        self._full = True

    def resume_writing(self) -> None:
        """Hear that the kernel takes what is written again."""
        self._full = False
        if self._holds and self.connection is not None:
            self.connection.outbox.flush()

    def resume_reading(self) -> None:
        """Do nothing: it is always read."""

    # --- the sink of an outbox ----------------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """True when everything of the past has left the process."""
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def buffered(self) -> int:
        """Count the bytes that the kernel has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def write(self, frames: list[Frames]) -> bool:
        """Write all frames in one piece; ``False`` while the response has not begun."""
        transport = self._transport
        if transport is None:
            self._look_at(frames)
            return False
        if self._closing or transport.is_closing():
            return True
        if self._holds:
            return self._write_some(transport, frames)
        written = self._written(frames[0]) if len(frames) == 1 else b"".join([self._written(each) for each in frames])
        if written:
            transport.write(written)
        return True

    def _write_some(self, transport: asyncio.Transport, frames: list[Frames]) -> bool:
        """Write what the transport takes without holding much: what it has taken cannot be dropped any more."""
        taken = 0
        dropped = 0 if self.connection is None else self.connection.outbox.dropped
        if dropped > self._dropped and not self._full:
            count, self._dropped = dropped - self._dropped, dropped
            transport.write(self._wrapped(event_of(GAP, {"dropped": count}) + b"\n"))
        for each in frames:
            if self._full:
                break
            written = self._written(each)
            if written:
                transport.write(written)
            taken += 1
        del frames[:taken]
        return not frames

    def _written(self, frames: Frames) -> bytes:
        """Return frames as they are written."""
        form = self._form(frames)
        if not form.is_settled:
            if isinstance(frames, JoinedFrames):
                return self._written_joined(frames.parts)
            self._settle(form, frames)
        if form.asks is not None:
            self._asked(form.asks)
        if self._prefix and (form.offset or form.entry):
            self._entry = form.entry or self._entry
            self._offset = form.offset or self._offset
            return self._with_id(form, b"id: %b%b~%b\n\n" % (self._prefix, self._entry, self._offset))
        return self._shared(form) if form.chunk else self._special(form)

    def _shared(self, form: EventForm) -> bytes:
        """Return an event as all clients get it."""
        return form.chunk if self._is_chunked else form.text

    def _with_id(self, form: EventForm, id: bytes) -> bytes:
        """Return an event with an id that is this client's own."""
        return self._wrapped(form.lines + id)

    def _written_joined(self, parts: Sequence[Frames]) -> bytes:
        """Return frames that belong together: those that say that the client is let in come first."""
        first = [each for each in parts if self._form(each).outgoing.type == _CONNECT]
        return b"".join([self._written(each) for each in (*first, *(each for each in parts if each not in first))])

    def _settle(self, form: EventForm, frames: Frames) -> None:
        if not form.settle(frames):
            add(self._counts.dropped, "not_encoded", 1)
            _not_written(extra={"nsp": form.outgoing.nsp})

    def _special(self, form: EventForm) -> bytes:
        """Return a packet that is no event as it is written; some are not."""
        outgoing = form.outgoing
        if outgoing.type == _ACK and outgoing.id is not None:
            self._answered(outgoing.id, form)
        elif outgoing.type == _CONNECT:
            greeting, id = self._greet(outgoing.data)
            self._prefix, self._entry, self._offset = id.prefix, id.entry.encode(), id.offset.encode()
            return self._wrapped(greeting)
        elif outgoing.type == _DISCONNECT:
            return self._wrapped(b"%bid: %b\n\n" % (event_of("disconnect", None), EventId(LEFT).text))
        return b""

    def _look_at(self, frames: list[Frames]) -> None:
        """Find out from what waits if the client is let in."""
        if not self.decision.done() and any(each.type == _CONNECT for each in self._outgoing(frames)):
            self._decide(True)

    def _outgoing(self, frames: list[Frames]) -> Iterator[Any]:
        for each in frames:
            if isinstance(each, JoinedFrames):
                yield from self._outgoing(list(each.parts))
            else:
                yield self._form(each).outgoing

    def _wrapped(self, data: bytes) -> bytes:
        return chunk(data) if self._is_chunked else data

    def _send(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(self._wrapped(data))

    def ping(self) -> None:
        """Send a comment, unless the client has still to take what was sent before."""
        if self.writable and not self._closing:
            self._send(HEARTBEAT)

    def release(self, frames: Frames) -> None:
        """Let go of a request that waits for an answer: the connection has ended."""
        self._decide(False)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the response once everything that was written has left."""
        if self._closing:
            return
        self._closing = True
        if self._transport is not None:
            self._finish()
        else:
            self._decide(False)

    def _finish(self) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._write_end(transport)
            transport.close()

    def _write_end(self, transport: asyncio.Transport) -> None:
        if self._is_chunked:
            transport.write(LAST_CHUNK)

    def abort(self) -> None:
        """Cut the TCP connection."""
        if self._transport is not None:
            self._transport.abort()
        else:
            self._decide(False)


def stream_headers() -> dict[str, str]:
    """Return the headers of a stream: neither caches nor proxies are to keep any of it back."""
    return {
        "Content-Type": CONTENT_TYPE,
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
    }
