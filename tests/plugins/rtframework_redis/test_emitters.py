"""What programs emit that are no servers."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
import pytest
import socketio
from aiohttp import web

from rtframework.engine import AsyncServer, Manager
from rtframework_redis.address import Address
from rtframework_redis.handshake import connect
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.server import RunningServer
from tests.support.until import until


class RedisManager(socketio.AsyncRedisManager, Manager):  # type: ignore[misc]
    """The manager of docs/drop-in.md."""


Found = tuple[Cluster, RedisServer]


async def test_the_classic_emitter_is_heard(cluster: Found) -> None:
    """The emitters that most programs have today would reach nobody."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    told: list[Any] = []

    @io.on_server_side("told")
    async def tell(*args: Any) -> None:
        told.append(args)

    client = await servers.clients.connect(running.url)
    await client.barrier()
    writer = streams.writer

    async def request(**fields: Any) -> None:
        await writer.command("PUBLISH", "socket.io-request#/#", json.dumps(fields))

    async def event(name: str, *, uid: str = "emitter", channel: str = "socket.io#/#", **opts: Any) -> None:
        packet = {"type": 2, "data": [name], "nsp": "/"}
        opts = {"rooms": [], "except": [], "flags": {}, **opts}
        await writer.command("PUBLISH", channel, msgspec.msgpack.encode([uid, packet, opts]))

    opts = {"rooms": [client.sid], "except": []}
    await event("of a server", uid="abcdef")
    await event("to all")
    await request(type=2, opts=opts, rooms=["red"], uid="abcdef")
    await request(type=2, opts=opts, rooms=["red"])
    await event("to red", channel="socket.io#/#red#", rooms=["red"])
    await request(type=3, opts=opts, rooms=["red"])
    await event("to red again", channel="socket.io#/#red#", rooms=["red"])
    await request(type=6, uid="emitter", data=["told", 1])
    await request(type=0, uid="emitter", requestId="1")
    await until(lambda: told == [(1,)])
    assert [each.name for each in client.events if each.name.startswith("to")] == ["to all", "to red"]
    await request(type=4, opts=opts, close=False)
    await until(lambda: client.ends == ["namespace"])


async def test_managers_of_python_socketio_are_heard(cluster: Found) -> None:
    """Workers of Celery and Django could neither move nor disconnect clients."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    await client.barrier()

    async def send(method: str, **fields: Any) -> None:
        message = {"method": method, "namespace": "/", "host_id": "x", **fields}
        await streams.writer.command("PUBLISH", "socketio", json.dumps(message))

    for number, (method, fields) in enumerate(
        [("enter_room", {"sid": client.sid}), ("leave_room", {"sid": client.sid}), ("close_room", {})]
    ):
        if method == "close_room":
            await send("enter_room", sid=client.sid, room="red")
        await send(method, room="red", **fields)
        await send("emit", event="news", data=[number], room="red")
    await send("emit", event="end", data=[None], namespace="/elsewhere")
    await send("emit", event="end", data=[None])
    await client.wait_for("end")
    assert client.received("news") == [[0]]
    assert await io.to("red").fetch_sockets() == []
    await send("disconnect", sid=client.sid)
    await until(lambda: client.ends == ["namespace"])


@pytest.mark.parametrize("sharded", [False, True])
async def test_servers_with_pubsub_hear_emitters_and_servers_of_python_socketio(cluster: Found, sharded: bool) -> None:
    """A program could not be moved from python-socketio server by server, nor its workers be left as they are."""
    servers, redis = cluster
    _, running, pubsub = await servers.pubsub(sharded=sharded)
    client = await servers.clients.connect(running.url)
    await client.barrier()
    managers: list[Any] = [cast(Any, RedisManager)(redis.url) for _ in range(2)]
    sio, other = [AsyncServer(async_mode="aiohttp", client_manager=manager) for manager in managers]
    apps = []
    for each in (sio, other):
        app = web.Application()
        each.attach(app)
        apps.append(RunningServer(app))
        await apps[-1].start()
    theirs = await servers.clients.connect(apps[1].url)
    try:
        await sio.emit("news", {"n": 1, "b": b"x"})
        await sio.emit("news", 2, to=client.sid)
        link = await connect(Address.from_url(redis.url))
        event = [
            "emitter",
            {"type": 2, "data": ["news", 3], "nsp": "/"},
            {"rooms": [client.sid], "except": [], "flags": {}},
        ]
        await link.send("PUBLISH", f"socket.io#/#{client.sid}#", msgspec.msgpack.encode(event))
        await link.close()
        assert await client.wait_for("news", 3) == [[{"n": 1, "b": b"x"}], [2], [3]]
        assert await theirs.wait_for("news") == [[{"n": 1, "b": b"x"}]]
    finally:
        for served in apps:
            await served.stop()
        for manager in managers:
            await manager.redis.aclose()
    assert pubsub.gaps == 0


async def test_emitters_can_be_left_out(cluster: Found) -> None:
    """Each answer of a server would go to all others, though nobody emits from outside."""
    servers, _ = cluster
    _, _, streams = await servers.server(emitters=False)
    assert await streams.writer.command("PUBSUB", "NUMPAT") == 0
    assert await streams.writer.command("PUBSUB", "NUMSUB", "socketio") == [b"socketio", 0]
