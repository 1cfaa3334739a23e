"""Servers that a stream of Redis joins: the cases of the wire, faults, and what a program is told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any, Final, Literal

import pytest

from rtframework import ClusterUnavailable, EncodeError, Server
from rtframework.exceptions import ConfigurationError
from rtframework.testing import ClusterConformance
from rtframework_redis import RedisStreams
from tests.plugins.rtframework_redis.conftest import Cluster, RedisServer
from tests.support.cluster.cases.running import run_cases
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.clients import LightClient
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, add_kind, add_kind_in_process, running_fleet
from tests.support.cluster.ledger import Ledger
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_broker import RedisBroker
from tests.support.cluster.redis_fleets import MASTER, running_cluster, running_sentinels
from tests.support.thorough import is_thorough
from tests.support.until import until

pytestmark = needs("redis-server")

NOT_IN_PROCESS: Final = frozenset({"7", "9", "9b", "16", "16b", "20e"})
"""Cases in which a server is frozen or killed, that need Node, or that take long."""

WITH_NODE: Final = ["1", "2", "4", "8", "10", "11", "13"]
WITH_NODE_THOROUGH: Final = ["3", "5", "6", "9", "9b", "10b", "12", "16", "17", "18", "20b", "20d", "20e", "21"]
"""Cases that a fleet with one of Node's servers passes. In the others Node's server fails: it does not hear emitters in
7 and 7b, does not recover its own clients in 16b and 16c, has its own clients out of order in 19 and 19b, and does
not publish in 20 and 20c what it gives to its own clients. In 15 a client that comes back to Node's server loses one
event now and then, in the gap between what that reads and what it delivers."""


@contextlib.contextmanager
def kind(name: str, *, in_process: bool) -> Any:
    """Let fleets have servers with ``RedisStreams``."""
    if in_process:
        add_kind_in_process(name, RedisStreams, STREAM, RECOVERY, REMOTE)
    else:
        add_kind(name, "rtframework_redis:RedisStreams", STREAM, RECOVERY, REMOTE)
    try:
        yield
    finally:
        del KINDS[name]


async def test_two_servers_are_one() -> None:
    """Clients of one server would not get what is emitted on the other; an outage would lose messages."""
    with kind("ours", in_process=True):
        async with running_fleet("ours", "ours") as fleet:
            found = await run_cases(fleet, [number for number in CASES if number not in NOT_IN_PROCESS])
    assert len(found) == len(CASES) - len(NOT_IN_PROCESS)
    failed = {number: why for number, why in found.items() if why is not None}
    assert not failed, "\n".join(failed.values())


@needs("node")
async def test_a_server_of_node_is_in_the_same_cluster() -> None:
    """A fleet of Node could not be moved over server by server."""
    with kind("ours", in_process=False):
        async with running_fleet("ours", "node-streams") as fleet:
            cases = [*WITH_NODE, *(WITH_NODE_THOROUGH if is_thorough() else ())]
            found = await run_cases(fleet, cases)
    assert len(found) == len(cases)
    failed = {number: why for number, why in found.items() if why is not None}
    assert not failed, "\n".join(failed.values())


async def test_clients_of_a_killed_server_are_recovered() -> None:
    """Every crash would cost all clients their sessions."""
    with kind("ours", in_process=False):
        async with running_fleet("ours", "ours") as fleet:
            found = await run_cases(fleet, ["9", "16b"])
    assert found == {"9": None, "16b": None}


async def test_nobody_has_what_raises(cluster: tuple[Cluster, RedisServer]) -> None:
    """A program would emit again what clients have already, or believe that they have what they have not."""
    servers, redis = cluster
    io, running, streams = await servers.server(publish_timeout=0.3)
    client = await servers.clients.connect(running.url)
    await io.emit("before")
    assert streams.health.up
    redis.freeze()
    doubtful = asyncio.ensure_future(io.emit("doubtful"))
    await asyncio.sleep(1.1)  # Redis owes a reply: what comes now is not sent
    start = time.monotonic()
    with pytest.raises(ClusterUnavailable) as caught:
        await io.emit("lost")
    assert time.monotonic() - start < 2
    assert (caught.value.local, caught.value.uncertain) == (False, False)
    with pytest.raises(ClusterUnavailable) as caught:
        await doubtful
    assert caught.value.uncertain
    redis.thaw()
    await io.emit("after")
    await client.wait_for("after")
    assert [each.name for each in client.events] == ["before", "doubtful", "after"]


async def test_local_first_says_who_has_it(cluster: tuple[Cluster, RedisServer]) -> None:
    """Without recovery, clients of the same server would wait for Redis, and a program would emit to them twice."""
    servers, redis = cluster
    io, running, _ = await servers.server(publish_timeout=0.3, recovery=False)
    client = await servers.clients.connect(running.url)
    await redis.kill()
    emitting = asyncio.ensure_future(io.emit("here"))
    await client.wait_for("here", timeout=0.2)
    with pytest.raises(ClusterUnavailable) as caught:
        await emitting
    assert caught.value.local


async def test_a_redis_that_comes_back_empty_is_a_gap_on_each_server(cluster: tuple[Cluster, RedisServer]) -> None:
    """Clients would take what they have for complete, and nobody would know that something is missing."""
    servers, redis = cluster
    one, first, streams = await servers.server()
    _, second, other = await servers.server()
    clients = [await servers.clients.connect(each.url) for each in (first, second)]
    start = time.time()
    await one.emit("before")
    for client in clients:
        await client.wait_for("before")
    await redis.kill()
    await redis.start()
    await one.emit("after")
    await until(lambda: (streams.gaps, other.gaps) == (1, 1))
    gaps = [each for each in servers.told if each[0] == "gap"]
    assert len(gaps) == 2
    assert all(start - 60 < since <= time.time() for _, _, since in gaps)  # and not "since 1970"
    for client in clients:
        await client.admitted(2, timeout=7)
        assert not client.recovered


async def test_the_program_hears_of_the_connection(cluster: tuple[Cluster, RedisServer]) -> None:
    """Nobody would see that servers have lost each other."""
    servers, redis = cluster
    io, _, streams = await servers.server()
    reasons: list[str] = []
    io.cluster.on("down")(lambda event: reasons.append(event.reason))
    await redis.kill()
    await until(lambda: not streams.health.up)
    assert streams.health.reason
    await until(lambda: reasons)
    assert reasons[0] not in ("", "connecting")
    await redis.start()
    await until(lambda: streams.health.up)
    assert [each[0] for each in servers.told if each[0] != "gap"] == ["down", "up"]


async def test_rubbish_is_passed_over(cluster: tuple[Cluster, RedisServer]) -> None:
    """One broken entry would stop a server for ever."""
    servers, _ = cluster
    io, running, streams = await servers.server()
    client = await servers.clients.connect(running.url)
    link = await streams.writer.link()
    for fields in (
        ("x", "y"),
        ("uid", "u", "nsp", "/", "type", "3", "data", "{"),
        ("uid", "u", "nsp", "/", "type", "3"),
        ("uid", "u", "nsp", "/", "type", "99", "data", "{}"),
        ("uid", "u", "nsp", "/", "type", "2", "gap", "nonsense"),
    ):
        await link.send("XADD", "socket.io", "*", *fields)
    for channel in ("socket.io#/#", "socket.io#/#room#", "socket.io-request#/#", "socketio"):
        await link.send("PUBLISH", channel, b"\x93rubbish")
        await link.send("PUBLISH", channel, b"{rubbish")
    await io.emit("news")
    await client.wait_for("news")
    assert streams.gaps == 0


async def test_a_message_that_is_too_large_is_refused(cluster: tuple[Cluster, RedisServer]) -> None:
    """One message would fill the memory of Redis and of every server."""
    servers, _ = cluster
    io, _, _ = await servers.server(max_message=1000)
    with pytest.raises(EncodeError, match="max_message"):
        await io.emit("news", "x" * 1000)
    await io.to([]).emit("nobody", "x" * 1000)


@pytest.mark.parametrize(
    "options", [{"delivery": "never"}, {"max_len": 0}, {"publish_timeout": 0}, {"max_pending": "much"}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """A mistake would show up as lost messages."""
    with pytest.raises(ConfigurationError):
        RedisStreams("redis://localhost", **options)
    with pytest.raises(ConfigurationError):
        RedisStreams("nonsense")


def test_a_server_has_an_adapter_of_its_own() -> None:
    """Two servers would take each other's connection away when one of them stops."""
    streams = RedisStreams("redis://localhost")
    Server(adapter=streams)
    with pytest.raises(ConfigurationError, match="each server needs its own"):
        Server(adapter=streams)


def test_a_url_is_no_adapter() -> None:
    """A newcomer would be told to write MemoryAdapter, or see the password in a traceback."""
    with pytest.raises(ConfigurationError, match=r"write adapter=RedisStreams\(url\)") as caught:
        Server(adapter="redis://:secret@localhost")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def emit_for(
    seconds: float, ios: list[Server], clients: list[LightClient], told: list[tuple[Any, ...]] | None = None
) -> Ledger:
    """Emit on all servers all the time, and enter what has come of it into a ledger. ``told``: what servers heard."""
    ledger = Ledger()
    sent: list[tuple[int, int, float, bool]] = []

    async def emit(io: int, number: int) -> None:
        at = time.time()
        try:
            await ios[io].emit("n", str(io), number)
        except ClusterUnavailable:
            sent.append((io, number, at, False))
        else:
            sent.append((io, number, at, True))

    emits, start, number = [], time.monotonic(), 0
    while time.monotonic() - start < seconds:
        emits += [asyncio.ensure_future(emit(io, number)) for io in range(len(ios))]
        number += 1
        await asyncio.sleep(0.01)
    await asyncio.gather(*emits)
    for client in clients:
        ledger.client(client.name)
    sent.sort()
    for io in range(len(ios)):
        times = [at for origin, _, at, _ in sent if origin == io]
        raised = [number for origin, number, _, came in sent if origin == io and not came]
        ledger.flood(str(io), times, raised=raised)
    everybody = set(range(len(ios)))
    while any({each.args[0] for each in client.events if each.name == "end"} != everybody for client in clients):
        await asyncio.gather(*(io.emit("end", number) for number, io in enumerate(ios)))
        await asyncio.sleep(0.05)  # again for a client that is away because of a gap
    for event, *args in told or ():
        if event == "gap":
            ledger.gap(args[1], time.time())
    for client in clients:
        client.enter(ledger, "n")
    return ledger


async def test_clients_wander_while_connections_to_redis_end(cluster: tuple[Cluster, RedisServer]) -> None:
    """Trouble in two networks at once would cost messages, or sessions."""
    servers, _ = cluster
    started = [await servers.server() for _ in range(3)]
    ios = [io for io, _, _ in started]
    clients = [await servers.clients.connect(running.url) for _, running, _ in started]
    for client in clients:
        await client.barrier()
    chance = random.Random(7)
    seconds = 6.0 if is_thorough() else 1.5
    end = time.monotonic() + seconds

    async def wander(client: LightClient) -> None:
        while time.monotonic() < end:
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            before = len(client.admissions)
            client.url = chance.choice(started)[1].url
            client.cut()
            await client.admitted(before + 1, timeout=10)
            assert client.recovered

    async def cut() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            streams = chance.choice(started)[2]
            assert streams._reader is not None
            link = chance.choice([streams.writer.keeper, streams._reader.keeper]).link
            if link is not None:
                link.fail("cut")

    async with asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(wander(client))
        tasks.create_task(cut())
        emitting = tasks.create_task(emit_for(seconds + 0.1, ios, clients))
    result = emitting.result().result()
    assert result.is_clean, result
    assert (result.backwards, result.disagreeing) == (0, 0), result


@needs("redis-sentinel")
async def test_a_failover_loses_nothing_without_a_word(cluster: tuple[Cluster, RedisServer]) -> None:
    """A master that dies would take messages with it, or the others would wait for one that never comes back."""
    servers, _ = cluster
    async with running_sentinels() as sentinels:
        places = ",".join(f"{host}:{port}" for host, port in sentinels.addresses)
        ios, clients = await servers.pair(f"redis+sentinel://{places}/{MASTER}")
        over = asyncio.ensure_future(sentinels.fail_over(kill=True))
        # A gap is told if the replica that became the master had not got all of it yet.
        result = (await emit_for(2.5, ios, clients, servers.told)).result()
        await over
        assert result.is_clean, result
        assert result.emitted > 100


async def test_a_redis_cluster_is_enough(cluster: tuple[Cluster, RedisServer]) -> None:
    """Who runs a Redis Cluster would need another Redis, or lose the sessions, which lie in other slots."""
    servers, _ = cluster
    async with running_cluster() as redis:
        ios, clients = await servers.pair(redis.url.replace("redis://", "redis+cluster://").removesuffix("/0"))
        result = (await emit_for(0.2, ios, clients)).result()
        assert result.is_clean, result
        assert len(await ios[0].fetch_sockets()) == 2
        assert {each.name for each in await ios[1].cluster.nodes()} == {each.cluster.node for each in ios}
        client, other = clients
        client.url = other.url
        client.cut()
        await client.admitted(2)
        assert client.recovered


class _Streams(ClusterConformance):
    """Servers on one Redis; faults are short, and long in a thorough run."""

    delivery: Literal["stream", "local-first"] = "stream"
    durable = True
    thorough = is_thorough()
    publish_timeout = 0.5
    patience = 5.0

    def broker(self) -> RedisBroker:
        """Run a Redis."""

        def make(url: str, name: str) -> RedisStreams:
            return RedisStreams(url, name=name, publish_timeout=self.publish_timeout, delivery=self.delivery)

        return RedisBroker(make)


class TestWithRecovery(_Streams):
    """The stream is the truth, and clients can recover."""

    ordered = recovers = True


class TestFromTheStream(_Streams):
    """Everybody gets events when they are read back; little of it differs from the way with recovery."""

    __test__ = is_thorough()
    ordered = True


class TestLocalFirst(_Streams):
    """Clients of the same server get events at once."""

    delivery = "local-first"
