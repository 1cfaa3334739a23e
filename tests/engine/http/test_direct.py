"""Requests without aiohttp's tasks: all that a program has put in their way still sees them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import ConnectionFailure, Limits, Server
from rtframework.engine.http import direct
from rtframework.engine.http.protocol import HttpProtocol
from rtframework.engine.transports.polling import PollingTransport
from tests.engine import Wire, Witness, engine_of, eventually, wire
from tests.support.both_ways import OPENING, PLAIN, check_both, steps_of
from tests.support.server import HOST
from tests.support.thorough import is_thorough

PATH: Final = "/socket.io/?EIO=4&transport=websocket"
UPGRADE: Final = (
    f"GET {PATH} HTTP/1.1",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
CASES: Final = 4_000 if is_thorough() else 500
"""Made-up cases for both ways; ``python -m tests.fuzz`` takes more of them."""
HANDSHAKE: Final = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1"
CONNECT: Final = b"\x81\x82\0\0\0\x0040"
NOTE: Final = b'42["note",1]'

Arrange = Callable[[web.Application, Server, list[Any]], None]


@contextlib.asynccontextmanager
async def run(app: web.Application, access_log: logging.Logger | None = None, **settings: Any) -> AsyncIterator[str]:
    """The URL of an application that is served."""
    runner = web.AppRunner(app, access_log=access_log, shutdown_timeout=0.5, **settings)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        yield f"http://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


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


async def frames(tcp: Wire, count: int) -> list[bytes]:
    """The payloads of so many short frames behind the answer to a handshake."""
    async with asyncio.timeout(3):
        head = await tcp.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        found = []
        for _ in range(count):
            _, length = await tcp.reader.readexactly(2)
            assert length < 126
            found.append(await tcp.reader.readexactly(length))
        return found


async def test_a_handshake_starts_no_task(started: list[HttpProtocol]) -> None:
    """A tenth of what a new client costs, and all of it when a hundred thousand come back at once."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, body=CONNECT)  # at once: what comes behind the handshake is not lost
        opened, connected = await frames(tcp, 2)
        assert opened.startswith(b'0{"sid":"')
        assert connected.startswith(b'40{"sid":"')
        assert started == []
        assert witness.only.handshake.url == PATH
        assert witness.only.handshake.address == HOST
        tcp.writer.close()
        await witness.reason()
    witness.assert_nothing_left()


async def test_a_handshake_through_a_proxy_starts_no_task(started: list[HttpProtocol]) -> None:
    """The same behind nginx, where most servers are; the address is the client's."""
    app, witness = web.Application(), Witness(trusted_proxies=[HOST])
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, "X-Forwarded-For: 203.0.113.7", body=CONNECT)
        await frames(tcp, 2)
        assert started == []
        assert witness.only.handshake.address == "203.0.113.7"


async def test_a_connection_moves_to_a_websocket_without_a_task(started: list[HttpProtocol]) -> None:
    """The same for clients that begin with polling, as the JavaScript client does."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as polling, wire(url) as tcp:
        await polling.send("GET /socket.io/?EIO=4&transport=polling HTTP/1.1")
        _, body = await polling.response()
        sid = body.split(b'"')[3].decode()
        await tcp.send(UPGRADE[0].replace("websocket ", f"websocket&sid={sid} "), *UPGRADE[1:])
        await tcp.more(b"\x81\x86\0\0\0\x002probe")
        assert await frames(tcp, 1) == [b"3probe"]
        assert started == []


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [("&EIO=5", 400, b"Unsupported protocol version"), ("&sid=nobody", 400, b"Session ID unknown")],
)
async def test_a_refused_handshake_is_answered(more: str, status: int, message: bytes) -> None:
    """A client would wait for an answer until its own patience ends."""
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(UPGRADE[0].replace("websocket ", f"websocket{more} "), *UPGRADE[1:])
        answered, body = await tcp.response()
        assert (answered, message in body) == (status, True)
        assert await tcp.reader.read() == b""


async def test_an_error_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in the engine would close the connection without a word."""
    app, io = web.Application(), Server()
    io.attach(app)

    def fail(*args: object) -> str:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(engine_of(io).handshakes, "_generate_id", fail)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 500
    assert "a mistake" in caplog.text


def middleware(app: web.Application, io: Server, seen: list[Any]) -> None:
    """The application's middleware."""

    @web.middleware
    async def note(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        seen.append(request.path)
        return await handler(request)

    app.middlewares.append(note)


def signal(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A signal for responses."""

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        seen.append(response.status)

    app.on_response_prepare.append(note)


def engine_middleware(app: web.Application, io: Server, seen: list[Any]) -> None:
    """Middleware of the engine."""

    @io.engine.use
    async def note(request: web.Request, call_next: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        async with asyncio.timeout(3):  # which needs a task
            seen.append(request.path)
            return await call_next()


def headers(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A listener for headers."""

    @io.engine.on("initial_headers")
    async def note(headers: Any, request: web.Request) -> None:
        seen.append(request.path)


def make_id(app: web.Application, io: Server, seen: list[Any]) -> None:
    """A function for session ids."""

    async def note(request: web.Request) -> str:
        assert asyncio.current_task() is not None
        seen.append(request.path)
        return f"id-{len(seen)}"

    io.engine.generate_id = note


WHY: Final[dict[Arrange, str]] = {
    middleware: "requests at /socket.io/ are served by tasks of aiohttp: the application has middleware",
    signal: "requests at /socket.io/ are served by tasks of aiohttp: the application has a signal for responses",
    engine_middleware: "requests are served by tasks of aiohttp: the engine has middleware, or listeners for headers",
    headers: "requests are served by tasks of aiohttp: the engine has middleware, or listeners for headers",
    make_id: "requests are served by tasks of aiohttp: allow_request or generate_id is set",
}


@pytest.mark.parametrize("arrange", WHY)
async def test_what_a_program_has_put_in_the_way_sees_the_handshake(
    arrange: Arrange, started: list[HttpProtocol], caplog: pytest.LogCaptureFixture
) -> None:
    """Its middleware checks who may come, its signals add headers."""
    app, io = web.Application(), Server()
    io.attach(app)
    seen: list[Any] = []
    arrange(app, io, seen)
    with caplog.at_level(logging.DEBUG, "rtframework.engine"):
        async with run(app) as url, wire(url) as tcp, wire(url) as polling:
            await tcp.send(*UPGRADE)
            await frames(tcp, 1)
            assert len(seen) == 1
            assert len(started) == 1
            await polling.send(HANDSHAKE)
            assert (await polling.response())[0] == 200
            assert len(seen) == 2
            assert len(started) == 2
    assert caplog.messages.count(WHY[arrange]) == 1


async def test_allow_request_is_asked_in_a_task() -> None:
    """It asks a database, with a timeout."""

    async def allow(request: web.Request) -> bool:
        async with asyncio.timeout(3):
            await asyncio.sleep(0)
            return False

    app, io = web.Application(), Server(allow_request=allow)
    io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 403


async def test_listeners_hear_of_refusals_in_a_task() -> None:
    """They write to a database, with a timeout."""
    app, io = web.Application(), Server()
    io.attach(app)
    heard: list[int] = []

    @io.engine.on("connection_error")
    async def note(failure: ConnectionFailure) -> None:
        assert asyncio.current_task() is not None
        heard.append(failure.code)

    async with run(app) as url, wire(url) as tcp:
        await tcp.send(UPGRADE[0].replace("websocket ", "websocket&sid=nobody "), *UPGRADE[1:])
        assert (await tcp.response())[0] == 400
        assert heard == [1]


async def open_session(tcp: Wire) -> str:
    """Open a session by polling; the path of its requests."""
    await tcp.send(HANDSHAKE)
    status, body = await tcp.response()
    assert status == 200, body
    sid = body.split(b'"')[3].decode()
    return f"/socket.io/?EIO=4&transport=polling&sid={sid}"


async def join(tcp: Wire) -> str:
    """Open a session by polling and join the main namespace; the path of its requests."""
    path = await open_session(tcp)
    await tcp.send(f"POST {path} HTTP/1.1", "Content-Length: 2", body=b"40")
    assert await tcp.response() == (200, b"ok")
    await tcp.send(f"GET {path} HTTP/1.1")
    status, body = await tcp.response()
    assert (status, body[:10]) == (200, b'40{"sid":"')
    return path


async def test_polling_starts_no_task(started: list[HttpProtocol]) -> None:
    """Half of what each request of a browser costs, which begins with five of them."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        for number in range(2):  # a poll that waits, twice
            await tcp.send(f"GET {path} HTTP/1.1")
            await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
            await witness.io.emit("news", number)
            assert await tcp.response() == (200, b'42["news",%d]' % number)
        await tcp.send("GET /socket.io/?EIO=4&transport=polling&sid=nobody HTTP/1.1")
        assert (await tcp.response())[0] == 400  # which aiohttp writes
        assert len(started) == 1
        await tcp.send(f"GET {path} HTTP/1.1")
        await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
        assert started[0].poll is not None
        await witness.io.emit("news", 2)
        assert await tcp.response() == (200, b'42["news",2]')


async def test_polling_follows_a_page_on_its_connection(started: list[HttpProtocol]) -> None:
    """Browsers use the connection on which the page has come, and it would stay an expensive one."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="a page")

    app, witness = web.Application(), Witness()
    app.router.add_get("/", page)
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send("GET / HTTP/1.1")
        assert await tcp.response() == (200, b"a page")
        assert len(started) == 1
        served = started[0]._manager.requests_count if started[0]._manager is not None else 0
        await eventually(lambda: started[0]._waiter is not None)
        waiter = started[0]._waiter
        path = await join(tcp)
        assert started[0]._waiter is waiter
        assert started[0]._manager is not None
        assert started[0]._manager.requests_count == served + 3
        await tcp.send("GET / HTTP/1.1")
        assert await tcp.response() == (200, b"a page")
        await tcp.send(
            UPGRADE[0].replace("polling", "websocket").replace(PATH, path.replace("polling", "websocket")), *UPGRADE[1:]
        )
        await tcp.more(b"\x81\x86\0\0\0\x002probe")
        assert await frames(tcp, 1) == [b"3probe"]


async def test_a_request_behind_a_waiting_poll_has_its_turn() -> None:
    """Answers in another order would be taken for one another's."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1")
        await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
        await tcp.send("GET /nowhere HTTP/1.1")
        await tcp.send(f"GET {path} HTTP/1.1")
        await witness.io.emit("news", 1)
        assert await tcp.response() == (200, b'42["news",1]')
        assert (await tcp.response())[0] == 404
        await witness.io.emit("news", 2)
        assert await tcp.response() == (200, b'42["news",2]')


async def test_a_poll_waits_for_room_to_write(started: list[HttpProtocol]) -> None:
    """A client that does not read would fill the memory of the server."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1")
        await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
        assert started == []
        (connection,) = witness.engine.connections.values()
        polling = connection.polling
        assert polling is not None
        assert polling._request is not None
        protocol = polling._request.protocol
        protocol.pause_writing()
        await witness.io.emit("news", 1)
        await eventually(lambda: started == [protocol])
        protocol.resume_writing()
        assert await tcp.response() == (200, b'42["news",1]')


async def test_a_post_that_waits_goes_on_in_a_task(started: list[HttpProtocol]) -> None:
    """The packets of a client that sends faster than they are served would be lost, or fill the memory."""
    app, witness = web.Application(), Witness(limits=Limits(max_pending_events=1))
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        for body in (b'42["hold"]', b'42["note",1]'):
            await tcp.send(f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", body=body)
            if body == b'42["hold"]':
                assert await tcp.response() == (200, b"ok")
                await eventually(lambda: witness.holding)
                assert started == []
        await eventually(lambda: started)
        assert witness.notes == []
        witness.gate.set()
        assert await tcp.response() == (200, b"ok")
        await witness.noted(1)


async def begin_post(tcp: Wire, witness: Witness, length: int, begun: bytes = b"") -> str:
    """Join the main namespace, and send the head of a POST and the beginning of its body; the path."""
    path = await join(tcp)
    await tcp.send(f"POST {path} HTTP/1.1", f"Content-Length: {length}", body=begun)
    await eventually(lambda: polling_of(witness)._posting)
    return path


def polling_of(witness: Witness) -> PollingTransport:
    """The transport of the only client."""
    (connection,) = witness.engine.connections.values()
    assert connection.polling is not None
    return connection.polling


@pytest.mark.parametrize("pieces", [(b"", NOTE), (NOTE[:5], NOTE[5:]), (b"", NOTE[:1], NOTE[1:])])
async def test_a_body_behind_its_head_starts_no_task(started: list[HttpProtocol], pieces: tuple[bytes, ...]) -> None:
    """Browsers write head and body one after the other: each packet of a client that polls would cost twice as much."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await begin_post(tcp, witness, len(NOTE), pieces[0])
        for piece in pieces[1:]:
            assert witness.notes == []
            await tcp.more(piece)
            await asyncio.sleep(0)
        assert await tcp.response() == (200, b"ok")
        await witness.noted(1)
        await tcp.send(f"GET {path} HTTP/1.1")  # the connection is good for more
        await eventually(lambda: polling_of(witness).writable)
        await witness.io.emit("news", 1)
        assert await tcp.response() == (200, b'42["news",1]')
        assert started == []


async def test_a_body_that_takes_long_is_read_by_a_task(
    started: list[HttpProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that loses its network for a moment would lose what it has sent, too."""
    monkeypatch.setattr(direct, "_PATIENCE", 0.02)
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await begin_post(tcp, witness, len(NOTE), NOTE[:3])
        await eventually(lambda: started)
        await tcp.more(NOTE[3:])
        assert await tcp.response() == (200, b"ok")
        await witness.noted(1)


@pytest.mark.parametrize("patience", [0.02, 1.0])
async def test_a_body_has_to_arrive_in_time(monkeypatch: pytest.MonkeyPatch, patience: float) -> None:
    """Clients that begin and never end would fill the server, and the time is not to begin anew with the task."""
    monkeypatch.setattr(direct, "_PATIENCE", patience)
    app, witness = web.Application(), Witness(limits=Limits(body_timeout=0.2))
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await begin_post(tcp, witness, len(NOTE), NOTE[:3])
        assert (await tcp.response())[0] == 408
        assert await witness.reason() == "transport error"


async def test_a_body_that_is_too_large_is_refused_before_it_comes() -> None:
    """A client that is not let in yet could fill the memory."""
    app, witness = web.Application(), Witness(limits=Limits(max_connect_size=100))
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await open_session(tcp)
        await tcp.send(f"POST {path} HTTP/1.1", "Content-Length: 101")
        assert (await tcp.response())[0] == 413
        await eventually(lambda: not witness.engine.connections)


async def test_a_client_that_hangs_up_in_a_body_has_left(started: list[HttpProtocol]) -> None:
    """Others would see it as present until its ping times out, and an event of it would be missing."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url:
        async with wire(url) as tcp:
            await begin_post(tcp, witness, len(NOTE))
        assert await witness.reason() == "transport error"
        assert started == []
    witness.assert_nothing_left()


async def test_two_bodies_at_a_time_end_the_session() -> None:
    """Packets would come in no order (Engine.IO v4, "HTTP long-polling")."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp, wire(url) as other:
        path = await begin_post(tcp, witness, len(NOTE))
        await other.send(f"POST {path} HTTP/1.1", f"Content-Length: {len(NOTE)}", body=NOTE)
        assert (await other.response())[0] == 400
        assert await witness.reason() == "transport error"
        await tcp.more(NOTE[:3])
        assert (await tcp.response())[0] == 400
        assert witness.notes == []


async def test_a_request_behind_a_body_has_its_turn() -> None:
    """It would be taken for a part of the body, or be lost."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await begin_post(tcp, witness, len(NOTE))
        await tcp.more(NOTE + f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert await tcp.response() == (200, b"ok")
        await witness.noted(1)
        await witness.io.emit("news", 1)
        assert await tcp.response() == (200, b'42["news",1]')


async def test_an_error_behind_a_body_is_answered_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in the engine would leave the client waiting."""

    def fail(*args: object) -> None:
        raise KeyError("a mistake")

    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        await begin_post(tcp, witness, len(NOTE))
        monkeypatch.setattr(PollingTransport, "_hand_over", fail)
        await tcp.more(NOTE)
        assert (await tcp.response())[0] == 500
    assert "a mistake" in caplog.text


async def test_a_poll_that_is_compressed_at_the_end_arrives() -> None:
    """What an application says good-bye with would be lost, for it is aiohttp that compresses it."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)

    async def say_goodbye(app: web.Application) -> None:
        await witness.io.emit("news", "a" * 5_000)

    app.on_shutdown.insert(0, say_goodbye)
    served = run(app)
    async with wire(await served.__aenter__()) as tcp:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1", "Accept-Encoding: gzip")
        await eventually(lambda: polling_of(witness).writable)
        ending = asyncio.create_task(served.__aexit__(None, None, None))
        status, body = await tcp.response()
        assert status == 200
        assert b"a" * 5_000 in zlib.decompress(body, 47)
        await ending


async def test_idle_connections_without_a_task_are_closed(started: list[HttpProtocol]) -> None:
    """Every visitor would cost a connection for ever. One that polls is not idle."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app, keepalive_timeout=0.2) as url, wire(url) as tcp, wire(url) as other:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1")
        await open_session(other)
        async with asyncio.timeout(3):
            assert await other.reader.read() == b""
        await witness.io.emit("news", 1)
        assert await tcp.response() == (200, b'42["news",1]')
        async with asyncio.timeout(3):
            assert await tcp.reader.read() == b""
        assert started == []


async def test_a_head_without_a_task_has_to_arrive_in_time() -> None:
    """Connections that never say what they want would fill the server, behind a first request too."""
    app = web.Application()
    Server(limits=Limits(head_timeout=0.2)).attach(app)
    async with run(app) as url, wire(url) as tcp:
        await open_session(tcp)
        await tcp.more(HANDSHAKE[:20].encode())
        assert (await tcp.response())[0] == 408


async def test_a_poll_that_waits_hears_of_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A client would take a restart for a network that is slow."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    async with run(app) as url, wire(url) as tcp:
        path = await join(tcp)
        await tcp.send(f"GET {path} HTTP/1.1")
        await eventually(lambda: all(each.has_poll for each in witness.engine.connections.values()))
        ending = asyncio.create_task(witness.engine.shutdown())
        assert (await tcp.response())[1] == b"1"
        await ending
    assert caplog.messages == []


async def test_connections_that_wait_are_closed_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """A restart would wait for each of them."""
    app, witness = web.Application(), Witness()
    witness.io.attach(app)
    served = run(app)
    async with wire(await served.__aenter__()) as tcp:
        await open_session(tcp)
        await served.__aexit__(None, None, None)
        async with asyncio.timeout(3):
            assert await tcp.reader.read() == b""
    assert caplog.messages == []


@pytest.mark.parametrize("drop_in", [False, True])
def test_both_ways_answer_the_same(drop_in: bool) -> None:
    """What the one way refuses, the other would serve, or a proxy in front see other requests than the server."""
    check_both(([(0, OPENING), (0, PLAIN[2]), (1, each)] for each in PLAIN), drop_in=drop_in)
    check_both((steps_of(random.Random(seed)) for seed in range(CASES)), drop_in=drop_in)


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io/{rest:.*}"])
async def test_an_earlier_route_of_the_program_gets_its_requests(path: str) -> None:
    """aiohttp gives a request to the first route that fits."""

    async def own(request: web.Request) -> web.Response:
        return web.Response(status=418)

    app = web.Application()
    app.router.add_get(path, own)
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 418


async def test_a_domain_of_the_program_gets_its_requests() -> None:
    """A second site on the same server."""

    async def own(request: web.Request) -> web.Response:
        return web.Response(status=418)

    app, other = web.Application(), web.Application()
    other.router.add_get("/socket.io/", own)
    Server().attach(app)
    app.add_domain("localhost", other)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        assert (await tcp.response())[0] == 418


async def test_a_tool_that_replaces_the_application_s_method_sees_the_handshake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sentry does that."""
    seen: list[str] = []
    handle = web.Application._handle

    async def note(self: web.Application, request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return await handle(self, request)

    monkeypatch.setattr(web.Application, "_handle", note)
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE)
        await frames(tcp, 1)
        assert seen == ["/socket.io/"]


async def test_the_access_log_has_the_handshake(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever looks for a client there would not find it."""
    app = web.Application()
    Server().attach(app)
    log = logging.getLogger("tests.access")
    with caplog.at_level(logging.INFO, log.name):
        async with run(app, log) as url, wire(url) as tcp:
            await tcp.send(*UPGRADE)
            await frames(tcp, 1)
            await eventually(lambda: 'websocket HTTP/1.1" 101' in caplog.text)


async def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    """aiohttp answers it."""
    app = web.Application()
    Server().attach(app)
    async with run(app) as url, wire(url) as tcp:
        await tcp.send(*UPGRADE, "Expect: 100-continue")
        assert (await tcp.response())[0] == 100
        await frames(tcp, 1)
