"""One namespace over Pub/Sub: rooms and their channels, and what is emitted."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest

from rtframework import ClusterLoss, ClusterUnavailable, EncodeError, FetchTimeout, Recovery, Server, Socket
from rtframework.exceptions import ConfigurationError
from rtframework_redis import RedisPubSub
from rtframework_redis import channels as channels_module
from rtframework_redis import subscriptions as subscriptions_module
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.until import until
from tests.support.values import PLAIN, SERIALIZER, VALUES, check_between_servers

Found = tuple[Cluster, RedisServer]


def active(pubsub: RedisPubSub) -> set[str]:
    """Return the channels of rooms that a server listens to."""
    subscriptions = pubsub.channels.subscriptions  # type: ignore[attr-defined]
    return {each.decode() for each in subscriptions.wanted if subscriptions.is_active(each)}


@pytest.mark.parametrize("sharded", [False, True])
async def test_a_room_is_listened_to_while_it_has_a_socket(
    cluster: Found, monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    """Servers would hear all rooms of all servers, or not their own."""
    monkeypatch.setattr(channels_module, "GRACE", 0.1)
    monkeypatch.setattr(subscriptions_module, "_TICK", 0.02)
    servers, _ = cluster
    one, _, _ = await servers.pubsub(sharded=sharded)
    two, running, pubsub = await servers.pubsub(sharded=sharded)

    @two.on("connection")
    async def connect(socket: Socket) -> None:
        await socket.join("red", "blue")
        await one.to("red").emit("news", 1)  # at once

    client = await servers.clients.connect(running.url)
    assert await client.wait_for("news") == [[1]]
    assert {"socket.io#/#red#", "socket.io#/#blue#"} <= active(pubsub)
    assert (f"socket.io#/#{client.sid}#" in active(pubsub)) is not sharded
    await one.to("red").sockets_leave("red")
    await until(lambda: "socket.io#/#red#" not in active(pubsub))
    await one.to("red", "blue").emit("news", 2)
    assert await client.wait_for("news", 2) == [[1], [2]]
    await client.close()
    await until(lambda: "socket.io#/#blue#" not in active(pubsub))


@pytest.mark.parametrize("options", [{}, {"sharded": True}, {"sharded": True, "subscription_mode": "dynamic-private"}])
async def test_all_modes_deliver(cluster: Found, options: dict[str, Any]) -> None:
    """A fleet would lose messages, depending on an option."""
    servers, _ = cluster
    one, first, _ = await servers.pubsub(**options)
    two, second, _ = await servers.pubsub(**options)
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    await one.to(clients[1].sid).sockets_join("a#b", "ž", "x" * 20)
    await one.to("a#b").sockets_join("later")
    for number, room in enumerate([clients[1].sid, "a#b", "ž", "x" * 20, "later"]):
        await until(lambda room=room: bool(two.of("/").adapter.index.members(room)))  # type: ignore[misc, attr-defined]
        waiting = two.of("/").adapter.add(clients[1].sid, [room])
        if waiting is not None:
            await waiting
        await one.to(room).emit("news", number)
    await one.emit("end")
    assert await clients[1].wait_for("news", 5) == [[number] for number in range(5)]
    await clients[0].wait_for("end")
    assert clients[0].received("news") == []


async def test_static_classic_servers_hear_everything(cluster: Found) -> None:
    """Fleets of many small rooms could not do with one subscription."""
    servers, _ = cluster
    one, _, _ = await servers.pubsub()
    _, second, pubsub = await servers.pubsub(subscription_mode="static")
    client = await servers.clients.connect(second.url)
    await one.to(client.sid).sockets_join("red")
    await one.to("nobody").emit("news", 0)
    await one.to("red").emit("news", 1)
    await one.to("red", "blue").emit("news", 2)
    assert await client.wait_for("news", 2) == [[1], [2]]
    assert "socket.io#/#*" in active(pubsub)
    assert "socket.io#/#red#" not in active(pubsub)
    assert len(await one.cluster.nodes()) == 2


async def test_an_emit_that_fails_says_who_has_it(cluster: Found) -> None:
    """A program would emit twice to its own clients, or believe that all have it."""
    servers, redis = cluster
    io, running, pubsub = await servers.pubsub(publish_timeout=0.3)
    client = await servers.clients.connect(running.url)
    await redis.kill()
    await until(lambda: not pubsub.health.up)
    emitting = asyncio.ensure_future(io.emit("here"))
    await client.wait_for("here", timeout=0.25)
    with pytest.raises(ClusterUnavailable, match="was not published") as caught:
        await emitting
    assert (caught.value.local, caught.value.uncertain) == (True, False)
    with pytest.raises(ClusterUnavailable) as caught:
        await io.sockets_join("red")
    assert caught.value.local
    assert "red" in io.of("/").adapter.rooms(client.sid)
    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        await io.fetch_sockets()
    await io.local.emit("local")
    await client.wait_for("local")


async def test_clients_are_let_in_while_redis_is_away(cluster: Found) -> None:
    """An outage of Redis would be one of everything."""
    servers, redis = cluster
    io, running, pubsub = await servers.pubsub(publish_timeout=0.3)
    await redis.kill()
    await until(lambda: not pubsub.health.up)
    client = await servers.clients.connect(running.url)
    socket = io.of("/").sockets[client.sid]
    with pytest.raises(ClusterUnavailable):
        await socket.join("red")
    assert "red" in socket.rooms
    await redis.start()
    await until(lambda: pubsub.health.up)
    other, _, _ = await servers.pubsub()
    await other.to("red").emit("red")
    await other.to(client.sid).emit("you")
    await client.wait_for("red")
    await client.wait_for("you")
    assert [each[0] for each in servers.told if each[0] != "up"] == ["down", "gap"]


async def test_a_server_is_not_up_while_it_cannot_publish(cluster: Found) -> None:
    """A load balancer would send clients to a server whose emits fail; and the program would not hear of it."""
    servers, redis = cluster
    io, _, pubsub = await servers.pubsub(publish_timeout=0.3)
    redis.freeze()
    with pytest.raises(ClusterUnavailable) as caught:
        await io.emit("perhaps")
    assert caught.value.uncertain
    await until(lambda: not pubsub.health.up)
    assert pubsub.health.reason == "Redis does not answer"
    redis.thaw()
    await until(lambda: pubsub.health.up)
    await io.emit("news")
    await redis.kill()
    await redis.start()
    for _ in range(3):
        await until(lambda: pubsub.health.up)
        await io.emit("news")  # also right after it is up again, when the others may not have subscribed yet
    assert [each[0] for each in servers.told if each[0] != "gap"] == ["down", "up"] * 2


async def test_a_connection_handler_that_joins_a_room_keeps_nobody_out(cluster: Found) -> None:
    """Nobody new would get in while Redis is away: almost every program joins rooms there."""
    servers, redis = cluster
    io, running, pubsub = await servers.pubsub(publish_timeout=0.3)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("red")
        await socket.to("red").emit("joined")

    await redis.kill()
    await until(lambda: not pubsub.health.up)
    client = await servers.clients.connect(running.url)
    await io.local.to("red").emit("red")
    await client.wait_for("red")


async def test_a_frozen_redis_keeps_nobody_out(cluster: Found) -> None:
    """Clients would be refused because another machine is slow."""
    servers, redis = cluster
    io, running, pubsub = await servers.pubsub(publish_timeout=0.3)
    redis.freeze()
    try:
        client = await servers.clients.connect(running.url)
    finally:
        redis.thaw()
    await until(lambda: pubsub.gaps == 1)  # what was published to it alone before
    await io.to(client.sid).emit("news")
    await client.wait_for("news")


async def test_clients_of_all_servers_get_the_same_values(cluster: Found) -> None:
    """Clients of two servers would get different values, or one of them nothing."""
    servers, _ = cluster
    for sharded in (False, True):
        one, first, _ = await servers.pubsub(sharded=sharded)
        _, second, _ = await servers.pubsub(sharded=sharded)
        clients = [await servers.clients.connect(each.url) for each in (first, second)]
        moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        await one.emit("values", {"at": moment, "t": (1, 2.0), "n": None})
        await one.emit("bytes", {"at": moment, "b": b"x"})
        for event in ("values", "bytes"):
            found = [await each.wait_for(event) for each in clients]
            assert found[0] == found[1]


@pytest.mark.parametrize("sharded", [False, True])
async def test_values_of_the_programs_own_types_are_sent(cluster: Found, sharded: bool) -> None:
    """A program with models would work on one server, and fail on two."""
    servers, _ = cluster
    one, first, _ = await servers.pubsub(sharded=sharded, serializer=SERIALIZER)
    two, second, _ = await servers.pubsub(sharded=sharded, serializer=SERIALIZER)
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    await one.emit("text", *VALUES)
    await one.emit("bytes", *VALUES, b"x")
    for each in clients:
        assert await each.wait_for("text") == [PLAIN]
        assert await each.wait_for("bytes") == [[*PLAIN, b"x"]]
        each.answers["asked"] = "yes"
    assert set((await one.timeout(5).emit_with_ack("asked", *VALUES)).values()) == {"yes"}
    for each in clients:
        assert await each.wait_for("asked") == [PLAIN]
    await check_between_servers(one, two)


@pytest.mark.parametrize("sharded", [False, True])
async def test_emits_that_nobody_awaits_are_told_when_they_are_lost(cluster: Found, sharded: bool) -> None:
    """A handler that was cancelled would leave an event behind that no other server gets, unknown to all."""
    servers, redis = cluster
    io, running, pubsub = await servers.pubsub(sharded=sharded, publish_timeout=0.3)
    client = await servers.clients.connect(running.url)
    losses: list[ClusterLoss] = []
    io.cluster.on("lost")(losses.append)
    await redis.kill()
    await until(lambda: not pubsub.health.up)
    emitting = asyncio.ensure_future(io.to(client.sid).emit("news", 1))
    await client.wait_for("news")
    emitting.cancel()
    await until(lambda: losses)
    (loss,) = losses
    assert (loss.namespace, loss.event, loss.args, loss.local) == ("/", "news", (1,), True)
    assert loss.target.rooms == frozenset([client.sid])
    with pytest.raises(ClusterUnavailable):
        await io.emit("again")
    assert [each.event for each in losses] == ["news", "again"]


async def test_an_emit_goes_on_when_its_emitter_is_cancelled(cluster: Found) -> None:
    """Other servers would miss what the clients of this one have got, whenever a client leaves at that moment."""
    servers, redis = cluster
    io, first, pubsub = await servers.pubsub(publish_timeout=60)
    _, second, _ = await servers.pubsub()
    here, there = [await servers.clients.connect(each.url) for each in (first, second)]
    losses: list[ClusterLoss] = []
    io.cluster.on("lost")(losses.append)
    await redis.kill()
    await until(lambda: not pubsub.health.up)
    emitting = asyncio.ensure_future(io.emit("news", 1))
    await here.wait_for("news")
    emitting.cancel()
    await redis.start()
    assert await there.wait_for("news") == [[1]]
    assert not losses


async def test_a_message_that_is_too_large_is_refused(cluster: Found) -> None:
    """One message would fill the memory of Redis and of every server."""
    servers, _ = cluster
    io, running, _ = await servers.pubsub(max_message=1000)
    client = await servers.clients.connect(running.url)
    with pytest.raises(EncodeError, match="max_message"):
        await io.emit("news", "x" * 1000)
    with pytest.raises(EncodeError):
        await io.emit("news", 2**70)
    await io.to([]).emit("nobody", "x" * 1000)
    await io.emit("end")
    await client.wait_for("end")
    assert client.received("news") == []


async def test_a_server_that_is_silent_is_not_waited_for(cluster: Found) -> None:
    """A server that has died a moment ago would hold up every request."""
    servers, _ = cluster
    io, running, pubsub = await servers.pubsub(requests_timeout=0.2)
    client = await servers.clients.connect(running.url)
    _, _, other = await servers.pubsub()
    other._takes.clear()
    with pytest.raises(FetchTimeout) as caught:
        await io.fetch_sockets()
    assert [each.id for each in caught.value.sockets] == [client.sid]
    assert caught.value.missing == (other.node,)
    assert pubsub.health.up


def test_recovery_is_refused_at_once() -> None:
    """Clients would believe that they have missed nothing."""
    with pytest.raises(ConfigurationError, match="RedisStreams"):
        Server(adapter=RedisPubSub("redis://localhost"), connection_state_recovery=Recovery())
