"""A connection of the test client, with the namespaces that it is in, against a server that the test writes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtframework.exceptions import ConnectionRefused, Disconnected
from rtframework.serializers import JSONSerializer
from rtframework.testing.connection import Connection, Member, Network, Route
from rtframework.testing.idle import settle
from rtframework.types import Packet, PacketType
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


class Engine:
    """The Engine.IO client below: what it was asked to send, and how it has ended."""

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.reason: str | None = None
        self.closed = 0

    async def send(self, messages: list[str | bytes]) -> None:
        self.sent += messages

    def close(self) -> None:
        self.closed += 1

    def fail(self, reason: str) -> None:
        self.reason = reason


class Client:
    """A client in one namespace: what it hears."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.member = Member(
            lambda welcome: self.log.append(("welcome", dict(welcome))),
            lambda data, id: self.log.append(("event", data, id)),
            lambda data, id: self.log.append(("answer", data, id)),
            lambda reason: self.log.append(("gone", reason)),
        )


class Line:
    """A connection, and the server's end of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = Engine()
        monkeypatch.setattr("rtframework.testing.connection.EngineClient", lambda *args, **options: self.engine)
        monkeypatch.setattr("rtframework.testing.connection.memory_session", lambda *args: None)
        network = SimpleNamespace(serializer=JSONSerializer(), path="/socket.io/", connector=lambda address: None)
        self.connection = Connection(cast("Network", network), Route())

    def say(self, kind: PacketType, nsp: str = "/", data: Any = None, id: int | None = None) -> None:
        """The server sends a packet."""
        for frame in JSONSerializer().encode(Packet(kind, nsp, data, id)):
            self.connection._receive(frame)

    async def join(self, client: Client, nsp: str = "/", auth: Mapping[str, Any] | None = None) -> asyncio.Task[None]:
        """Ask to be let in."""
        joining = asyncio.create_task(self.connection.join(nsp, auth, client.member, 0.05))
        await settle()
        return joining

    async def joined(self, nsp: str = "/") -> Client:
        """A client that is in."""
        client = Client()
        joining = await self.join(client, nsp)
        self.say(PacketType.CONNECT, nsp, {"sid": f"sid of {nsp}"})
        await joining
        return client


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


async def test_a_client_is_let_in_and_hears_what_follows_at_once(line: Line) -> None:
    """An event that comes with the welcome would be lost, because the test has not gone on yet."""
    client = Client()
    joining = await line.join(client, "/chat", {"token": "a"})
    assert line.engine.sent == ['0/chat,{"token":"a"}']
    assert not joining.done()
    line.say(PacketType.CONNECT, "/chat", {"sid": "s1"})
    line.say(PacketType.EVENT, "/chat", ["news", 1], 7)
    await joining
    assert client.log == [("welcome", {"sid": "s1"}), ("event", ["news", 1], 7)]


@pytest.mark.parametrize(
    ("told", "message", "data"),
    [
        ({"message": "no", "data": {"code": 3}}, "no", {"code": 3}),
        ({"message": "no"}, "no", None),
        ("Invalid namespace", "Invalid namespace", None),
        ({}, "", None),
    ],
)
async def test_a_refusal_says_what_a_client_would_hear(line: Line, told: Any, message: str, data: Any) -> None:
    """A test could not tell one refusal from another."""
    client = Client()
    joining = await line.join(client)
    line.say(PacketType.CONNECT_ERROR, "/", told)
    with pytest.raises(ConnectionRefused) as caught:
        await joining
    assert (caught.value.message, caught.value.data) == (message, data)
    assert line.connection.members == {}
    line.say(PacketType.CONNECT_ERROR, "/", told)  # nobody asks any more
    assert client.log == []
    again = await line.join(client)
    line.say(PacketType.CONNECT, "/", {})
    await again


async def test_a_server_that_says_nothing(line: Line) -> None:
    """A test would hang; and the client be there the next time, half."""
    with pytest.raises(AssertionError, match="has neither let the client into / nor refused it"):
        await (await line.join(Client()))
    assert line.connection.members == {}


async def test_packets_are_for_their_namespace(line: Line) -> None:
    """A client would hear what is said in another namespace of the same connection."""
    main, chat = await line.joined(), await line.joined("/chat")
    line.say(PacketType.EVENT, "/", ["a"])
    line.say(PacketType.ACK, "/chat", [1], 3)
    line.say(PacketType.EVENT, "/nobody", ["b"])
    assert main.log[1:] == [("event", ["a"], None)]
    assert chat.log[1:] == [("answer", [1], 3)]


async def test_a_connection_is_in_a_namespace_once(line: Line) -> None:
    """Two clients would hear each other's events."""
    await line.joined()
    with pytest.raises(RuntimeError, match="is in / already"):
        await line.connection.join("/", None, Client().member, 1)
    joining = await line.join(Client(), "/slow")
    with pytest.raises(RuntimeError, match="is in /slow already"):
        await line.connection.join("/slow", None, Client().member, 1)
    line.say(PacketType.CONNECT, "/slow", {})
    await joining


async def test_the_last_one_that_leaves_closes_the_door(line: Line) -> None:
    """A server would keep connections that nobody uses; or others lose theirs."""
    await line.joined()
    await line.joined("/chat")
    await line.connection.leave("/")
    assert line.engine.sent[-1] == "1"
    assert line.engine.closed == 0
    await line.connection.leave("/chat")
    assert line.engine.sent[-1] == "1/chat,"
    assert line.engine.closed == 1
    count = len(line.engine.sent)
    await line.connection.leave("/chat")
    assert len(line.engine.sent) == count


async def test_a_server_that_ends_one_namespace_leaves_the_others(line: Line) -> None:
    """A client that is disconnected from one would seem to be from all."""
    main, chat = await line.joined(), await line.joined("/chat")
    line.say(PacketType.DISCONNECT, "/chat")
    line.say(PacketType.DISCONNECT, "/chat")
    assert chat.log[1:] == [("gone", "io server disconnect")]
    assert main.log[1:] == []
    assert set(line.connection.members) == {"/"}


async def test_the_end_is_told_to_all_and_to_those_who_wait(line: Line) -> None:
    """A test would wait for a server that has gone."""
    main, chat = await line.joined(), await line.joined("/chat")
    joining = await line.join(Client(), "/slow")
    line.connection._closed("transport close")
    with pytest.raises(Disconnected, match="transport close"):
        await joining
    assert main.log[1:] == chat.log[1:] == [("gone", "transport close")]
    assert line.connection.members == {}
    line.engine.reason = "transport close"
    with pytest.raises(Disconnected, match="transport close"):
        await line.connection.join("/", None, Client().member, 1)


async def test_what_is_no_packet_ends_the_connection(line: Line) -> None:
    """A serializer with a mistake would pass its tests."""
    client = await line.joined()
    line.connection._receive("9nonsense")
    assert line.engine.reason == "parse error"
    assert client.log[1:] == []


async def test_attachments_are_waited_for(line: Line) -> None:
    """Binary events would come without their data, or not at all."""
    client = await line.joined()
    line.connection._receive('51-["picture",{"_placeholder":true,"num":0}]')
    assert client.log[1:] == []
    line.connection._receive(b"\x00\xff")
    assert client.log[1:] == [("event", ["picture", b"\x00\xff"], None)]
