"""The Redis in memory answers as a real one."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from rtframework_redis.handshake import connect
from rtframework_redis.history_scripts import RoomKey, append_command
from rtframework_redis.link import Link
from rtframework_redis.topology import make_topology
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.cluster.simulated_redis import SimulatedRedis, simulated
from tests.support.simulation import SimulatedLoop

_FIELDS: Final = (b"uid", b"u", b"nsp", b"/", b"type", b"3", b"data")
_ENTRIES: Final = [
    [*_FIELDS, data, b"m", m, b"h", b"1", *again]
    for data, m, again in (
        (b"1", b"m1", ()),
        (b"2", b"m2", ()),
        (b"3", b"m3", ()),
        (b"3", b"m3", (b"a", b"1")),
        (b"4", b"m4", (b"a", b"1")),
    )
]
"""Entries for the history of rooms; one of them is sent again."""

_ID = re.compile(rb"\d{4,}-\d+")


async def _open(url: str) -> tuple[Link, list[list[Any]]]:
    pushes: list[list[Any]] = []
    return await connect(await make_topology(url).locate(), on_push=pushes.append), pushes


async def _talk(url: str) -> list[Any]:
    """Send what the plugin sends, and return the replies, with the ids of entries numbered."""
    one, heard = await _open(url)
    other, _ = await _open(url)
    found: list[Any] = [one.resp3, one.role, isinstance(one.client_id, int)]

    async def send(link: Link, *args: str | int | bytes) -> Any:
        try:
            return await link.send(*args)
        except Exception as error:  # noqa: BLE001 - it is compared
            return str(error).partition(" ")[0]

    ids = [await send(one, "XADD", "s", "MAXLEN", "~", 1000, "*", "f", str(number)) for number in range(4)]
    await asyncio.sleep(0.002)  # so that the ids of the two streams differ, which begin with the millisecond
    rooms = [RoomKey(b"h", 2, 0), RoomKey(b"i", 9, 0)]
    kept = [await one.send(*append_command("t", 1000, rooms, fields)) for fields in _ENTRIES]
    for command in (
        ("XRANGE", "s", "-", "+"),
        ("XRANGE", "s", ids[1], ids[1]),
        ("XRANGE", "s", ids[1], "+", "COUNT", 2),
        ("XRANGE", "s", "0-0", "0-0"),
        ("XREVRANGE", "s", "+", "-", "COUNT", 2),
        ("XRANGE", "none", "-", "+"),
        ("XREAD", "COUNT", 2, "BLOCK", 10, "STREAMS", "s", ids[0]),
        ("XREAD", "COUNT", 2, "BLOCK", 10, "STREAMS", "s", ids[3]),
        ("SET", "k", "v", "PX", 60_000),
        ("SET", "none", "v", "PX", 60_000, "XX"),
        ("SET", "k", "w", "PX", 60_000, "XX"),
        ("GET", "k"),
        ("GET", "none"),
        ("RENAME", "k", "l"),
        ("RENAME", "k", "l"),
        ("PEXPIRE", "l", 60_000),
        ("PEXPIRE", "k", 60_000),
        ("DEL", "l"),
        ("DEL", "l"),
        ("XRANGE", "h", "-", "+"),
        ("XRANGE", "i", "-", "+"),
        ("PING",),
        ("NONSENSE",),
        ("MULTI",),
        ("SET", "k", "v", "PX", 60_000),
        ("GET", "k"),
        ("EXEC",),
        ("EXEC",),
    ):
        found.append(await send(one, *command))  # noqa: PERF401 - one after the other
    reading = one.send_blocking(5, "XREAD", "COUNT", 9, "BLOCK", 5000, "STREAMS", "s", ids[3])
    looking = one.send("XRANGE", "s", ids[3], ids[3])
    await asyncio.sleep(0.05)
    last = await send(other, "XADD", "s", "*", "f", "last")
    found += [await reading, await looking]
    found.append(await one.subscribe("SUBSCRIBE", "c", "d"))
    found.append(await one.subscribe("PSUBSCRIBE", "c*"))
    found.append(await send(other, "PUBLISH", "c", "hello"))
    found.append(await send(other, "PUBSUB", "NUMSUB", "c", "none"))
    await asyncio.sleep(0.05)
    found.append(list(heard))
    found.append(await one.subscribe("UNSUBSCRIBE", "c"))
    listed = await send(other, "CLIENT", "LIST", "ID", one.client_id or 0)
    found.append(f"name={one.name} ".encode() in listed)
    found.append(await send(other, "CLIENT", "KILL", "ID", one.client_id or 0))
    found.append("lost" if await one.lost else "")
    await other.close()
    numbers = {id: b"id %d" % number for number, id in enumerate([*ids, last, *kept])}
    return [_named(each, numbers) for each in found]


def _named(value: Any, numbers: dict[bytes, bytes]) -> Any:
    if isinstance(value, list):
        return [_named(each, numbers) for each in value]
    if isinstance(value, dict):
        return {_named(key, numbers): _named(each, numbers) for key, each in value.items()}
    return numbers.get(value, value) if isinstance(value, bytes) else value


@needs("redis-server")
def test_answers_are_those_of_redis() -> None:
    """The search with random steps would prove something about a broker that does not exist."""

    async def really() -> list[Any]:
        async with running_redis() as redis:
            return await _talk(redis.url)

    loop = SimulatedLoop()
    with simulated(loop, SimulatedRedis(loop)):
        found = loop.run_until_complete(_talk("redis://n0:1"))
    loop.close()
    expected = asyncio.run(really())
    for one, other in zip(found, expected, strict=True):
        assert one == other
    assert not any(_ID.search(repr(each).encode()) for each in found)


def test_faults_are_what_they_are_called() -> None:
    """A search whose faults do nothing would find nothing."""
    loop = SimulatedLoop()
    redis = SimulatedRedis(loop)

    async def run() -> None:
        link, _ = await _open("redis://n0:1")
        redis.isolate("n0")
        adding = link.send("XADD", "s", "*", "n", "1")
        await asyncio.sleep(0.1)
        assert not adding.done()
        redis.rejoin("n0")
        first = await adding
        redis.replicate()
        redis.of("n0", "XADD")[0].loses_reply = True
        lost = link.send("XADD", "s", "*", "n", "2")
        await asyncio.wait([lost])
        assert lost.exception() is not None
        assert len(redis.data.streams[b"s"]) == 2
        link, _ = await _open("redis://n0:1")
        redis.fail_over()
        await link.lost
        link, _ = await _open("redis://n0:1")
        assert [each[0] for each in await link.send("XRANGE", "s", "-", "+")] == [first]
        redis.freeze()
        waiting = link.send("PING")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        redis.thaw()
        await waiting
        redis.empty()
        assert await link.send("XRANGE", "s", "-", "+") == []
        await link.close()

    with simulated(loop, redis):
        loop.run_until_complete(run())
    loop.close()
