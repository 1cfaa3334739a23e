"""What an attack of many hours tried in vain: what is cheap of it is tried again in every run.

The long ones are commands: ``python -m tests.fuzz`` and ``python -m tests.soak``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Final

import pytest

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.support.raw import RawWebSocket, raw_client
from tests.support.until import until

HEAD: Final = b"Host: localhost\r\n"
POLLING: Final = b"/socket.io/?EIO=4&transport=polling"


def echoing() -> Server:
    """A server that answers an event, and knows nothing else."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, number: int) -> int:
        return number

    return io


async def ask(websocket: RawWebSocket, number: int) -> float:
    """Ask for an echo. Return the seconds until it is there."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await websocket.send(f'421["echo",{number}]')
    while await websocket.receive() != f"431[{number}]":
        pass
    return loop.time() - started


@pytest.mark.parametrize(
    "packet",
    ['43{}["nobody asked"]', "43{}[]", '42["unknown",{}]', '42{}["unknown"]', "40/refused{},", '42/elsewhere,["x",{}]'],
    ids=["unknown acks", "empty acks", "unknown events", "unknown events with an ack", "refused CONNECTs", "elsewhere"],
)
async def test_a_flood_holds_up_nobody(serve: Serve, packet: str) -> None:
    """One client could make everybody wait with what is not even for anybody."""
    io = echoing()
    server = await serve(io)
    async with raw_client(server.url) as honest, raw_client(server.url) as hostile:
        asking, _ = await honest.open_websocket()
        flooding, _ = await hostile.open_websocket()
        for websocket in (asking, flooding):
            await websocket.send("40")
            await websocket.receive()

        async def flood() -> None:
            for number in range(3_000):
                await flooding.send(packet.format(number))

        async def read() -> None:
            while True:
                await flooding.receive()

        sending, reading = asyncio.create_task(flood()), asyncio.create_task(read())
        took = []
        number = 0
        while not sending.done() or number < 20:
            number += 1
            took.append(await ask(asking, number))
        reading.cancel()
        await asyncio.gather(sending, reading, return_exceptions=True)
        assert sorted(took)[len(took) // 2] < 0.25, "seconds at the median"
        assert (await ask(asking, 0)) < 5
    await until(lambda: not io._server.eio.connections)
    assert io.stats().waiting_handlers == 0
    assert set(io.namespaces) == {"/"}


async def exchange(port: int, *requests: bytes, until_closed: bool = True) -> bytes:
    """Send bytes in one write, and read until the server closes, or what comes first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(requests))
    try:
        async with asyncio.timeout(5):
            return await (reader.read() if until_closed else reader.readline())
    finally:
        writer.close()


async def test_many_sessions_over_one_connection(serve: Serve) -> None:
    """A proxy sends the requests of thousands over few connections: none of them may get what is another's."""
    io = echoing()
    server = await serve(io)
    count = 500
    get = b"GET %s HTTP/1.1\r\n%s\r\n" % (POLLING, HEAD)
    last = b"GET %s HTTP/1.1\r\n%sConnection: close\r\n\r\n" % (POLLING, HEAD)
    answers = await exchange(server.port, get * (count - 1), last)
    assert answers.count(b"HTTP/1.1 200 ") == count
    assert len({part[:20] for part in answers.split(b'"sid":"')[1:]}) == count
    assert len(io._server.eio.connections) == count


async def test_pipelined_polls(serve: Serve) -> None:
    """A POST behind a poll that waits would never be read, or its answer would be the poll's."""
    io = echoing()
    server = await serve(io)
    async with raw_client(server.url) as client:
        await client.handshake()
        sid = str(client.sid).encode()
        post = b"POST %s&sid=%s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s"
        poll = b"GET %s&sid=%s HTTP/1.1\r\n%s\r\n" % (POLLING, sid, HEAD)
        bodies = [b"40", *(b'42%d["echo",%d]' % (number, number) for number in range(5)), b"1"]
        posts = [post % (POLLING, sid, HEAD, len(body), body) for body in bodies]
        posts[-1] = posts[-1].replace(b"Host", b"Connection: close\r\nHost")
        got = await exchange(server.port, *posts[:-1], poll, posts[-1])
        assert got.count(b"HTTP/1.1 200 ") == len(bodies) + 1
        for number in range(5):
            assert b"43%d[%d]" % (number, number) in got
    await until(lambda: not io.sockets)


SMUGGLED: Final = b"GET /socket.io/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2, 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: 2_0\r\n",
        b"Content-Length: -2\r\n",
        b"Content-Length:\r\n",
        b"Content-Length : 2\r\n",
        b"Content-Length\r\n : 2\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: identity, chunked\r\nTransfer-Encoding: chunked\r\n",
        b"X: a\r\n Content-Length: 2\r\n",
        b"X: a\nContent-Length: 2\r\n",
        b"X: a\x00b\r\n",
        b"Host: another\r\n",
    ],
)
async def test_no_request_is_smuggled(serve: Serve, head: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy and the server would disagree where a request ends, and one user's would be another's."""
    caplog.set_level(logging.CRITICAL, "aiohttp.server")
    io = echoing()
    server = await serve(io)
    async with raw_client(server.url) as client:
        await client.handshake()
        sid = str(client.sid).encode()
        request = b"POST %s&sid=%s HTTP/1.1\r\n%s%s\r\n40" % (POLLING, sid, HEAD, head)
        answers = await exchange(server.port, request, b"\r\n" + SMUGGLED)
        assert answers.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answers[:200]
        assert answers.count(b"HTTP/1.") == 1, "what follows is not read"
        assert not io.sockets
        assert (await client.post("40")).status == 200  # the session goes on


@pytest.mark.parametrize(
    "head",
    [
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        b"Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: keep-alive\r\n",
    ],
)
async def test_no_other_protocol_is_begun(serve: Serve, head: bytes) -> None:
    """A proxy would let everything through that follows a 101."""
    server = await serve(echoing())
    got = await exchange(server.port, b"GET %s HTTP/1.1\r\n%s%s\r\n" % (POLLING, HEAD, head), until_closed=False)
    assert got.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")), got


class FullDisk(logging.Handler):
    """A log on a disk that is full."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Fail as a file does."""
        self.tried += 1
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            self.handleError(record)


async def test_a_log_that_cannot_be_written(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would end the service for everybody."""
    full = FullDisk()
    monkeypatch.setattr(logging, "raiseExceptions", False)
    io = echoing()

    @io.on("fail")
    async def fail(socket: Socket) -> None:
        raise ValueError("fail")

    log = logging.getLogger("rtframework")
    log.addHandler(full)
    monkeypatch.setattr(log, "propagate", False)
    try:
        server = await serve(io)
        async with raw_client(server.url) as client:
            websocket, _ = await client.open_websocket()
            await websocket.send("40")
            for _ in range(5):
                await websocket.send('42["fail"]')
            await websocket.receive()
            for number in range(3):
                assert await ask(websocket, number) < 5
        assert full.tried
    finally:
        log.removeHandler(full)
