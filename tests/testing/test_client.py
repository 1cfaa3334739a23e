"""The test client: what it sends, what it receives, and what it says when something is missing."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from rtframework import (
    AckTimeout,
    ConnectionRefused,
    Deflate,
    Disconnected,
    EncodeError,
    Identity,
    Limits,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.testing import Clock, TestClient, TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.support.in_process import BOTH, NOT_ON_UVLOOP, chat, refuse_strangers

pytestmark = NOT_ON_UVLOOP

Transport = Literal["websocket", "polling"]


# --- sending and receiving ------------------------------------------------------------------------------------------


@BOTH
async def test_events_and_answers(transport: Transport) -> None:
    """It is what a test is made of."""
    async with TestServer(chat()) as server:
        alice = await server.connect(transport=transport)
        bob = await server.connect(transport=transport)
        assert alice.transport == transport
        assert alice.id != bob.id
        await alice.emit("message", "hi")
        assert await bob.receive("message") == "hi"
        await bob.receive_nothing()
        await alice.receive_nothing()
        assert await alice.emit_with_ack("add", 1, 2) == 3
        assert await alice.emit_with_ack("echo") is None
        assert await alice.emit_with_ack("echo", 1, [2]) == (1, [2])
        answer = await alice.emit_with_ack("add", "1", 2)
        assert answer["error"]["code"] == "invalid_payload"


@BOTH
@pytest.mark.parametrize("serializer", [None, MsgpackSerializer()], ids=["json", "msgpack"])
async def test_what_is_sent_goes_through_the_servers_serializer(transport: Transport, serializer: Any) -> None:
    """A payload that the real codec would refuse or change must not pass a test unchanged."""

    @dataclass
    class Point:
        x: int
        y: int

    async with TestServer(chat(serializer=serializer)) as server:
        alice = await server.connect(transport=transport)
        bob = await server.connect(transport=transport)
        assert await alice.emit_with_ack("echo", (1, b"\x00\xff", Point(1, 2))) == [1, b"\x00\xff", {"x": 1, "y": 2}]
        await alice.emit("message", {"picture": b"png" * 50_000, "text": "ü" * 70_000})
        received = await bob.receive("message")
        assert received == {"picture": b"png" * 50_000, "text": "ü" * 70_000}
        with pytest.raises(EncodeError):
            await alice.emit("echo", object())
        assert await alice.emit_with_ack("echo", 1) == 1


@BOTH
async def test_events_are_taken_by_name_the_oldest_first(transport: Transport) -> None:
    """Tests would depend on the order of events that have nothing to do with each other."""
    async with TestServer(chat()) as server:
        alice = await server.connect(transport=transport)
        bob = await server.connect(transport=transport)
        io_side = [alice.emit("message", number) for number in range(3)]
        await asyncio.gather(*io_side)
        assert [await bob.receive("message") for _ in range(2)] == [0, 1]
        event = await bob.receive_event()
        assert (event.event, event.args, event.payload, event.wants_ack) == ("message", (2,), 2, False)
        assert [item.payload for item in bob.received] == [0, 1, 2]
        with pytest.raises(RuntimeError, match="no answer"):
            await event.ack()


async def test_who_waits_for_what_does_not_come_is_told_what_did() -> None:
    """A failure that does not show what came instead costs a debugging session."""
    async with TestServer(chat()) as server:
        alice = await server.connect()
        bob = await server.connect()
        await alice.emit("message", "hi")
        with pytest.raises(
            AssertionError, match=r"(?s)no 'news' within 0.01 s.*received so far.*message\('hi'\) \[not"
        ):
            await bob.receive("news", within=0.01)
        with pytest.raises(AssertionError, match=r"(?s)no 'news'\nnothing has been received at all"):
            await alice.receive("news", within=0)
        with pytest.raises(AssertionError, match=r"(?s)has received 'message'.*message\('hi'\)"):
            await bob.receive_nothing()
        await bob.receive_nothing("news")
        await server.stop()
        with pytest.raises(AssertionError, match="no 'news', and it is disconnected: transport close"):
            await bob.receive("news", within=60)


# --- answering ------------------------------------------------------------------------------------------------------


@BOTH
async def test_handlers_of_a_client_answer_the_server(transport: Transport) -> None:
    """A server that asks its clients could not be tested."""
    async with TestServer(chat()) as server:
        alice = await server.connect(transport=transport)

        @alice.on("question")
        async def question(value: Any) -> Any:
            await asyncio.sleep(0)
            return value if value != "two" else (1, 2)

        assert await alice.emit_with_ack("ask", "one") == "one"
        assert await alice.emit_with_ack("ask", "two") == (1, 2)
        assert await alice.emit_with_ack("ask", None) is None
        await alice.receive_nothing()

        bob = await server.connect(transport=transport)
        asked = asyncio.create_task(bob.emit_with_ack("ask", 5))
        event = await bob.receive_event("question")
        assert event.wants_ack
        await event.ack("by hand")
        assert await asked == "by hand"


async def test_handlers_collect_what_came_before_them() -> None:
    """What the server sends at once would be missed between connect() and on()."""
    io = chat()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("welcome", 1)
        await socket.emit("welcome", 2)

    async with TestServer(io) as server:
        alice = await server.connect()
        assert await alice.receive("welcome") == 1
        seen: list[int] = []
        alice.on("welcome", seen.append)
        await io.emit("welcome", 3)
        await server.settle()
        assert seen == [2, 3]
        await alice.receive_nothing()


async def test_what_a_handler_of_a_client_raises_fails_the_test() -> None:
    """An assertion in a client's handler would be lost."""
    io = chat()
    async with TestServer(io) as server:
        alice = await server.connect()

        @alice.on("message")
        def message(text: str) -> None:
            assert text == "right", "not this one"

        await io.emit("message", "wrong")
        with pytest.raises(AssertionError, match="not this one"):
            await alice.receive_nothing()
        await alice.receive_nothing()

        @alice.on("news")
        async def news(text: str) -> None:
            raise AssertionError("nobody has asked since")

        await io.emit("news", "wrong")
        with pytest.raises(AssertionError, match="nobody has asked since"):
            await server.stop()


async def test_an_answer_that_does_not_come() -> None:
    """A forgotten answer would hang the test; a client that is gone would not be told from one that waits."""
    async with TestServer(chat()) as server:
        alice = await server.connect()
        with pytest.raises(AckTimeout, match=r"(?s)no answer to 'never'.*nothing has been received"):
            await alice.emit_with_ack("never", within=0)
        with pytest.raises(AckTimeout, match=re.escape("within 0.01 s")):
            await alice.emit_with_ack("never", within=0.01)
        asked = asyncio.create_task(alice.emit_with_ack("never", within=60))
        await server.settle()
        await alice.lose_connection()
        with pytest.raises(Disconnected, match="transport close"):
            await asked
        with pytest.raises(Disconnected):
            await alice.emit("message", 1)
        with pytest.raises(Disconnected):
            await alice.emit_with_ack("echo")


# --- being let in ---------------------------------------------------------------------------------------------------


@BOTH
async def test_what_a_client_brings_reaches_the_handshake(transport: Transport) -> None:
    """Authenticators and middleware decide by it."""
    io = Server()
    shaken: list[Any] = []

    @io.on("connection")
    def connection(socket: Socket) -> None:
        shaken.append(socket.handshake)

    async with TestServer(io) as server:
        await server.connect(
            auth={"token": "a"},
            headers={"Authorization": "Bearer b", "Cookie": "c=d"},
            query={"e": "f"},
            address="203.0.113.7",
            transport=transport,
        )
    (handshake,) = shaken
    assert dict(handshake.auth) == {"token": "a"}
    assert handshake.headers["authorization"] == "Bearer b"
    assert handshake.cookies["c"] == "d"
    assert handshake.query["e"] == "f"
    assert handshake.address == "203.0.113.7"


@BOTH
async def test_refusals_say_what_the_client_would_hear(transport: Transport) -> None:
    """The message and data are what the page shows to people."""
    io = Server(auth=StaticTokenAuth({"a": Identity("1")}))
    io.of("/named").use(refuse_strangers)
    async with TestServer(io) as server:
        with pytest.raises(ConnectionRefused, match="Unknown token") as unknown:
            await server.connect(auth={"token": "b"}, transport=transport)
        assert unknown.value.data == {"code": "unknown_token"}
        alice = await server.connect(auth={"token": "a"}, transport=transport)
        with pytest.raises(ConnectionRefused, match="who are you") as stranger:
            await alice.of("/named", auth={"token": "a"})
        assert stranger.value.data == {"code": 7}
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            await server.connect("/nowhere", transport=transport)
        named = await alice.of("/named", auth={"token": "a", "name": "Ada"})
        assert named.connected
        with pytest.raises(RuntimeError, match="already"):
            await alice.of("/named")
        assert len(io.sockets) == 1


@BOTH
async def test_compression(transport: Transport) -> None:
    """A server that compresses could not be tested as it is."""
    async with TestServer(chat(per_message_deflate=Deflate(threshold=100))) as server:
        alice = await server.connect(transport=transport)
        assert await alice.emit_with_ack("echo", "x" * 100_000) == "x" * 100_000


# --- coming and going -----------------------------------------------------------------------------------------------


@BOTH
async def test_disconnecting(transport: Transport) -> None:
    """What happens when people leave is where most bugs are."""
    io = chat()
    io.of("/admin")
    reasons: list[str] = []

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    async with TestServer(io) as server:
        alice = await server.connect(transport=transport)
        admin = await alice.of("/admin")
        await alice.disconnect()
        assert reasons == ["client namespace disconnect"]
        assert (alice.connected, alice.disconnect_reason) == (False, "io client disconnect")
        assert admin.connected
        await alice.disconnect()  # does nothing
        await admin.disconnect()

        for close, heard in ((False, "io server disconnect"), (True, "io server disconnect")):
            bob = await server.connect(transport=transport)
            await bob.emit("leave", close)
            assert await bob.receive_disconnect() == heard
            assert reasons.pop() == "server namespace disconnect"

        carol = await server.connect(transport=transport)
        with pytest.raises(AssertionError, match="is still connected"):
            await carol.receive_disconnect(within=0)
        await carol.lose_connection()
        assert await carol.receive_disconnect() == f"transport {'close' if transport == 'websocket' else 'error'}"
        if transport == "websocket":
            assert reasons.pop() == "transport close"
        await server.stop()
    assert not io.sockets


@BOTH
async def test_a_server_that_does_not_read_holds_nobody_up(transport: Transport) -> None:
    """A test of what happens when too much is sent would hang."""
    io = chat(limits=Limits(max_pending_events=2))
    gate = asyncio.Event()
    served: list[int] = []

    @io.on("hold")
    async def hold(socket: Socket, number: int) -> None:
        await gate.wait()
        served.append(number)

    for leave in (False, True):
        async with TestServer(io, clock=Clock()) as server:
            alice = await server.connect(transport=transport)
            for number in range(10):
                await alice.emit("hold", number)
            if leave:
                await alice.disconnect()
            else:
                gate.set()
                await server.settle()
                assert served == list(range(10))
                gate.clear()


async def test_coming_back() -> None:
    """What a program does when a client comes back could not be tested."""
    io = Server(auth=StaticTokenAuth({"a": Identity("1", name="Ada")}))
    async with TestServer(io) as server:
        alice = await server.connect(auth={"token": "a"}, transport="polling")
        first = alice.id
        with pytest.raises(RuntimeError, match="it is connected"):
            await alice.reconnect()
        await alice.lose_connection()
        await alice.reconnect()
        assert alice.connected
        assert (alice.id != first, alice.recovered, alice.transport) == (True, False, "polling")
        assert io.sockets[alice.id].user.name == "Ada"
        await alice.disconnect()
        with pytest.raises(ConnectionRefused):
            await alice.reconnect(auth={"token": "b"})
        assert not alice.connected


async def test_clients_say_who_they_are() -> None:
    """It is what a failure shows."""
    async with TestServer(chat()) as server:
        alice: TestClient = await server.connect()
        assert repr(alice) == f"<TestClient {alice.id} of /, websocket>"
        await alice.disconnect()
        assert repr(alice) == f"<TestClient {alice.id} of /, disconnected: io client disconnect>"
