"""Sessions of SockJS between their requests, by a clock: how long they stay, what waits, and how they end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from rtframework import Limits, Server, Socket
from rtframework.gateways.sockjs import SockJSGateway
from rtframework.testing import Clock, TestServer
from tests.gateways.test_sockjs import Echo, echoing


class Polls:
    """Polls of one session without a network."""

    def __init__(self, server: TestServer, session: str = "session1") -> None:
        self.server = server
        self._path = f"/echo/000/{session}/"

    async def poll(self) -> str:
        """Ask for a frame."""
        async with self.server.http.post(self._path + "xhr") as response:
            return await response.text()

    async def send(self, body: str) -> int:
        """Send messages. Return the status."""
        async with self.server.http.post(self._path + "xhr_send", data=body) as response:
            return response.status


@contextlib.asynccontextmanager
async def polls(io: Server, **options: Any) -> AsyncIterator[Polls]:
    """Serve SockJS that echoes, with a clock that stands still; one session is open."""
    app = web.Application()
    options.setdefault("codec", Echo())
    io.attach_sockjs(app, "/echo", **options)
    async with TestServer(app, clock=Clock()) as server:
        polls = Polls(server)
        assert await polls.poll() == "o\n"
        yield polls


def reasons(io: Server) -> list[str]:
    """Note the reasons for which clients go."""
    gone: list[str] = []
    io.on("disconnect")(lambda socket, reason: gone.append(reason))
    return gone


async def test_a_session_whose_client_does_not_come_again_ends() -> None:
    """Each page that is left would stay in its rooms."""
    io = echoing()
    gone = reasons(io)
    async with polls(io) as client:
        await client.server.clock.advance(4)
        assert await client.send('["x"]') == 204
        assert await client.poll() == 'a["x"]\n'
        await client.server.clock.advance(4.9)
        assert not gone
        await client.server.clock.advance(0.2)
        assert gone == ["transport close"]
        assert await client.send('["x"]') == 404
        assert await client.poll() == "o\n"  # by which the stock client knows that it was away too long


async def test_a_poll_that_waits_gets_heartbeats() -> None:
    """Proxies would cut off what is silent."""
    io = echoing()
    async with polls(io, heartbeat=10) as client:
        for _ in range(3):
            waiting = client.server.clock._loop.create_task(client.poll())  # type: ignore[union-attr]
            await client.server.clock.advance(10.5)
            assert await waiting == "h\n"
        assert len(io.sockets) == 1


async def test_what_is_said_between_polls_waits() -> None:
    """It would be lost whenever a client is on its way."""
    io = echoing()
    async with polls(io) as client:
        await client.server.clock.advance(1)
        for text in ("a", "b", "c"):
            await io.emit("message", text)
        assert await client.poll() == 'a["a","b","c"]\n'


async def test_last_words_wait_for_the_next_poll_and_are_forgotten() -> None:
    """A client that is on its way would come again and again, as if nothing had happened."""
    io = echoing()
    async with polls(io) as client:
        await client.server.clock.advance(1)
        socket = next(iter(io.sockets.values()))
        await socket.emit("message", "farewell")
        await socket.disconnect()
        assert await client.poll() == 'a["farewell"]\n'
        for _ in range(2):
            assert await client.poll() == 'c[4410,"server namespace disconnect"]\n'
        await client.server.clock.advance(5.1)
        assert await client.poll() == "o\n"


async def test_a_client_that_does_not_come_for_its_last_words_is_forgotten() -> None:
    """Sessions that are over would stay for ever."""
    io = echoing()
    async with polls(io) as client:
        await client.server.clock.advance(1)
        socket = next(iter(io.sockets.values()))
        await socket.emit("message", "farewell")
        await socket.disconnect()
        await client.server.clock.advance(60)
        assert not io._server.eio.connections
        assert await client.poll() == "o\n"


async def test_a_client_that_joins_nothing_is_told() -> None:
    """It would hold a place without end, or not know why it has lost it."""

    class Later(Echo):
        def auth(self, handshake: Any) -> None:
            return None

    io = echoing(connect_timeout=3)
    async with polls(io, codec=Later()) as client:
        await client.server.clock.advance(3.5)
        assert await client.poll() == 'c[4408,"joined no namespace in time"]\n'


async def test_one_that_polls_too_slowly_is_cut_off() -> None:
    """What waits for it would fill the memory."""
    io = echoing(limits=Limits(max_outbox=1_000))
    gone = reasons(io)
    async with polls(io) as client:
        for _ in range(20):
            await io.emit("message", "x" * 100)
        await client.server.clock.advance(0.1)
        assert gone == ["slow consumer"]
        assert await client.poll() == 'c[4413,"slow consumer"]\n'


async def test_the_oldest_gives_way_where_the_program_says_so() -> None:
    """The policy of slow consumers would not hold for sessions."""
    io = echoing(limits=Limits(max_outbox=1_000, slow_consumer="drop_oldest"))
    async with polls(io) as client:
        for number in range(20):
            await io.emit("message", f"{number:0100}")
        got = await client.poll()
        assert f"{19:0100}" in got
        assert f"{0:0100}" not in got


async def test_the_end_of_the_server_is_told() -> None:
    """Stock clients would take it for a broken network."""
    io = echoing()
    app = web.Application()
    io.attach_sockjs(app, "/echo", codec=Echo())
    async with TestServer(app, clock=Clock()) as server:
        client = Polls(server)
        assert await client.poll() == "o\n"
        waiting = server.clock._loop.create_task(client.poll())  # type: ignore[union-attr]
        await server.clock.advance(0.1)
        await io._server.eio.table.shutdown("server shutting down", 1)
        assert await waiting == 'c[1001,"server shutting down"]\n'


async def test_nothing_is_left_when_the_server_has_ended() -> None:
    """A server that is started again would tell new clients of the end of old ones."""
    io = echoing()
    app = web.Application()
    io.attach_sockjs(app, "/echo", codec=Echo())
    owners = [getattr(route.handler, "__self__", None) for route in app.router.routes()]
    gateway = next(each for each in owners if isinstance(each, SockJSGateway))
    async with TestServer(app, clock=Clock()) as server:
        assert await Polls(server).poll() == "o\n"
        assert list(gateway.sessions) == ["session1"]
    assert not gateway.sessions


async def test_a_program_sees_the_transport() -> None:
    """Statistics could not tell websockets from polls."""
    io = echoing()
    seen: list[str] = []

    @io.on("message")
    async def message(socket: Socket, text: str) -> None:
        seen.append(socket.conn.transport)

    async with polls(io) as client:
        await client.send('["x"]')
        await client.server.clock.advance(0.1)
        assert seen == ["sockjs xhr"]
