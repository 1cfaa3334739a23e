"""A network and a clock in memory: a real aiohttp server, and clients whose bytes never leave the process.

Only what is not ours is faked, the network and the time. Time stands still while anything can run and jumps to the
next timer when nothing can, so that a test of an hour of heartbeats takes milliseconds and runs the same way twice.

Example::

    loop = SimulatedLoop()
    line = Line(loop, runner.server())
    line.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    status, body = loop.run_until_complete(read_response(line.reader))
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterable
from typing import Any, Final, cast

HOST: Final = "localhost"
_KERNEL: Final = 65_536
"""Bytes that a connection takes for a client that does not read."""


class Clock:
    """What time it is, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, it moves the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing can happen any more: what is waited for does not come")
        events = super().select(0)
        if not events and timeout > 0:
            self._clock.now += timeout
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own."""

    def __init__(self) -> None:
        self._clock = Clock()
        super().__init__(_Selector(self._clock))

    def time(self) -> float:
        """The simulated time."""
        return self._clock.now

    def block(self, seconds: float) -> None:
        """Let time pass while nothing runs, as a handler does that computes."""
        self._clock.now += seconds

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are set."""
        scheduled: Iterable[asyncio.TimerHandle] = cast("Any", self)._scheduled
        return [handle for handle in scheduled if not handle.cancelled()]


class Line(asyncio.Transport):
    """One TCP connection to a server: the server's transport, with what the client may do to it.

    What the server writes comes out of ``reader``, at once or, when the client stops reading, later. ``segment``: what
    the client sends arrives in pieces of so many bytes.
    """

    def __init__(self, loop: SimulatedLoop, protocol: asyncio.Protocol, *, segment: int = 0) -> None:
        super().__init__({"peername": ("192.0.2.1", 50_000), "sockname": ("192.0.2.2", 80)})
        self.reader = asyncio.StreamReader(limit=2**24, loop=loop)
        self.ended = False
        """Whether the server has heard of the end."""
        self._loop = loop
        self._protocol = protocol
        self._segment = segment
        self._arriving: list[bytes] = []
        self._paused = False
        self._waiting = bytearray()
        self._held = 0
        self._reads = True
        self._closing = False
        self._eof = False
        self._full = False
        protocol.connection_made(self)

    # --- what the client does ---------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes to the server."""
        step = self._segment or max(1, len(data))
        self._arriving += [data[at : at + step] for at in range(0, len(data), step)]
        self._loop.call_soon(self._arrive)

    def hang_up(self) -> None:
        """Close in good order: the server sees the end after what was sent."""
        self._eof = True
        self._loop.call_soon(self._arrive)

    def reset(self) -> None:
        """Vanish, with an RST."""
        self._end(ConnectionResetError("reset by peer"))

    def stop_reading(self) -> None:
        """Read nothing any more; the network takes a little, the rest stays with the server."""
        self._reads = False

    def start_reading(self) -> None:
        """Read on."""
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
        """What the network has not taken."""
        return len(self._waiting)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Passed over: the limit is the usual one."""

    def is_closing(self) -> bool:
        """Whether the server has closed it, or the end is known."""
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
        self._loop.call_soon(self._arrive)

    def can_write_eof(self) -> bool:
        """As a TCP connection, and no TLS one, can."""
        return True

    def write_eof(self) -> None:
        """The server writes nothing more, and reads on."""
        self.reader.feed_eof()

    def is_reading(self) -> bool:
        """Whether the server reads."""
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
        if self._paused or self.is_closing():
            return
        if self._arriving:
            self._protocol.data_received(self._arriving.pop(0))
            self._loop.call_soon(self._arrive)
        elif self._eof and not self._protocol.eof_received():
            self.close()

    def _deliver(self) -> None:
        room = len(self._waiting) if self._reads else max(0, _KERNEL - self._held)
        if room and self._waiting:
            taken = bytes(self._waiting[:room])
            del self._waiting[:room]
            self._held += 0 if self._reads else len(taken)
            if not self.ended:
                self.reader.feed_data(taken)
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
        if error is None:
            self.reader.feed_eof()
        else:
            self.reader.set_exception(error)
        self._loop.call_soon(self._protocol.connection_lost, error)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """The status and headers of a response. Raises ``EOFError`` or ``ConnectionError`` when none comes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    fields = [line.partition(":") for line in lines if line]
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in fields}


async def read_response(reader: asyncio.StreamReader) -> tuple[int, str]:
    """The status and body of a response."""
    status, headers = await read_head(reader)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return status, body.decode()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The opcode and payload of a websocket frame (RFC 6455, 5.2)."""
    first, second = await reader.readexactly(2)
    length = second & 127
    if length > 125:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    return first & 15, await reader.readexactly(length)


def request(method: str, path: str, body: bytes | None = None) -> bytes:
    """An HTTP request."""
    length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{length}\r\n".encode() + (body or b"")


def websocket_request(path: str) -> bytes:
    """The HTTP request that opens a websocket."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    ).encode()


def client_frame(opcode: int, payload: bytes) -> bytes:
    """A websocket frame as clients send it; its mask is zero, which is allowed and leaves the payload readable."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 65536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + bytes(4) + payload
