"""The wire of the classic adapter: what a server of Node, an emitter and an older server can ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from rtframework import Server
from rtframework_redis import RedisPubSub
from rtframework_redis.address import Address
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.until import until

Found = tuple[Cluster, RedisServer]


class Peer:
    """A server of Node, written by hand."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.heard: list[tuple[str, Any]] = []

    def hear(self, push: list[Any]) -> None:
        """Keep what comes."""
        payload = push[-1]
        value = json.loads(payload) if payload[:1] == b"{" else msgspec.msgpack.decode(payload)
        self.heard.append((push[-2].decode(), value))

    async def request(self, **fields: Any) -> None:
        """Publish a request."""
        await self._link.send("PUBLISH", "socket.io-request#/#", json.dumps(fields))

    async def respond(self, channel: str, **fields: Any) -> None:
        """Publish an answer."""
        await self._link.send("PUBLISH", channel, json.dumps(fields))

    async def event(self, channel: str, uid: str, packet: dict[str, Any], **opts: Any) -> None:
        """Publish an event."""
        opts = {"rooms": [], "except": [], "flags": {}, **opts}
        await self._link.send("PUBLISH", channel, msgspec.msgpack.encode([uid, packet, opts]))

    async def wait(self, channel: str, count: int = 1) -> list[Any]:
        """Return what has come on a channel, once it is so much."""
        await until(lambda: len([each for to, each in self.heard if to == channel]) >= count)
        return [each for to, each in self.heard if to == channel]


@asynccontextmanager
async def peer(redis: RedisServer, *channels: str) -> AsyncIterator[Peer]:
    """A peer that listens to channels."""
    made: list[Peer] = []
    link = await connect(Address.from_url(redis.url), on_push=lambda push: made[0].hear(push))
    made.append(Peer(link))
    if channels:
        await link.subscribe("SUBSCRIBE", *channels)
    try:
        yield made[0]
    finally:
        await link.close()


async def test_requests_of_the_classic_adapter_alone_are_answered(cluster: Found) -> None:
    """``io.of("/").adapter.allRooms()`` and ``sockets()`` of Node's servers would run into their time limits."""
    servers, redis = cluster
    io, running, _ = await servers.pubsub()
    client = await servers.clients.connect(running.url)
    answers = "socket.io-response#/#"
    async with peer(redis, answers) as node:
        await node.request(uid="abcdef", requestId="1", type=0, rooms=[])
        await node.request(uid="abcdef", requestId="2", type=0, rooms=["nobody"])
        await node.request(uid="abcdef", requestId="3", type=1)
        await node.request(uid="abcdef", requestId="4", type=2, sid=client.sid, room="red")
        await node.request(uid="abcdef", requestId="5", type=1)
        await node.request(uid="abcdef", requestId="6", type=3, sid=client.sid, room="red")
        await node.request(uid="abcdef", requestId="7", type=2, sid="unknown", room="red")
        await node.request(uid="abcdef", requestId="8", type=99, sid=client.sid)
        await node.request(uid="abcdef", type=1)
        await node.request(uid="abcdef", requestId="9", type=4, sid=client.sid, close=False)
        found = {each["requestId"]: each for each in await node.wait(answers, 7)}
    assert found == {
        "1": {"requestId": "1", "sockets": [client.sid]},
        "2": {"requestId": "2", "sockets": []},
        "3": {"requestId": "3", "rooms": [client.sid]},
        "4": {"requestId": "4"},
        "5": {"requestId": "5", "rooms": [client.sid, "red"]},
        "6": {"requestId": "6"},
        "9": {"requestId": "9"},
    }
    await until(lambda: client.ends == ["namespace"])
    assert not io.of("/").sockets


async def test_answers_go_where_they_are_read(cluster: Found) -> None:
    """Each answer would wake all servers, or servers of Node would not get theirs."""
    servers, redis = cluster
    await servers.pubsub()
    names = {
        "all": "socket.io-response#/#",
        "node": "socket.io-response#/#abcdef#",
        "ours": "socket.io-response#/#" + "f" * 16 + "#",
    }
    async with peer(redis, *names.values()) as node:
        await node.request(uid="abcdef", requestId="1", type=1)
        await node.request(uid="f" * 16, requestId="2", type=1)
        await node.wait(names["all"])
        await node.wait(names["ours"])
        assert [(to, each["requestId"]) for to, each in node.heard] == [(names["all"], "1"), (names["ours"], "2")]
    await servers.pubsub(publish_on_specific_response_channel=True, channel_prefix="other")
    async with peer(redis, "other-response#/#abcdef#") as node:
        await node._link.send("PUBLISH", "other-request#/#", json.dumps({"uid": "abcdef", "requestId": "3", "type": 1}))
        assert await node.wait("other-response#/#abcdef#") == [{"requestId": "3", "rooms": []}]


async def test_what_a_server_hears_of_itself_is_done_once(cluster: Found) -> None:
    """Sockets would be moved twice, and clients get every event twice."""
    servers, _ = cluster
    io, running, pubsub = await servers.pubsub()
    client = await servers.clients.connect(running.url)
    told: list[Any] = []

    @io.on_server_side("told")
    async def tell(*args: Any) -> None:
        told.append(args)

    await io.server_side_emit("told", 1)
    await io.emit("bytes", b"x")
    await io.emit("text")
    await io.to(client.sid).emit("own")
    await io.sockets_join("red")
    await io.emit("end")
    await client.wait_for("end")
    await client.barrier()
    assert [each.name for each in client.events if each.name != "echo"][:4] == ["bytes", "text", "own", "end"]
    assert [len(client.received(each)) for each in ("bytes", "text", "own", "end")] == [1, 1, 1, 1]
    assert told == []
    assert pubsub.gaps == 0


async def test_what_node_sends_in_other_forms(cluster: Found, caplog: pytest.LogCaptureFixture) -> None:
    """One odd message would be lost, or stop a server."""
    servers, redis = cluster
    io, running, _ = await servers.pubsub()
    io.of("/a#b")
    client = await servers.clients.connect(running.url)
    await io.of("/").sockets[client.sid].join("7")
    async with peer(redis) as node:
        packet = {"type": 2, "data": ["news", 1]}
        await node.event("socket.io#/#7#", "abcdef", packet, rooms=[7])  # a number, and no namespace: the main one
        await node.event("socket.io#/#", "abcdef", {**packet, "nsp": "/elsewhere"})
        await node.event("socket.io#/#", "abcdef", {**packet, "nsp": "/a#b"})
        await node.event("socket.io#/#", "abcdef", {"type": 2, "data": ["news", float("nan")], "nsp": "/"})
        for channel in ("socket.io#/#", "socket.io-request#/#", "socket.io-response#/#", "socketio"):
            for payload in (b"\x93rubbish", b"{rubbish", b""):
                await node._link.send("PUBLISH", channel, payload)
        await node.respond("socket.io-response#/#", requestId="unknown", sockets=[])
        await node.event("socket.io#/#", "emitter", {**packet, "data": ["end"], "nsp": "/"})
    await client.wait_for("end")
    assert client.received("news") == [[1], [None]]
    assert "is not understood" in caplog.text


async def test_a_namespace_with_a_hash_in_its_name(cluster: Found) -> None:
    """Its rooms would be taken for those of another namespace."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub()
    two, running, _ = await servers.pubsub()
    for io in (one, two):
        io.of("/a#b")
    client = await servers.clients.connect(running.url, nsp="/a#b")
    await one.of("/a#b").to(client.sid).emit("news", 1)
    await client.wait_for("news")


async def test_requests_of_node_are_answered_as_node_does(cluster: Found) -> None:
    """A server of Node would wait for more answers, or for other ones."""
    servers, redis = cluster
    io, running, _ = await servers.pubsub()

    @io.on_server_side("question")
    async def answer(*args: Any) -> str:
        return "ours"

    client = await servers.clients.connect(running.url, data={"n": 1})
    client.answers["vote?"] = "yes"
    answers = "socket.io-response#/#"
    opts = {"rooms": [], "except": [], "flags": {"timeout": 2000}}
    async with peer(redis, answers) as node:
        await node.request(uid="abcdef", requestId="1", type=5, opts=opts)
        await node.request(uid="abcdef", requestId="2", type=6, data=["question"])
        await node.request(
            uid="abcdef", requestId="3", type=7, opts=opts, packet={"type": 2, "data": ["vote?"], "nsp": "/"}
        )
        found = await node.wait(answers, 4)
    by_id = {(each["requestId"], each.get("type")): each for each in found}
    assert [each["id"] for each in by_id[("1", None)]["sockets"]] == [client.sid]
    assert by_id[("2", 6)]["data"] == "ours"
    assert by_id[("3", 8)]["clientCount"] == 1
    assert by_id[("3", 9)]["packet"] == "yes"


async def test_a_reason_travels_and_answers_have_names(cluster: Found) -> None:
    """Handlers on other servers would not know why a client was thrown out; a vote would not tell who has voted."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub()
    two, running, _ = await servers.pubsub()
    reasons = await _reasons_of(two)
    client = await servers.clients.connect(running.url)
    client.answers["vote?"] = "yes"
    assert dict(await one.timeout(5).emit_with_ack("vote?", b"x")) == {client.sid: "yes"}
    asked = asyncio.ensure_future(one.timeout(5).emit_with_ack("silent?"))
    await client.wait_for("silent?")
    await one.to(client.sid).disconnect_sockets(reason="banned")
    answers = await asked
    assert (dict(answers), answers.missing) == ({}, (client.sid,))
    await until(lambda: reasons == ["banned"])


async def _reasons_of(io: Server) -> list[str]:
    reasons: list[str] = []

    @io.on("disconnect")
    async def left(socket: Any, reason: str) -> None:
        reasons.append(reason)

    return reasons


def test_the_wire_is_the_default() -> None:
    """A fleet of Node's classic servers would not hear ours."""
    assert type(Server(adapter=RedisPubSub("redis://localhost")).of("/").adapter).__name__ == "ClassicAdapter"
