"""A network and a clock in memory: a real aiohttp server, and clients whose bytes never leave the process.

Only what is not ours is faked, the network and the time. Time stands still while anything can run and jumps to the
next timer when nothing can, so that a test of an hour of heartbeats takes milliseconds and runs the same way twice.

Example::

    loop = SimulatedLoop()
    line = MemoryTransport(loop, runner.server())
    line.send(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    status, body = loop.run_until_complete(read_response(line.reader))
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterable
from typing import Any, Final, cast

from rtframework.testing.memory_transport import MemoryTransport as MemoryTransport

HOST: Final = "localhost"


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
