"""Websockets leave aiohttp after the handshake: what an application around them must not notice, and what it may."""

from __future__ import annotations

import asyncio
import contextvars
import datetime
import gc
import ipaddress
import logging
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rtframework import Server, Socket
from rtframework.engine.http.detach import limit_silence
from tests.conftest import Serve
from tests.engine import Witness, eventually, join_websocket, raw_client
from tests.support.server import HOST

ORIGIN = "/socket.io/?EIO=4&transport=websocket"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's TLS settings, for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = Path(folder, "server.pem")
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


class Site:
    """An application on a site of its own, and how to reach it."""

    def __init__(self, session: ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def talk(self) -> None:
        """Join by websocket, ask once, be answered, go."""
        async with self._session.ws_connect(self._base + ORIGIN) as websocket:
            assert (await websocket.receive_str()).startswith('0{"sid"')
            await websocket.send_str("40")
            assert (await websocket.receive_str()).startswith("40{")
            for text in ("short", "x" * 200_000):
                await websocket.send_str(f'421["echo","{text}"]')
                message = await websocket.receive()
                assert message.type is WSMsgType.TEXT
                assert message.data == f'431["{text}"]'

    async def be_refused(self) -> None:
        """Ask for an upgrade, and send a body that nobody reads, unless all of it is there at once."""
        with pytest.raises(WSServerHandshakeError, match="400"):
            await self._session.ws_connect(f"{self._base}{ORIGIN}&sid=nobody")
        url = f"{self._base}/socket.io/?EIO=4&transport=polling"
        async with self._session.post(url, data=b"x" * 500_000) as response:
            assert (response.status, await response.text()) == (400, '{"code":2,"message":"Bad handshake method"}')


async def site(
    witness: Witness, tmp_path: Path, over: str, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> AsyncIterator[Site]:
    app = web.Application()
    witness.io.attach(app)
    runner = web.AppRunner(app, handler_cancellation=over == "with cancellation", shutdown_timeout=1)
    await runner.setup()
    connector = None
    if over == "unix":
        from aiohttp import UnixConnector

        path = str(tmp_path / "socket")
        await web.UnixSite(runner, path).start()
        base, connector = "http://localhost", UnixConnector(path)
    else:
        context = tls[0] if over == "tls" else None
        await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
        base = f"{'https' if context else 'http'}://{HOST}:{runner.addresses[0][1]}"
    try:
        async with ClientSession(connector=connector) as session:
            session.connector._ssl = tls[1] if over == "tls" else True  # type: ignore[union-attr]
            yield Site(session, base)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("over", ["tcp", "tls", "unix", "with cancellation"])
async def test_over_whatever_aiohttp_serves(
    over: str, tmp_path: Path, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Websockets would work on plain TCP only, or be cut when aiohttp cancels handlers of clients that have gone."""
    witness = Witness()
    async for reached in site(witness, tmp_path, over, tls):
        await asyncio.gather(*[reached.talk() for _ in range(5)])
        await eventually(lambda: len(witness.reasons) == 5)
        assert set(witness.reasons) == {"transport close"}
        witness.assert_nothing_left()


@pytest.mark.parametrize("over", ["tcp", "tls", "unix", "with cancellation"])
async def test_refusals_that_close_the_connection_arrive(
    over: str, tmp_path: Path, tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    """Clients would see a connection that was reset, and nobody would know why."""
    witness = Witness()
    async for reached in site(witness, tmp_path, over, tls):
        before = time.monotonic()
        await asyncio.gather(*[reached.be_refused() for _ in range(5)])
        assert time.monotonic() - before < 10, "aiohttp reads on for ten seconds"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_shutdown_over_tls(tmp_path: Path, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Clients behind TLS would not be told that the server goes."""
    witness = Witness()
    async for reached in site(witness, tmp_path, "tls", tls):
        websocket = await reached._session.ws_connect(reached._base + ORIGIN)
        await websocket.receive_str()
        await websocket.send_str("40")
        await websocket.receive_str()
        closed = asyncio.create_task(websocket.receive(timeout=3))
        await witness.engine.shutdown()
        message = await closed
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)
    assert witness.reasons == ["server shutting down"]
    witness.assert_nothing_left()


async def test_bad_frames_over_tls(tmp_path: Path, tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """TLS cannot be closed by half: a broken client would stay, or be cut before it is told why."""
    witness = Witness(max_http_buffer_size=1_000)
    async for reached in site(witness, tmp_path, "tls", tls):
        async with reached._session.ws_connect(reached._base + ORIGIN) as websocket:
            await websocket.receive_str()
            await websocket.send_str("x" * 2_000)
            message = await websocket.receive(timeout=3)
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
        await eventually(lambda: not witness.engine.connections)


async def test_aiohttp_keeps_nothing_of_a_websocket(serve: Serve) -> None:
    """Each idle client would cost three times the memory, and aiohttp would wait for it when it stops."""
    witness = Witness()
    requests: list[weakref.ref[web.Request]] = []

    @web.middleware
    async def remember(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        requests.append(weakref.ref(request))
        return await handler(request)  # type: ignore[no-any-return]

    app = web.Application(middlewares=[remember])
    witness.io.attach(app)
    server = await serve(app)
    async with raw_client(server.url) as raw:
        await join_websocket(raw)
        await eventually(lambda: not server.connections)
        gc.collect()
        assert [request() for request in requests] == [None]
        assert len(witness.engine.connections) == 1


async def test_signals_add_headers_to_the_handshake(serve: Serve) -> None:
    """A header that an application gives every response would be missing from this one."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Served-By"] = "7"

    witness = Witness()
    app = web.Application()
    app.on_response_prepare.append(add)
    witness.io.attach(app)
    server = await serve(app)
    async with ClientSession() as session:
        for path in (ORIGIN, ORIGIN.replace("websocket", "polling")):
            headers = (
                (await session.get(server.url + path)).headers
                if "polling" in path
                else (await session.ws_connect(server.url + path))._response.headers
            )
            assert headers["X-Served-By"] == "7"


async def test_a_middleware_sees_the_handshake_and_may_do_as_it_likes_with_its_response(serve: Serve) -> None:
    """A middleware that sets a header on every response would break every websocket."""
    seen: list[int] = []

    @web.middleware
    async def middleware(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        response: web.StreamResponse = await handler(request)
        assert response.prepared
        response.headers["X-Too-Late"] = "1"
        await asyncio.sleep(0.01)  # writes to a log, say
        seen.append(response.status)
        return response

    witness = Witness()
    app = web.Application(middlewares=[middleware])
    witness.io.attach(app)
    server = await serve(app)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('421["echo",1]')
        assert await websocket.receive() == "431[1]"
        await eventually(lambda: seen == [101])


async def test_the_access_log_has_the_handshake(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could see in the log who connected."""
    witness = Witness()
    server = await serve(witness.io)
    with caplog.at_level(logging.INFO, "aiohttp.access"):
        async with raw_client(server.url) as raw:
            await join_websocket(raw)
            await eventually(lambda: caplog.records)
    assert ['"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1" 101 0' in text for text in caplog.messages] == [True]


REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST_ID", default="none")


async def test_context_variables_of_the_handshake_are_there_in_handlers(serve: Serve) -> None:
    """Log lines of handlers would lose the request id that a middleware has set, or show somebody else's."""
    io = Server()
    count = 0

    @io.on("which")
    async def which(socket: Socket) -> list[str]:
        before = REQUEST_ID.get()
        await asyncio.sleep(0)
        return [before, REQUEST_ID.get()]

    @web.middleware
    async def number(request: web.Request, handler: web.Handler) -> web.StreamResponse:  # type: ignore[name-defined]
        nonlocal count
        if "numbered" in request.query:
            count += 1
            REQUEST_ID.set(f"request {count}")
        return await handler(request)  # type: ignore[no-any-return]

    app = web.Application(middlewares=[number])
    io.attach(app)
    server = await serve(app)
    answers = []
    async with ClientSession() as session:
        for more in ("&numbered=", "&numbered=", "", "&numbered="):
            websocket = await session.ws_connect(server.url + ORIGIN + more)
            await websocket.receive_str()
            await websocket.send_str("40")
            await websocket.receive_str()
            await websocket.send_str('421["which"]')
            answers.append(await websocket.receive_str())
            await websocket.close()
    assert answers == [f'431[["{name}","{name}"]]' for name in ("request 1", "request 2", "none", "request 3")]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such option")
async def test_the_kernel_gives_up_who_acknowledges_nothing() -> None:
    """A phone in a tunnel would keep its connection for a quarter of an hour."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        limit_silence(writer.transport, 45)
        sock = writer.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
        writer.close()
        await writer.wait_closed()
