"""The wire of the sharded adapter: messages are delivered as they came, and those of others are passed over."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import Server
from rtframework.cluster.messages import Broadcast, EventPacket, Message, Options, ServerSideEmit
from rtframework.cluster.pubsub_wire import encode_sharded
from rtframework.serializers import JSONSerializer
from rtframework_msgpack import MsgpackSerializer
from rtframework_redis import RedisPubSub
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.server import RunningServer

Found = tuple[Cluster, RedisServer]


async def test_an_event_is_not_decoded(cluster: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event would be decoded and encoded again by each server, for which most of the time would go."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub(sharded=True)
    _, running, _ = await servers.pubsub(sharded=True)
    client = await servers.clients.connect(running.url)
    await client.barrier()
    monkeypatch.setattr("rtframework_redis.sharded_adapter.decode", lambda payload: 1 / 0)
    await one.emit("news", {"price": 1.50, "text": "žluťoučký 🐎"})
    await one.to("nobody", "nowhere").emit("news", 2)
    await one.to(client.sid).emit("news", 3)
    assert await client.wait_for("news", 2) == [[{"price": 1.5, "text": "žluťoučký 🐎"}], [3]]


async def test_what_cannot_be_spliced_is_decoded(cluster: Found, caplog: pytest.LogCaptureFixture) -> None:
    """One odd message would be lost, or stop a server."""
    servers, _ = cluster
    io, running, pubsub = await servers.pubsub(sharded=True)
    client = await servers.clients.connect(running.url)
    await io.of("/").sockets[client.sid].join("7")
    channels = pubsub.channels
    for payload in (
        b"{rubbish",
        b"\x93rubbish",
        b'{"type":3,"data":{"packet":{"type":2,"data":["news",1]},"opts":{"rooms":[7],"except":[]}},"uid":"u","nsp":"/"}',
        b'{"type":3,"data":{"packet":{"type":2,"data":["connect"]},"opts":{"rooms":[],"except":[]}},"uid":"u","nsp":"/"}',
        b'{"type":99,"uid":"u","nsp":"/"}',
        encode_sharded(Message(3, Broadcast(EventPacket(2, ["news", b"x"])), "u", "/")),
        encode_sharded(Message(3, Broadcast(EventPacket(2, ["news", 4])), "u", "/elsewhere")),
        encode_sharded(Message(3, Broadcast(EventPacket(2, ["news", b"own"])), pubsub.uid, "/")),
        encode_sharded(Message(3, Broadcast(EventPacket(2, ["end"]), opts=Options(["7"])), "u", "/")),
    ):
        await channels.publish(b"socket.io#/#", payload)
    await client.wait_for("end")
    assert client.received("news") == [[1], [b"x"]]
    assert "is not understood" in caplog.text


async def test_catch_alls_get_the_packet(cluster: Found) -> None:
    """A program's log of what it sends would lack what other servers have emitted."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub(sharded=True)
    two, running, _ = await servers.pubsub(sharded=True)
    seen: list[Any] = []

    @two.on("connection")
    async def connect(socket: Any) -> None:
        socket.on_any_outgoing(lambda *event: seen.append(event))

    client = await servers.clients.connect(running.url)
    await one.emit("news", {"n": 1})
    await client.wait_for("news")
    assert ("news", {"n": 1}) in seen


async def test_servers_with_other_serializers(cluster: Found) -> None:
    """Servers with another serializer would neither hear others nor be heard."""
    servers, redis = cluster
    _, running, _ = await servers.pubsub(sharded=True)
    client = await servers.clients.connect(running.url)
    for serializer in (MsgpackSerializer(), JSONSerializer(enc_hook=str)):
        io = Server(adapter=RedisPubSub(redis.url, sharded=True), serializer=serializer)
        other = RunningServer(io)
        await other.start()
        await io.emit("news", type(serializer).__name__)
        if isinstance(serializer, JSONSerializer):
            await io.emit("hook", ValueError("as text"))
        await other.stop()
    assert await client.wait_for("news", 2) == [["MsgpackSerializer"], ["JSONSerializer"]]
    assert await client.wait_for("hook") == [["as text"]]


async def test_an_event_for_servers_of_another_kind(cluster: Found) -> None:
    """A server would take its own event for another's, or miss another's."""
    servers, _ = cluster
    io, _, pubsub = await servers.pubsub(sharded=True)
    told: list[Any] = []

    @io.on_server_side("told")
    async def tell(*args: Any) -> None:
        told.append(args)

    for uid, number in ((pubsub.uid, 1), ("u", 2)):
        message = Message(9, ServerSideEmit(packet=["told", number]), uid, "/")
        await pubsub.channels.publish(b"socket.io#/#", encode_sharded(message))
    await io.server_side_emit("told", 3)
    assert dict(await io.server_side_emit_with_ack("told", timeout=1)) == {}
    assert told == [(2,)]
