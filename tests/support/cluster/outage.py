"""Measures what an outage of Redis costs: who loses what, for how long, and whether the program is told.

``python -m tests.support.cluster.outage --seconds 11 --peers node-streams,node-classic,python-socketio`` prints
a table. Two servers; an event every 50 ms by the first; one client on each. ``--adapter module:factory`` adds ours.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from tests.support.cluster.clients import LightClient
from tests.support.cluster.fleet import KINDS, add_kind, running_fleet
from tests.support.cluster.ledger import Ledger, Result
from tests.support.until import until

Fault: TypeAlias = Literal["killed", "frozen", "emptied"]

_INTERVAL: Final = 0.05
_BEFORE: Final = 2.0
_AFTER: Final = 12.75
"""Seconds of emits after the outage: longer than the back-off of every peer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    kind: str
    fault: Fault
    own: Result
    """Books on the client of the server that emits."""
    other: Result
    """Books on the client of the other server."""
    unhandled: int
    """Rejections that nothing caught, which end a Node process by default."""

    def __str__(self) -> str:
        told = [
            *([f"{self.own.raised} raised"] if self.own.raised else []),
            *([f"{self.unhandled} unhandled rejections"] if self.unhandled else []),
        ]
        cells = (
            f"{self.kind}, Redis {self.fault}",
            f"{self.other.lost} of {self.other.expected}",
            f"{self.other.doubled}, {self.other.reordered}",
            f"{self.other.longest_wait:.1f} s",
            f"{self.own.lost}, {self.own.doubled}, {self.own.reordered}",
            f"{self.own.longest_wait:.1f} s",
            ", ".join(told) or "no",
        )
        return "| " + " | ".join(cells) + " |"


HEAD: Final = (
    "| | other client lost | doubled, reordered | waits at most | own client lost, doubled, reordered | waits at most "
    "| program told |\n|---|---|---|---|---|---|---|"
)


async def measure(kind: str, fault: Fault, seconds: float, *, before: float = _BEFORE, after: float = _AFTER) -> Row:
    """Measure one row. ``emptied``: Redis is killed and comes back without its data."""
    persistence: Literal["none", "aof"] = "none" if fault == "emptied" else "aof"
    count = round((before + seconds + after) / _INTERVAL)
    async with running_fleet(kind, kind, persistence=persistence, namespaces=["/"]) as fleet:
        own, other = await fleet.connect(fleet.a, name="own"), await fleet.connect(fleet.b, name="other")
        await fleet.a.flood("a", "n", count=count, interval=_INTERVAL)
        await asyncio.sleep(before)
        if fault == "frozen":
            fleet.redis.freeze()
            await asyncio.sleep(seconds)
            fleet.redis.thaw()
        else:
            await fleet.kill_redis()
            await asyncio.sleep(seconds)
            await fleet.start_redis()
        flood = await fleet.a.flooded("a", timeout=after + 30)
        with contextlib.suppress(TimeoutError):  # the ledgers say what is missing
            await until(lambda: all(len(client.received("n")) >= count for client in (own, other)), timeout=5)

        def balance(client: LightClient) -> Result:
            ledger = Ledger()
            ledger.flood("a", flood.times, raised=flood.raised, uncertain=flood.uncertain)
            ledger.client(client.name)
            client.enter(ledger, "n")
            return ledger.result()

        return Row(kind, fault, balance(own), balance(other), unhandled=len(fleet.a.unhandled))


async def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=11.0, help="length of the outage")
    parser.add_argument("--peers", default="node-streams,node-classic,python-socketio", help=", ".join(KINDS))
    parser.add_argument("--faults", default="killed,frozen", help=", ".join(get_args(Fault)))
    parser.add_argument("--adapter", help="module:factory of an adapter for our server")
    parser.add_argument("--options", default="{}", help='of the adapter, as JSON: {"sharded": true}')
    parser.add_argument("--no-recovery", action="store_true", help="for an adapter that recovers no connections")
    parser.add_argument("--at-once", type=int, default=4, help="rows that are measured at the same time")
    given = parser.parse_args()
    kinds = [each for each in given.peers.split(",") if each]
    if given.adapter is not None:
        config = {"recovery": None} if given.no_recovery else {}
        add_kind("ours", given.adapter, options=json.loads(given.options), **config)
        kinds.insert(0, "ours")
    slots = asyncio.Semaphore(given.at_once)

    async def one(kind: str, fault: Fault) -> Row:
        async with slots:
            return await measure(kind, fault, given.seconds)

    rows = [one(kind, fault) for kind in kinds for fault in given.faults.split(",")]
    print(f"Redis away for {given.seconds:g} s, an event every {_INTERVAL * 1000:g} ms\n\n{HEAD}", flush=True)
    for row in await asyncio.gather(*rows):
        print(row)


if __name__ == "__main__":
    asyncio.run(main())
