"""Cases 13 to 19: a client comes back to another server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.cluster.cases.table import (
    balance,
    case,
    flood_both,
    give_offset,
    hop,
)
from tests.support.cluster.clients import LightClient
from tests.support.cluster.driven import DrivenServer
from tests.support.cluster.fleet import RECOVERY, Fleet
from tests.support.cluster.ledger import Ledger
from tests.support.raw import raw_client


@case("13", "recovery on another server, with 50 missed packets", RECOVERY)
async def recovery(fleet: Fleet) -> None:
    """Somebody on a train would miss messages, or get them twice."""
    for here, there in fleet.ways():
        client = await fleet.connect(here, rooms=["red"], data={"n": 1})
        witness = await fleet.connect(there, rooms=["red"])
        await give_offset(client, here)
        sid, pid = client.sid, client.pid
        client.reconnects = False
        client.cut()
        await here.logged("disconnect", sid=sid)
        wanted: list[Any] = []
        for number in range(50):
            server = (here, there)[number % 2]
            value: Any = b"\x00%d" % number if number % 5 == 0 else number
            targets: tuple[dict[str, Any], ...] = ({}, {"rooms": ["red"]}, {"rooms": ["blue"]}, {"except_": ["red"]})
            target = targets[number % 4]
            await server.emit("missed", value, **target)
            if target in ({}, {"rooms": ["red"]}):
                wanted.append(value)
                await witness.wait_for("missed", len(wanted))
        client.reconnects = True
        client.url = there.url
        await client.connect()
        got = [args[0] for args in client.received("missed")]
        assert client.recovered
        assert (client.sid, client.pid) == (sid, pid)
        assert got == wanted
        entry = (await there.log("connection"))[-1]
        assert (entry["recovered"], entry["data"], entry["rooms"]) == (True, {"n": 1}, sorted([sid, "red"]))
        await client.disconnect()


@case("15", "five hops from server to server while events come", RECOVERY)
async def hops(fleet: Fleet) -> None:
    """Each change of the network would cost or double a message."""
    client = await fleet.connect(fleet.a)
    await give_offset(client, fleet.a)
    await fleet.a.flood("hops", "n", count=100, interval=0.005)
    servers = (fleet.b, fleet.a)
    for number in range(5):
        old = (fleet.a, fleet.b)[number % 2]
        sid, gone = client.sid, len(await old.log("disconnect"))
        client.reconnects = False
        client.cut()
        async with asyncio.timeout(5):
            while len(await old.log("disconnect")) == gone:  # noqa: ASYNC110 - so that the session is kept
                await asyncio.sleep(0.005)
        client.reconnects = True
        client.url = servers[number % 2].url
        await client.connect()
        assert client.recovered, f"hop {number}"
        assert client.sid == sid
    flood = await fleet.a.flooded("hops", timeout=10)
    ledger = Ledger()
    ledger.flood("hops", flood.times, raised=flood.raised, uncertain=flood.uncertain)
    ledger.client(client.name)
    try:
        await client.wait_for("n", 100, timeout=2)
    finally:
        client.enter(ledger, "n")
    assert ledger.result().is_clean, ledger.result()


@case("16", "a server that is told to end (SIGTERM): recovered on the other", RECOVERY)
async def told_to_end(fleet: Fleet) -> None:
    """Every deployment would cost all clients their sessions."""
    for here, there in fleet.ways():
        client = await fleet.connect(here)
        await give_offset(client, here)
        client.url = there.url
        try:
            await here.stop()
            await client.admitted(2)
            assert client.recovered
        finally:
            await fleet.start(here.name)


@case("16b", "a server that is killed (SIGKILL): recovered on the other", RECOVERY)
async def killed(fleet: Fleet) -> None:
    """Every crash would cost all clients their sessions."""
    for here, there in fleet.ways():
        client = await fleet.connect(here)
        await give_offset(client, here)
        client.url = there.url
        try:
            await here.kill()
            await client.admitted(2)
            assert client.recovered
        finally:
            await fleet.start(here.name)


@case("16c", "a client that has received nothing yet: recovered on the other", RECOVERY)
async def quiet_client(fleet: Fleet) -> None:
    """Whoever was only listening would miss what was sent while the connection was lost."""
    for here, there in fleet.ways():
        client = await fleet.connect(here)
        client.reconnects = False
        client.cut()
        await here.logged("disconnect", sid=client.sid)
        client.reconnects, client.url = True, there.url
        await client.connect()
        assert client.recovered


@case("17", "not recovered: left, thrown out, unknown or trimmed offset, session used before", RECOVERY)
async def not_recovered(fleet: Fleet) -> None:
    """Whoever had logged out would be back in, and a client would believe that it has missed nothing."""
    for here, there in fleet.ways():

        async def come_back(client: LightClient, there: DrivenServer = there) -> bool:
            known = client.pid, client.offset
            again = fleet.clients.make(there.url)
            again.pid, again.offset = known
            await again.connect()
            await again.close()
            return again.recovered

        async def lose(client: LightClient, here: DrivenServer = here) -> None:
            client.reconnects = False
            client.cut()
            await here.logged("disconnect", sid=client.sid)

        async def meet(here: DrivenServer = here) -> LightClient:
            client = await fleet.connect(here)
            await give_offset(client, here)
            return client

        left = await meet()
        await left.disconnect()
        await here.logged("disconnect", sid=left.sid)
        assert not await come_back(left), "left by itself"
        thrown = await meet()
        await here.disconnect_sockets(rooms=[thrown.sid])
        await here.logged("disconnect", sid=thrown.sid)
        assert not await come_back(thrown), "was thrown out"
        unknown = await meet()
        await lose(unknown)
        unknown.offset = "nonsense"
        assert not await come_back(unknown), "has an offset that cannot be"
        twice = await meet()
        await lose(twice)
        assert await come_back(twice)
        late = await meet()
        await lose(late)
        await here.emit("newer")
        async with asyncio.timeout(10):  # Node's servers do not say when it is in the stream
            last = late.offset
            while last == late.offset:
                await asyncio.sleep(0.01)
                last = (await fleet.redis.entries())[-1][0]
        await fleet.redis.trim(1)
        assert not await come_back(late), "has an offset that was trimmed away"


@case("18", "Engine.IO's close packet by polling: recovered", RECOVERY)
async def polling(fleet: Fleet) -> None:
    """Clients behind a proxy that has no websockets would never be recovered."""
    for here, there in fleet.ways():
        async with raw_client(here.url) as raw:
            await raw.handshake()
            await raw.post("40{}")
            packet = await raw.receive()
            assert isinstance(packet, str)
            connected = json.loads(packet[2:])
            await here.emit("mark")
            packet = await raw.receive()
            assert isinstance(packet, str)
            offset = json.loads(packet[2:])[-1]
            await raw.post("1")
        await here.logged("disconnect", sid=connected["sid"])
        client = fleet.clients.make(there.url)
        client.pid, client.offset = connected["pid"], offset
        await client.connect()
        assert client.recovered


@case("19", "a flood from both during a recovery: nothing lost, nothing double", RECOVERY)
async def flood_and_recovery(fleet: Fleet) -> None:
    """What was sent in the moment of the recovery would be lost."""
    client, still = await fleet.connect(fleet.a), await fleet.connect(fleet.b)
    await give_offset(client, fleet.a)
    count = 300
    await flood_both(fleet, count, 0.002)
    await client.wait_for("n", 50)
    await hop(client, fleet.b)
    ledger = await balance(fleet, client, still, count=count)
    assert client.recovered
    result = ledger.result()
    assert result.is_clean, result


@case("19b", "offsets grow at every client of a flood from both", RECOVERY)
async def monotonic(fleet: Fleet) -> None:
    """A client with an older offset would get messages twice when it comes back."""
    clients = [await fleet.connect(server) for server in (fleet.a, fleet.b)]
    count = 300
    await flood_both(fleet, count, 0.001)
    result = (await balance(fleet, *clients, count=count)).result()
    assert result.is_clean, result
    assert (result.backwards, result.disagreeing) == (0, 0), result
