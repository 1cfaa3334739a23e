"""What each way to a room costs: ``python -m benchmarks.doors``.

One server, a process of its own; clients of one kind at a time, in one room; one message a second, then 20 a second.
Counted are the time from the emit to the client, requests, bytes with all HTTP heads, the server's CPU time, and TCP
connections. Prints two tables, in Markdown: the medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Final

from . import machine, publish, report
from .door_clients import KINDS, Client, RarePolling, ShortPolling, Traffic
from .peers import SERVERS
from .runner import Cores, Failed, free_port, raise_file_limit

CLIENTS: Final = 100
RATES: Final = (1, 20)
_START: Final = 30.0
_TAIL: Final = 20.0
"""Seconds that may pass until the last message is there, at most."""


@contextlib.contextmanager
def serving(core: int | None) -> Iterator[tuple[int, int]]:
    """Run the server. Yield its port and its process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / "doors.py")], env={**os.environ, "PORT": str(port)}, stdin=subprocess.DEVNULL
    )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        end = time.monotonic() + _START
        while True:
            try:
                emit(port, "kept", 1, 1)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise Failed("the server has not started") from None
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def emit(port: int, room: str, count: int, rate: int) -> None:
    """Have the server emit; returns when it has."""
    url = f"http://127.0.0.1:{port}/emit?room={room}&count={count}&rate={rate}"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=120):
        pass


def cpu(pid: int) -> float:
    """Return the microseconds of CPU time that a process has used (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2) * 1e6


async def measure(kind: type[Client], rate: int, clients: int, server: tuple[int, int], scale: float) -> report.Json:
    """Measure clients of a kind at a rate. Raises ``Failed`` if a message is lost, doubled or out of order."""
    port, pid = server
    traffic = Traffic()
    listeners = [kind(traffic, port, number / clients) for number in range(clients)]
    is_rare = issubclass(kind, RarePolling)
    warm_up, seconds = (5.0 if is_rare else 1.0) * scale, (10.0 if is_rare else 5.0) * scale
    before, count = round(rate * warm_up), round(rate * (warm_up + seconds))
    try:
        for start in range(0, clients, 20):
            await asyncio.gather(*(each.open() for each in listeners[start : start + 20]))
        for each in listeners:
            each.heard.clear()
        room = "kept" if issubclass(kind, ShortPolling) else "room"
        emitting = asyncio.create_task(asyncio.to_thread(emit, port, room, count, rate))
        await asyncio.sleep(warm_up - 0.5 / rate)  # between two messages
        requests, size, used, begin = traffic.requests, traffic.bytes, cpu(pid), time.monotonic()
        await asyncio.sleep(seconds)
        requests, size, used = traffic.requests - requests, traffic.bytes - size, cpu(pid) - used
        deliveries = rate * (time.monotonic() - begin) * clients
        connections = traffic.connections / clients
        await emitting
        end = time.monotonic() + _TAIL
        for each in listeners:
            with contextlib.suppress(TimeoutError):
                await each.heard.until_there_are(count, end - time.monotonic())
        if any(each.heard.numbers != list(range(count)) for each in listeners):
            raise Failed("a client has not got each message once, in order")
        waits = sorted(wait for each in listeners for wait in each.heard.waits[before:])
        return {
            "p50": statistics.median(waits) * 1e3,
            "p99": waits[int(len(waits) * 0.99)] * 1e3,
            "requests": requests / deliveries,
            "bytes": size / deliveries,
            "cpu_us": used / deliveries,
            "connections": connections,
        }
    finally:
        for each in listeners:
            each.close()


async def measure_all(kinds: Sequence[str], rounds: int, clients: int, scale: float, core: int | None) -> report.Json:
    """Measure the kinds, each on a server that was just started. Return the figures by rate, kind and name."""
    found: report.Json = {str(rate): {kind: {} for kind in kinds} for rate in RATES}
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for kind in kinds:
            with serving(core) as server:
                for rate in RATES:
                    figures = await measure(KINDS[kind], rate, clients, server, scale)
                    say(f"    {kind}, {rate}/s: {', '.join(f'{k} {report.short(v)}' for k, v in figures.items())}")
                    for name, value in figures.items():
                        found[str(rate)][kind].setdefault(name, []).append(value)
    return found


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doors", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="a kind of clients; can be repeated")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=CLIENTS, help="of each kind; default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="a fifth of the time: whether everything runs")
    parser.add_argument("--publish", action="store_true", help="put the tables into docs/choosing-a-door.md")
    options = parser.parse_args(arguments)
    if options.publish and (options.kind or options.quick):
        parser.error("only whole results are published: without --kind and --quick")
    raise_file_limit()
    described, others, cores = machine.describe(), machine.Others(), Cores.choose()
    if cores.load is not None:
        os.sched_setaffinity(0, {cores.load})
    kinds = options.kind or list(KINDS)
    try:
        found = asyncio.run(
            measure_all(kinds, options.rounds, options.clients, 0.2 if options.quick else 1.0, cores.server)
        )
    except Failed as failed:
        say(f"this run does not count: {failed}")
        return 1
    results: report.Json = {
        "date": date.today().isoformat(),
        "count": options.rounds,
        "clients": options.clients,
        "versions": {},
        "machine": {
            **described,
            "python": platform.python_version(),
            "pinned": cores.server is not None,
            "others": round(others.share(), 3),
        },
        "rates": found,
    }
    for rate, lines in report.door_tables(results).items():
        print(f"{rate} a second", report.markdown(lines), sep="\n\n", end="\n\n")
    print(*report.door_conditions(results), sep="\n")
    if options.publish:
        text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
        (publish.RESULTS / "doors.json").write_text(text, encoding="utf-8")
        publish.update_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main())
