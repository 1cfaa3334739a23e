"""Streams of server-sent events in tests."""

from __future__ import annotations

import pytest
from aiohttp import web

from rtframework import Recovery, Server, Socket
from rtframework.testing import Clock, TestServer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


def serving() -> tuple[Server, web.Application]:
    """Make a server of streams."""
    io = Server(connection_state_recovery=Recovery())
    app = web.Application()
    io.attach_sse(app, "/events", rooms=["a"])
    return io, app


async def test_events_are_received_and_streams_come_back() -> None:
    """Programs with streams could only be tested over a network."""
    io, app = serving()
    async with TestServer(app) as server:
        async with server.stream("/events?room=a") as stream:
            assert stream.status == 200
            connect = await stream.receive("connect")
            await io.to("a").emit("n", 1)
            await io.to("a").emit("m", 2)
            assert await stream.receive("m") == 2
            assert [each.event for each in stream.received] == ["connect", "n", "m"]
        async with server.stream("/events?room=a", last_id=stream.last_id) as again:
            assert (await again.receive())["sid"] == connect["sid"]
            await io.emit("last")
            assert await again.receive() is None
            await io.disconnect_sockets()
            await again.receive_end()


async def test_what_is_missing_is_told() -> None:
    """A test would hang, or not say what came in its place."""
    io, app = serving()
    async with TestServer(app) as server, server.stream("/events", timeout=0.05) as stream:
        await stream.receive("connect")
        await io.emit("n", 1)
        with pytest.raises(AssertionError, match=r"has received no 'goal' within 0\.05 s\nreceived so far:\n  connect"):
            await stream.receive("goal")
        with pytest.raises(AssertionError, match="has not ended"):
            await stream.receive_end()
        await io.disconnect_sockets()
        with pytest.raises(AssertionError, match="no 'x' before its end"):
            await stream.receive("x")


async def test_a_refusal_has_a_status() -> None:
    """A test could not tell who is let in."""
    _, app = serving()
    async with TestServer(app) as server, server.stream("/events?room=secret") as stream:
        assert stream.status == 403


async def test_events_are_sent_by_post() -> None:
    """What a page sends beside its stream could not be tested."""
    io, app = serving()

    @io.on("double")
    def double(socket: Socket, number: int) -> int:
        return number * 2

    async with TestServer(app) as server:
        async with server.stream("/events") as stream:
            assert await stream.post("double", 21) == 42
            assert (await stream.post("nothing"))["error"]["code"] == "unknown_event"
            assert (await stream.receive())["recovered"] is False
        async with server.stream("/events?room=secret") as stream:
            with pytest.raises(AssertionError, match="no 'connect'"):
                await stream.post("double", 1)


async def test_a_clock_that_stands_still() -> None:
    """A test with a clock would hang when an event is missing."""
    _, app = serving()
    async with TestServer(app, clock=Clock()) as server, server.stream("/events", timeout=0.05) as stream:
        await stream.receive("connect")
        with pytest.raises(AssertionError, match=r"within 0\.05 s"):
            await stream.receive("goal")
