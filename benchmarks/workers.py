"""What several workers of one port cost: ``make bench ARGS="--workers"``, or ``python -m benchmarks.workers``.

CPU time is that of all server processes, the supervisor with its broker too, by their own clocks. Prints a table, in
Markdown: the median of the rounds, and the best one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from . import cluster, install, machine
from .cluster import ELSEWHERE, HERE, Bench, short
from .cluster_servers import Kind, connected, running_servers
from .peers import SERVERS
from .runner import Failed, free_port, raise_file_limit

CONNECTIONS: Final = 2_000
_START: Final = 60.0
_UPGRADE: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_POLL: Final = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_NGINX: Final = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream workers {{ server 127.0.0.1:{behind}; keepalive 8; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection "";
  }} }}
}}
"""

ROWS: Final = {
    "fan-out-1": ("a delivery, one process", "µs", ""),
    "fan-out-2": ("a delivery, 2 workers", "µs", ""),
    "fan-out": ("a delivery, 2 workers as a part of one process", "", "≤ 1.15"),
    "nobody": ("received, nobody here is meant", "µs", "0"),
    "publish": ("published, 100 at a time", "µs", ""),
    "receive": ("received, ready to be sent", "µs", "≤ 2.9"),
    "broker": ("a message in the broker", "µs", "≤ 1.9"),
    "publish-recovery": ("published, with recovery", "µs", ""),
    "receive-recovery": ("received, with recovery", "µs", ""),
    "broker-recovery": ("a message in the broker, with recovery", "µs", ""),
    "throughput": ("messages a second, to the other worker", "1/s", "≥ 80,000"),
    "latency-50": ("from emit to client of the other worker at 2,000/s, p50", "ms", "≤ 0.15"),
    "latency-99": ("from emit to client of the other worker at 2,000/s, p99", "ms", "≤ 2"),
    "ack-1": ("an ack, one process", "µs", ""),
    "ack-2": ("an ack, 2 workers", "µs", ""),
    "acks": ("acks of 2 workers, on cores of their own, of those of one process", "", "≥ 1.8"),
    "acks-wall": ("the same by the clock, with what the load generator leaves", "", ""),
    "spread": ("connections: the most that a worker has, as a part of the fewest", "", "≤ 1.1"),
    "spread-proxy": ("the same for handshakes through nginx, with 8 connections kept alive", "", "≤ 1.1"),
}
MORE_IS_BETTER: Final = {"throughput", "acks", "acks-wall"}
Figures = dict[str, list[float]]


# --- processes --------------------------------------------------------------------------------------------------------


def cpu(pids: Sequence[int]) -> float:
    """Return the microseconds of CPU time that processes have used (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids) * 1e6


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(each for child in children for each in family(int(child)))]


@contextlib.contextmanager
def serving(workers: int) -> Iterator[tuple[int, list[int]]]:
    """Run the benchmarks' server with so many workers. Yield its port and processes."""
    port = free_port()
    command = [sys.executable, "-m", "rtframework", "run", "ours:io", "--port", str(port)]
    command += ["--workers", str(workers)] if workers > 1 else []
    process = subprocess.Popen(command, cwd=SERVERS, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise Failed("the server has not started")
        yield port, family(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()


def drive(port: int, pids: Sequence[int], scenario: str, **options: int) -> tuple[float, float]:
    """Have the load generator do something once and thrice. Return CPU time and seconds of an operation."""
    found = []
    for times in (1, 3):
        given = {**options, "count": options["count"] * times}
        arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
        before = cpu(pids)
        done = subprocess.run(
            [install.LOAD, scenario, "--port", str(port), "--pid", str(pids[0]), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise Failed(f"{scenario}: {done.stderr.strip()}")
        report: dict[str, Any] = json.loads(done.stdout)
        time.sleep(0.3)  # what is put off counts where it belongs
        operations = report["operations"]
        found.append((cpu(pids) - before, operations, operations / report["per_second"]))
    (first, some, _), (last, more, seconds) = found
    return (last - first) / (more - some), seconds / more


# --- what is measured -------------------------------------------------------------------------------------------------


def with_load(found: Figures, scale: float) -> None:
    """Measure one process and two workers with the load generator."""
    costs: dict[tuple[str, int], tuple[float, float]] = {}
    for workers in (1, 2):
        with serving(workers) as (port, pids):
            count = max(20, round(100 * scale))
            costs["fan-out", workers] = drive(port, pids, "fan-out", clients=1000, window=2, count=count)
            count = max(5_000, round(50_000 * scale))
            costs["ack", workers] = drive(port, pids, "acks", clients=100 * workers, window=4, count=count)
            for name in ("fan-out", "ack"):
                note(found, f"{name}-{workers}", costs[name, workers][0])
    note(found, "fan-out", costs["fan-out", 2][0] / costs["fan-out", 1][0])
    note(found, "acks", 2 * costs["ack", 1][0] / costs["ack", 2][0])
    note(found, "acks-wall", costs["ack", 1][1] / costs["ack", 2][1])


async def with_broker(found: Figures, scale: float, suffix: str) -> None:
    """Measure two workers and their broker, each a process of its own."""
    kind = Kind(f"workers:{'recovering' if suffix else 'plain'}", "a worker")
    with tempfile.TemporaryDirectory(prefix="rtf") as folder:
        directory, pipe = Path(folder) / "group", asyncio.subprocess.PIPE
        command = [sys.executable, str(SERVERS / "broker.py"), str(directory)]
        broker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        try:
            assert broker.stdout is not None
            await asyncio.wait_for(broker.stdout.readline(), _START)
            async with running_servers(kind, directory, 2) as servers, joined(servers) as clients:
                bench = Bench(None, servers, clients, scale)
                await servers[1].do("join", room=HERE)
                await bench.emit(HERE, "bursts", 16, bench.count(8_000))
                count = bench.count(32_000)
                before = cpu([broker.pid])
                costs, _, _ = await bench.emit(HERE, "bursts", 100, count)
                note(found, f"broker{suffix}", (cpu([broker.pid]) - before) / count)
                note(found, f"publish{suffix}", costs[0])
                note(found, f"receive{suffix}", costs[1])
                if not suffix:
                    note(found, "nobody", (await bench.emit(ELSEWHERE, "bursts", 100, count))[0][1])
                    note(found, "throughput", await cluster.throughput(bench))
                    note(found, "latency-50", await cluster.latency(bench, 0.5))
                    note(found, "latency-99", await cluster.latency(bench, 0.99))
        finally:
            broker.kill()
            await broker.wait()


@contextlib.asynccontextmanager
async def joined(servers: Sequence[Any]) -> AsyncIterator[list[Any]]:
    """Connect a client to each server."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(server)) for server in servers]


async def spread(found: Figures, scale: float) -> None:
    """Open connections to two workers, and by handshakes through a proxy that keeps few connections."""
    count = max(200, round(CONNECTIONS * scale))
    with serving(2) as (port, _):
        turn = asyncio.Semaphore(50)
        writers: list[asyncio.StreamWriter] = []

        async def connect() -> str:
            async with turn:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                writer.write(_UPGRADE)
                return (
                    await asyncio.wait_for(reader.readuntil(b'"sid":"'), 30) and await reader.readexactly(1)
                ).decode()

        note_spread(found, "spread", Counter(await asyncio.gather(*(connect() for _ in range(count)))))
        for writer in writers:
            writer.close()
    nginx = shutil.which("nginx")
    if nginx is None:
        say("    nginx is missing")
        return
    with serving(2) as (port, _), tempfile.TemporaryDirectory(prefix="rtf") as folder:
        front = free_port()
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, behind=port, port=front))
        process = await asyncio.create_subprocess_exec(nginx, "-c", str(config), "-e", f"{folder}/error.log")
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", front))[1].close()
                    break
                await asyncio.sleep(0.05)
            turn = asyncio.Semaphore(8)

            async def shake() -> str:
                async with turn:
                    reader, writer = await asyncio.open_connection("127.0.0.1", front)
                    writer.write(_POLL)
                    body = await asyncio.wait_for(reader.read(), 30)
                    writer.close()
                    return body[body.index(b'"sid":"') + 7 :][:1].decode()

            note_spread(found, "spread-proxy", Counter(await asyncio.gather(*(shake() for _ in range(count)))))
        finally:
            process.terminate()
            await process.wait()


def note_spread(found: Figures, row: str, workers: Counter[str]) -> None:
    """Note how even a spread is."""
    say(f"    {dict(workers)}")
    note(found, row, max(workers.values()) / min(workers.values()) if len(workers) == 2 else float("inf"))


def note(found: Figures, row: str, value: float) -> None:
    """Note a figure of a round."""
    found[row].append(value)
    say(f"    {ROWS[row][0]}: {short(value)} {ROWS[row][1]}")


def table(found: Figures) -> list[str]:
    """Return the table."""
    lines = ["| | median (best) | wanted |", "| --- | ---: | --- |"]
    for row, values in found.items():
        title, unit, wanted = ROWS[row]
        best = max if row in MORE_IS_BETTER else min
        cell = f"{short(statistics.median(values))} ({short(best(values))})" if values else "-"
        lines.append(f"| {title}{f' ({unit})' if unit else ''} | {cell} | {wanted} |")
    return lines


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round with less work")
    options = parser.parse_args(arguments)
    rounds, scale = (1, 0.1) if options.quick else (options.rounds, 1.0)
    raise_file_limit()
    install.build_load()
    others = machine.Others()
    found: Figures = {row: [] for row in ROWS}
    failures = 0
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        measures: Sequence[Callable[[], None]] = (
            lambda: with_load(found, scale),
            lambda: asyncio.run(with_broker(found, scale, "")),
            lambda: asyncio.run(with_broker(found, scale, "-recovery")),
            lambda: asyncio.run(spread(found, scale)),
        )
        for measure in measures:
            try:
                measure()
            except Failed as failed:
                failures += 1
                say(f"    this run does not count: {failed}")
    print(*table(found), "", f"Others used {others.share():.2f} of the cores.", sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
