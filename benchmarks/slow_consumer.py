"""What a client that never reads costs the server: ``make bench ARGS="--slow-consumer"``.

It is in a room with others that read everything, and the room gets 10,000 broadcasts of 10 KB. The next ones are asked
for when all the others have the last ones, so that nobody else is slow. Prints a table, in Markdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from . import install
from .peers import PYTHON, SERVERS, Peer
from .runner import Cores, Failed, running

BROADCASTS: Final = 10_000
SIZE: Final = 10_000
READERS: Final = 10
AT_ONCE: Final = 20
"""Broadcasts that are asked for together: fewer bytes than may wait for a client."""
WARM_UP: Final = 1_000
PATIENCE: Final = 60.0

_PATH: Final = "/socket.io/?EIO=4&transport="
_UPGRADE: Final = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)

POLICIES: Final[dict[str, dict[str, Any]]] = {
    '"disconnect" (the default)': {"slow_consumer": "disconnect"},
    '"drop_oldest"': {"slow_consumer": "drop_oldest"},
    '"wait"': {"slow_consumer": "wait"},
    "no bound, to compare": {"max_outbox": 1 << 40},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Memory of the server's process in KiB, and what became of the clients."""

    before: int
    most: int
    after: int
    left: str
    """Why and when the one that does not read was disconnected."""
    received: int
    """Broadcasts that reached those who read, each of them in order."""


class Reader(asyncio.Protocol):
    """A client that reads everything, and keeps count."""

    def __init__(self) -> None:
        self.transport = cast("asyncio.Transport", None)
        self.joined = False
        self.lost = False
        self.next = 0
        """The number of the broadcast that has to come next."""
        self.gone: list[str] = []
        self.news = asyncio.Event()
        self._data = bytearray()
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open a websocket."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(f"GET {_PATH}websocket HTTP/1.1\r\nHost: x\r\n{_UPGRADE}\r\n".encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """It is not to be lost."""
        self.lost = True
        self.news.set()

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        self._data += data
        if not self._upgraded:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._data[: end + 4]
            self._upgraded = True
            self.send("40")
        at = 0
        while (frame := self._frame(at)) is not None:
            at, packet = frame
            self._take(packet)
        del self._data[:at]

    def send(self, packet: str) -> None:
        """Send a small text message."""
        self.transport.write(bytes((0x81, 0x80 | len(packet))) + bytes(4) + packet.encode())

    def _frame(self, at: int) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < at + 2:
            return None
        length, start = data[at + 1], at + 2
        if length == 126:
            if len(data) < at + 4:
                return None
            length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        end = start + length
        return (end, bytes(data[start:end])) if len(data) >= end else None

    def _take(self, packet: bytes) -> None:
        if packet.startswith(b'42["blob",'):
            if int(packet[10 : packet.index(b",", 10)]) != self.next:
                raise Failed("a broadcast was lost or came out of order")
            self.next += 1
            if self.next % AT_ONCE:
                return
        elif packet.startswith(b'42["gone",'):
            self.gone.append(json.loads(packet[2:])[1])
        elif packet.startswith(b"40{"):
            self.joined = True
        elif packet == b"2":
            self.send("3")
        self.news.set()

    async def until(self, what: str, number: int = 0) -> None:
        """Wait until it has ``joined``, or has so many broadcasts, or has heard that somebody is ``gone``."""
        async with asyncio.timeout(PATIENCE):
            while not (self.next >= number if what == "next" else getattr(self, what)):
                if self.lost:
                    raise Failed("a client that reads was disconnected")
                self.news.clear()
                await self.news.wait()


async def never_reads(port: int, transport: Literal["websocket", "polling"]) -> list[asyncio.StreamWriter]:
    """A client that joins and then reads nothing more; its connections."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
    if transport == "websocket":
        writer.write(f"GET {_PATH}websocket HTTP/1.1\r\nHost: x\r\n{_UPGRADE}\r\n".encode())
        await reader.readuntil(b"}")
        writer.write(b"\x81\x82\0\0\0\0" + b"40")
        await reader.readuntil(b"40{")
        cast("asyncio.Transport", writer.transport).pause_reading()
        return [writer]
    writer.write(f"GET {_PATH}polling HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    opened = json.loads((await reader.readuntil(b"}")).rpartition(b"0{")[2].join((b"{", b"")))
    path = f"{_PATH}polling&sid={opened['sid']}"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n40".encode())
    await reader.readuntil(b"ok")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readuntil(b"40{")
    return [writer]


def resident(pid: int, field: str = "VmRSS") -> int:
    """Memory of a process in KiB; ``VmHWM``: the most since :func:`forget`."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise Failed("the system does not say what memory a process uses")


def forget(pid: int) -> None:
    """Start counting the most anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


@contextlib.asynccontextmanager
async def audience(port: int) -> AsyncIterator[list[Reader]]:
    """Those who read."""
    loop = asyncio.get_running_loop()
    readers = [(await loop.create_connection(Reader, "127.0.0.1", port))[1] for _ in range(READERS)]
    try:
        for reader in readers:
            await reader.until("joined")
        yield readers
    finally:
        for reader in readers:
            reader.transport.abort()


async def broadcast(readers: list[Reader], count: int) -> None:
    """So many broadcasts, which everybody who reads has got when this ends."""
    first = readers[0].next
    for number in range(first, first + count, AT_ONCE):
        readers[0].send(f'42["go",{number},{AT_ONCE},{SIZE}]')
        for reader in readers:
            await reader.until("next", number + AT_ONCE)


async def measure(pid: int, port: int, transport: Literal["websocket", "polling"], count: int) -> Outcome:
    """One client that never reads, among those who do."""
    async with audience(port) as readers:
        await broadcast(readers, WARM_UP)
        slow = await never_reads(port, transport)
        before = resident(pid)
        forget(pid)
        start = readers[0].next
        left = ""
        while readers[0].next < start + count:
            await broadcast(readers, AT_ONCE)
            if readers[0].gone and not left:
                left = f"{readers[0].gone[0]}, after {readers[0].next - start:,}"
        most = resident(pid, "VmHWM")
        for writer in slow:
            writer.transport.abort()
        await readers[0].until("gone")
        await asyncio.sleep(1)
        after = resident(pid)
        received = min(reader.next for reader in readers) - start
    return Outcome(before, most, after, left or "no", received)


def run(limits: dict[str, Any], transport: Literal["websocket", "polling"], count: int, python: str) -> Outcome:
    """Start a server with these limits, measure, end it. Raises ``Failed`` when somebody who reads loses anything."""
    peer = Peer("slow", "slow", (python, str(SERVERS / "slow_consumer.py"), json.dumps(limits)), dict)
    cores = Cores.choose()
    with running(peer, Path(), cores) as server:
        return asyncio.run(measure(server.pid, server.port, transport, count))


def main() -> int:
    """All policies, by both transports."""
    install.install_python()
    print(
        f"{BROADCASTS:,} broadcasts of {SIZE:,} bytes to {READERS} clients that read and one that does not", end="\n\n"
    )
    print("| does not read | policy | before | most | after | disconnected | the others got |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- |")
    failures = 0
    for transport in ("websocket", "polling"):
        for title, limits in POLICIES.items():
            try:
                found = run(limits, cast("Any", transport), BROADCASTS, os.fspath(PYTHON))
            except (Failed, TimeoutError) as failed:
                failures += 1
                print(f"{transport}, {title}: {failed or 'no answer'}", file=sys.stderr)
                continue
            sizes = " | ".join(f"{kib / 1024:.1f}" for kib in (found.before, found.most, found.after))
            got = "all" if found.received >= BROADCASTS else f"{found.received:,}"
            print(f"| {transport} | {title} | {sizes} | {found.left} | {got} |", flush=True)
    return 1 if failures else 0
