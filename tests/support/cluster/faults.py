"""Everything that can fail, on real servers, as one table: ``make faults``.

Three servers with ``RedisStreams`` in processes of their own, a client on each; two of them emit all the time while
something fails. The last rows are random steps (``tests/plugins/rtframework_redis/test_stateful.py``), and the table of
outages compares with servers of Node and python-socketio. ``--only`` runs rows whose title has that text.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias, cast

from tests.support.cluster import outage
from tests.support.cluster.clients import LightClient, light_clients
from tests.support.cluster.fleet import KINDS, RECOVERY, REMOTE, STREAM, Fleet, add_kind, running_fleet
from tests.support.cluster.ledger import Ledger, Result
from tests.support.cluster.redis_broker import spoil
from tests.support.cluster.redis_fleets import MASTER, running_cluster, running_sentinels
from tests.support.cluster.redis_server import RedisServer, folder_of_logs
from tests.support.until import until

OURS: Final = "ours"
INTERVAL: Final = 0.02
BEFORE: Final = 1.0
AFTER: Final = 3.0
"""Seconds of emits around a fault."""

Act: TypeAlias = Callable[[Fleet, float], Awaitable[None]]
PEERS: Final = ("ours", "node-streams", "node-streams-ioredis", "python-socketio")


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what fails, and for how many seconds."""

    title: str
    act: Act
    seconds: float
    persistence: Literal["none", "aof"] = "aof"
    kind: Literal["redis", "sentinel", "cluster"] = "redis"


@dataclass(frozen=True, slots=True)
class Row:
    """The books of one fault."""

    title: str
    result: Result
    gaps: int
    """Times that a client was told to start anew."""

    def __str__(self) -> str:
        it = self.result
        cells = (
            *(self.title, it.emitted, it.raised, f"{it.lost} of {it.expected}", it.unsignalled, it.doubled),
            *(it.reordered, it.contradicted + it.stray, self.gaps, f"{it.longest_wait:.1f} s"),
        )
        return "| " + " | ".join(map(str, cells)) + " |"


HEAD: Final = (
    "| | emitted | raised | lost | unsignalled | doubled | reordered | in spite of an error | clients told "
    "| waits at most |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


# --- faults -----------------------------------------------------------------------------------------------------------


async def kill_redis(fleet: Fleet, seconds: float) -> None:
    """Kill Redis, and start it again."""
    await fleet.kill_redis()
    await asyncio.sleep(seconds)
    await fleet.start_redis()


async def freeze_redis(fleet: Fleet, seconds: float) -> None:
    """Let Redis do nothing."""
    fleet.redis.freeze()
    await asyncio.sleep(seconds)
    fleet.redis.thaw()


async def kill_connections(fleet: Fleet, seconds: float) -> None:
    """End connections again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in fleet.servers:
            fleet.network[name].cut()
            await asyncio.sleep(0.15)


async def lose_replies(fleet: Fleet, seconds: float) -> None:
    """Lose the reply to an entry that was added, again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in ("a", "b"):
            fleet.network[name].lose_next_reply("XADD")
            await asyncio.sleep(0.5)


async def partition(fleet: Fleet, seconds: float) -> None:
    """Let nothing pass between a server and Redis."""
    fleet.network.partition("b")
    await asyncio.sleep(seconds)
    fleet.network.heal()


async def trim(fleet: Fleet, seconds: float) -> None:
    """Cut the stream while one server cannot read it."""
    fleet.network.partition("b")
    await asyncio.sleep(seconds)
    await fleet.redis.trim(1)
    fleet.network.heal()


async def empty(fleet: Fleet, seconds: float) -> None:
    """Delete everything while one server cannot read it."""
    fleet.network.partition("b")
    await asyncio.sleep(seconds)
    await fleet.redis.flush()
    fleet.network.heal()


async def rewind(fleet: Fleet, seconds: float) -> None:
    """Go on with data of a while ago, which lack what was read."""
    saved = fleet.redis.folder.with_name("saved")
    shutil.copytree(fleet.redis.folder, saved)
    await asyncio.sleep(seconds)
    await fleet.kill_redis()
    shutil.rmtree(fleet.redis.folder)
    shutil.copytree(saved, fleet.redis.folder)
    await fleet.start_redis()


async def kill_server(fleet: Fleet, seconds: float) -> None:
    """Kill a server whose client then comes back elsewhere."""
    (client,) = [each for each in fleet.clients.all if each.url == fleet.servers["c"].url]
    client.url = fleet.a.url
    await fleet.servers["c"].kill()
    await asyncio.sleep(seconds)


async def freeze_server(fleet: Fleet, seconds: float) -> None:
    """Stop the process of a server that emits."""
    fleet.b.freeze()
    await asyncio.sleep(seconds)
    fleet.b.thaw()


async def wander(fleet: Fleet, seconds: float) -> None:
    """Let a client move from server to server, one of whose clocks is a day off."""
    end = time.monotonic() + seconds
    client = fleet.clients.all[0]
    while time.monotonic() < end:
        for name in ("b", "c", "a"):
            client.url = fleet.servers[name].url
            before = len(client.admissions)
            client.cut()
            await client.admitted(before + 1, timeout=10)
            await asyncio.sleep(0.3)


async def deafen(fleet: Fleet, seconds: float) -> None:
    """Let a server hear nothing on a connection that lives."""
    fleet.network["b"].drop("to_server", "XREAD")
    await asyncio.sleep(seconds)


async def spoil_stream(fleet: Fleet, seconds: float) -> None:
    """Add and publish what nobody understands."""
    await spoil(fleet.redis, "/")
    await asyncio.sleep(seconds)


async def fail_over(fleet: Fleet, seconds: float) -> None:
    """Kill the master."""
    await cast(Any, fleet.redis).fail_over(kill=True)
    await asyncio.sleep(seconds)


async def reshard(fleet: Fleet, seconds: float) -> None:
    """Move the stream's slot to another node, and to the next."""
    redis = cast(Any, fleet.redis)
    for _ in range(3):
        await redis.move(await redis.slot_of("socket.io"))
        await asyncio.sleep(seconds / 3)


FAULTS: Final = (
    Fault("Redis killed for 11 s, with its data", kill_redis, 11),
    Fault("Redis killed for 11 s, without persistence", kill_redis, 11, persistence="none"),
    Fault("Redis frozen for 11 s", freeze_redis, 11),
    Fault("connections killed again and again", kill_connections, 10),
    Fault("replies lost after adding", lose_replies, 5),
    Fault("stream trimmed under a slow reader", trim, 3),
    Fault("Redis emptied under a slow reader", empty, 3),
    Fault("an older history", rewind, 1),
    Fault("a failover of Sentinel", fail_over, 5, kind="sentinel"),
    Fault("a Redis Cluster resharded three times", reshard, 6, kind="cluster"),
    Fault("a server killed", kill_server, 5),
    Fault("a server frozen for 20 s", freeze_server, 20),
    Fault("a server cut off from Redis for 11 s", partition, 11),
    Fault("a clock that is a day off, and a client that moves", wander, 5),
    Fault("a subscription dead on a live connection", deafen, 10),
    Fault("rubbish in the stream and on channels", spoil_stream, 2),
)


# --- one row ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _fleet_of(fault: Fault, kind: str) -> AsyncIterator[Fleet]:
    kinds = [kind] * 3
    if fault.kind == "redis":
        async with running_fleet(*kinds, persistence=fault.persistence, namespaces=["/"]) as fleet:
            yield fleet
        return
    async with contextlib.AsyncExitStack() as stack:
        if fault.kind == "sentinel":
            sentinels = await stack.enter_async_context(running_sentinels())
            places = ",".join(f"{host}:{port}" for host, port in sentinels.addresses)
            redis: Any = sentinels
            url = f"redis+sentinel://{places}/{MASTER}"
        else:
            redis = await stack.enter_async_context(running_cluster())
            url = redis.url.replace("redis://", "redis+cluster://")

        async def url_of(name: str) -> str:
            return url

        network: Any = SimpleNamespace(url=url_of, proxies={})
        folder = stack.enter_context(folder_of_logs())
        fleet = Fleet(cast(RedisServer, redis), network, folder, kinds, namespaces=["/"])
        stack.push_async_callback(fleet.close)
        for name in fleet.kinds:
            await fleet.start(name)
        fleet.clients = await stack.enter_async_context(light_clients())
        yield fleet


async def measure(
    fault: Fault, kind: str = OURS, *, seconds: float | None = None, before: float = BEFORE, after: float = AFTER
) -> Row:
    """Let something fail, and count."""
    seconds = fault.seconds if seconds is None else seconds
    async with _fleet_of(fault, kind) as fleet:
        if fault.act is wander:
            await fleet.b.stop()
            await fleet.start("b", clock=86_400)
        clients = [await fleet.connect(server, name=name) for name, server in fleet.servers.items()]
        count = round((before + seconds + after) / INTERVAL)
        for name in ("a", "b"):
            await fleet.servers[name].flood(name, "n", count=count, interval=INTERVAL)
        await asyncio.sleep(before)
        await fault.act(fleet, seconds)
        floods = {name: await fleet.servers[name].flooded(name, timeout=after + 60) for name in ("a", "b")}
        owed = {(name, n) for name, flood in floods.items() for n in range(count) if n not in set(flood.raised)}
        with contextlib.suppress(TimeoutError):  # the ledger says what is missing
            await until(lambda: all(_has(each, owed) for each in clients), timeout=8)
        ledger = Ledger()
        for name, flood in floods.items():
            ledger.flood(name, flood.times, raised=flood.raised, uncertain=flood.uncertain)
        since = [each["since"] for server in fleet.servers.values() if server.alive for each in await server.log("gap")]
        told = 0
        for client in clients:
            ledger.client(client.name)
            client.enter(ledger, "n")
            told += _enter_gaps(ledger, client, since)
        return Row(fault.title, ledger.result(), told)


def _has(client: LightClient, owed: set[tuple[str, int]]) -> bool:
    received = client.received("n")
    return len(received) >= len(owed) and owed <= {(args[0], args[1]) for args in received}


def _enter_gaps(ledger: Ledger, client: LightClient, since: Sequence[float]) -> int:
    """Enter what a client was told: it was let in anew, because of a gap, or because it could not be recovered."""
    anew = [each for each in client.admissions[1:] if not each.recovered]
    for admission in anew:
        last = max((each.at for each in client.events if each.at < admission.at), default=0.0)
        # From what it had received for certain, which was on its way for a moment, or from the gap that sent it away.
        start = min([last, *(each for each in since if each < admission.at)])
        ledger.gap(start - 0.5, admission.at, clients=[client.name])
    return len(anew)


def run_steps(seconds: float) -> str:
    """Run random steps for a time; return a line about them. Raises what they find."""
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.plugins.rtframework_redis.test_stateful import Machine

    few = settings(
        max_examples=20,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    before, begun = Machine.taken, time.monotonic()
    while Machine.taken == before or time.monotonic() - begun < seconds:
        run_state_machine_as_test(Machine, settings=few)
    took = time.monotonic() - begun
    steps = Machine.taken - before
    return f"{steps} random steps in simulated time: nothing lost, doubled or out of order, in {took:.0f} s"


async def steps_in_a_process(seconds: float) -> tuple[int, str]:
    """Run random steps beside the rest. Return the exit code and the output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.cluster.faults", "--steps", str(seconds), "--only-steps"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().strip()


async def main(given: argparse.Namespace) -> int:
    """Print the tables. Return the exit code: 1 if something was lost without a word, doubled or out of order."""
    add_kind(OURS, "rtframework_redis:RedisStreams", STREAM, RECOVERY, REMOTE)
    slots = asyncio.Semaphore(given.at_once)
    ok = True

    async def one(fault: Fault) -> Row | Exception:
        async with slots:
            try:
                return await measure(fault)
            except Exception as error:  # noqa: BLE001 - the other rows are worth having
                return error

    chosen = [each for each in FAULTS if given.only in each.title]
    print(f"Three servers, two of which emit every {INTERVAL * 1000:g} ms each\n\n{HEAD}", flush=True)
    rows = [asyncio.ensure_future(one(fault)) for fault in chosen]
    for fault, running in zip(chosen, rows, strict=True):
        row = await running
        ok &= isinstance(row, Row) and row.result.is_clean
        print(row if isinstance(row, Row) else f"| {fault.title} | could not be measured: {row!r} |", flush=True)
    if given.steps:
        code, said = await steps_in_a_process(given.steps)
        ok &= code == 0
        print(f"\n{said}", flush=True)
    if given.peers:
        print(f"\nTwo servers, one of which emits every 50 ms, Redis away for 11 s\n\n{outage.HEAD}", flush=True)

        async def peer(kind: str, what: outage.Fault) -> str:
            async with slots:
                try:
                    return str(await outage.measure(kind, what, 11.0))
                except Exception as error:  # noqa: BLE001 - a peer that is not installed, for example
                    return f"| {kind}, Redis {what} | could not be measured: {error!r} |"

        kinds = [each for each in given.peers.split(",") if each in KINDS]
        pairs: list[tuple[str, outage.Fault]] = [(kind, what) for kind in kinds for what in ("killed", "frozen")]
        lines = [asyncio.ensure_future(peer(kind, what)) for kind, what in [*pairs, (OURS, "emptied")]]
        for line in lines:
            print(await line, flush=True)
    return int(not ok)


def parse() -> argparse.Namespace:
    """Parse the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose title has this text")
    parser.add_argument("--steps", type=float, default=180, help="seconds of random steps")
    parser.add_argument("--only-steps", action="store_true", help="no real servers")
    parser.add_argument("--peers", default=",".join(PEERS), help="kinds of servers that are compared")
    parser.add_argument("--at-once", type=int, default=2, help="rows that are measured at the same time")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    if arguments.only_steps:
        print(run_steps(arguments.steps))
    else:
        raise SystemExit(asyncio.run(main(arguments)))
