"""Clients that come, send two events and leave, again and again, and the memory of their server meanwhile.

``python -m tests.support.visits --visits 100000`` prints what the process of a server with ``tune_gc`` has in RAM, and
how many blocks of memory Python has, after each tenth. A third of the visits is by polling, with bodies in segments of
their own, a third by websocket, and a third by polling with an upgrade. With ``--plain``, all are by plain websocket.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from rtframework import Server, Socket
from rtframework.engine import tune_gc
from tests.support.raw import raw_client
from tests.support.server import HOST, reset
from tests.support.simulation import client_frame

Visit = Callable[[int, int], Awaitable[None]]
"""One visit to a port; visits are numbered."""

_AT_ONCE: Final = 20
_PARTS: Final = 10
_PATH: Final = b"/socket.io/?EIO=4&transport="
_HEAD: Final = b" HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n"
_UPGRADE: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def serve(argv: Sequence[str]) -> None:
    """Be the server: print the port, and answer events."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, value: str) -> str:
        return value

    @io.on("memory")
    async def memory(socket: Socket) -> list[int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return [pages * os.sysconf("SC_PAGE_SIZE"), sys.getallocatedblocks(), len(io.sockets)]

    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_sse(app, "/events", rooms=["a"], compress=True)
    tune_gc(app)
    loop = None
    if "uvloop" in argv:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=int(argv[0]), access_log=None, print=None, loop=loop)


async def _answer(reader: StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
    return await reader.readexactly(length)


async def _until(reader: StreamReader, expected: bytes) -> None:
    found = b""
    while expected not in found:
        data = await reader.read(65_536)
        assert data, found
        found += data


async def visit(port: int, number: int) -> None:
    """Come, send two events, and leave, in good order or not."""
    sid = b""
    opened: list[tuple[StreamReader, StreamWriter]] = []

    async def connect() -> tuple[StreamReader, StreamWriter]:
        opened.append(await asyncio.open_connection(HOST, port))
        return opened[-1]

    try:
        if number % 3:
            reader, writer = await connect()
            writer.write(b"GET " + _PATH + b"polling" + _HEAD + b"\r\n")
            sid = b"&sid=" + (await _answer(reader)).split(b'"')[3]

            async def post(body: bytes) -> None:
                head = b"POST " + _PATH + b"polling" + sid + _HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
                writer.write(head)
                await asyncio.sleep(0)
                writer.write(body)
                assert await _answer(reader) == b"ok"

            await post(b"40")
            if number % 3 == 1:
                await post(b'420["echo","a"]\x1e421["echo","b"]')
                found = b""
                while b'431["b"]' not in found:
                    writer.write(b"GET " + _PATH + b"polling" + sid + _HEAD + b"\r\n")
                    found += await _answer(reader)
                await post(b"1")
                return
        reader, writer = await connect()
        writer.write(b"GET " + _PATH + b"websocket" + sid + _HEAD + _UPGRADE)
        first = [b"2probe", b"5"] if sid else [b"40"]
        writer.write(client_frame(1, first[0]))
        await _until(reader, b"3probe" if sid else b'40{"sid"')
        writer.write(b"".join(client_frame(1, each) for each in (*first[1:], b'420["echo","a"]', b'421["echo","b"]')))
        await _until(reader, b'431["b"]')
        if number % 2:
            writer.write(client_frame(8, b"\x03\xe8"))
            await reader.read()
    finally:
        for _, writer in opened:
            if number % 4:
                writer.close()
            else:
                reset(writer.transport)


async def visit_plainly(port: int, number: int) -> None:
    """Come by plain websocket, send two events, and leave, in good order or not."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"GET /ws" + _HEAD + _UPGRADE)
        events = (b'{"event":"echo","args":["a"],"id":0}', b'{"event":"echo","args":["b"],"id":1}')
        writer.write(b"".join(client_frame(1, each) for each in events))
        await _until(reader, b'{"type":"ack","args":["b"],"id":1}')
        if number % 2:
            writer.write(client_frame(8, b"\x03\xe8"))
            await reader.read()
        elif number % 3 == 0:
            writer.write(client_frame(1, b"no message"))
            await _until(reader, b"invalid message")
    finally:
        if number % 4:
            writer.close()
        else:
            reset(writer.transport)


async def visit_by_stream(port: int, number: int) -> None:
    """Open a stream, send an event by POST, and leave, in good order or not; or be refused."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        coding = b"Accept-Encoding: gzip\r\n" if number % 5 == 0 else b""
        last = b"&lastEventId=~x~~y" if number % 7 == 0 else b""
        room = b"b" if number % 11 == 0 else b"a"
        writer.write(b"GET /events?room=" + room + last + _HEAD + coding + b"\r\n")
        if room == b"b":
            await _until(reader, b"rooms_not_allowed")
            return
        found = b""
        while b"recovered" not in found:
            data = await reader.read(65_536)
            assert data, found
            found += data
        if number % 2:
            session = found.partition(b'"session":"')[2].partition(b'"')[0]
            posting, post = await asyncio.open_connection(HOST, port)
            body = b'["echo","a"]'
            post.write(b"POST /events?sid=" + session + _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert await _answer(posting) == b'"a"'
            post.close()
    finally:
        if number % 4:
            writer.close()
        else:
            reset(writer.transport)


async def look(port: int) -> tuple[int, int, int]:
    """Ask the server for the bytes that it has in RAM, its blocks of memory, and its clients."""
    async with raw_client(f"http://{HOST}:{port}") as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.receive()
        await raw.post('427["memory"]')
        resident, blocks, clients = str(await raw.receive()).removeprefix("437[[").rstrip("]").split(",")
        await raw.post("1")
    return int(resident), int(blocks), int(clients)


async def measure(port: int, visits: int, visit: Visit = visit) -> list[tuple[int, int, int]]:
    """Make so many visits. Return RAM, blocks and clients before, and after each tenth of them."""
    found = [await look(port)]
    for part in range(_PARTS):
        numbers = iter(range(part * visits // _PARTS, (part + 1) * visits // _PARTS))

        async def some(numbers: Iterator[int] = numbers) -> None:
            for number in numbers:  # shared by all
                await visit(port, number)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        found.append(await look(port))
        resident, blocks, clients = found[-1]
        sys.stdout.write(f"{resident / 2**20:.1f} MB, {blocks:,} blocks, {clients} clients\n")
        sys.stdout.flush()
    return found


def main(argv: Sequence[str]) -> int:
    """Visit a server of its own."""
    if argv[:1] == ["--serve"]:
        serve(argv[1:])
        return 0
    import subprocess

    from tests.support.server import free_port

    parser = argparse.ArgumentParser(prog="python -m tests.support.visits")
    parser.add_argument("--visits", type=int, default=100_000)
    parser.add_argument("--plain", action="store_true", help="come by plain websocket")
    parser.add_argument("--sse", action="store_true", help="come by server-sent events")
    parser.add_argument("--uvloop", action="store_true", help="run the server on uvloop")
    given = parser.parse_args(argv)
    port = free_port()
    command = [sys.executable, "-m", "tests.support.visits", "--serve", str(port), *["uvloop"] * given.uvloop]
    server = subprocess.Popen(command)
    try:

        async def run() -> list[tuple[int, int, int]]:
            for _ in range(100):
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
            way: Visit = visit_plainly if given.plain else visit_by_stream if given.sse else visit
            return await measure(port, given.visits, way)

        found = asyncio.run(run())
    finally:
        server.kill()
        server.wait()
    (early, early_blocks, _), (late, late_blocks, _) = found[3], found[-1]
    sys.stdout.write(
        f"grown by {(late - early) / 2**20:.1f} MB and {late_blocks - early_blocks:,} blocks since the third\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
