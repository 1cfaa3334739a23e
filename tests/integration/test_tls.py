"""TLS that the server itself ends, on both ways of serving requests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from rtframework.engine.http.protocol import HttpProtocol
from tests.cli.test_client import make_certificate
from tests.conftest import Serve
from tests.engine import Wire, eventually
from tests.support.js import JSClients
from tests.support.server import HOST, see
from tests.support.transports import WEBSOCKET, Transport

LARGE: Final = "a" * 100_000
"""It needs several records."""


@pytest.fixture(params=["directly", "by aiohttp"])
def way(request: pytest.FixtureRequest) -> str:
    """Each test on both ways."""
    chosen: str = request.param
    return chosen


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[HttpProtocol]:
    """The connections for which aiohttp has started its task."""
    found: list[HttpProtocol] = []
    start = HttpProtocol.start

    async def note(self: HttpProtocol) -> None:
        found.append(self)
        await start(self)

    monkeypatch.setattr(HttpProtocol, "start", note)
    return found


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[TransportSocket]:
    """The sockets of all connections; not those of uvloop, which do not say when they are closed."""
    found: list[TransportSocket] = []
    begin = HttpProtocol.connection_made

    def note(self: HttpProtocol, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if isinstance(sock, TransportSocket):
            found.append(sock)
        begin(self, transport)

    monkeypatch.setattr(HttpProtocol, "connection_made", note)
    return found


@contextlib.asynccontextmanager
async def serving(
    io: Server, way: str, folder: Path, sockets: list[TransportSocket]
) -> AsyncIterator[tuple[int, Path]]:
    """Serve with TLS. The port and the certificate."""
    app = web.Application(middlewares=() if way == "directly" else (see,))
    io.attach(app)
    certificate, key = make_certificate(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    assert runner.server is not None
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(runner.server, HOST, 0, ssl=tls, ssl_shutdown_timeout=1.0)
    try:
        yield listener.sockets[0].getsockname()[1], certificate
    finally:
        listener.close()
        await runner.cleanup()
        await eventually(lambda: all(sock.fileno() < 0 for sock in sockets), 3)  # TLS has an end of its own


def echoing(secure: list[bool]) -> Server:
    """Answer events, and note who came over TLS."""
    io = Server()

    @io.on("connection")
    def connection(socket: Socket) -> None:
        secure.append(socket.handshake.secure)

    @io.on("echo")
    def echo(socket: Socket, value: str) -> str:
        return value

    return io


async def test_the_javascript_client_over_tls(
    serve: Serve,
    js: JSClients,
    transport: Transport,
    way: str,
    tmp_path: Path,
    started: list[HttpProtocol],
    sockets: list[TransportSocket],
) -> None:
    """A server without a proxy in front of it would serve nobody, or cookies for https be missing."""
    secure: list[bool] = []
    io = echoing(secure)
    async with serving(io, way, tmp_path, sockets) as (port, _):
        client = await js.connect(f"https://{HOST}:{port}", via=transport, rejectUnauthorized=False)
        assert await client.emit_with_ack("echo", "hello") == "hello"
        assert await client.emit_with_ack("echo", LARGE) == LARGE
        await client.disconnect()
        await eventually(lambda: not io._server.eio.connections)  # it may come on one more TCP connection to say so
        assert secure == [True]
        if transport is WEBSOCKET:  # what polls may get an answer that aiohttp compresses
            assert len(started) == (0 if way == "directly" else 1)


async def test_requests_in_pieces_over_tls(
    way: str, tmp_path: Path, started: list[HttpProtocol], sockets: list[TransportSocket]
) -> None:
    """Browsers write a POST's head and body in records of their own: the packets would be lost."""
    secure: list[bool] = []
    io = echoing(secure)
    async with serving(io, way, tmp_path, sockets) as (port, certificate):
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        tcp = Wire(reader, writer)
        try:
            await tcp.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
            sid = (await tcp.response())[1].split(b'"')[3].decode()
            path = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
            await tcp.send(f"POST {path} HTTP/1.1", "Content-Length: 2", body=b"40")
            assert await tcp.response() == (200, b"ok")
            await tcp.send(f"GET {path} HTTP/1.1")
            assert (await tcp.response())[1].startswith(b'40{"sid":"')
            (connection,) = io._server.eio.connections.values()
            polling = connection.polling
            assert polling is not None
            body = b'421["echo","hi"]'
            await tcp.send(f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}")
            await eventually(lambda: polling._posting)
            await tcp.more(body[:5])
            await tcp.more(body[5:])
            assert await tcp.response() == (200, b"ok")
            await tcp.send(f"GET {path} HTTP/1.1")
            assert await tcp.response() == (200, b'431["hi"]')
            assert secure == [True]
            assert len(started) == (0 if way == "directly" else 1)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
