"""Plain websockets that speak ``rtframework.v1``, beside clients of Socket.IO."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ConnectionRefused,
    Disconnected,
    EventError,
    Handshake,
    Identity,
    Limits,
    Packet,
    PacketType,
    RateLimit,
    Recovery,
    Server,
    Socket,
    StaticTokenAuth,
    TokenSources,
)
from rtframework.authenticators import TokenDetails, tell_of_token
from rtframework.gateways.json_codec import JSONCodec
from rtframework.gateways.plain_websocket import PlainWebSocketGateway
from rtframework.protocols import Serializer
from rtframework_msgpack import MsgpackSerializer
from tests.engine import eventually
from tests.gateways import in_memory, talk
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


async def test_one_emit_reaches_both_kinds_of_clients() -> None:
    """Rooms would be different ones for each protocol."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("lobby")

    @io.on("say")
    async def say(socket: Socket, text: str, to: str) -> None:
        await (io.to(to) if to != "others" else socket.broadcast).emit("said", text)

    async with in_memory(io) as server, talk(server) as one, talk(server) as two:
        node = await server.connect()
        await node.emit("say", "from node", "lobby")
        for page in (one, two):
            assert await page.hear() == {"type": "event", "event": "said", "args": ["from node"]}
        await one.emit("say", "from a page", "others")
        assert (await two.hear())["args"] == ["from a page"]
        assert [await node.receive("said"), await node.receive("said")] == ["from node", "from a page"]
        await one.emit("say", "private", node.id)
        assert await node.receive("said") == "private"
        await one.say(type="ping")
        assert await one.hear() == {"type": "pong"}


async def test_one_packet_is_encoded_once_for_all() -> None:
    """A broadcast to a thousand pages would cost a thousand encodings."""
    io = Server()
    made = 0

    class Counting(JSONCodec):
        def encode_outgoing(self, outgoing: Any) -> Any:
            nonlocal made
            made += outgoing.type == 2
            return super().encode_outgoing(outgoing)

    async with in_memory(io, Counting()) as server, talk(server) as one, talk(server) as two, talk(server) as three:
        await io.emit("news", {"a": [1]})
        for page in (one, two, three):
            assert (await page.hear())["args"] == [{"a": [1]}]
    assert made == 1


def test_what_other_servers_have_encoded_is_understood() -> None:
    """What is emitted on another server, or was missed, would be lost for plain websockets."""
    io = Server()
    engine = io._server
    gateway = PlainWebSocketGateway(*io._parts())
    spliced = engine.splice("/n", '["a","é",{"b":1}]', "offset.1")
    assert spliced is not None
    joined = engine.join([spliced, engine.encode(Packet(PacketType.CONNECT, "/n", {"sid": "x"}))])
    first = '{"type":"event","event":"a","args":["é",{"b":1},"offset.1"],"nsp":"/n"}'
    assert gateway.form(spliced).packets == [first]
    assert gateway.form(joined).packets == [first, '{"type":"connected","sid":"x","nsp":"/n"}']
    assert gateway.form(joined) is gateway.form(joined)


async def test_answers_go_both_ways() -> None:
    """A client could not ask, and a server could not either."""
    io = Server()

    @io.on("add")
    def add(socket: Socket, one: int, two: int) -> int:
        if one < 0:
            raise EventError("negative", "too small")
        return one + two

    @io.on("pair")
    def pair(socket: Socket) -> tuple[int, str]:
        return 1, "b"

    async with in_memory(io) as server, talk(server) as page:
        await page.emit("add", 1, 2, id=1)
        assert await page.hear() == {"type": "ack", "args": [3], "id": 1}
        await page.emit("add", -1, 2, id=2)
        answer = await page.hear()
        assert (answer["id"], answer["args"][0]["error"]["code"]) == (2, "negative")
        await page.emit("add", "x", 2, id=3)
        assert (await page.hear())["args"][0]["error"]["code"] == "invalid_payload"
        await page.emit("pair", id=4)
        assert (await page.hear())["args"] == [1, "b"]
        await page.emit("add", 1, 2)
        (socket,) = io.sockets.values()
        asking = asyncio.create_task(socket.timeout(5).emit_with_ack("sure?", 7))
        question = await page.hear()
        assert (question["event"], question["args"]) == ("sure?", [7])
        await page.say(type="ack", id=question["id"], args=["yes"])
        assert await asking == "yes"
        with pytest.raises(AckTimeout):
            await socket.timeout(0.01).emit_with_ack("nobody answers")
        await page.hear()
        everybody = asyncio.create_task(io.timeout(5).emit_with_ack("all?"))
        await page.say(type="ack", id=(await page.hear())["id"], args=[1])
        assert list((await everybody).values()) == [1]
        asking = asyncio.create_task(socket.timeout(5).emit_with_ack("gone?"))
        await page.hear()
    with pytest.raises(Disconnected):
        await asking


@pytest.mark.parametrize("serializer", [None, MsgpackSerializer()], ids=["json", "msgpack"])
async def test_bytes_go_both_ways(serializer: Serializer | None) -> None:
    """A picture could not be sent."""
    io = Server(serializer=serializer)

    @io.on("picture")
    async def picture(socket: Socket, content: dict[str, Any]) -> bytes:
        await io.emit("picture", content, b"\x01")
        reversed_: bytes = content["of"][::-1]
        return reversed_

    def parted(message: bytes) -> tuple[Any, bytes]:
        end = 4 + int.from_bytes(message[:4], "big")
        return json.loads(message[4:end]), message[end:]

    async with in_memory(io) as server, talk(server) as page:
        node = await server.connect()
        place = {"_placeholder": True, "num": 0}
        head = json.dumps({"event": "picture", "id": 5, "args": [{"of": place}], "attachments": [3]}).encode()
        await page.websocket.send_bytes(len(head).to_bytes(4, "big") + head + b"abc")
        content, attachments = parted(await page.websocket.receive_bytes())
        assert content["args"] == [{"of": place}, {"_placeholder": True, "num": 1}]
        assert (content["attachments"], attachments) == ([3, 1], b"abc\x01")
        assert await node.receive("picture") == ({"of": b"abc"}, b"\x01")
        content, attachments = parted(await page.websocket.receive_bytes())
        assert (content["type"], content["id"], attachments) == ("ack", 5, b"cba")
        await io.emit("text", "é", 1.5)
        assert await page.hear() == {"type": "event", "event": "text", "args": ["é", 1.5]}


@pytest.mark.parametrize("way", ["query", "message", "header"])
async def test_a_token_lets_in(way: str) -> None:
    """Whoever has a token would be refused, or whoever has none let in."""
    auth = StaticTokenAuth({"right": "ada"}, sources=TokenSources(header=True))
    io = Server(auth=auth)
    queries = {"query": "?token={}", "message": "?auth=message", "header": ""}

    async with in_memory(io) as server:
        for token, user in (("right", "ada"), ("wrong", None)):
            headers = {"Authorization": f"Bearer {token}"} if way == "header" else {}
            query = queries[way].format(token)
            async with talk(server, query, joins=False, headers=headers) as page:
                if way == "message":
                    await page.say(type="connect", auth={"token": token})
                first = await page.hear()
                if user is None:
                    assert first["type"] == "refused"
                    assert first["data"]["code"] == "unknown_token"
                    assert (await page.close_code())[0] == 4401
                else:
                    assert first["type"] == "connected"
                    assert [each.user for each in io.sockets.values()] == [user]
            await eventually(lambda: not io.sockets)


class Renewed:
    """Takes names for tokens, the first one for a moment only."""

    async def authenticate(self, handshake: Handshake) -> Identity:
        token = handshake.auth["token"]
        lives = 0.1 if token == "Ada" else 3600
        tell_of_token(TokenDetails(expires_at=time.time() + lives, refresh_before=30, refresh_grace=30))
        return Identity("ada", name=token)


async def test_a_token_is_renewed() -> None:
    """Programs that speak no Socket.IO would lose their connection whenever a token runs out."""
    io = Server(auth=Renewed())
    async with in_memory(io) as server, talk(server, "?token=Ada") as page:
        asked = await page.hear()
        assert (asked["type"], asked["event"]) == ("event", "refresh_token")
        assert asked["args"][0]["expires_in"] >= 0
        await page.say(type="ack", id=asked["id"], args=["Ada Lovelace"])
        await eventually(lambda: [each.user.name for each in io.sockets.values()] == ["Ada Lovelace"])
        await page.say(type="ping", data=1)
        assert await page.hear() == {"type": "pong", "data": 1}


async def test_who_is_thrown_out_is_told_why() -> None:
    """A program would come back again and again, and nobody know why it is closed."""
    io = Server(auth=StaticTokenAuth({"right": Identity("ada")}))
    async with in_memory(io) as server, talk(server, "?token=right") as page:
        await io.user("ada").disconnect(reason="spam")
        assert await page.hear() == {
            "type": "event",
            "event": "kicked",
            "args": [{"reason": "spam", "reconnect": False}],
        }
        assert await page.hear() == {"type": "disconnected"}
        assert (await page.close_code())[0] == 4410


async def test_a_namespace_is_chosen_in_the_query() -> None:
    """A page would have to join the main namespace first."""
    io = Server()
    chat = io.of("/chat/{room}")

    @chat.on("where")
    def where(socket: Socket) -> str:
        return socket.namespace.name

    async with in_memory(io) as server, talk(server, "?nsp=/chat/a%20b", joins=False) as page:
        assert (await page.hear())["nsp"] == "/chat/a b"
        await page.emit("where", id=1)
        assert await page.hear() == {"type": "ack", "args": ["/chat/a b"], "id": 1, "nsp": "/chat/a b"}
        assert not io.sockets
        async with talk(server, "?nsp=/nowhere", joins=False) as other:
            assert await other.hear() == {"type": "refused", "message": "Invalid namespace", "nsp": "/nowhere"}
            assert await other.close_code() == (4404, "Invalid namespace")


async def test_a_session_is_continued() -> None:
    """What is emitted while a phone is in a tunnel would be lost."""
    io = Server(connection_state_recovery=Recovery())

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["seen"] = socket.data.get("seen", 0) + 1
        await socket.join("lobby")

    async with in_memory(io) as server:
        async with talk(server, joins=False) as page:
            welcome = await page.hear()
            await io.to("lobby").emit("news", 1)
            offset = (await page.hear())["args"][-1]
            (socket,) = io.sockets.values()
            page.websocket._conn.transport.abort()  # type: ignore[union-attr]
        await eventually(lambda: not io.sockets)
        await io.to("lobby").emit("news", 2)
        async with talk(server, f"?pid={welcome['pid']}&offset={offset}", joins=False) as page:
            assert (await page.hear())["args"][:1] == [2]
            again = await page.hear()
            assert (again["type"], again["sid"], again["pid"]) == ("connected", welcome["sid"], welcome["pid"])
            (socket,) = io.sockets.values()
            assert socket.recovered
    assert io.stats().recoveries["recovered"] == 1


async def test_what_a_server_does_to_clients_it_does_to_these() -> None:
    """Moderators could not throw out half of the clients."""
    io = Server()
    async with in_memory(io) as server:
        async with talk(server) as page:
            (socket,) = io.sockets.values()
            await socket.disconnect(reason="spam", reconnect=False)
            assert await page.hear() == {
                "type": "event",
                "event": "kicked",
                "args": [{"reason": "spam", "reconnect": False}],
            }
            assert (await page.hear())["type"] == "disconnected"
            assert (await page.close_code())[0] == 4410
        async with talk(server) as page:
            await io.disconnect_sockets(close=True)
            assert (await page.hear())["type"] == "disconnected"
            assert (await page.close_code())[0] == 4410


async def test_a_client_that_is_too_fast_is_told() -> None:
    """Whoever is limited by Socket.IO would use the other door."""
    io = Server(rate_limit=RateLimit(events="2/h"))
    io.on("a")(lambda socket: None)
    async with in_memory(io) as server, talk(server) as page:
        for number in range(3):
            await page.emit("a", id=number)
        assert [(await page.hear())["args"] for _ in range(2)] == [[], []]
        assert (await page.hear())["args"][0]["error"]["code"] == "rate_limited"


async def test_who_is_refused_by_a_handler_is_told_why() -> None:
    """A page could not say what its user has to do."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("never seen")
        raise ConnectionRefused("full", {"code": "full", "at": 3})

    async with in_memory(io) as server, talk(server, joins=False) as page:
        assert await page.hear() == {"type": "refused", "message": "full", "data": {"code": "full", "at": 3}}
        assert await page.close_code() == (4401, "full")
    assert io.stats().connects["connection_handler"] == 1


async def test_a_wrong_message_is_told_and_closes() -> None:
    """A programmer would look for the mistake for hours."""
    io = Server()
    async with in_memory(io) as server, talk(server) as page:
        await page.say(type="shout")
        assert await page.hear() == {"type": "error", "message": "unknown type"}
        assert await page.close_code() == (4400, "invalid message")


async def test_a_codec_that_fails_when_a_client_comes_refuses_it(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in ``auth`` would let everybody in, or leave clients waiting."""

    class Broken(JSONCodec):
        def auth(self, handshake: Any) -> Any:
            raise KeyError("unforeseen")

    io = Server()
    async with in_memory(io, Broken()) as server, talk(server, joins=False) as page:
        assert await page.close_code() == (4401, "Internal server error")
    assert not io.sockets
    assert len([each for each in caplog.records if each.exc_info]) == 1


async def test_nothing_is_left_of_those_who_have_gone() -> None:
    """A server would need more memory each day."""
    io = Server()
    async with in_memory(io) as server:
        for _ in range(50):
            async with talk(server) as page:
                await page.emit("nothing")
        await eventually(lambda: not io.sockets and not io._server.eio.connections)
        table = io._server.eio.table
        assert not table.leaving
        assert not table.unconnected
        assert not table.tasks
        assert io.stats().inbound_bytes == 0


async def test_close_codes_say_what_to_do() -> None:
    """A client would come back at once, again and again, or not at all."""
    io = Server(rate_limit=RateLimit(events="1/h", on_exceed="close"), limits=Limits(max_outbox=10_000))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.query.get("much"):
            for _ in range(3):
                await socket.emit("much", "x" * 9_000)
            await asyncio.sleep(0)

    io.on("a")(lambda socket: None)
    async with in_memory(io) as server:
        async with talk(server) as page:
            await page.emit("a")
            await page.emit("a")
            assert await page.close_code() == (4429, "rate limited")
        async with talk(server, "?much=1", joins=False) as page:
            assert (await page.close_code())[0] == 4413
        async with talk(server) as page:
            io.engine.ban("127.0.0.1", 60)
            assert await page.close_code() == (1008, "forced server close")
            io.engine.unban("127.0.0.1")
        async with talk(server) as page:
            (socket,) = io.sockets.values()
            socket._nsp._membership.revoke(socket)
            assert await page.close_code() == (4401, "token_revoked")


async def test_a_client_that_connects_too_often_comes_later() -> None:
    """It would ask its user for another password, or never come back."""
    io = Server(rate_limit=RateLimit(connects={"address": "1/h"}))
    async with in_memory(io) as server:
        async with talk(server):
            pass
        async with talk(server, joins=False) as page:
            refused = await page.hear()
            assert (refused["type"], refused["data"]["code"]) == ("refused", "rate_limited")
            assert (await page.close_code())[0] == 4429
