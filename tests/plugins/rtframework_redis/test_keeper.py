"""A connection that comes back: when, to whom, and what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from redis.crc import key_slot

from rtframework_redis.address import Address
from rtframework_redis.errors import LinkError, LinkLost, LinkRefused, ReplyError
from rtframework_redis.handshake import connect
from rtframework_redis.keeper import LONGEST_PAUSE, SHORTEST_PAUSE, Keeper, Opened, Pauses
from rtframework_redis.link import LinkOptions
from rtframework_redis.topology import SingleServer, make_topology
from tests.plugins.rtframework_redis.conftest import Fake, Peer, RedisServer, free_port
from tests.support.until import until

Start = Callable[..., Awaitable[RedisServer]]


class Moving:
    """A topology whose answer a test changes."""

    def __init__(self, *urls: str) -> None:
        self.addresses = [Address.from_url(url) for url in urls]
        self.refuted: list[str] = []
        self.closed = False

    async def locate(self, key: bytes = b"") -> Address:
        """Return the next address; the last one stays."""
        return self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]

    def refute(self, error: ReplyError, key: bytes = b"") -> None:
        """Keep what was said."""
        self.refuted.append(error.code)

    async def close(self) -> None:
        """Keep that it was closed."""
        self.closed = True


def quick(url: str, **settings: Any) -> Keeper:
    """Return a keeper that tries again after the shortest pause."""
    topology = settings.pop("topology", None) or make_topology(url)
    return Keeper(topology, pauses=Pauses(random_number=lambda: 0.0), **settings)


def test_pauses_grow_up_to_a_second() -> None:
    """All servers of a cluster would come back in the same moment, or keep a Redis busy that is starting."""
    low, high = Pauses(random_number=lambda: 0.0), Pauses(random_number=lambda: 1.0)
    assert [low.take() for _ in range(10)] == [SHORTEST_PAUSE] * 10
    assert [high.take() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, LONGEST_PAUSE, LONGEST_PAUSE])
    high.reset()
    assert high.take() == pytest.approx(0.1)
    eager = Pauses(eager=True, random_number=lambda: 1.0)
    assert [eager.take() for _ in range(3)] == pytest.approx([0.01, 0.1, 0.2])
    eager.reset()
    assert eager.take() == pytest.approx(0.01)


async def test_it_comes_back_after_a_restart(redis_server: Start) -> None:
    """After a restart of Redis the server would be alone for ever."""
    server = await redis_server()
    opened: list[Opened] = []
    down: list[str] = []
    failures: list[Exception] = []
    keeper = quick(
        server.url,
        on_up=opened.append,
        on_down=lambda lost: down.append(str(lost)),
        on_failure=failures.append,
        name="kept",
    )
    assert (keeper.link, keeper.health.up, keeper.health.problem) == (None, False, "not started")
    keeper.start()
    keeper.start()
    link = await keeper.up(5)
    assert await link.send("PING") == b"PONG"
    assert (keeper.health.up, keeper.health.address, keeper.health.client_id) == (True, server.url, link.client_id)
    waiting = link.send_blocking(50, "BLPOP", "list", 50)
    await until(lambda: link.traffic.commands == 6)
    await server.kill()
    with pytest.raises(LinkLost):
        await waiting
    await until(lambda: keeper.health.attempts >= 2)
    assert keeper.link is None
    assert "refused" in keeper.health.problem or "failed" in keeper.health.problem
    assert failures
    with pytest.raises(LinkRefused, match=f"127.0.0.1:{server.port}"):
        await keeper.up(0.01)
    await server.start()
    assert await (await keeper.up(5)).send("PING") == b"PONG"
    assert [each.former_ended for each in opened] == [True, True]
    assert (len(down), keeper.health.connects, keeper.health.losses, keeper.health.attempts) == (1, 2, 1, 0)
    assert keeper.traffic.commands > link.traffic.commands
    await keeper.close()
    assert keeper.health.problem == "closed"
    with pytest.raises(LinkLost, match="closed"):
        await keeper.up()


async def test_the_former_connection_is_ended_before_the_next_one_is_up(redis_server: Start) -> None:
    """A command that hangs in the network could still be executed behind those of the new connection."""
    server = await redis_server()
    opened: list[Opened] = []
    keeper = quick(server.url, on_up=opened.append)
    keeper.start()
    link = await keeper.up(5)
    # The connection is given up here, while Redis does not know: its end hangs in the network.
    link._end("lost in the network")
    await until(lambda: len(opened) == 2)
    assert opened[1].former_ended
    listed = bytes(await opened[1].link.send("CLIENT", "LIST"))
    assert f"id={link.client_id} ".encode() not in listed
    await keeper.close()


KILLS: Final = 20


async def test_killed_again_and_again(redis_server: Start) -> None:
    """A server would give up, or a connection would be left behind at each kill."""
    server = await redis_server()
    keeper = quick(server.url)
    keeper.start()
    other = quick(server.unix_url)
    other.start()
    killer = await other.up(5)
    for _ in range(KILLS):
        link = await keeper.up(5)
        await killer.send("CLIENT", "KILL", "ID", link.client_id or 0)
        await link.lost
    await keeper.up(5)
    assert keeper.health.connects == KILLS + 1
    await keeper.close()
    listed = bytes(await killer.send("CLIENT", "LIST")).decode()
    assert listed.count("name=rtframework#") == 1
    await other.close()


async def test_a_reply_of_a_former_master_makes_it_ask_again(fake_server: Fake) -> None:
    """After a failover all writes would fail until somebody restarts the server."""
    old = await fake_server({b"SET": b"-READONLY You can't write against a read only replica.\r\n"})
    new = await fake_server({b"SET": b"+OK\r\n"})
    topology = Moving(old.url, new.url)
    keeper = quick("", topology=topology)
    keeper.start()
    link = await keeper.up(5)
    results = await asyncio.gather(*(link.send("SET", "a", 1) for _ in range(3)), return_exceptions=True)
    assert [str(each)[:8] for each in results] == ["READONLY"] * 3
    assert topology.refuted == ["READONLY"]
    await until(lambda: keeper.link is not None and keeper.link is not link)
    assert await (await keeper.up(5)).send("SET", "a", 1) == b"OK"
    await keeper.close()
    assert topology.closed


async def test_a_redis_that_loads_is_tried_until_it_has_loaded(fake_server: Fake) -> None:
    """Commands would fail one by one while Redis reads its data, although the server says that it is connected."""
    loading = b"-LOADING Redis is loading the dataset in memory\r\n"
    server = await fake_server({b"SET": loading})
    failures: list[str] = []

    def note(error: Exception) -> None:
        failures.append(getattr(error, "code", ""))
        server.answers[b"PING"] = b"+PONG\r\n"

    keeper = quick(server.url, on_failure=note)
    keeper.start()
    link = await keeper.up(5)
    server.answers[b"PING"] = loading
    with pytest.raises(ReplyError, match="LOADING"):
        await link.send("SET", "a", 1)
    await link.lost
    await until(lambda: keeper.link is not None and keeper.link is not link)
    assert failures == ["LOADING"]
    await keeper.close()


async def test_a_slot_that_is_moved(redis_server: Start) -> None:
    """While a Cluster is resharded, and after it, the stream could not be written."""
    servers = [await redis_server("--cluster-enabled", "yes") for _ in range(2)]
    first, second = [await connect(Address.from_url(server.url)) for server in servers]
    await first.send("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
    await second.send("CLUSTER", "ADDSLOTSRANGE", 8001, 16383)
    await first.send("CLUSTER", "MEET", "127.0.0.1", servers[1].port)
    async with asyncio.timeout(20):
        for node in (first, second):
            while b"cluster_state:ok" not in await node.send("CLUSTER", "INFO"):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.05)
    slot = key_slot(b"socket.io")
    here, there = await second.send("CLUSTER", "MYID"), await first.send("CLUSTER", "MYID")
    keeper = quick(f"redis+cluster://127.0.0.1:{servers[0].port}", key=b"socket.io")
    keeper.start()
    link = await keeper.up(10)
    assert keeper.health.address == servers[1].url
    await link.send("XADD", "socket.io", "*", "n", 1)
    waiting = link.send_blocking(5, "XREAD", "BLOCK", 5000, "STREAMS", "socket.io", "$")
    await first.send("CLUSTER", "SETSLOT", slot, "IMPORTING", here)
    await second.send("CLUSTER", "SETSLOT", slot, "MIGRATING", there)
    await second.send("MIGRATE", "127.0.0.1", servers[0].port, "socket.io", 0, 5000)
    other = await connect(Address.from_url(servers[1].url))
    with pytest.raises(ReplyError, match="ASK") as caught:
        await other.send("XLEN", "socket.io")
    keeper._refute(caught.value)  # as if the keeper's own connection had been told
    with pytest.raises(LinkError):
        await waiting
    await until(lambda: keeper.health.address == servers[0].url)
    link = await keeper.up(10)
    await link.send("XADD", "socket.io", "*", "n", 2)
    assert await link.send("XLEN", "socket.io") == 2
    for node in (first, second):
        await node.send("CLUSTER", "SETSLOT", slot, "NODE", there)
    keeper.suspect("look again")
    assert await (await keeper.up(10)).send("XLEN", "socket.io") == 2
    for node in (first, second, other):
        await node.close()
    await keeper.close()


async def test_a_suspicion_makes_it_ask_again(fake_server: Fake) -> None:
    """A layer that notices that something is wrong could do nothing about it."""
    first, second = await fake_server(), await fake_server()
    keeper = quick("", topology=Moving(first.url, second.url))
    keeper.suspect("nothing is open")
    keeper.start()
    link = await keeper.up(5)
    keeper.suspect("no message has come back")
    assert keeper.link is None
    assert str(await link.lost) == "no message has come back"
    assert await keeper.up(5) is not link
    assert (len(first.peers), len(second.peers)) == (1, 1)
    await keeper.close()


@pytest.mark.parametrize("fault", [LinkLost("no"), ValueError("a mistake"), asyncio.CancelledError()])
async def test_a_failed_beginning_is_begun_again(fake_server: Fake, fault: BaseException) -> None:
    """A connection would count as up although its subscriptions are not there."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))
    server = await fake_server()
    count = 0

    async def begin(opened: Opened) -> None:
        nonlocal count
        count += 1
        if count < 3:
            raise fault

    keeper = quick(server.url, on_up=begin)
    keeper.start()
    await keeper.up(5)
    assert (count, keeper.health.connects, keeper.health.losses) == (3, 3, 2)
    assert complaints == ([fault, fault] if isinstance(fault, ValueError) else [])
    await keeper.close()


async def test_a_connection_that_ends_while_it_begins(fake_server: Fake) -> None:
    """It would count as up, and nobody would try again."""
    server = await fake_server()
    ended: list[Opened] = []

    def begin(opened: Opened) -> None:
        if not ended:
            ended.append(opened)
            opened.link.fail("gone")

    keeper = quick(server.url, on_up=begin)
    keeper.start()
    await keeper.up(5)
    assert keeper.health.connects == 2
    await keeper.close()


async def test_a_listener_that_fails_is_reported(fake_server: Fake) -> None:
    """A mistake in a program's listener would end the attempts."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context["exception"])))

    def fail(error: Exception) -> None:
        raise ValueError("a mistake")

    dead = f"redis://127.0.0.1:{free_port()}"
    server = await fake_server()
    keeper = quick("", topology=Moving(dead, server.url), on_failure=fail, on_down=fail)
    keeper.start()
    (await keeper.up(5)).fail("gone")
    await until(lambda: len(complaints) == 2)
    await keeper.up(5)
    assert complaints == ["a mistake"] * 2
    await keeper.close()


async def test_closing_while_it_connects(fake_server: Fake) -> None:
    """A server could not be stopped while Redis is away, or would leave a task behind."""

    async def wait(peer: Peer, command: list[bytes]) -> None:
        await asyncio.sleep(60)

    server = await fake_server({b"HELLO": wait})
    keeper = quick(server.url)
    keeper.start()
    waiting = asyncio.create_task(keeper.up())
    await until(lambda: server.peers)
    await keeper.close()
    with pytest.raises(LinkLost, match="closed"):
        await waiting
    keeper.start()
    await keeper.close()


async def test_closing_while_it_begins(fake_server: Fake) -> None:
    """The connection whose subscriptions are being made would be left behind."""
    server = await fake_server()
    begun = asyncio.Event()

    async def begin(opened: Opened) -> None:
        begun.set()
        await asyncio.Event().wait()

    keeper = quick(server.url, on_up=begin)
    keeper.start()
    await begun.wait()
    await keeper.close()


async def test_a_topology_that_hangs(monkeypatch: pytest.MonkeyPatch, fake_server: Fake) -> None:
    """One Sentinel that hangs would hold everything for ever."""
    monkeypatch.setattr("rtframework_redis.keeper._LOCATE_TIMEOUT", 0.01)
    server = await fake_server()
    count = 0

    class Hung(SingleServer):
        async def locate(self, key: bytes = b"") -> Address:
            nonlocal count
            count += 1
            if count == 1:
                await asyncio.Event().wait()
            return await super().locate(key)

    failures: list[str] = []
    keeper = quick(
        "", topology=Hung(Address.from_url(server.url)), on_failure=lambda error: failures.append(str(error))
    )
    keeper.start()
    await keeper.up(5)
    assert failures == [f"{server.url} did not say within 0.01 s where the master is"]
    await keeper.close()


async def test_a_frozen_redis(redis_server: Start) -> None:
    """While Redis hangs the server would believe that all is well, or not come back after it."""
    server = await redis_server()
    options = LinkOptions(idle=0.05, ping_timeout=0.1, connect_timeout=0.1)
    keeper = quick(server.url, options=options)
    keeper.start()
    await keeper.up(5)
    server.freeze()
    await until(lambda: keeper.health.attempts >= 2)
    assert not keeper.health.up
    server.thaw()
    await keeper.up(5)
    await keeper.close()
