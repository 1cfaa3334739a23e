"""Traffic to clients that lose their connections, and a count of every packet: recovery's measure.

``python -m tests.support.counting --resets 100 --silent 100 --ping 0.5 --via websocket`` prints the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rtframework import Recovery, Server, Socket
from tests.support.js import JS_FOLDER
from tests.support.proxy import running_proxy
from tests.support.server import running_server

CLIENTS: Final = 8
_ROUND: Final = 6
_PERIOD: Final = 0.004
"""Seconds between two emits: 250 a second."""

Via = Literal["polling", "websocket", "upgrade"]


@dataclass
class Counters:
    """What became of the packets."""

    cuts: int = 0
    emitted: int = 0
    expected: int = 0
    """Deliveries that there should have been."""
    lost: int = 0
    """Packets that never came, and the client said so: ``recovered`` was false."""
    missing: int = 0
    """Packets that never came without a word: must be 0."""
    doubled: int = 0
    disordered: int = 0
    stray: int = 0
    """Packets that were meant for others."""
    returns: int = 0
    recovered: int = 0

    @property
    def flawless(self) -> bool:
        """Whether every packet came once and in order, or the client said that it had not."""
        return not (self.missing or self.doubled or self.disordered or self.stray)

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts, {self.emitted} emits, {self.expected} deliveries: recovered {self.recovered} of "
            f"{self.returns} returns; lost {self.lost} ({self.lost / max(self.expected, 1):.3%}) and said so; "
            f"missing {self.missing}, doubled {self.doubled}, out of order {self.disordered}, stray {self.stray}"
        )


def is_for(number: int, client: int) -> bool:
    """Whether a client gets an emit of this number: each way of emitting has its turn."""
    turn = number % _ROUND
    if turn in (0, 1, 2):
        return True  # everybody
    if turn == 3:
        return client % 2 == number // _ROUND % 2  # one of two rooms
    if turn == 4:
        return client % 2 != number // _ROUND % 2  # all but that room
    return client == number // _ROUND % CLIENTS  # that client alone


class Traffic:
    """A server whose clients get numbers: 0, 1, 2 …"""

    def __init__(self, *, ping: float, recovery: Recovery | None) -> None:
        self.io = Server(connection_state_recovery=recovery, ping_interval=ping, ping_timeout=ping)
        self.io.on("connection")(self._connection)
        self.sent: list[int] = []
        self._stopping = False

    async def _connection(self, socket: Socket) -> None:
        if not socket.recovered:
            client = socket.handshake.auth["number"]
            socket.data["number"] = client
            await socket.join(f"half {client % 2}", f"client {client}")
        if random.random() < 0.3:
            await asyncio.sleep(0.02)  # packets that are emitted while a restore is running

    async def run(self) -> None:
        """Emit until stopped."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopping:
            await self._emit()
            due = max(due + _PERIOD, loop.time() - 0.1)
            if due > loop.time():
                await asyncio.sleep(due - loop.time())

    async def _emit(self) -> None:
        number = len(self.sent)
        self.sent.append(number)
        each, turn = divmod(number, _ROUND)
        if turn == 2:
            await self.io.volatile.emit("tick", "a string that is no offset")
        if turn in (0, 1, 2):
            await self.io.emit("n", number)
        elif turn == 3:
            await self.io.to(f"half {each % 2}").emit("n", number)
        elif turn == 4:
            await self.io.except_(f"half {each % 2}").emit("n", number)
        else:
            await self.io.to(f"client {each % CLIENTS}").emit("n", number)

    def stop(self) -> None:
        """End ``run``."""
        self._stopping = True


def count(log: Sequence[Any], numbers: Sequence[int], counts: Counters) -> None:
    """Check what one client received against what was emitted for it."""
    places = {number: place for place, number in enumerate(numbers)}
    seen: set[int] = set()
    place = -1
    fresh = True
    for entry in log:
        if isinstance(entry, dict):
            if "connect" in entry:
                fresh = fresh or not entry["connect"]
                counts.returns += place >= 0
                counts.recovered += entry["connect"]
        elif entry in seen:
            counts.doubled += 1
        elif entry not in places:
            counts.stray += 1
        elif places[entry] < place:
            counts.disordered += 1
        else:
            seen.add(entry)
            gap = places[entry] - place - 1
            if place >= 0:  # before its first packet it was not there
                counts.expected += gap + 1
                if fresh:
                    counts.lost += gap
                else:
                    counts.missing += gap
            place, fresh = places[entry], False


async def measure(
    *,
    via: Via,
    resets: int,
    silent: int = 0,
    pause: tuple[float, float] = (0.3, 0.9),
    ping: float = 25.0,
    recovery: Recovery | None = None,
) -> Counters:
    """Cut all connections so many times, in any order, and count.

    A reset is told to both sides; of a silent cut neither hears. Every other time the client notices that by itself
    (with a ``ping`` of a second at most), and else it is told to, and the server is not.
    """
    traffic = Traffic(ping=ping, recovery=Recovery() if recovery is None else recovery)
    kinds = ["reset"] * resets + ["silent"] * silent
    random.shuffle(kinds)
    async with running_server(traffic.io) as server, running_proxy(server.url) as proxy:
        node = await asyncio.create_subprocess_exec(
            *("node", "counting.mjs", proxy.url, via, str(CLIENTS)),
            cwd=JS_FOLDER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**28,
        )
        assert node.stdin is not None
        assert node.stdout is not None
        emitting = asyncio.create_task(traffic.run())
        try:
            await _settle(node, traffic)
            for number, kind in enumerate(kinds):
                await asyncio.sleep(random.uniform(*pause))
                if kind == "reset":
                    await proxy.cut()
                else:
                    proxy.strand()
                    if number % 2 or ping > 1:
                        node.stdin.write(b"leave\n")
            await asyncio.sleep(2 * ping if silent and ping <= 1 else 0)  # until all have noticed the last one
            await _settle(node, traffic)
            traffic.stop()
            await emitting
            logs = await _settle(node, traffic)
        finally:
            emitting.cancel()
            if node.returncode is None:
                node.stdin.write(b"end\n")
                await node.wait()
    counts = Counters(cuts=len(kinds), emitted=len(traffic.sent))
    for client, log in enumerate(logs):
        count(log, [each for each in traffic.sent if is_for(each, client)], counts)
    return counts


async def _settle(node: asyncio.subprocess.Process, traffic: Traffic) -> list[list[Any]]:
    """Wait until every client has got what was emitted last for everybody; what they have got."""
    assert node.stdin is not None
    assert node.stdout is not None
    mark = max((each for each in traffic.sent if each % _ROUND < 3), default=0)
    async with asyncio.timeout(30):
        while True:
            node.stdin.write(b"report\n")
            logs: list[list[Any]] = json.loads(await node.stdout.readline())
            if all(any(isinstance(each, int) and each >= mark for each in log[-100:]) for log in logs):
                return logs
            await asyncio.sleep(0.1)


def main(argv: Sequence[str]) -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("--resets", type=int, default=14)
    parser.add_argument("--silent", type=int, default=0)
    parser.add_argument("--pause", type=float, nargs=2, default=(0.857, 0.857), help="seconds between two cuts")
    parser.add_argument("--ping", type=float, default=25.0)
    parser.add_argument("--via", choices=["polling", "websocket", "upgrade"], default="websocket")
    given = parser.parse_args(argv)
    counts = asyncio.run(
        measure(via=given.via, resets=given.resets, silent=given.silent, pause=tuple(given.pause), ping=given.ping)
    )
    sys.stdout.write(f"{given.via}: {counts}\n")
    return 0 if counts.flawless else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
