"""One TCP connection in memory: a server's transport, with what a client may do to it."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Final, Protocol, cast

_KERNEL: Final = 65_536
"""Bytes that a connection takes for a client that does not read."""


class FarEnd(Protocol):
    """The client's side of a line, as the line sees it; an ``asyncio.StreamReader`` is one."""

    def feed_data(self, data: bytes) -> None:
        """The server has sent something."""

    def feed_eof(self) -> None:
        """The server sends nothing more."""

    def set_exception(self, exc: Exception) -> None:
        """The connection is broken."""


class MemoryTransport(asyncio.Transport):
    """One TCP connection to a server: the server's transport, with what the client may do to it.

    What the server writes comes out of ``reader``, or goes to ``far_end`` if there is one, at once or, when the client
    stops reading, later. ``segment``: what the client sends arrives in pieces of so many bytes. ``address``: the
    client's, as the server sees it. ``context``: the context variables that the server's side sees; those of whoever
    connects by default.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        *,
        segment: int = 0,
        far_end: FarEnd | None = None,
        address: str = "192.0.2.1",
        context: Context | None = None,
    ) -> None:
        super().__init__({"peername": (address, 50_000), "sockname": ("192.0.2.2", 80)})
        self.reader = asyncio.StreamReader(limit=2**24, loop=loop)
        self._far_end: FarEnd = self.reader if far_end is None else far_end
        self.ended = False
        """Whether the server has heard of the end."""
        self._loop = loop
        self._context = copy_context() if context is None else context
        self._protocol = cast("asyncio.Protocol", protocol)
        self._segment = segment
        self._arriving: list[bytes] = []
        self._paused = False
        self._waiting = bytearray()
        self._held = 0
        self._reads = True
        self._closing = False
        self._eof = False
        self._full = False
        self._dead = False
        self._context.run(self._protocol.connection_made, self)

    @property
    def _sendfile_compatible(self) -> object:
        # What asyncio asks a transport before it sends a file. aiohttp reads and writes the file itself after this
        # answer, and only after this one.
        raise NotImplementedError("there is no file descriptor to send a file to")

    # --- what the client does ---------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        step = self._segment or max(1, len(data))
        self._arriving += [data[at : at + step] for at in range(0, len(data), step)]
        self._loop.call_soon(self._arrive, context=self._context)

    def hang_up(self) -> None:
        """Close in good order: the server sees the end after what was sent."""
        self._eof = True
        self._loop.call_soon(self._arrive, context=self._context)

    def reset(self) -> None:
        """Vanish, with an RST."""
        if not self._dead:
            self._end(ConnectionResetError("reset by peer"))

    def die(self) -> None:
        """Nothing gets through any more, neither way, and nobody is told: a tunnel, a cable that was pulled out."""
        self._dead = True
        self._arriving.clear()
        self.stop_reading()

    def bury(self) -> None:
        """If nothing gets through any more, let both sides hear of it."""
        if self._dead:
            self._dead = False
            self.reset()

    def stop_reading(self) -> None:
        """Read nothing any more; the network takes a little, the rest stays with the server."""
        self._reads = False

    def start_reading(self) -> None:
        """Read on."""
        if not self._dead:
            self._reads = True
            self._held = 0
            self._deliver()

    # --- what the server does ---------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send to the client."""
        if self.ended:
            return
        self._waiting += data
        self._deliver()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the network has not taken."""
        return len(self._waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Passed over: the limit is the usual one."""

    def is_closing(self) -> bool:
        """Return whether the server has closed it, or the end is known."""
        return self._closing or self.ended

    def close(self) -> None:
        """Close when everything is written."""
        self._closing = True
        if not self._waiting:
            self._end(None)

    def abort(self) -> None:
        """Close now."""
        self._waiting.clear()
        self._closing = True
        self._end(None)

    def pause_reading(self) -> None:
        """Leave what comes in the network."""
        self._paused = True

    def resume_reading(self) -> None:
        """Read on."""
        self._paused = False
        self._loop.call_soon(self._arrive, context=self._context)

    def can_write_eof(self) -> bool:
        """As a TCP connection, and no TLS one, can."""
        return True

    def write_eof(self) -> None:
        """The server writes nothing more, and reads on."""
        if not self._dead:
            self._far_end.feed_eof()

    def is_reading(self) -> bool:
        """Return whether the server reads."""
        return not self._paused and not self.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Exchange the protocol."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        return self._protocol

    # --- inside -----------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        """One segment per turn of the event loop."""
        if self._paused or self._dead or self.is_closing():
            return
        if self._arriving:
            self._protocol.data_received(self._arriving.pop(0))
            self._loop.call_soon(self._arrive, context=self._context)
        elif self._eof and not self._protocol.eof_received():
            self.close()

    def _deliver(self) -> None:
        room = len(self._waiting) if self._reads else max(0, _KERNEL - self._held)
        if room and self._waiting:
            taken = bytes(self._waiting[:room])
            del self._waiting[:room]
            self._held += 0 if self._reads else len(taken)
            if not self.ended and not self._dead:
                self._far_end.feed_data(taken)
        if len(self._waiting) > _KERNEL and not self._full:
            self._full = True
            self._protocol.pause_writing()
        elif self._full and not self._waiting:
            self._full = False
            self._protocol.resume_writing()
        if self._closing and not self._waiting:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.ended:
            return
        self.ended = True
        if not self._dead:
            if error is None:
                self._far_end.feed_eof()
            else:
                self._far_end.set_exception(error)
        self._loop.call_soon(self._protocol.connection_lost, error, context=self._context)
