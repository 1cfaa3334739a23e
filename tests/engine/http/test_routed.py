"""Connections that move to another worker, and those that stay."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast

import pytest
from aiohttp import web

from rtframework import Limits, Server
from rtframework.engine.handover import HERE
from rtframework.engine.http import direct
from rtframework.engine.http.protocol import HttpProtocol
from rtframework.engine.http.routed import RoutedProtocol
from rtframework.workers.shared_table import SlotState
from tests.engine import Wire, engine_of, wire
from tests.support.passing_workers import WorkersHere, workers_here
from tests.support.until import until

IO = web.AppKey("IO", Server)
HANDSHAKE = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1"


def program(slot: int, **options: Any) -> web.Application:
    """An application with a server and a few pages."""
    app = web.Application()
    io = Server(limits=Limits(head_timeout=0.2), **options)
    io.attach(app)
    io.attach_sockjs(app)

    async def page(request: web.Request) -> web.Response:
        return web.json_response([slot, len(await request.read())])

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 8_000_000)

    app.router.add_route("*", "/page", page)
    app.router.add_get("/large", large)
    app[IO] = io
    return app


@pytest.fixture
async def workers() -> AsyncIterator[WorkersHere]:
    """Two of them."""
    async with workers_here(program(0), program(1)) as found:
        yield found


async def open_session(tcp: Wire) -> str:
    """Open a session on a connection."""
    await tcp.send(HANDSHAKE)
    status, body = await tcp.response()
    assert status == 200
    sid: str = json.loads(body[1:])["sid"]
    return sid


def post(sid: str) -> str:
    """The first line of a request."""
    return f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1"


async def test_a_connection_moves_with_its_request(workers: WorkersHere) -> None:
    """A request would be refused by a worker that does not know its session."""
    async with wire(workers.url_of(0)) as tcp, wire(workers.url_of(1)) as other:
        sid = await open_session(other)
        assert sid[0] == "B"
        await tcp.send(post(sid), "Content-Length: 2", body=b"40")
        assert await tcp.response() == (200, b"ok")
        assert (workers.connections_of(0), workers.connections_of(1)) == (0, 2)


@pytest.mark.parametrize("patience", [1.0, 0.02])
async def test_a_body_behind_its_head_is_served_where_the_session_is(
    workers: WorkersHere, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """What browsers send would be lost, or a body that never comes be awaited for ever."""
    started: list[HttpProtocol] = []
    start = HttpProtocol.start

    async def note(self: HttpProtocol) -> None:
        started.append(self)
        await start(self)

    monkeypatch.setattr(HttpProtocol, "start", note)
    monkeypatch.setattr(direct, "_PATIENCE", patience)
    async with wire(workers.url_of(0)) as tcp, wire(workers.url_of(1)) as other:
        sid = await open_session(other)
        await tcp.send(post(sid), "Content-Length: 2")
        await until(lambda: workers.connections_of(1) == 2)
        if patience < 1:
            await until(lambda: started)
        await tcp.more(b"4")
        await tcp.more(b"0")
        assert await tcp.response() == (200, b"ok")
        assert len(started) == (patience < 1)


async def test_a_head_that_never_ends_is_answered(workers: WorkersHere) -> None:
    """A connection that sends a byte a minute would be kept for ever."""
    for beginning in (b"G", b"GET /socket.io/?EIO=4&sid=Bx HT", b"POST /page HTTP/1.1\r\nHost: x\r\n"):
        async with wire(workers.url_of(0)) as tcp:
            await tcp.more(beginning)
            assert (await tcp.response())[0] == 408


async def test_a_head_that_comes_in_pieces_has_its_time_once(workers: WorkersHere) -> None:
    """Each byte would give a client that holds connections up the whole time again."""
    async with wire(workers.url_of(0)) as tcp:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while loop.time() - before < 5:
            try:
                await tcp.more(b"G")
            except ConnectionError:
                break
            await asyncio.sleep(0.05)
            if tcp.reader.at_eof():
                break
        assert loop.time() - before < 5


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET  HTTP\r\n\r\n", b"\0" * 60])
async def test_what_is_no_request_is_refused_at_once(workers: WorkersHere, data: bytes) -> None:
    """A scanner would hold a connection."""
    async with wire(workers.url_of(0)) as tcp:
        await tcp.more(data)
        assert (await tcp.response())[0] == 400


async def test_a_long_head_is_refused(workers: WorkersHere) -> None:
    """A head without an end would be kept in memory."""
    async with wire(workers.url_of(0)) as tcp:
        await tcp.more(b"GET /page HTTP/1.1\r\nCookie: " + b"x" * 40_000)
        assert (await tcp.response())[0] == 431


async def test_a_connection_moves_when_its_answers_have_left(workers: WorkersHere) -> None:
    """The end of an answer would be cut off."""
    async with wire(workers.url_of(1)) as other, wire(workers.url_of(0)) as tcp:
        sid = await open_session(other)
        await tcp.send("GET /large HTTP/1.1")
        (protocol,) = cast("Any", workers.runners[0].server).connections
        await until(lambda: protocol.transport.get_write_buffer_size())
        await tcp.send(post(sid), "Content-Length: 2", body=b"40")
        await until(lambda: cast("RoutedProtocol", protocol)._leaving is not None or protocol._messages)
        status, body = await tcp.response()
        assert (status, len(body)) == (200, 8_000_000)
        assert await tcp.response() == (200, b"ok")


async def test_a_new_session_goes_one_way_only(workers: WorkersHere, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers that each think the other has more room would pass a client to and fro."""
    for passing, there in zip(workers.passing, (1, 0), strict=True):
        monkeypatch.setattr(passing, "destination", partial(int, there))
    async with wire(workers.url_of(0)) as tcp:
        assert (await open_session(tcp))[0] == "B"
        assert (await open_session(tcp))[0] == "A"


async def test_clients_are_counted_for_all(workers: WorkersHere) -> None:
    """New sessions would all go to one worker."""
    async with wire(workers.url_of(0)) as tcp:
        for _ in range(5):
            await open_session(tcp)
        assert workers.table.clients(0) == 5
        for connection in list(engine_of(workers.runners[0].app[IO]).connections.values()):
            connection.abort("transport close")
        assert workers.table.clients(0) == 0


async def test_a_worker_that_is_alone_serves_what_others_had(workers: WorkersHere) -> None:
    """A client whose worker has gone would not be told to come again."""
    async with wire(workers.url_of(1)) as other, wire(workers.url_of(0)) as tcp:
        sid = await open_session(other)
        workers.table.set_state(1, SlotState.EMPTY)
        await tcp.send(post(sid), "Content-Length: 2", body=b"40")
        status, body = await tcp.response()
        assert (status, json.loads(body)["message"]) == (400, "Session ID unknown")


def key_of(workers: WorkersHere, slot: int) -> str:
    """Find the id of a session that belongs to a worker."""
    server: Any = workers.runners[1 - slot].server
    return next(key for key in map(str, range(1_000)) if server.slot_of_key(key) == slot)


async def test_a_connection_moves_to_the_worker_of_a_session_that_its_client_has_named(workers: WorkersHere) -> None:
    """Each worker would open a session of its own for the same client."""
    key = key_of(workers, 1)
    async with wire(workers.url_of(0)) as tcp, wire(workers.url_of(1)) as other:
        await tcp.send(f"POST /sockjs/0/{key}/xhr HTTP/1.1", "Content-Length: 0")
        assert await tcp.response() == (200, b"o\n")
        assert (workers.connections_of(0), workers.connections_of(1)) == (0, 2)
        await other.send(f"POST /sockjs/0/{key}/xhr HTTP/1.1", "Content-Length: 0")
        assert b"connected" in (await other.response())[1]
        own = key_of(workers, 0)
        await tcp.send(f"POST /sockjs/0/{own}/xhr HTTP/1.1", "Content-Length: 0")
        assert await tcp.response() == (200, b"o\n")
        assert (workers.connections_of(0), workers.connections_of(1)) == (1, 1)
        assert [len(engine_of(runner.app[IO]).connections) for runner in workers.runners] == [1, 1]


async def test_a_request_behind_another_is_forwarded_to_the_worker_of_its_session(workers: WorkersHere) -> None:
    """Behind a request that waits, and behind TLS, a connection cannot move."""
    key = key_of(workers, 1)
    async with wire(workers.url_of(0)) as tcp:
        request = f"POST /sockjs/0/{key}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        page = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
        await tcp.more((page + request + page).encode())
        assert await tcp.response() == (200, b"[0, 0]")
        assert await tcp.response() == (200, b"o\n")
        assert (await tcp.response())[0] == 200
        assert [len(engine_of(runner.app[IO]).connections) for runner in workers.runners] == [0, 1]


async def test_only_the_sessions_of_a_worker_that_has_gone_move(workers: WorkersHere) -> None:
    """With each worker that is started or ends, all sessions over HTTP would be lost."""
    server: Any = workers.runners[0].server
    keys = [f"key-{number}" for number in range(200)]

    def homes() -> list[int]:
        return [server.slot_of_key(key) for key in keys]

    before = homes()
    assert 40 < before.count(1) < 160
    workers.table.set_state(7, SlotState.SERVING)
    more = homes()
    assert all(new in (old, 7) for old, new in zip(before, more, strict=True))
    assert 20 < more.count(7) < 120
    workers.table.set_state(7, SlotState.EMPTY)
    assert homes() == before
    workers.table.set_state(1, SlotState.EMPTY)
    assert set(homes()) == {HERE}
