"""STOMP clients in tests: subscriptions, receipts, answers and heart-beats."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from rtframework import (
    AckTimeout,
    ConnectionRefused,
    Disconnected,
    EventError,
    Identity,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.testing import Clock, TestServer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


def serving() -> tuple[Server, web.Application]:
    """Make a server of STOMP and of Socket.IO."""
    io = Server(auth=StaticTokenAuth({"a": Identity("1"), "b": Identity("2")}))

    @io.on("say")
    async def say(socket: Socket, *args: object) -> str:
        if not args:
            raise EventError("empty")
        await io.to("news:1").emit("said", *args)
        return "ok"

    @io.on("ask")
    async def ask(socket: Socket) -> object:
        return await socket.emit_with_ack("question", 1)

    @io.on("wait")
    async def wait(socket: Socket) -> None:
        await asyncio.sleep(3600)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", reason)

    app = web.Application()
    io.attach(app)
    io.attach_stomp(app, "/stomp", topics="news:{id}")
    return io, app


async def test_topics_and_events() -> None:
    """Programs with STOMP could only be tested over a network."""
    io, app = serving()
    async with TestServer(app) as server:
        alice = await server.connect(auth={"token": "a"})
        page = await server.connect_stomp(auth={"token": "b"})
        assert page.id in io.sockets
        number = await page.subscribe("/topic/news:1")
        assert "error" not in await page.send("/app/say", {"text": "hi"})
        message = await page.receive("/topic/news:1")
        assert (message.event, message.payload) == ("said", {"text": "hi"})
        await page.send("/app/say", b"1", [b"2"], receipt=False)
        assert (await page.receive()).args == (b"1", [b"2"])
        assert (await page.send("/app/say"))["error"] == "empty"
        await page.subscribe("/user/queue/reply")
        await page.send("/app/say", "x", headers={"correlation-id": "7"})
        reply = await page.receive("/user/queue/reply")
        assert (reply.payload, reply.headers["correlation-id"]) == ("ok", "7")
        await page.receive()
        await page.unsubscribe(number)
        await io.to("news:1").emit("said", 2)
        await page.receive_nothing()
        await page.disconnect()
        assert page.close_code == 1000
        assert await alice.receive("left") in ("client namespace disconnect", "transport close")
        with pytest.raises(Disconnected):
            await page.send("/app/say", 1)


async def test_refusals_are_seen() -> None:
    """A test could not tell who is let in, and who may read what."""
    _, app = serving()
    async with TestServer(app) as server:
        with pytest.raises(ConnectionRefused, match="Unknown token") as refused:
            await server.connect_stomp(auth={"token": "x"})
        assert refused.value.data == {"code": "unknown_token"}
        with pytest.raises(ConnectionRefused, match="HTTP 404"):
            await server.connect_stomp("/nowhere")
        page = await server.connect_stomp(auth={"token": "a"})
        with pytest.raises(ConnectionRefused):
            await page.subscribe("/topic/secret")
        assert page.error is not None
        assert await page.receive_close() == 1008
        assert page.error in repr(page)


async def test_a_question_of_the_server_is_answered() -> None:
    """A program that asks its clients could not be tested."""
    _, app = serving()
    async with TestServer(app) as server:
        page = await server.connect_stomp(auth={"token": "a"})
        await page.subscribe("/user/queue/question", ack="client-individual")
        await page.subscribe("/user/queue/reply")
        for answer in (page.ack, page.nack):
            await page.send("/app/ask", receipt=False, headers={"reply-to": "/user/queue/reply"})
            await answer(await page.receive("/user/queue/question"))
            found = (await page.receive("/user/queue/reply")).payload
            assert found is None if answer == page.ack else found["error"]["code"] == "nack"
        await page.send("/app/ask", receipt=False, headers={"reply-to": "/user/queue/reply"})
        await page.send((await page.receive("/user/queue/question")).headers["reply-to"], "yes", receipt=False)
        assert (await page.receive("/user/queue/reply")).payload == "yes"


async def test_heart_beats_follow_the_clock() -> None:
    """A test of what happens when a client falls silent would take half a minute."""
    _, app = serving()
    async with TestServer(app, clock=Clock()) as server:
        alice = await server.connect(auth={"token": "a"})
        page = await server.connect_stomp(auth={"token": "b"}, heart_beat=(1000, 1000))
        await server.clock.advance(300)
        assert page.connected
        await alice.receive_nothing()
        await page.lose_connection(silently=True)
        await server.clock.advance(300)
        assert await alice.receive("left") == "ping timeout"


async def test_what_is_missing_is_told() -> None:
    """A test would hang, or not say what came in its place."""
    io, app = serving()
    async with TestServer(app, clock=Clock()) as server:
        page = await server.connect_stomp(auth={"token": "a"})
        await page.subscribe("/user/queue/*")
        await io.emit("n", 1)
        with pytest.raises(
            AssertionError, match=r"nothing more at /topic/x within 0 s\nreceived so far:\n  /user/queue/n"
        ):
            await page.receive("/topic/x", within=0)
        with pytest.raises(AssertionError, match="has received StompMessage"):
            await page.receive_nothing()
        with pytest.raises(AckTimeout, match="no receipt for SEND"):
            await page.send("/app/wait", within=0)
