"""One namespace in a cluster: what servers ask each other, and clients that come back."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from aiohttp import web

from rtframework import AckTimeout, ClusterLoss, ClusterUnavailable, FetchTimeout, Recovery, Server, Socket
from rtframework_msgpack import MsgpackSerializer
from rtframework_redis import RedisStreams
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.cluster.clients import LightClient
from tests.support.server import RunningServer
from tests.support.until import until
from tests.support.values import PLAIN, SERIALIZER, VALUES, check_between_servers

Found = tuple[Cluster, RedisServer]


async def come_back(client: LightClient, url: str) -> bool:
    """Lose the connection and come back to a server."""
    before = len(client.admissions)
    client.url = url
    client.cut()
    await client.admitted(before + 1)
    return client.recovered


async def test_a_client_that_has_left_is_not_waited_for(cluster: Found) -> None:
    """A vote would take its whole time limit for each client that closes its browser."""
    servers, _ = cluster
    one, _, _ = await servers.server()
    two, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    asked = asyncio.ensure_future(one.timeout(5).emit_with_ack("vote?"))
    await client.wait_for("vote?")
    await two.disconnect_sockets()
    answers = await asked
    assert (dict(answers), answers.missing) == ({}, (client.sid,))


async def test_answers_have_the_names_of_clients(cluster: Found) -> None:
    """A program could not tell who has answered, or would get a part of an answer."""
    servers, _ = cluster
    one, _, _ = await servers.server()
    _, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    client.answers["vote?"] = "yes"
    assert dict(await one.timeout(5).emit_with_ack("vote?", b"x")) == {client.sid: "yes"}
    assert dict(await one.to([]).timeout(5).emit_with_ack("vote?")) == {}
    assert dict(await one.local.timeout(5).emit_with_ack("vote?")) == {}
    del client.answers["vote?"]
    with pytest.raises(AckTimeout):
        await one.timeout(0.1).emit_with_ack("vote?")


async def test_a_server_that_is_counted_and_silent_is_not_waited_for(cluster: Found) -> None:
    """A server that has died a moment ago would hold up every request."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    async with asyncio.timeout(5):
        _, _, other = await servers.server()
        other._hear = lambda *message: None  # type: ignore[method-assign]
        other.writer.subscriptions._on_message = other._hear
        with pytest.raises(FetchTimeout) as caught:
            await io.timeout(0.2).fetch_sockets()
    assert [each.id for each in caught.value.sockets] == [client.sid]
    assert caught.value.missing == (other.node,)
    with pytest.raises(AckTimeout):
        await io.server_side_emit_with_ack("question", timeout=0.1)
    assert streams.health.up


async def test_a_reason_travels(cluster: Found) -> None:
    """Handlers on other servers would not know why a client was thrown out."""
    servers, _ = cluster
    one, _, _ = await servers.server()
    two, running, _ = await servers.server()
    reasons: list[str] = []

    @two.on("connection")
    async def connect(socket: Socket) -> None:
        @socket.on("disconnect")
        async def left(reason: str) -> None:
            reasons.append(reason)

    client = await servers.clients.connect(running.url)
    await one.to(client.sid).disconnect_sockets(reason="banned")
    await until(lambda: reasons == ["banned"])


async def test_rooms_that_were_joined_later_are_not_replayed(cluster: Found) -> None:
    """Whoever joins a room would get what was said there before."""
    servers, _ = cluster
    one, first, _ = await servers.server()
    two, second, _ = await servers.server()
    client = await servers.clients.connect(first.url)
    await one.emit("mark")
    await client.wait_for("mark")
    await two.to("red").emit("before")
    await two.to(client.sid).sockets_join("red")
    assert len(await two.to("red").fetch_sockets()) == 1
    assert await come_back(client, second.url)
    await one.to("red").emit("after")
    await client.wait_for("after")
    assert client.received("before") == []
    assert (await two.to("red").fetch_sockets())[0].id == client.sid


async def test_a_ghost_is_evicted(cluster: Found) -> None:
    """A client that has come back elsewhere would be counted twice, and its old server would write its old session."""
    servers, _ = cluster
    one, first, _ = await servers.server()
    two, second, _ = await servers.server()
    client = await servers.clients.connect(first.url)
    await one.emit("mark")
    await client.wait_for("mark")
    ghost = servers.clients.make(second.url)
    ghost.pid, ghost.offset = client.pid, client.offset
    client.reconnects = False
    await ghost.connect()  # the first server has not noticed anything
    assert ghost.recovered
    await until(lambda: not one.of("/").sockets)
    assert list(two.of("/").sockets) == [ghost.sid]
    await two.emit("news")
    await ghost.wait_for("news")
    assert await come_back(ghost, first.url), "its session is that of the second server"


async def test_bytes_and_msgpack_clients_are_recovered(cluster: Found) -> None:
    """Servers with another serializer would neither deliver nor replay what others emit."""
    servers, redis = cluster
    _, first, _ = await servers.server()
    client = await servers.clients.connect(first.url)
    io = Server(
        adapter=RedisStreams(redis.url),
        serializer=MsgpackSerializer(),
        connection_state_recovery=Recovery(skip_middlewares=True),
    )
    app = web.Application()
    io.attach(app)
    running = RunningServer(app)
    await running.start()
    try:
        await io.emit("news", {"n": 1}, b"x")
        await io.emit("text", "t")
        assert await client.wait_for("text") == [["t"]]
        assert client.received("news") == [[{"n": 1}, b"x"]]
        assert [each.offset is not None for each in client.events] == [True, True]
    finally:
        await running.stop()


async def test_all_sessions_of_a_user_are_forgotten(cluster: Found) -> None:
    """A session on another device would live on."""
    servers, _ = cluster
    io, running, _ = await servers.server()
    client = await servers.clients.connect(running.url)
    await io.emit("mark")
    await client.wait_for("mark")
    client.reconnects = False
    client.cut()
    await until(lambda: not io.of("/").sockets)
    assert await io.forget_sessions(None) == 1
    client.reconnects = True
    await client.connect()
    assert not client.recovered


async def test_a_session_that_cannot_be_written_down_is_told(cluster: Found, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would know why clients are not recovered; or one would come back with data from before."""
    servers, _ = cluster
    io, running, streams = await servers.server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["cart"] = {"apples", "pears"}

    client = await servers.clients.connect(running.url)
    socket = io.sockets[client.sid]
    pid = socket._pid
    assert pid is not None
    await io.emit("mark")
    await client.wait_for("mark")
    assert await streams.writer.command("EXISTS", f"sio:session:{pid}") == 1
    socket.data["connection"] = object()
    client.cut()
    await until(lambda: not streams.sessions.has(pid))
    assert await streams.writer.command("EXISTS", f"sio:session:{pid}") == 0
    assert "the session of a client of / is not kept" in caplog.text
    assert "socket.data cannot be sent to other servers: Encoding objects of type object is unsupported" in caplog.text
    await client.admitted(2)
    assert not client.recovered


async def test_values_of_other_programs_are_sent_as_clients_get_them(cluster: Found) -> None:
    """Clients of two servers would get different values."""
    servers, _ = cluster
    one, first, _ = await servers.server()
    _, second, _ = await servers.server()
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    value: dict[str, Any] = {"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "bytes": b"x", "t": (1, 2)}
    await one.emit("values", value)
    found = [await each.wait_for("values") for each in clients]
    assert found[0] == found[1]


@pytest.mark.parametrize("recovery", [False, True])
async def test_values_of_the_programs_own_types_are_sent(cluster: Found, recovery: bool) -> None:
    """A program with models would work on one server, and fail on two."""
    servers, _ = cluster
    one, first, _ = await servers.server(recovery=recovery, serializer=SERIALIZER)
    two, second, _ = await servers.server(recovery=recovery, serializer=SERIALIZER)
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    await one.emit("text", *VALUES)
    await one.emit("bytes", *VALUES, b"x")
    for each in clients:
        assert (await each.wait_for("text"))[0][: len(PLAIN)] == PLAIN
        assert (await each.wait_for("bytes"))[0][: len(PLAIN) + 1] == [*PLAIN, b"x"]
        each.answers["asked"] = "yes"
    assert set((await one.timeout(5).emit_with_ack("asked", *VALUES, b"x")).values()) == {"yes"}
    for each in clients:
        assert await each.wait_for("asked") == [[*PLAIN, b"x"]]
    await check_between_servers(one, two)


async def test_emits_that_nobody_awaits_are_told_when_they_are_lost(cluster: Found) -> None:
    """A handler that was cancelled would leave an event behind that no other server gets, unknown to all."""
    servers, redis = cluster
    io, running, streams = await servers.server(publish_timeout=0.3, recovery=False)
    client = await servers.clients.connect(running.url)
    losses: list[ClusterLoss] = []
    io.cluster.on("lost")(losses.append)
    await redis.kill()
    await until(lambda: not streams.health.up)
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


async def test_an_emit_that_was_cancelled_while_it_waited_for_room_is_told(cluster: Found) -> None:
    """This server's clients would have it, and the others not, in silence."""
    servers, redis = cluster
    io, _, streams = await servers.server(publish_timeout=60, recovery=False, max_pending=300)
    losses: list[ClusterLoss] = []
    io.cluster.on("lost")(losses.append)
    redis.freeze()
    first = asyncio.ensure_future(io.emit("first"))
    await until(lambda: streams.writer.pending.size > 0)
    second = asyncio.ensure_future(io.emit("second"))
    await asyncio.sleep(0)
    second.cancel()
    await until(lambda: losses)
    assert [each.event for each in losses] == ["second"]
    redis.thaw()
    await first
    assert len(losses) == 1


async def test_a_cancelled_emit_that_arrives_is_not_lost(cluster: Found) -> None:
    """A program would send again what everybody has."""
    servers, redis = cluster
    io, _, _ = await servers.server(recovery=False)
    _, running, _ = await servers.server(recovery=False)
    client = await servers.clients.connect(running.url)
    losses: list[ClusterLoss] = []
    io.cluster.on("lost")(losses.append)
    redis.freeze()
    emitting = asyncio.ensure_future(io.emit("news"))
    await asyncio.sleep(0)
    emitting.cancel()
    redis.thaw()
    await client.wait_for("news")
    await io.emit("end")
    assert losses == []


async def test_what_travels_is_counted(cluster: Found) -> None:
    """An operator could not see that one server floods the others."""
    servers, _ = cluster
    one, _, first = await servers.server()
    _, running, second = await servers.server()
    client = await servers.clients.connect(running.url)
    before, heard = first.traffic.published, second.traffic.received
    for number in range(3):
        await one.emit("news", number)
    await client.wait_for("news", 3)
    await one.fetch_sockets()
    assert first.traffic.published >= before + 4, "a request may be repeated"
    assert second.traffic.received >= heard + 4
    assert (first.traffic.pending_bytes, first.traffic.reconnects) == (0, 0)
    link = first.writer.keeper.link
    assert link is not None
    link.fail("cut")
    await until(lambda: not first.health.up)
    await until(lambda: first.health.up)
    assert first.traffic.reconnects == 1
