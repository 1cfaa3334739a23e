"""Sessions of SockJS between their requests, by a clock: how long they stay, what waits, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from rtframework import Limits, Server, Socket
from rtframework.gateways import sockjs
from rtframework.gateways.sockjs import SockJSGateway
from rtframework.testing import Clock, TestServer
from tests.gateways.test_sockjs import Echo, echoing
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.stomp import Got, read, stomp

pytestmark = NOT_ON_UVLOOP


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


async def test_a_session_of_another_process_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a balancer that is not sticky, pages would lose their sessions, and nobody would know why."""
    monkeypatch.setattr(sockjs._not_here, "_lines", {})  # of other tests
    io, other = echoing(), echoing()
    async with polls(io) as client:
        app = web.Application()
        other.attach_sockjs(app, "/echo", codec=Echo())
        async with TestServer(app) as server:
            for _ in range(3):
                assert await Polls(server).send('["x"]') == 404
            assert other._server.eio.counts.requests_refused["session_id_unknown"] == 3
        assert await client.send('["x"]') == 204
    first, last = (each for each in caplog.records if "session of SockJS that is not here" in each.getMessage())
    assert (first.levelname, first.getMessage()) == ("WARNING", sockjs._not_here._text)
    assert last.getMessage().endswith("(2 more since the last such line)")  # when the server has ended


async def test_a_session_that_has_ended_is_no_other_process_s(caplog: pytest.LogCaptureFixture) -> None:
    """Each page that has slept would send its operator to look for a fault in the balancer."""
    async with polls(echoing()) as client:
        await client.server.clock.advance(5.5)
        assert await client.send('["x"]') == 404
    assert "that is not here" not in caplog.text


# --- STOMP ----------------------------------------------------------------------------------------------------------


class StompPolls(Polls):
    """Polls whose messages are STOMP."""

    async def say(self, *frames: bytes) -> None:
        """Send frames, each a message, in one body."""
        assert await self.send(json.dumps([each.decode() for each in frames])) == 204

    async def hear(self) -> list[Got]:
        """Poll for frames."""
        got = await self.poll()
        assert got[0] == "a", got
        return [frame for message in json.loads(got[1:]) for frame in read(message.encode())]

    def waiting(self) -> asyncio.Task[str]:
        """Begin to poll."""
        return asyncio.ensure_future(self.poll())


@contextlib.asynccontextmanager
async def stomp_polls(io: Server, heart_beat: str = "0,0", **options: Any) -> AsyncIterator[StompPolls]:
    """Serve STOMP over SockJS, with a clock that stands still; one client is in."""
    options.setdefault("heartbeat", 10)
    async with polls(io, codec=None, carries="stomp", **options) as opened:
        client = StompPolls(opened.server)
        await client.say(stomp("CONNECT", accept_version="1.2", heart_beat=heart_beat))
        (connected,) = await client.hear()
        assert (connected.command, connected.headers["heart-beat"]) == ("CONNECTED", "10000,10000")
        yield client


@pytest.mark.parametrize(
    ("heart_beat", "expected"),
    [("0,0", "h\n"), ("10000,0", "h\n"), ("10000,10000", 'a["\\n"]\n'), ("0,100000", 'a["\\n"]\n')],
)
async def test_heart_beats_of_stomp_take_the_place_of_sockjs_s(heart_beat: str, expected: str) -> None:
    """A client would take a server that has nothing to say for dead, or a proxy would cut it off."""
    io = echoing()
    async with stomp_polls(io, heart_beat) as client:
        for _ in range(5):
            waiting = client.waiting()
            await client.server.clock.advance(10.5)
            assert await waiting == expected
        assert len(io.sockets) == 1


async def test_a_heart_beat_that_is_due_between_two_polls_comes_with_the_next() -> None:
    """A client that has just been on its way would miss it, and take the server for dead at the next one."""
    async with stomp_polls(echoing(), "10000,10000", session_timeout=30) as client:
        await client.server.clock.advance(10.5)
        assert await client.poll() == 'a["\\n"]\n'
        waiting = client.waiting()
        await client.server.clock.advance(1)
        assert not waiting.done()
        await client.say(stomp("SUBSCRIBE", id="1", destination="/user/queue/*", receipt="r"))
        assert "RECEIPT" in await waiting


async def test_a_stomp_client_that_is_no_longer_there_is_given_up() -> None:
    """Pages that were closed would stay in their rooms until three heart-beats are missing."""
    io = echoing()
    gone = reasons(io)
    async with stomp_polls(io, "10000,10000") as client:
        waiting = [client.waiting()]
        for _ in range(6):
            await client.server.clock.advance(10)
            if waiting[-1].done():
                waiting.append(client.waiting())
        assert not gone  # it comes, and so it lives
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await client.server.clock.advance(10)
        assert gone == ["transport close"]


async def test_a_stream_of_a_stomp_client_is_kept_by_its_heart_beats() -> None:
    """A client without heart-beats would be cut off, or one that has promised them stay for ever."""
    for heart_beat, ends in (("0,0", []), ("10000,10000", ["ping timeout"])):
        io = echoing()
        gone = reasons(io)
        app = web.Application()
        io.attach_sockjs(app, "/echo", carries="stomp", heartbeat=10)
        async with TestServer(app, clock=Clock()) as server:
            client = StompPolls(server)
            async with server.http.post("/echo/000/session1/xhr_streaming") as stream:
                assert (await stream.content.readline()).startswith(b"hhhh")
                assert await stream.content.readline() == b"o\n"
                await client.say(stomp("CONNECT", accept_version="1.2", heart_beat=heart_beat))
                assert b"CONNECTED" in await stream.content.readline()
                for _ in range(12):
                    await server.clock.advance(10)
                    await client.say(b"\n")
                assert not gone
                for _ in range(12):
                    await server.clock.advance(10)
                assert gone == ends, heart_beat


async def test_a_wrong_frame_gets_an_error_and_the_close_code() -> None:
    """The author of a client would not know what is wrong."""
    async with stomp_polls(echoing()) as client:
        await client.say(stomp("SEND", "x", destination="/nowhere", receipt="1"))
        (error,) = await client.hear()
        assert (error.command, error.headers["receipt-id"]) == ("ERROR", "1")
        assert error.headers["message"] == "events are sent to /app/<event>"
        assert await client.poll() == 'c[4400,"invalid message"]\n'


async def test_a_goodbye_is_answered_before_the_end() -> None:
    """stompjs would take the end for a failure, and connect again."""
    io = echoing()
    gone = reasons(io)
    async with stomp_polls(io) as client:
        await client.say(stomp("DISCONNECT", receipt="bye"))
        assert await client.hear() == [Got("RECEIPT", {"receipt-id": "bye"}, b"")]
        assert await client.poll() == 'c[1000,"client namespace disconnect"]\n'
        assert gone == ["client namespace disconnect"]


async def test_frames_come_in_any_number_of_messages() -> None:
    """``splitLargeFrames`` of stompjs, and what piles up behind a slow POST, would break the connection."""
    io = echoing()
    heard: list[Any] = []
    io.on("count")(lambda socket, text: heard.append(text))
    async with stomp_polls(io) as client:
        text = {"content_type": "text/plain"}
        frames = [stomp("SEND", f"{number}", destination="/app/count", **text) for number in range(300)]
        await client.say(*frames)
        large = stomp("SEND", "é" * 30_000, destination="/app/count", receipt="all", **text).decode()
        pieces = [large[at : at + 1_000].encode() for at in range(0, len(large), 1_000)]
        await client.say(*pieces[:20])
        await client.say(*pieces[20:])
        assert await client.hear() == [Got("RECEIPT", {"receipt-id": "all"}, b"")]
        assert heard == [*map(str, range(300)), "é" * 30_000]


async def test_sockjs_has_no_bytes_for_stomp(caplog: pytest.LogCaptureFixture) -> None:
    """An event would be missing without a word, or take others with it."""
    io = echoing()
    heard: list[Any] = []
    io.on("keep")(lambda socket, data: heard.append(data))
    async with stomp_polls(io) as client:
        await client.say(stomp("SUBSCRIBE", id="1", destination="/user/queue/*"))
        octets = {"content_type": "application/octet-stream"}
        await client.say(stomp("SEND", "as bytes", destination="/app/keep", receipt="kept", **octets))
        assert [each.command for each in await client.hear()] == ["RECEIPT"]
        assert heard == [b"as bytes"]
        for value in (b"\xff", {"deep": b"down"}, "text"):
            await io.emit("n", value)
        (got,) = await client.hear()
        assert got.args == ["text"]
        assert io._server.eio.counts.dropped["not_encoded"] == 2
    assert "dropped a binary message for clients of SockJS" in caplog.text
