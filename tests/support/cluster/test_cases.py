"""What Node's servers do among themselves, case by case: the measure for ours, and a proof that the cases can fail."""

from __future__ import annotations

from typing import Final

import pytest

from rtframework.adapters import MemoryAdapter
from tests.support import thorough
from tests.support.cluster.cases.running import run_cases
from tests.support.cluster.cases.table import CASES
from tests.support.cluster.fleet import KINDS, REMOTE, add_kind_in_process, running_fleet
from tests.support.cluster.needs import needs
from tests.support.cluster.outage import HEAD, measure
from tests.support.js import JSClients
from tests.support.proxy import running_proxy

pytestmark = needs("redis-server", "node")

FAILS: Final[dict[str, dict[str, str]]] = {
    "node-streams": {
        "7": "listens to entries of the stream only; the classic emitter publishes",
        "7b": "does not know the messages of Python's world",
        "16b": "a session is kept when its client leaves, so never by a process that is killed (streams-adapter #27)",
        "16c": "without an offset nothing is asked for (socket.io #4888): the stream's end at CONNECT is not kept",
        "19b": "delivers its own events when XADD has answered, and others' when it has read them: hole 6 of the notes",
    },
    "node-streams-ioredis": {
        "7": "as node-streams",
        "7b": "as node-streams",
        "16b": "as node-streams",
        "16c": "as node-streams",
        "19b": "as node-streams",
        "20d": "ioredis sends a command again whose reply was lost: the event comes twice",
    },
    "node-classic": {
        "7b": "does not know the messages of Python's world",
        "10b": "requests are JSON, in which a Buffer is an object of numbers",
        "20c": "Redis keeps nothing for a subscriber that is away",
    },
    "node-sharded": {
        "7": "the classic emitter publishes to other channels",
        "7b": "does not know the messages of Python's world",
        "20c": "Redis keeps nothing for a subscriber that is away",
    },
    "python-socketio": {
        "20c": "Redis keeps nothing for a subscriber that is away, and the manager waits 1, 2, 4 s before it is back",
    },
}
"""Cases in which servers of one kind fail among themselves, and why."""

CHANCE: Final = frozenset({"15", "19", "20", "20b", "20c"})
"""Cases with faults or floods whose outcome is chance for others than us: ``python -m tests.support.cluster.cases``."""

LONG: Final = frozenset({"9b", "20e"})
"""Cases that take longer than a test may."""

ORDINARY: Final = ("node-streams", "node-classic")
"""Kinds that ordinary runs try; a thorough one tries all."""


@pytest.mark.parametrize("kind", sorted(FAILS) if thorough.is_thorough() else ORDINARY)
async def test_servers_of_a_kind_among_themselves(kind: str) -> None:
    """A case that a fleet of Node passes would be impossible for us, and one that it fails would be taken for ours."""
    numbers = [each for each in CASES if each not in CHANCE | LONG]
    async with running_fleet(kind, kind) as fleet:
        found = await run_cases(fleet, numbers)
    failed = {number: why for number, why in found.items() if why is not None}
    wanted = set(FAILS[kind]) - CHANCE
    unexpected = "\n".join(why for number, why in failed.items() if number not in wanted)
    assert set(failed) == wanted, f"{sorted(failed)} failed, {sorted(wanted)} should\n{unexpected}"
    assert len(found) > 2


async def test_servers_in_the_same_loop_are_a_fleet() -> None:
    """The fast form of a fleet would be none: two servers that keep to themselves pass no case, and hang in none."""
    add_kind_in_process("alone", lambda url: MemoryAdapter, REMOTE)
    try:
        async with running_fleet("alone", "alone", recovery=None) as fleet:
            found = await run_cases(fleet, ["12"])
            await fleet.a.stop()
            port = fleet.a.port
            await fleet.start("a")
            assert fleet.a.port == port
    finally:
        del KINDS["alone"]
    assert found["12"] is not None


async def test_a_stock_client_recovers_on_another_server(js: JSClients) -> None:
    """Cases would prove something about our light client, and nothing about the one that browsers run."""
    async with running_fleet("node-streams", "node-streams") as fleet, running_proxy(fleet.a.url) as front:
        url = front.url
        client = await js.connect(url, transports=["websocket"], reconnection=True, reconnectionDelay=20)
        sid = await client.id()
        await fleet.b.emit("news", 1)
        await client.wait_for("news", where=lambda number, offset: number == 1)
        front.lead_to(fleet.b.url)
        await front.cut()
        await client.disconnected()
        await fleet.a.emit("news", 2)
        await client.connected()
        assert (await client.state()).recovered
        assert await client.id() == sid
        await client.wait_for("news", where=lambda number, offset: number == 2)
        assert len(client.received("news")) == 2
        assert (await fleet.b.logged("connection", sid=sid))["recovered"]


async def test_a_clock_may_be_wrong() -> None:
    """Offsets and expiries of a machine whose clock is a day off would never be tried."""
    async with running_fleet("node-streams", "node-streams", clock=86400) as fleet:
        found = await run_cases(fleet, ["1", "13"])
    assert found == {"1": None, "13": None}


async def test_a_short_outage_is_measured() -> None:
    """The table of outages would say nothing, or be of something else."""
    row = await measure("node-classic", "frozen", 0.3, before=0.2, after=0.3)
    assert (row.own.emitted, row.own.lost, row.other.lost, row.other.doubled) == (16, 0, 0, 0)
    assert row.own.longest_wait < 0.2 < row.other.longest_wait
    assert str(row).count("|") == HEAD.splitlines()[0].count("|")


def test_the_tables_name_what_is_there() -> None:
    """A reader would look for cases that have gone."""
    for kind, cases in FAILS.items():
        assert kind in KINDS
        assert set(cases) <= set(CASES)
    assert set(CASES) >= CHANCE | LONG
    places = [CASES[number].place for number in sorted(CASES, key=lambda number: CASES[number].place)]
    assert len(set(places)) == len(CASES)
    wanted = set(range(1, 22)) - {14}  # 13 runs both ways
    assert {number for number, _ in places} == wanted
