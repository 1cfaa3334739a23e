"""STOMP over websockets: who comes in, and how Spring's clients speak."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Limits,
    RateLimit,
    Recovery,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.engine.outbox import Outbox
from rtframework.gateways.stomp_client import StompClient
from rtframework.gateways.stomp_connection import StompConnection, StompWebSocket
from rtframework.gateways.stomp_subscriptions import Subscription, Subscriptions
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.engine import eventually
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.stomp import Got, stomp, stomp_in_memory, stomp_talk

pytestmark = NOT_ON_UVLOOP


def noting(io: Server) -> list[Any]:
    """Note what clients send with "note"."""
    notes: list[Any] = []
    io.on("note")(lambda socket, *args: notes.append(list(args)))
    return notes


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("v10.stomp", "v11.stomp", "v12.stomp"), "v12.stomp"), (("v11.stomp",), "v11.stomp"), (("v10.stomp",), None)],
)
async def test_the_subprotocol_is_the_newest_of_both(offered: tuple[str, ...], chosen: str | None) -> None:
    """Browsers close a websocket whose subprotocol they have not offered."""
    async with (
        stomp_in_memory(Server()) as server,
        server.http.ws_connect("/stomp", protocols=offered) as websocket,
    ):
        assert websocket.protocol == chosen


@pytest.mark.parametrize(
    ("accepted", "version"), [("1.2", "1.2"), ("1.0,1.1", "1.1"), ("1.0, 1.2 ,2.0", "1.2"), ("1.0", None), (None, None)]
)
async def test_the_version_is_the_newest_of_both(accepted: str | None, version: str | None) -> None:
    """STOMP 1.2, "Protocol Negotiation": a client that is too old is told what there is."""
    async with stomp_in_memory(Server()) as server, stomp_talk(server, joins=False) as page:
        await page.say("STOMP", **({} if accepted is None else {"accept_version": accepted}))
        if version is not None:
            assert (await page.hear()).headers["version"] == version
            return
        got = await page.hear()
        assert (got.command, got.headers["version"]) == ("ERROR", "1.1,1.2")
        assert (await page.websocket.receive()).data == 4400


async def test_the_headers_of_connect_are_the_credentials() -> None:
    """Clients could not log in."""
    seen: list[dict[str, Any]] = []

    class Auth:
        async def authenticate(self, handshake: Any) -> str:
            seen.append(dict(handshake.auth))
            return "ada: \n"

    io = Server(auth=Auth(), connection_state_recovery=Recovery())
    async with stomp_in_memory(io) as server:
        async with stomp_talk(server, joins=False) as page:
            await page.send(
                b"CONNECT\naccept-version:1.2\nhost:example.com\nlogin:ada\npasscode:a:b \nheart-beat:0,0\n"
                b"Authorization:Bearer t\npid:x\noffset:y\n\n\0"
            )
            got = await page.hear()
            assert got.command == "CONNECTED"
            assert (got.headers["user-name"], got.headers["session"]) == ("ada:  ", next(iter(io.sockets)))
        async with stomp_talk(server, authorization="Bearer t", token="other"):
            pass
    first = {"login": "ada", "passcode": "a:b ", "Authorization": "Bearer t", "token": "t"}
    assert seen == [first, {"authorization": "Bearer t", "token": "other"}]


async def test_who_is_refused_is_told_why() -> None:
    """A page could not say what its user has to do."""
    io = Server(auth=StaticTokenAuth({"right": "ada"}))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("never seen")
        raise ConnectionRefused("full: at\n3", {"code": "full"})

    async with stomp_in_memory(io) as server:
        for token, message, code in (("wrong", "Unknown token", "unknown_token"), ("right", "full: at 3", "full")):
            async with stomp_talk(server, joins=False) as page:
                await page.say("CONNECT", accept_version="1.2", token=token)
                got = await page.hear()
                assert (got.command, got.headers["message"], got.json["code"]) == ("ERROR", message, code)
                assert (await page.websocket.receive()).data == 4401


async def test_a_client_that_connects_too_often_comes_later() -> None:
    """It would ask its user for another password, or never come back."""
    io = Server(rate_limit=RateLimit(connects={"address": "1/h"}))
    async with stomp_in_memory(io) as server:
        await server.connect_stomp()
        page = await server.connect_websocket("/stomp", protocols=["v12.stomp"])
        await page.send("CONNECT\naccept-version:1.2\nhost:x\n\n\0")
        assert await page.receive_close() == 4429
        assert page.received[0].startswith("ERROR\nmessage:too many, try again in 3")
        with pytest.raises(ConnectionRefused, match="too many, try again in") as refused:
            await server.connect_stomp()
        assert refused.value.data["code"] == "rate_limited"


async def test_a_namespace_that_is_not_there_is_told() -> None:
    """A program with a mistake in it would look as if the password were wrong."""
    async with stomp_in_memory(Server(), namespace="/chat") as server, stomp_talk(server, joins=False) as page:
        await page.say("CONNECT", accept_version="1.2")
        assert await page.error() == "Invalid namespace"
        assert page.code == 4404


async def test_clients_may_be_in_another_namespace() -> None:
    """One server could serve STOMP for one of its namespaces only."""
    io = Server()
    chat = io.of("/chat")
    async with stomp_in_memory(io, namespace="/chat") as server, stomp_talk(server) as page:
        await page.subscribe("/user/queue/*")
        await io.emit("a")
        await chat.emit("b", 1)
        got = await page.hear()
        assert (got.headers["event"], got.args, len(chat.sockets)) == ("b", [1], 1)


async def test_how_spring_s_client_speaks() -> None:
    """Programs in Java would have to be rewritten."""
    io = Server()

    @io.on("greet")
    async def greet(socket: Socket, who: dict[str, Any]) -> None:
        await io.to("greetings").emit("greeting", {"content": f"Hello, {who['name']}"})

    async with stomp_in_memory(io, "greetings") as server, stomp_talk(server, joins=False) as java:
        await java.send(b"CONNECT\naccept-version:1.1,1.2\nheart-beat:0,0\n\n\0")
        assert (await java.hear()).headers["version"] == "1.2"
        await java.send(b"SUBSCRIBE\ndestination:/topic/greetings\nid:0\n\n\0\n\n")
        await java.send(
            b'SEND\ndestination:/app/greet\ncontent-type:application/json\ncontent-length:15\n\n{"name":"J\xc3\xbcrg"}\0'.replace(
                b"15", b"16"
            )
        )
        got = await java.hear()
        assert got.headers == {
            "subscription": "0",
            "destination": "/topic/greetings",
            "message-id": got.headers["message-id"],
            "event": "greeting",
            "content-type": "application/json",
            "content-length": str(len(got.body)),
        }
        assert got.json == {"content": "Hello, Jürg"}
        await java.send(b"UNSUBSCRIBE\nid:0\n\n\0")
        await java.send(b"DISCONNECT\nreceipt:1\n\n\0")
        assert await java.hear() == Got("RECEIPT", {"receipt-id": "1"}, b"")
        message = await java.websocket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)


async def test_all_in_one_message_and_one_in_many() -> None:
    """Clients that join their frames, or split them, would not be understood."""
    io = Server()
    notes = noting(io)
    data = stomp("CONNECT", accept_version="1.2") + b"\n"
    data += stomp("SUBSCRIBE", id=1, destination="/topic/a", receipt="s")
    data += b"\r\n".join(stomp("SEND", str(number), destination="/app/note") for number in range(50))
    data += stomp("SEND", "x" * 8_000, destination="/app/note", content_type="text/plain", receipt="all")
    for pieces in (1, 3, 200):
        notes.clear()
        async with stomp_in_memory(io, "a") as server, stomp_talk(server, joins=False) as page:
            step = len(data) // pieces + 1
            for start in range(0, len(data), step):
                await page.websocket.send_bytes(data[start : start + step])
                if pieces == 200 and start == step:
                    await server.settle()
            assert [(await page.hear()).command for _ in range(3)] == ["CONNECTED", "RECEIPT", "RECEIPT"]
            assert notes == [[number] for number in range(50)] + [["x" * 8_000]]
            assert io.stats().inbound_bytes == 0


async def test_requests_that_may_not_connect_are_refused() -> None:
    """Pages of other sites would come in by this door."""
    io = Server()
    async with stomp_in_memory(io) as server:
        with pytest.raises(WSServerHandshakeError):
            await server.http.ws_connect("/stomp", headers={"Origin": "https://evil.example"})


async def test_a_long_frame_right_behind_connect(caplog: pytest.LogCaptureFixture) -> None:
    """The log would name a limit that the message does not exceed."""
    async with stomp_in_memory(Server()) as server, server.http.ws_connect("/stomp") as websocket:
        connect, long = "CONNECT\naccept-version:1.2\n\n\0", "SEND\ndestination:/app/x\n\n" + "x" * 20_000 + "\0"
        await asyncio.gather(websocket.send_str(connect), websocket.send_str(long))
        assert (await websocket.receive_str()).startswith("CONNECTED")
        assert (await websocket.receive()).data == 1009
    assert "more than 16384 bytes (Limits.max_connect_size)" in caplog.text


async def test_what_a_server_does_to_clients_it_does_to_these() -> None:
    """Moderators could not throw out half of the clients."""
    io = Server()
    async with stomp_in_memory(io) as server:
        async with stomp_talk(server) as page:
            await page.subscribe("/user/queue/kicked")
            (socket,) = io.sockets.values()
            await socket.disconnect(reason="spam", reconnect=False)
            assert (await page.hear()).json == {"reason": "spam", "reconnect": False}
            assert (await page.websocket.receive()).data == 4410
        async with stomp_talk(server) as page:
            await io.disconnect_sockets(close=False)
            assert (await page.websocket.receive()).data == 4410


async def test_an_event_is_the_same_with_recovery() -> None:
    """With connection state recovery each event would have one argument more."""
    io = Server(connection_state_recovery=Recovery())
    async with stomp_in_memory(io, "a") as server, stomp_talk(server) as page:
        await page.subscribe("/topic/a", "1")
        await page.subscribe("/user/queue/*", "2")
        await io.to("a").emit("news", {"a": 1})
        await io.emit("all", "text")
        (socket,) = io.sockets.values()
        await socket.emit("mail", 1, 2)
        got = [await page.hear() for _ in range(3)]
        assert [each.args for each in got] == [[{"a": 1}], ["text"], [1, 2]]
        assert [each.headers["destination"] for each in got] == ["/topic/a", "/user/queue/all", "/user/queue/mail"]
        assert all("offset" in each.headers for each in got)


async def test_one_form_serves_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast would be encoded once for each client."""
    io = Server()
    async with (
        stomp_in_memory(io, "a") as server,
        stomp_talk(server) as one,
        stomp_talk(server) as two,
    ):
        for page in (one, two):
            await page.subscribe("/topic/a")
        made: list[Any] = []
        put = Outbox.put

        def noted(outbox: Outbox, frames: Any, volatile: bool = False) -> None:
            made.append(frames)
            put(outbox, frames, volatile)

        monkeypatch.setattr(Outbox, "put", noted)
        await io.to("a").emit("news", 1)
        assert (await one.hear()).args == (await two.hear()).args == [1]
        assert len(made) == 2
        assert made[0] is made[1]


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest"])
async def test_a_client_that_does_not_read_is_bounded(policy: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One phone in a tunnel would fill the memory of the server."""
    caplog.set_level(logging.WARNING)
    io = Server(limits=Limits(max_outbox=200_000, slow_consumer=policy))
    app = web.Application()
    io.attach_stomp(app, topics="a")
    async with TestServer(app) as server, stomp_talk(server) as page:
        await page.subscribe("/topic/a")
        transport: Any = page.websocket._response.connection.transport  # type: ignore[union-attr]
        transport.pause_reading()
        async with asyncio.timeout(60):
            while not sum(io.stats().dropped.values()):
                await io.to("a").emit("news", "x" * 20_000)
                await asyncio.sleep(0)
        assert io._server.eio.waiting_bytes() < 20_000_000
        if policy == "disconnect":
            await eventually(lambda: not io.sockets)


def all_of(kinds: tuple[type, ...]) -> set[int]:
    """Return the objects of these kinds, by their ids."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if isinstance(each, kinds)}


async def test_nothing_is_left_of_a_thousand_visits() -> None:
    """A server would need more memory each day."""
    kinds = (StompClient, StompConnection, StompWebSocket, Subscription, Subscriptions)
    io = Server()
    noting(io)
    known = all_of(kinds)
    async with stomp_in_memory(io, "room:{number}") as server:
        for number in range(1_000):
            async with stomp_talk(server) as page:
                await page.subscribe(f"/topic/room:{number % 7}", ack="client")
                if number % 2:
                    await page.say("BEGIN", transaction="t")
                    await page.say("SEND", "1", destination="/app/note", transaction="t")
                if number % 3 == 1:
                    await page.say("SEND", "1", destination="/app/note", receipt="r")
                    await page.say("DISCONNECT", receipt="bye")
                    assert [(await page.hear()).headers["receipt-id"] for _ in range(2)] == ["r", "bye"]
                elif number % 3 == 2:
                    await page.websocket.send_bytes(b"SEND\ndestination:/app/note\ncontent-length:1000\n\nhalf of it")
        del page
        await eventually(lambda: not io.sockets)
        table = io._server.eio.table
        await eventually(lambda: not (table.by_sid or table.leaving or table.tasks))
        assert (io.stats().inbound_bytes, sum(io.stats().rooms.values())) == (0, 0)
        await (await server.connect()).emit_with_ack("note")  # the one served last is remembered
        assert len(all_of(kinds) - known) <= 1  # the network of tests remembers the last one


def test_mistakes_are_said_at_once() -> None:
    """A server would start, and serve nothing."""
    io = Server()
    with pytest.raises(ConfigurationError, match="begins with a slash"):
        io.attach_stomp(web.Application(), namespace="chat")
    with pytest.raises(ConfigurationError, match="topic"):
        Server().attach_stomp(web.Application(), topics=1)  # type: ignore[arg-type]


async def test_a_server_with_another_serializer_speaks_it_too() -> None:
    """STOMP clients of a server with MessagePack would get nothing."""
    io = Server(serializer=MsgpackSerializer())
    io.on("echo")(lambda socket, *args: args)
    async with stomp_in_memory(io, "a") as server, stomp_talk(server) as page:
        await page.subscribe("/topic/a", "1")
        await page.subscribe("/user/queue/reply", "2")
        await io.to("a").emit("news", {"picture": b"\x00\xff"}, 1)
        got = await page.hear()
        assert (got.headers["attachments"], got.args) == ("2", [{"picture": b"\x00\xff"}, 1])
        await page.say("SEND", '{"a":[1,"é"]}', destination="/app/echo", content_type="application/json")
        assert (await page.hear()).json == {"a": [1, "é"]}
