"""A python-socketio program, a program of ours and Node's server on one Redis, with stock JavaScript clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pytest
import socketio
from socketio.exceptions import DisconnectedError
from socketio.exceptions import TimeoutError as CallTimeout

from rtframework import ClusterUnavailable, Server, Socket
from rtframework.engine import AsyncServer, Manager
from rtframework.protocols import Backbone
from rtframework_redis import RedisPubSub, RedisStreams
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import NodeServer, running_node
from tests.support.cluster.redis_server import RedisServer, running_redis
from tests.support.js import JSClient, JSClients
from tests.support.server import RunningServer
from tests.support.transports import WEBSOCKET
from tests.support.until import until

pytestmark = needs("redis-server", "node")

ADAPTERS: Final[dict[str, Callable[..., Backbone]]] = {
    "streams": RedisStreams,
    "classic": RedisPubSub,
    "sharded": partial(RedisPubSub, sharded=True),
}
VALUE: Final = {"n": 1, "text": "é\U0001f600", "bytes": b"\x00\xff"}


@dataclass
class Cluster:
    """Two python-socketio programs, one of ours, one of Node's; the reasons that disconnect handlers have heard."""

    redis: RedisServer
    one: AsyncServer
    two: AsyncServer
    io: Server
    node: NodeServer
    urls: dict[str, str]
    reasons: list[str]
    kind: str

    async def heard(self, room: str) -> None:
        """Wait until all servers have subscribed to a room: Node's sharded adapter does not wait for it itself."""
        async with asyncio.timeout(10):
            while self.kind == "sharded":
                _, count = await self.redis.command("PUBSUB", "SHARDNUMSUB", f"socket.io#/#{room}#")
                if int(count) == 4:
                    break


def program(adapter: Backbone, reasons: list[str]) -> AsyncServer:
    """A program as python-socketio's users write it."""
    sio = AsyncServer(async_mode="aiohttp", adapter=adapter)

    @sio.event
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        for room in (auth or {}).get("rooms", ()):
            await sio.enter_room(sid, room)

    @sio.on("connect", namespace="/chat")
    async def enter(sid: str, environ: dict[str, Any]) -> None:
        await sio.enter_room(sid, "lobby", namespace="/chat")

    @sio.event
    async def say(sid: str, text: str) -> str:
        await sio.emit("said", text, skip_sid=sid)
        return "said"

    @sio.event
    async def disconnect(sid: str, reason: str) -> None:
        reasons.append(reason)

    return sio


@contextlib.asynccontextmanager
async def cluster(kind: str, **options: Any) -> AsyncIterator[Cluster]:
    """Run the four servers."""
    make = partial(ADAPTERS[kind], **options)
    reasons: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_redis())
        one, two = program(make(redis.url), reasons), program(make(redis.url), reasons)
        io = Server(adapter=make(redis.url))
        io.of("/chat")

        @io.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.join(*socket.handshake.auth.get("rooms", ()))

        urls = {}
        for name, served in (("one", one), ("two", two), ("ours", io)):
            running = RunningServer(served)
            await running.start()
            stack.push_async_callback(running.stop)
            urls[name] = running.url
        node = await stack.enter_async_context(running_node(url=redis.url, adapter=kind, recovery=None))
        urls["node"] = node.url
        yield Cluster(redis, one, two, io, node, urls, reasons, kind)


async def connect(found: Cluster, js: JSClients, **auth: Any) -> dict[str, JSClient]:
    """Connect a client to each server."""
    return {name: await js.connect(url, via=WEBSOCKET, auth=auth) for name, url in found.urls.items()}


@pytest.mark.parametrize("kind", ADAPTERS)
async def test_a_python_socketio_program_beside_ours_and_nodes(kind: str, js: JSClients) -> None:
    """Who moves a fleet of servers from python-socketio, or to Node, would have two clusters that hear nothing of each
    other."""
    async with cluster(kind) as found:
        clients = await connect(found, js, rooms=["room"])
        ids = {name: await client.id() for name, client in clients.items()}
        one = found.one
        await found.heard("room")

        await one.emit("news", VALUE)
        await one.emit("in the room", (VALUE, 2), room="room", skip_sid=ids["two"])
        await found.node.emit("from node", VALUE, rooms=["room"], except_=[ids["ours"]])
        await found.io.to("room").except_(ids["two"]).emit("from ours", VALUE)
        assert await clients["two"].emit_with_ack("say", "hello") == "said"
        for name, client in clients.items():
            assert await client.wait_for("news") == [VALUE], name
            if name != "two":
                assert await client.wait_for("in the room") == [VALUE, 2], name
                assert await client.wait_for("from ours") == [VALUE], name
                assert await client.wait_for("said") == ["hello"], name
            if name != "ours":
                assert await client.wait_for("from node") == [VALUE], name
        for event in ("in the room", "from ours", "said"):
            await clients["two"].expect_nothing(event)

        chat = await js.connect(found.urls["two"] + "/chat", via=WEBSOCKET)
        await one.emit("chat", 1, room="lobby", namespace="/chat")
        assert await chat.wait_for("chat") == [1]
        await clients["two"].expect_nothing("chat")
        await found.node.emit("chat", 2, nsp="/chat")
        assert await chat.wait_for("chat") == [2]


@pytest.mark.parametrize("kind", ADAPTERS)
async def test_clients_of_ours_and_nodes_are_asked_moved_and_thrown_out(kind: str, js: JSClients) -> None:
    """A program would have to know on which server a client is, and in which language that is written."""
    async with cluster(kind) as found:
        clients = await connect(found, js)
        ids = {name: await client.id() for name, client in clients.items()}
        one = found.one
        for name, client in clients.items():
            await client.answer("question", VALUE)
            assert await one.call("question", to=ids[name], timeout=5) == VALUE, name
        answers = await found.node.emit_with_ack("question", timeout=5)
        assert answers.responses == [VALUE] * 4
        assert list((await found.io.timeout(5).emit_with_ack("question")).values()) == [VALUE] * 4
        with pytest.raises((DisconnectedError, CallTimeout)):
            await one.call("question", to="nobody", timeout=1)

        for id in ids.values():
            await one.enter_room(id, "moved")
        await until_in(found, "moved", 4)
        await found.heard("moved")
        await found.two.emit("moved", room="moved")
        for client in clients.values():
            await client.wait_for("moved")
        await found.node.sockets_join("by node", rooms=["moved"])
        await until_in(found, "by node", 4)
        assert set(found.two.rooms(ids["two"])) == {ids["two"], "moved", "by node"}
        await one.leave_room(ids["two"], "by node")
        await until_in(found, "by node", 3)
        await one.close_room("by node")
        await until_in(found, "by node", 0)

        described = {each["id"]: each for each in await found.node.fetch_sockets()}
        assert described.keys() == set(ids.values())
        assert set(described[ids["two"]]["rooms"]) == {ids["two"], "moved"}

        for name in ("node", "ours", "two"):
            await one.disconnect(ids[name])
            assert await clients[name].disconnected() == "io server disconnect", name
        await found.node.disconnect_sockets(rooms=["moved"])
        assert await clients["one"].disconnected() == "io server disconnect"
        await until(lambda: found.reasons == ["server disconnect"] * 2)


async def until_in(found: Cluster, room: str, count: int) -> None:
    """Wait until that many sockets of all servers are in a room."""
    async with asyncio.timeout(10):
        while len(await found.io.in_(room).fetch_sockets()) != count:
            pass


@pytest.mark.parametrize("kind", ["streams", "classic"])
async def test_an_emit_raises_while_redis_is_away(kind: str, js: JSClients) -> None:
    """A program would believe that all clients have heard it; or its own would hear nothing any more afterwards."""
    async with cluster(kind, publish_timeout=0.5) as found:
        clients = await connect(found, js)
        own = await clients["one"].id()
        found.redis.kill()
        await until(lambda: not found.one.manager.health.up)  # before, it cannot be known who has an event
        with pytest.raises(ClusterUnavailable):
            await found.one.emit("news", 1)
        await found.one.emit("private", 1, to=own)
        assert await clients["one"].wait_for("private") == [1]
        await found.redis.start()
        await until(lambda: found.one.manager.health.up and found.two.manager.health.up, timeout=15)
        async with asyncio.timeout(15):
            while not await emitted(found.one, "again", 2):
                pass
        assert await clients["two"].wait_for("again") == [2]


@pytest.mark.parametrize("kind", ["streams", "classic"])
async def test_a_connect_handler_that_emits_keeps_nobody_out(kind: str, js: JSClients) -> None:
    """A program that announces everybody who comes would let nobody in while Redis is away."""
    async with cluster(kind, publish_timeout=0.5) as found:

        @found.one.event
        async def connect(sid: str, environ: Any, auth: dict[str, bool] | None) -> bool:
            await found.one.enter_room(sid, "lobby")
            await found.one.emit("joined", sid, skip_sid=sid)
            await found.one.emit("welcome", to=sid)
            return not (auth or {}).get("banned", False)

        found.redis.kill()
        await until(lambda: not found.one.manager.health.up)
        client = await js.connect(found.urls["one"], via=WEBSOCKET)
        await client.wait_for("welcome")
        assert found.one.manager.lost == 1
        banned = await js.connect(found.urls["one"], via=WEBSOCKET, auth={"banned": True}, wait=False)
        await banned.refused()


async def emitted(sio: AsyncServer, event: str, data: Any) -> bool:
    """Emit, and return whether the other servers get it; it takes a moment until all connections are there again."""
    try:
        await sio.emit(event, data)
    except ClusterUnavailable:
        return False
    return True


class RedisManager(socketio.AsyncRedisManager, Manager):  # type: ignore[misc]  # socketio is not typed
    """As the page on the drop-in shows it."""


@pytest.mark.parametrize("kind", [socketio.AsyncRedisManager, RedisManager])
async def test_managers_of_python_socketio_join_servers_as_before(kind: Any, js: JSClients) -> None:
    """A program with ``AsyncRedisManager`` would have to change before it can run on this engine."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(running_redis())
        servers = [AsyncServer(client_manager=kind(redis.url), namespaces=["/"]) for _ in range(2)]
        clients = []
        for sio in servers:
            stack.push_async_callback(close, sio.manager)
            running = RunningServer(sio)
            await running.start()
            stack.push_async_callback(running.stop)
            clients.append(await js.connect(running.url, via=WEBSOCKET))
        one, two = clients
        async with asyncio.timeout(15):
            while not await subscribed(redis, 2):  # noqa: ASYNC110 - Redis tells nobody
                await asyncio.sleep(0.01)
        await servers[0].emit("news", VALUE)
        for client in clients:
            assert await client.wait_for("news") == [VALUE]
        await two.answer("question", VALUE["n"])
        assert await servers[0].call("question", to=await two.id(), timeout=10) == 1
        await servers[0].disconnect(await two.id())
        assert await two.disconnected() == "io server disconnect"
        await one.expect_nothing("question")


async def subscribed(redis: RedisServer, count: int) -> bool:
    """Whether that many managers listen to their channel; what is published before is lost."""
    _, found = await redis.command("PUBSUB", "NUMSUB", "socketio")
    return int(found) >= count


async def close(manager: Any) -> None:
    """Close the connections of a manager, which python-socketio leaves open."""
    await manager.pubsub.aclose()
    await manager.redis.aclose()
