"""What a cluster over Redis costs: ``make bench ARGS="--cluster"``, or ``python -m benchmarks.cluster`` by itself.

Two servers of a kind on one Redis, each a process of its own; in each round all kinds have their turn. CPU time is that
of one server's process, for each message, by its own clock. Prints a table, in Markdown: the median of the rounds, and
the best one. ``--curve`` shows how far one stream goes: more and more servers on it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import machine
from .cluster_servers import KINDS, Client, Kind, Redis, Server, connected, missing, running_redis, running_servers
from .runner import Failed

ELSEWHERE: Final = "elsewhere"
"""A room that nobody is in."""
HERE: Final = "here"
"""A room in which the second server has somebody."""
NODES: Final = (1, 2, 4, 8, 16)
BURSTS: Final = (16, 100)
"""Events that are emitted at a time, one burst each 2 ms."""
NAMESPACES: Final = 20_000
RATE: Final = 2_000
"""Events a second of which the delay is measured."""


@dataclass(slots=True)
class Bench:
    """Two servers, with a client each."""

    redis: Redis | None
    servers: Sequence[Server]
    clients: Sequence[Client]
    scale: float
    _marks: int = 0

    def count(self, messages: int) -> int:
        """Return how many messages to send, a multiple of 1,600."""
        return max(1, round(messages * self.scale / 1600)) * 1600

    async def settled(self) -> None:
        """Wait until everything that was emitted has arrived everywhere."""
        self._marks += 1
        mark = f"mark {self._marks}"
        await self.servers[0].do("mark", name=mark)
        for client in self.clients:
            await client.until(mark)

    async def emit(self, room: str | None, mode: str, size: int, count: int) -> tuple[list[float], float, Any]:
        """Have the first server emit. Return the CPU time of each server for a message, the seconds, and the answer."""
        await self.settled()
        before = [await server.do("cpu") for server in self.servers]
        begun = time.monotonic()
        answer = await self.servers[0].do("emit", room=room, mode=mode, size=size, count=count)
        await self.settled()
        took = time.monotonic() - begun
        after = [await server.do("cpu") for server in self.servers]
        return [(last - first) / count for first, last in zip(before, after, strict=True)], took, answer


async def published(bench: Bench, mode: str, size: int) -> float:
    """Return what an emit costs the server that emits, with all that follows from it there."""
    costs, _, _ = await bench.emit(ELSEWHERE, mode, size, bench.count(1600 if size == 1 else 16_000))
    return costs[0]


async def received(bench: Bench, room: str | None, size: int = 100) -> float:
    """Return what a message of another server costs."""
    costs, _, _ = await bench.emit(room, "bursts", size, bench.count(16_000))
    return costs[1]


async def delivered(bench: Bench) -> float:
    """Return what a message costs that a client of the other server gets. Raises ``Failed`` if one is lost."""
    before = [client.events for client in bench.clients]
    count = bench.count(16_000)
    costs, _, _ = await bench.emit(None, "bursts", 100, count)
    got = [client.events - each for client, each in zip(bench.clients, before, strict=True)]
    if got != [count] * len(bench.clients):
        raise Failed(f"{got} of {count} events have arrived")
    return costs[1]


async def throughput(bench: Bench) -> float:
    """Return the messages per second from one server to the other, ready to be sent there."""
    count = bench.count(64_000)
    gaps = [await server.do("gaps") for server in bench.servers]
    _, took, _ = await bench.emit(HERE, "tasks", 64, count)
    if [await server.do("gaps") for server in bench.servers] != gaps:
        raise Failed("packets were missing")
    return count / took


async def latency(bench: Bench, quantile: float) -> float:
    """Return the milliseconds from an emit to a client of the other server, all of the way."""
    client = bench.clients[1]
    client.delays.clear()
    await bench.servers[0].do("pace", rate=RATE, seconds=max(0.5, 4 * bench.scale))
    await bench.settled()
    return sorted(client.delays)[round(quantile * (len(client.delays) - 1))] * 1e3


async def namespaces(bench: Bench) -> float:
    """Return the milliseconds of CPU time for a namespace that comes and goes.

    Raises ``Failed`` if there are other connections to Redis than before.
    """
    server, client = bench.servers[0], bench.clients[0]
    assert bench.redis is not None
    count = round(NAMESPACES * bench.scale)
    connections = await bench.redis.connections()
    before = await server.do("cpu")
    for start in range(0, count, 50):
        names = [f"/dynamic/{number}" for number in range(start, min(start + 50, count))]
        for name in names:
            await client.send(f"40{name},")
        for name in names:
            await client.until(nsp=name)
        for name in names:
            await client.send(f"41{name},")
    await bench.settled()
    if await bench.redis.connections() != connections:
        raise Failed("there are other connections to Redis than before")
    cost: float = (await server.do("cpu") - before) / count / 1e3
    return cost


_OURS_AND_NODE: Final = ("ours:", "node:")
_PYTHON: Final = ("ours:", "python-socketio")


@dataclass(frozen=True, slots=True)
class Row:
    """A figure. ``target``: what the project means to reach; ``of_node``: the same as a part of Node's."""

    title: str
    unit: str
    measure: Callable[[Bench], Awaitable[float]]
    target: float | None = None
    of_node: float | None = None
    only: tuple[str, ...] = ("ours:", "node:", "python-socketio")
    more_is_better: bool = False

    def is_for(self, kind: Kind) -> bool:
        """Tell whether a kind can do it."""
        return kind.key.startswith(self.only)


ROWS: Final = {
    "nobody": Row("received, nobody here is meant", "µs", lambda it: received(it, ELSEWHERE), 2, 0.35),
    "nobody-16": Row("the same, 16 at a time", "µs", lambda it: received(it, ELSEWHERE, 16), of_node=0.35),
    "ready": Row("received, ready to be sent", "µs", lambda it: received(it, HERE), 4, only=_OURS_AND_NODE),
    "delivered": Row("received, sent to a client", "µs", delivered),
    "bursts-16": Row("published, 16 at a time", "µs", lambda it: published(it, "bursts", 16), 8, 0.4),
    "bursts-100": Row("published, 100 at a time", "µs", lambda it: published(it, "bursts", 100), 8, 0.4),
    "tasks": Row("published by 64 tasks", "µs", lambda it: published(it, "tasks", 64), 8, only=_PYTHON),
    "alone": Row("published alone, awaited", "µs", lambda it: published(it, "alone", 1), 60, only=_PYTHON),
    "throughput": Row(
        "messages a second, to the other server", "1/s", throughput, 60_000, only=_OURS_AND_NODE, more_is_better=True
    ),
    "latency-50": Row(
        "from emit to client at 2,000/s, p50", "ms", lambda it: latency(it, 0.5), 0.5, only=_OURS_AND_NODE
    ),
    "latency-99": Row(
        "from emit to client at 2,000/s, p99", "ms", lambda it: latency(it, 0.99), 5, only=_OURS_AND_NODE
    ),
    "namespaces": Row("a namespace comes and goes", "ms", namespaces, only=_OURS_AND_NODE),
}

Figures = dict[str, dict[str, list[float]]]
"""By row and kind, the figures of the rounds."""
Curve = Sequence[tuple[int, float, float]]
"""The number of servers, Redis' microseconds for a message, and those of each server that only receives it."""


async def measure(kinds: Sequence[Kind], rows: Sequence[str], rounds: int, scale: float) -> tuple[Figures, int]:
    """Measure the rows of each kind, round by round. Return the figures, and how many runs do not count."""
    found: Figures = {row: {kind.key: [] for kind in kinds} for row in rows}
    failures = 0
    for number in range(1, rounds + 1):
        for kind in kinds:
            _say(f"round {number} of {rounds}: {kind.title}")
            async with (
                running_redis() as redis,
                running_servers(kind, redis, 2) as servers,
                connected(servers[0]) as one,
                connected(servers[1]) as two,
            ):
                bench = Bench(redis, servers, (one, two), scale)
                if kind.ghosts:
                    await servers[1].do("join", room=HERE)
                await bench.emit(None, "bursts", 16, bench.count(8_000))
                for name in (each for each in rows if ROWS[each].is_for(kind)):
                    row = ROWS[name]
                    try:
                        value = await row.measure(bench)
                    except Failed as failed:
                        failures += 1
                        _say(f"    {row.title}: this run does not count: {failed}")
                        continue
                    found[name][kind.key].append(value)
                    _say(f"    {row.title}: {short(value)} {row.unit}")
    return found, failures


async def measure_curve(kind: Kind, nodes: Sequence[int], rounds: int, scale: float, size: int = 16) -> Curve:
    """Measure more and more servers, one of which emits to a room that nobody is in, ``size`` events each 2 ms."""
    found: dict[int, list[tuple[float, list[float]]]] = {count: [] for count in nodes}
    for _ in range(rounds):
        for count in nodes:
            async with (
                running_redis() as redis,
                running_servers(kind, redis, count) as servers,
                connected(servers[0]) as one,
                connected(servers[-1]) as two,
            ):
                bench = Bench(redis, servers, (one, two), scale)
                await bench.emit(ELSEWHERE, "bursts", 16, 1600)
                messages = bench.count(16_000)
                before = await redis.cpu()
                costs, _, _ = await bench.emit(ELSEWHERE, "bursts", size, messages)
                cpu = (await redis.cpu() - before) / messages
            found[count].append((cpu, costs[1:]))
            _say(f"{kind.title}, {count} servers: Redis {cpu:.2f} µs, each {', '.join(map(short, costs))} µs")
    return [
        (
            count,
            statistics.median(cpu for cpu, _ in each),
            statistics.median([cost for _, costs in each for cost in costs] or [0.0]),
        )
        for count, each in found.items()
    ]


# --- what is printed --------------------------------------------------------------------------------------------------


def table(found: Figures, kinds: Sequence[Kind]) -> list[str]:
    """Return the table: medians, and the lowest round."""
    lines = [
        f"| | {' | '.join(kind.title for kind in kinds)} | wanted |",
        f"| --- |{' ---: |' * (len(kinds) + 1)}",
    ]
    for name, values in found.items():
        row = ROWS[name]
        cells = [_cell(row, values[kind.key]) for kind in kinds]
        wanted = [] if row.target is None else [f"{'≥' if row.more_is_better else '≤'} {short(row.target)}"]
        wanted += [] if row.of_node is None else [f"≤ {row.of_node} of Node's"]
        lines.append(f"| {row.title} ({row.unit}) | {' | '.join(cells)} | {', '.join(wanted)} |")
    return lines


def ratios(found: Figures, ours: str, node: str) -> list[str]:
    """Return what the rows with a ratio as their target have reached."""
    lines = []
    for name, values in found.items():
        row, mine, theirs = ROWS[name], values.get(ours), values.get(node)
        if row.of_node is not None and mine and theirs:
            ratio, lowest = statistics.median(mine) / statistics.median(theirs), min(mine) / min(theirs)
            lines.append(f"{row.title}: {ratio:.2f} of Node's, {lowest:.2f} in the best rounds, wanted {row.of_node}")
    return lines


def curve_table(curve: Curve) -> list[str]:
    """Return the table of a curve, and the line through it."""
    lines = [
        "| servers | Redis, µs a message | Redis' core allows | each other server, µs a message | all others |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for count, redis, cost in curve:
        most = f"{round(1e6 / redis, -3):,.0f}/s"
        lines.append(f"| {count} | {redis:.1f} | {most} | {cost:.2f} | {(count - 1) * cost:.1f} |")
    if len(curve) > 2:
        slope, base = statistics.linear_regression([each[0] for each in curve], [each[1] for each in curve])
        cost = statistics.median(each[2] for each in curve[1:])
        lines += [
            "",
            f"Redis uses {base:.1f} + {slope:.2f} × servers µs for each message: its one core allows 1,000,000 / "
            f"({base:.1f} + {slope:.2f} × servers) messages a second. Each server uses {cost:.1f} µs for each message "
            f"of the others: {cost:.1f} % of a core for 10,000 messages a second.",
        ]
    return lines


def short(value: float) -> str:
    """Return a figure with three digits or so."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell(row: Row, values: list[float]) -> str:
    if not values:
        return "-"
    best = max(values) if row.more_is_better else min(values)
    return f"{short(statistics.median(values))} ({short(best)})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--only", action="append", choices=ROWS, metavar="ROW", help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--kind", action="append", choices=KINDS, metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round with less work")
    parser.add_argument("--curve", action="store_true", help="how far one stream goes")
    options = parser.parse_args(arguments)
    kinds = []
    for key in options.kind or KINDS:
        why = missing(KINDS[key])
        if why is None:
            kinds.append(KINDS[key])
        else:
            _say(f"{KINDS[key].title} is left out: {why}")
    rounds, scale = (1, 0.1) if options.quick else (options.rounds, 1.0)
    others = machine.Others()
    failures = 0
    if options.curve:
        for kind in kinds if options.kind else kinds[:1]:
            for size in BURSTS:
                curve = asyncio.run(measure_curve(kind, NODES[:2] if options.quick else NODES, rounds, scale, size))
                print(f"{kind.title}, {size} at a time\n", *curve_table(curve), "", sep="\n", flush=True)
    else:
        found, failures = asyncio.run(measure(kinds, options.only or list(ROWS), rounds, scale))
        print(*table(found, kinds), "", *ratios(found, "ours:local-first", "node:streams"), sep="\n")
    print(f"\nOthers used {others.share():.0%} of a core meanwhile.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
