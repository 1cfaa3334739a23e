"""Cases 20 and 21: Redis and its connections fail, and many namespaces."""

from __future__ import annotations

import asyncio

from tests.support.cluster.cases.table import (
    balance,
    case,
    flood_both,
    give_offset,
    until_sockets,
)
from tests.support.cluster.fleet import REMOTE, STREAM, Fleet


@case("20", "Redis started again with its data while both emit: nothing lost", STREAM)
async def restart(fleet: Fleet) -> None:
    """A restart of Redis would lose messages and nobody would know."""
    clients = [await fleet.connect(server) for server in (fleet.a, fleet.b)]
    await give_offset(clients[0], fleet.a)
    count = 100
    await flood_both(fleet, count, 0.01)
    await clients[0].wait_for("n", 20)
    await fleet.kill_redis()
    await fleet.start_redis()
    result = (await balance(fleet, *clients, count=count)).result()
    assert result.is_clean, result


@case("20b", "the reader's connection is killed again and again: nothing lost", STREAM)
async def reader_killed(fleet: Fleet) -> None:
    """A firewall that ends connections would lose messages."""
    clients = [await fleet.connect(server) for server in (fleet.a, fleet.b)]
    await give_offset(clients[0], fleet.a)
    count = 100
    await flood_both(fleet, count, 0.005)
    for number in range(1, 5):
        await clients[0].wait_for("n", 20 * number)
        for name in fleet.servers:
            fleet.network[name].cut("XREAD")
    result = (await balance(fleet, *clients, count=count)).result()
    assert result.is_clean, result


@case("20c", "every connection is killed again and again: nothing lost")
async def all_killed(fleet: Fleet) -> None:
    """Trouble in the network would lose messages and nobody would know."""
    clients = [await fleet.connect(server) for server in (fleet.a, fleet.b)]
    count = 100
    await flood_both(fleet, count, 0.005)
    for number in range(1, 5):
        await clients[0].wait_for("n", 15 * number)
        await fleet.redis.kill_clients()
    result = (await balance(fleet, *clients, count=count)).result()
    assert result.is_clean, result


@case("20d", "the reply to the entry of an emit is lost: once", STREAM)
async def reply_lost(fleet: Fleet) -> None:
    """A message would come twice, or never, when a connection ends at the wrong moment."""
    for here, there in fleet.ways():
        client, own = await fleet.connect(there), await fleet.connect(here)
        await here.emit("first")
        await own.wait_for("first")
        proxy = fleet.network[here.name]
        assert proxy.lose_next_reply("XADD")
        await here.emit("second")
        await proxy.reply_lost()
        await here.emit("third")
        for each in (client, own):
            await each.wait_for("third")
            assert len(each.received("second")) == 1, f"{each.name}: {each.received('second')}"
        await client.close()


@case("20e", "nothing happens for longer than a reader blocks (5 s), and then an event: it arrives", STREAM)
async def idle(fleet: Fleet) -> None:
    """The first message after a quiet hour would be lost."""
    clients = [await fleet.connect(server) for server in (fleet.a, fleet.b)]
    await fleet.a.emit("before")
    await asyncio.sleep(6)
    for server in (fleet.a, fleet.b):
        await server.emit("after", server.name)
    for client in clients:
        assert sorted(await client.wait_for("after", 2)) == [["a"], ["b"]]


@case("21", "40 namespaces, made while the servers run", REMOTE)
async def namespaces(fleet: Fleet) -> None:
    """A program with a namespace for each customer would lose messages between them."""
    here, there = fleet.a, fleet.b
    names = [f"/dynamic-{number}" for number in range(40)]
    far = [await fleet.connect(there, nsp=nsp) for nsp in names]
    near = [await fleet.connect(here, nsp=nsp) for nsp in names]
    for server in (here, there):
        await fleet.redis.answers()
        await asyncio.gather(*(until_sockets(server, nsp, 2) for nsp in names))
    for nsp in names:
        await here.emit("news", nsp, nsp=nsp)
    for client in (*far, *near):
        assert await client.wait_for("news") == [[client.nsp]]
    assert len(fleet.network[here.name].doing()) <= 3
