"""The page on outages: each of its rows, with a real Redis that is killed, frozen and started again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from redis.exceptions import RedisError

from rtframework import ClusterLoss, ClusterUnavailable, ConnectionRefused, Socket
from rtframework_redis.link import wall_time
from tests.support.cluster.clients import Refused, light_clients
from tests.support.cluster.members import Member, members
from tests.support.cluster.needs import needs
from tests.support.cluster.proxy import running_network
from tests.support.cluster.redis_server import RedisServer, running_redis
from tests.support.until import until

pytestmark = needs("redis-server")

TIMEOUT: Final = 0.5


async def outcome(call: Callable[[], Awaitable[Any]]) -> Any:
    """What a call ends with: its result, or its error."""
    async with asyncio.timeout(10 * TIMEOUT):
        try:
            return await call()
        except ClusterUnavailable as error:
            return error


def is_unavailable(found: Any, *, local: bool = False) -> bool:
    """Tell whether a call has raised ``ClusterUnavailable``."""
    return isinstance(found, ClusterUnavailable) and found.local is local


@contextlib.asynccontextmanager
async def outage(redis: RedisServer, how: str, one: Member) -> AsyncIterator[None]:
    """Take Redis away for the length of the block; it comes back with its data."""
    if how == "killed":
        redis.kill()
        await until(lambda: not one.streams.health.up)
        yield
        await redis.start()
    else:
        redis.freeze()
        on_its_way = asyncio.create_task(one.io.emit("on its way"))
        await until(lambda: one.streams.writer.pending.is_stalled(wall_time()))
        yield
        with pytest.raises(ClusterUnavailable) as caught:
            await on_its_way
        assert caught.value.uncertain  # it may be in the stream, and so is not said to be nowhere
        redis.thaw()


@pytest.mark.parametrize("how", ["killed", "frozen"])
@pytest.mark.parametrize("recovery", [True, False], ids=["recovery", "local-first"])
async def test_calls_while_redis_is_away(how: str, recovery: bool) -> None:
    """A program would hang where the page says that it goes on, or be told too little."""
    async with running_redis(persistence="aof") as redis, light_clients() as clients:
        options: dict[str, Any] = {"recovery": recovery, "publish_timeout": TIMEOUT}
        async with members(redis.url, clients, **options) as (one, two):
            io, socket = one.io, one.socket

            @io.on("echo")
            async def echo(socket: Socket, value: int) -> int:
                return value

            one.client.answers["question"] = "answer"
            async with outage(redis, how, one):
                calls: dict[str, Callable[[], Awaitable[Any]]] = {
                    "volatile": lambda: io.volatile.emit("volatile", 1),  # first: it gives way to others
                    "emit": lambda: io.emit("event", 1),
                    "socket.emit": lambda: socket.emit("direct", 1),
                    "sockets_join": lambda: io.sockets_join("joined"),
                    "sockets_leave": lambda: io.sockets_leave("left"),
                    "disconnect_sockets": lambda: io.in_("nobody").disconnect_sockets(),
                    "fetch_sockets": io.fetch_sockets,
                    "nodes": io.cluster.nodes,
                    "emit_with_ack": lambda: io.timeout(1).emit_with_ack("asked"),
                    "server_side_emit": lambda: io.server_side_emit("told"),
                    "forget_sessions": lambda: io.forget_sessions("nobody"),
                    "local.emit": lambda: io.local.emit("local", 1),
                    "local.fetch_sockets": io.local.fetch_sockets,
                    "socket.join": lambda: socket.join("room"),
                    "socket.emit_with_ack": lambda: socket.timeout(5).emit_with_ack("question"),
                    "echo": lambda: one.client.emit_with_ack("echo", 5),
                }
                results = await asyncio.gather(*(outcome(call) for call in calls.values()))
                found = dict(zip(calls, results, strict=True))
                if how == "frozen":
                    assert str(found["fetch_sockets"]) == f"Redis did not answer within {TIMEOUT} s"
                for name in ("fetch_sockets", "nodes", "emit_with_ack", "server_side_emit"):
                    assert is_unavailable(found.pop(name)), name
                for name in ("emit", "volatile", "sockets_join", "sockets_leave", "disconnect_sockets"):
                    assert is_unavailable(found.pop(name), local=not recovery), name
                for name in ("socket.emit", "forget_sessions"):
                    assert is_unavailable(found.pop(name)) is recovery, name
                assert ("joined" in socket.rooms) is not recovery
                (described,) = found.pop("local.fetch_sockets")
                assert described.id == socket.id
                assert found == {
                    "local.emit": None, "socket.join": None, "socket.emit_with_ack": "answer", "echo": 5
                }  # fmt: skip
                await one.client.barrier()
                got = {each for each in ("event", "volatile", "direct", "local") if one.client.received(each)}
                assert got == ({"local"} if recovery else {"event", "volatile", "direct", "local"})
                new = await clients.connect(one.running.url)
                waits = asyncio.create_task(outcome(lambda: io.emit("during", 1)))
            result = await waits
            await until(lambda: one.streams.health.up)
            await io.emit("after", 1)
            for client in (one.client, two.client, new):
                await client.wait_for("after")
            for client in (two.client, *([one.client, new] if recovery else ())):
                assert len(client.received("during")) == (result is None)  # in time, or nobody has it: it says so
            assert [len(each.admissions) for each in (one.client, two.client)] == [1, 1]  # they have stayed
            assert not two.client.received("event")
            assert len(two.client.received("on its way")) == (how == "frozen")


async def test_an_emit_that_is_on_its_way_waits_no_longer_than_the_others() -> None:
    """A handler would wait for as long as Redis is away, or be told that nobody has what comes all the same."""
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, publish_timeout=TIMEOUT) as (one, two),
    ):
        redis.freeze()
        for number in range(2):
            with pytest.raises(ClusterUnavailable) as caught:
                async with asyncio.timeout(10 * TIMEOUT):
                    await one.io.emit("perhaps" if number == 0 else "no")
            assert caught.value.uncertain is (number == 0)
            await until(lambda: one.streams.writer.pending.is_stalled(wall_time()))
        redis.thaw()
        await one.io.emit("after")
        for each in (one, two):
            await each.client.wait_for("after")
            assert [event.name for event in each.client.events] == ["perhaps", "after"]


async def test_what_was_on_its_way_when_redis_died_is_not_sent_later() -> None:
    """A program that has said it again, because nobody knew, would find it said twice."""
    async with (
        running_redis(persistence="aof") as redis,
        running_network(redis.port) as network,
        light_clients() as clients,
        members(await network.url("one"), clients, count=1, publish_timeout=TIMEOUT) as (one,),
    ):
        await one.io.emit("before")
        network["one"].drop("to_redis", doing="XADD")
        with pytest.raises(ClusterUnavailable) as caught:
            await one.io.emit("perhaps")
        assert caught.value.uncertain
        network["one"].cut()
        await until(lambda: not one.streams.health.up)
        await until(lambda: one.streams.health.up)
        await one.io.emit("after")
        await one.client.wait_for("after")
        assert [event.name for event in one.client.events] == ["before", "after"]


async def test_a_client_that_comes_back_waits_for_redis() -> None:
    """A short outage of Redis would cost everybody the session who changes the network at that moment."""
    async with (
        running_redis(persistence="aof") as redis,
        light_clients() as clients,
        members(redis.url, clients) as (one, two),
    ):
        await one.io.emit("before")
        await one.client.wait_for("before")
        redis.kill()
        await until(lambda: not two.streams.health.up)
        one.client.url = two.running.url
        one.client.cut()
        await until(lambda: two.streams.writer.keeper.health.attempts)
        await redis.start()
        await one.client.admitted(2, timeout=15)
        assert one.client.recovered


async def test_a_client_that_comes_back_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody who comes back during a long outage would be kept at the door until it ends."""
    monkeypatch.setattr("rtframework_redis.streams_adapter._AGAIN", (0.1, 0.1))
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, publish_timeout=TIMEOUT) as (one, two),
    ):
        redis.kill()
        await until(lambda: not two.streams.health.up)
        one.client.url = two.running.url
        one.client.cut()
        await one.client.admitted(2, timeout=15)
        assert not one.client.recovered


async def test_a_server_stops_while_redis_hangs() -> None:
    """Whoever ends a server would kill it after a while, and its clients would not hear that it ends."""
    async with running_redis() as redis, light_clients() as clients:
        async with members(redis.url, clients, count=1, publish_timeout=60) as (one,):
            for name in ("/one", "/two"):
                one.io.of(name)
            redis.freeze()
            async with asyncio.timeout(10):  # three seconds on a quiet machine
                await one.running.stop()
        redis.thaw()


@pytest.mark.parametrize(
    ("options", "orderly", "gaps"),
    [
        (("--appendonly", "yes"), True, 0),
        (("--appendonly", "yes", "--appendfsync", "always"), False, 0),
        (("--save", "3600 1"), True, 0),
        (("--save", "3600 1"), False, 1),
        ((), True, 1),
        ((), False, 1),
    ],
    ids=["aof-told", "synced-crash", "snapshots-told", "snapshots-crash", "neither-told", "neither-crash"],
)
async def test_what_a_restart_of_redis_loses(options: tuple[str, ...], orderly: bool, gaps: int) -> None:
    """A team would choose a kind of persistence that loses what the page says it keeps."""
    async with (
        running_redis(options=options) as redis,
        light_clients() as clients,
        members(redis.url, clients) as (one, two),
    ):
        for number in range(20):
            await one.io.emit("before", number)
        if orderly:
            with contextlib.suppress(RedisError):  # there is no answer
                await redis.command("SHUTDOWN")
            await until(lambda: not redis.program.alive)
        await redis.restart()
        await one.io.emit("after")
        await two.client.wait_for("after")
        assert (one.streams.gaps, two.streams.gaps) == (gaps, gaps)
        assert [each[0] for each in two.client.received("before")] == list(range(20))


@pytest.mark.parametrize("recovery", [True, False], ids=["recovery", "local-first"])
async def test_a_connection_handler_that_emits_keeps_nobody_out(recovery: bool) -> None:
    """Nobody new would get in while Redis is away: the stock client does not come back after a refusal."""
    async with (
        running_redis() as redis,
        light_clients() as clients,
        members(redis.url, clients, count=1, recovery=recovery, publish_timeout=TIMEOUT) as (one,),
    ):
        lost: list[ClusterLoss] = []
        one.io.cluster.on("lost")(lost.append)
        late: list[ClusterUnavailable] = []

        @one.io.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.join("lobby")
            await one.io.emit("joined", socket.id)
            await socket.emit("welcome")
            if socket.handshake.auth["data"].get("asks"):
                await one.io.fetch_sockets()
            if socket.handshake.auth["data"].get("banned"):
                raise ConnectionRefused("banned")
            socket.accept()
            try:
                await one.io.emit("late")
            except ClusterUnavailable as error:
                late.append(error)

        redis.kill()
        await until(lambda: not one.streams.health.up)
        client = await clients.connect(one.running.url)
        await client.wait_for("welcome")
        await until(lambda: late)
        assert [(each.event, each.local) for each in lost] == [("joined", not recovery), ("late", not recovery)]
        with pytest.raises(Refused, match="banned"):
            await clients.connect(one.running.url, data={"banned": True})
        with pytest.raises(Refused, match="Internal server error"):  # what it asks for decides, perhaps
            await clients.connect(one.running.url, data={"asks": True})
