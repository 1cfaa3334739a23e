"""One room with clients of every kind that the server speaks with: what one says, all hear."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, web

from rtframework import History, Server, Socket
from rtframework.protocols import Serializer
from rtframework.testing.conformance.gateway_peer import GatewayPeer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.engine import eventually
from tests.support.event_source import Stream, stream
from tests.support.gateways import SockJSPeer, SockJSStreamPeer
from tests.support.js import JSClient, JSClients
from tests.support.stomp import StompPeer
from tests.support.stomp_over_sockjs import StompSockJSPeer, StompSockJSStreamPeer
from tests.support.transports import TRANSPORTS

ROOM: Final = "lobby"
EACH: Final = 10
"""Messages of each client."""


class Member(Protocol):
    """A client in the room. An ``end`` is what everybody hears last."""

    async def say(self, message: Any) -> None:
        """Say something to all."""

    async def hear_all(self) -> list[Any]:
        """Return what was said, in order, up to the end."""


class SocketIO:
    """The stock client."""

    def __init__(self, client: JSClient) -> None:
        self._client = client

    async def say(self, message: Any) -> None:
        await self._client.emit("say", message)

    async def hear_all(self) -> list[Any]:
        await self._client.wait_for("end")
        await self._client.barrier()
        return [args[0] for args in self._client.received("said")]


class EventSource:
    """A stream, and its POSTs."""

    def __init__(self, events: Stream) -> None:
        self._events = events

    async def say(self, message: Any) -> None:
        assert (await self._events.post("say", message))[0] == 200

    async def hear_all(self) -> list[Any]:
        await self._events.next("end")
        return [json.loads(each.data) for each in self._events.events if each.event == "said"]


class Plain:
    """A websocket that speaks JSON."""

    def __init__(self, websocket: ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def say(self, message: Any) -> None:
        await self._websocket.send_json({"event": "say", "args": [message]})

    async def hear_all(self) -> list[Any]:
        heard = []
        while (content := await self._websocket.receive_json(timeout=20)).get("event") != "end":
            heard += [content["args"][0]] if content["type"] == "event" else []
        return heard


class ByHand:
    """A client of another gateway, that speaks its protocol by hand."""

    def __init__(self, peer: GatewayPeer) -> None:
        self._peer = peer

    async def say(self, message: Any) -> None:
        await self._peer.emit("say", message)

    async def hear_all(self) -> list[Any]:
        heard: list[Any] = []
        async with asyncio.timeout(20):
            while True:
                event, args = await self._peer.receive()
                if event == "end":
                    return heard
                heard.append(args[0])


async def peers(url: str) -> dict[str, GatewayPeer]:
    """Connect to the gateways of which there is no stock client here."""
    stomps: dict[str, StompPeer] = {
        "STOMP": await StompPeer.connect(url, "", {}),
        "STOMP over SockJS, websocket": await StompSockJSPeer.connect(url, "", {}),
        "STOMP over SockJS, xhr-streaming": await StompSockJSStreamPeer.connect(url, "", {}),
    }
    for stomp in stomps.values():
        stomp.say("SUBSCRIBE", id="room", destination=f"/topic/{ROOM}", receipt="room")
        assert (await stomp.next()).headers["receipt-id"] == "room"
    return {
        **stomps,
        "SockJS, websocket": await SockJSPeer.connect(url, "/sockjs/000/one/websocket", {}),
        "SockJS, xhr-streaming": await SockJSStreamPeer.connect(url, "/sockjs/000/two?", {}),
    }


class Asking:
    """A client without a connection, that asks what was said, a few messages at a time."""

    def __init__(self, http: ClientSession, url: str) -> None:
        self._http = http
        self._url = f"{url}/events/poll?room={ROOM}&limit=7"
        self._since = ""

    async def start(self) -> None:
        """Ask for the first time."""
        self._since = (await self._ask())["next"]

    async def hear_all(self) -> list[Any]:
        heard: list[Any] = []
        async with asyncio.timeout(20):
            while True:
                answer = await self._ask()
                assert not answer["gap"]
                self._since = answer["next"]
                for event in answer["events"]:
                    if event["event"] == "end":
                        return heard
                    heard.append(event["data"])

    async def _ask(self) -> Any:
        async with self._http.get(f"{self._url}&since={self._since}" if self._since else self._url) as response:
            assert response.status == 200, await response.text()
            return await response.json()


def make(serializer: Serializer | None, said: list[Any]) -> tuple[Server, web.Application]:
    """Make a server for all kinds of clients, all of which come into one room, and note what is ``said``."""
    io = Server(allow_eio3=True, serializer=serializer, history=History(ROOM, size=1000))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join(ROOM)

    @io.on("say")
    async def say(socket: Socket, message: dict[str, Any]) -> None:
        await io.to(ROOM).emit("said", message)
        said.append(message)

    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_sse(app, "/events", rooms=[ROOM])
    io.attach_stomp(app, "/stomp", topics=[ROOM])
    io.attach_sockjs(app, "/sockjs")
    io.attach_sockjs(app, "/spring", carries="stomp", topics=[ROOM])
    return io, app


@contextlib.asynccontextmanager
async def members(
    url: str, js: JSClients, options: Mapping[str, Any], *, old: bool
) -> AsyncIterator[dict[str, Member]]:
    """Come into the room: a member of each kind, by its name.

    ``old``: clients of Socket.IO 2, too. They are left out with MessagePack: the parser that is installed, version 3 of
    ``socket.io-msgpack-parser``, is that of Socket.IO 3 and 4. Its packets are those of protocol 5, and its ``encode``
    returns them, where Socket.IO 2 waits for a callback.
    """
    found: dict[str, Member] = {}
    for transport in TRANSPORTS:
        found[f"Socket.IO 4, {transport}"] = SocketIO(await js.connect(url, via=transport, **options))
        if old:
            found[f"Socket.IO 2, {transport}"] = SocketIO(await js.connect(url, via=transport, v2=True))
    others = await peers(url)
    found |= {name: ByHand(peer) for name, peer in others.items()}
    async with stream(f"{url}/events") as events, ClientSession() as http, http.ws_connect(f"{url}/ws") as websocket:
        await events.next("connect")
        assert (await websocket.receive_json(timeout=20))["type"] == "connected"
        yield {**found, "EventSource": EventSource(events), "plain websocket": Plain(websocket)}
    for peer in others.values():
        peer.drop()


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
async def test_what_one_says_all_hear(serve: Serve, js: JSClients, serializer: str) -> None:
    """A message would be missing for one kind of client, come twice, or in another order than for the rest."""
    said: list[Any] = []
    is_packed = serializer == "msgpack"
    io, app = make(MsgpackSerializer() if is_packed else None, said)
    url = (await serve(app)).url
    options = {"parser": "msgpack"} if is_packed else {}
    async with members(url, js, options, old=not is_packed) as room, ClientSession() as http:
        asking = Asking(http, url)
        await asking.start()
        await eventually(lambda: sum(ROOM in socket.rooms for socket in io.sockets.values()) == len(room))

        async def talk(name: str, member: Member) -> None:
            for number in range(EACH):
                await member.say({"from": name, "number": number, "text": "grüße 😀"})

        await asyncio.gather(*(talk(name, member) for name, member in room.items()))
        await eventually(lambda: len(said) == EACH * len(room))
        await io.to(ROOM).emit("end")
        heard = {name: await member.hear_all() for name, member in room.items()}
        heard["short polling"] = await asking.hear_all()
    first = heard["plain websocket"]
    assert len(first) == EACH * len(room)
    for name in room:
        assert [each["number"] for each in first if each["from"] == name] == list(range(EACH))
    for name, messages in heard.items():
        assert messages == first, name
