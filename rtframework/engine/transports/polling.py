"""HTTP long-polling (Engine.IO v4): a GET waits for what the server sends, POSTs bring what the client sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from ...types import DisconnectReason
from ..base64 import decode_base64
from ..frames import CLOSE, NOOP, SEPARATOR
from ..inbound import LARGE

if TYPE_CHECKING:
    from ...options import Limits
    from ...protocols import Frames
    from ..interfaces import Carried

TEXT: Final = "text/plain; charset=UTF-8"
BINARY: Final = "application/octet-stream"

_KINDS: Final = frozenset("0123456")
_SEPARATOR: Final = SEPARATOR.encode()
_AT_ONCE: Final = 256
"""Packets of a payload that wait to be served at once."""
_PAUSE: Final = 0.1
"""Seconds that a GET waits at most while the client is about to move to a websocket: Node's."""


class Handed(Protocol):
    """A response that was left to aiohttp."""

    is_sent: bool
    """True once the response has been written to its end."""


class Waiting(Protocol):
    """A GET that waits for a payload."""

    def done(self) -> bool:
        """Return whether it has its payload, or has been given up."""

    def set_result(self, payload: bytes, /) -> None:
        """Answer it."""


class PollingTransport:
    """The polling side of one connection: at most one GET and one POST at a time, as the protocol says."""

    __slots__ = ("_handed_over", "_posting", "_request", "_waiting", "compress", "connection", "is_unheard", "received")

    name: Final = "polling"
    connection: Carried
    content_type: str = TEXT
    """The type of the payload that ``poll`` has returned last."""

    def __init__(self) -> None:
        self._waiting: Waiting | None = None
        self._request: web.Request | None = None
        self._handed_over: Handed | None = None
        self._posting = False
        self.is_unheard = False
        """True if no GET waited that could have been answered with a NOOP: when the client left, above all."""
        self.received = 0
        """Bytes of bodies that have come in pieces."""
        self.compress = True
        """True when something in the payload that was made last is worth compressing."""

    def serve(self, connection: Carried) -> None:
        """Be the transport of this connection from now on."""
        self.connection = connection

    def resume_reading(self) -> None:
        """Do nothing: the next POST waits while too much of its client is being served, see ``post``."""

    @property
    def writable(self) -> bool:
        """True while a GET waits."""
        return self._waiting is not None

    @property
    def abandoned(self) -> bool:
        """True when the client of the waiting GET has hung up, of which aiohttp tells no handler."""
        return self._request is not None and self._request.transport is None

    def buffered(self) -> int:
        """Count no bytes: what is not sent stays in the outbox."""
        return 0

    def write(self, frames: list[Frames]) -> bool:
        """Answer the waiting GET."""
        if self._waiting is None:
            return False
        self._answer(self._join(frames))
        self.connection.drained()
        return True

    def release(self, frames: Frames) -> None:
        """Answer the waiting GET, if there is one, with these packets and whatever waited for it."""
        if self._waiting is not None:
            self._answer(self._join([frames]))
        elif frames is NOOP:
            self.is_unheard = True

    def close(self) -> None:
        """Tell the waiting GET that it is over."""
        self.release(CLOSE)

    abort = close

    async def poll(self, request: web.Request) -> bytes | None:
        """Serve a GET. Return the payload to answer with, ``None`` to answer 400."""
        waiting: asyncio.Future[bytes] = self.connection.loop.create_future()
        if not self.begin(request, waiting):
            return None
        try:
            answer: bytes = await waiting
        except asyncio.CancelledError:
            self._lost()
            raise
        finally:
            if self._waiting is waiting:
                self._waiting = self._request = None
        if request.transport is None:
            # The packets in this payload will not arrive, so the session must not go on as if they had.
            self._lost()
        return answer

    def begin(self, request: web.Request, waiting: Waiting) -> bool:
        """Answer a GET through ``waiting``, at once if something waits for it. ``False``: answer 400."""
        connection = self.connection
        if self._waiting is not None or self.has_lost_packets:
            # Two at a time, or the packets of the one before were lost in the application's middleware.
            connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return False
        self._waiting = waiting
        self._request = request
        if len(connection.outbox):
            connection.outbox.flush()
        elif connection.is_moving:  # not at once, or a client that goes on polling would spin
            connection.loop.call_later(_PAUSE, self._end_pause, waiting)
        return True

    def give_up(self, waiting: Waiting) -> None:
        """End the session: the client of this GET has hung up, so that packets for it were lost, or would be."""
        if self._waiting is waiting:
            self._waiting = self._request = None
        self._lost()

    @property
    def is_open(self) -> bool:
        """True while packets of the client are served."""
        return self.connection.is_open

    def begin_post(self, request: web.Request, length: int) -> bool:
        """Note that a body of so many bytes is on its way, which :meth:`post` takes. ``False``: it takes it now."""
        connection = self.connection
        if (
            self._posting
            or length > connection.message_limit
            or connection.blocked
            or connection.inbox is not None
            or self._decoder_of(request) is None
        ):
            return False
        self._posting = True
        return True

    def lose_post(self) -> None:
        """End the session: its client has hung up in the middle of a body."""
        self._posting = False
        self.connection.lost(DisconnectReason.TRANSPORT_ERROR)

    async def post(self, request: web.Request, limits: Limits, since: float | None = None) -> int:
        """Take the packets of a POST, once what came before is being served. Return the HTTP status to answer with.

        ``since``: the time of the event loop when it was begun by :meth:`begin_post`.
        """
        connection = self.connection
        decode = self._decoder_of(request)
        if (self._posting and since is None) or decode is None:
            connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return 400
        self._posting = True
        read = 0
        try:
            if connection.blocked or connection.inbox is not None:
                await connection.ready_to_read()
            most = connection.message_limit
            body: bytes | None
            if request.content.is_eof():  # it came with the head, as most do
                body = request.content.read_nowait()
                if len(body) > most:
                    body = None
            else:
                body = await self._read(request, limits, most, since)
            if body is None:
                connection.fail_of_size()
                return 413
            if len(body) > LARGE:
                read = len(body)
                connection.arrive(read)
            status = await self._hand_over(decode(body))
            if read:
                connection.park()
            return status
        except asyncio.CancelledError:
            connection.lost(DisconnectReason.TRANSPORT_ERROR)
            raise
        except TimeoutError:
            connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return 408
        except (OSError, RuntimeError, web.RequestPayloadError):  # RuntimeError: aiohttp's "Connection closed."
            connection.lost(DisconnectReason.TRANSPORT_ERROR)
            return 400
        finally:
            self._posting = False
            if read:
                connection.arrive(-read)

    async def _read(self, request: web.Request, limits: Limits, most: int, since: float | None) -> bytes | None:
        """Read a body, in however many pieces it comes; ``None`` when it is longer than ``most`` bytes.

        Raises ``TimeoutError`` when it comes too slowly: each ``body_timeout`` has to bring ``least_rate``.
        """
        if request.content_length is not None and request.content_length > most:
            return None
        connection = self.connection
        body = bytearray()
        enough = step = int(limits.least_rate * limits.body_timeout)
        try:
            start = connection.loop.time() if since is None else since
            async with asyncio.timeout_at(start + limits.body_timeout) as timer:
                async for chunk in request.content.iter_any():
                    body += chunk
                    self.received += len(chunk)
                    connection.arrive(len(chunk))
                    if len(body) > most:
                        return None
                    if len(body) >= enough:
                        enough = len(body) + step
                        timer.reschedule(connection.loop.time() + limits.body_timeout)
                    if not connection.is_open:
                        break  # what comes is not served any more
                    if not connection.may_receive():
                        await connection.room_to_receive()
        finally:
            connection.arrive(-len(body))
            connection.settle()
        return bytes(body)

    async def _hand_over(self, packets: Iterator[str | bytes]) -> int:
        """Have the packets of a payload served, a part of them at a time. Return the status."""
        connection = self.connection
        if not connection.is_open:  # it ended while the body came
            return 400
        left = _AT_ONCE
        try:
            for packet in packets:
                if not left:
                    connection.park()
                    await connection.ready_to_read()
                    if not connection.is_open:
                        return 200
                    left = _AT_ONCE
                left -= 1
                if connection.is_open:
                    connection.receive(packet)
                else:
                    connection.take(packet)
        except ValueError:
            connection.fail_after(DisconnectReason.PARSE_ERROR)
            return 400
        return 200

    @property
    def has_lost_packets(self) -> bool:
        """True if the application's middleware has not let the last payload pass."""
        return self._handed_over is not None and not self._handed_over.is_sent

    def hand_over(self, response: Handed) -> None:
        """Note that aiohttp and the application's middleware are to send the payload: see :meth:`poll`."""
        self._handed_over = response

    def _join(self, frames: list[Frames]) -> bytes:
        """Make a payload of packets."""
        self.compress = any(each.compress for each in frames)
        return SEPARATOR.join([each.polling for each in frames]).encode()

    def _decoder_of(self, request: web.Request) -> Callable[[bytes], Iterator[str | bytes]] | None:
        """Choose the function that takes the body of a POST apart; ``None`` when there can be no such body."""
        return None if request.headers.get("Content-Type") == BINARY else decode_payload

    def _lost(self) -> None:
        if self.connection.uses(self):  # else the client has moved to a websocket meanwhile
            self.connection.lost(DisconnectReason.TRANSPORT_ERROR)

    def _end_pause(self, waiting: Waiting) -> None:
        if self._waiting is waiting:
            self.release(NOOP)

    def _answer(self, payload: bytes) -> None:
        waiting, self._waiting, self._request = self._waiting, None, None
        if waiting is not None and not waiting.done():
            waiting.set_result(payload)


def decode_payload(body: bytes) -> Iterator[str | bytes]:
    """Yield the packets of a POST body: text packets as they are, binary ones decoded.

    Raises ``ValueError`` at the first that is none. The packets are not there all at once: a body may be made of very
    many.
    """
    start = 0
    while start >= 0:
        end = body.find(_SEPARATOR, start)
        packet = (body[start:] if end < 0 else body[start:end]).decode()  # not all at once: see ``inbound.widest``
        start = end + 1 or -1
        kind = packet[:1]
        if kind in _KINDS:
            yield packet
        elif kind == "b":
            yield decode_base64(packet[1:])
        else:
            raise ValueError("unknown packet type")
