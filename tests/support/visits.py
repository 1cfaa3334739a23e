"""Clients that come, do a little and leave, again and again, and what their server has of them afterwards.

``python -m tests.support.visits --door plain --visits 100000`` prints what the process of a server with ``tune_gc`` has
in RAM, and how many blocks of memory Python has, after each tenth. At the end it waits until all tables are empty, and
looks for objects that are garbage, or still there. The doors, and what their visits do, are in
``tests.support.visitors``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rtframework.engine import tune_gc
from rtframework.engine.collector import collector
from rtframework.gateways.sockjs import SockJSGateway
from tests.support.server import HOST
from tests.support.visitors import VISITS, Visit, Wire, house, visit_socketio

_AT_ONCE: Final = 20
_PARTS: Final = 10
_PATIENCE: Final = 60
"""Seconds in which all tables have to be empty."""

Look = dict[str, Any]


def our_objects() -> Counter[str]:
    """Count the objects of our classes, of aiohttp's server, and of asyncio, that Python's collector knows."""
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith(("rtframework", "aiohttp.web", "aiohttp.streams", "asyncio", "_asyncio"))
    )


def serve(argv: Sequence[str]) -> None:
    """Be the server: answer events, and questions about memory."""
    logging.getLogger("rtframework").setLevel(logging.CRITICAL)
    io, app = house(ping_interval=4, ping_timeout=4, connect_timeout=4)
    adapter: Any = io.of("/").adapter

    def sessions() -> int:
        owners = {getattr(route.handler, "__self__", None) for route in app.router.routes()}
        return sum(len(each.sessions) for each in owners if isinstance(each, SockJSGateway))

    async def memory(request: web.Request) -> web.Response:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        timers = getattr(asyncio.get_running_loop(), "_scheduled", ())
        engine = io._server.eio
        looked: Look = {
            "bytes": pages * os.sysconf("SC_PAGE_SIZE"),
            "blocks": sys.getallocatedblocks(),
            "frozen": gc.get_freeze_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "sockets": len(io.sockets),
            "connections": len(engine.connections),
            "sessions": sessions(),
            "rooms": len(adapter.index.all_rooms()),
            "tasks": len(asyncio.all_tasks()),
            "timers": sum(not each.cancelled() for each in timers),
        }
        return web.json_response(looked)

    async def garbage(request: web.Request) -> web.Response:
        gc.disable()
        gc.unfreeze()
        before = our_objects()
        gc.collect()
        gc.unfreeze()  # which a collection has frozen
        after = our_objects()
        collector.look_through()
        gc.enable()
        return web.json_response({"garbage": before - after, "there": after})

    app.router.add_get("/memory", memory)
    app.router.add_get("/garbage", garbage)
    tune_gc(app)
    loop = None
    if "uvloop" in argv:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(app, host=HOST, port=int(argv[0]), access_log=None, print=None, loop=loop)


async def ask(port: int, path: bytes) -> Look:
    """Ask the server something."""
    wire = Wire(*await asyncio.open_connection(HOST, port))
    wire.get(path, b"Connection: close\r\n")
    found: Look = json.loads((await wire.answer())[1])
    wire.writer.close()
    return found


async def settled(port: int) -> Look:
    """Ask about memory once nobody is there any more."""
    for _ in range(_PATIENCE):
        looked = await ask(port, b"/memory")
        if not (looked["sockets"] or looked["connections"] or looked["sessions"]):
            break
        await asyncio.sleep(1)
    return looked


async def measure(port: int, visits: int, visit: Visit = visit_socketio) -> list[Look]:
    """Make so many visits. Return what the server has before, and after each tenth of them."""
    found = [await ask(port, b"/memory")]
    for part in range(_PARTS):
        numbers = iter(range(part * visits // _PARTS, (part + 1) * visits // _PARTS))

        async def some(numbers: Iterator[int] = numbers) -> None:
            for number in numbers:  # shared by all
                await visit(port, number)

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        found.append(await settled(port))
        sys.stdout.write(_line(found[-1]))
        sys.stdout.flush()
    return found


def _line(looked: Look) -> str:
    """Write one look as a line."""
    rest = ", ".join(f"{number:,} {name}" for name, number in looked.items() if name != "bytes")
    return f"{looked['bytes'] / 2**20:.1f} MB, {rest}\n"


def main(argv: Sequence[str]) -> int:
    """Visit a server of its own."""
    if argv[:1] == ["--serve"]:
        serve(argv[1:])
        return 0
    import subprocess

    from tests.support.server import free_port

    parser = argparse.ArgumentParser(prog="python -m tests.support.visits")
    parser.add_argument("--visits", type=int, default=100_000)
    parser.add_argument("--door", choices=VISITS, default="socketio", help="how they come")
    parser.add_argument("--uvloop", action="store_true", help="run the server on uvloop")
    given = parser.parse_args(argv)
    port = free_port()
    command = [sys.executable, "-m", "tests.support.visits", "--serve", str(port), *["uvloop"] * given.uvloop]
    server = subprocess.Popen(command)
    try:

        async def run() -> tuple[list[Look], Look]:
            for _ in range(100):
                try:
                    _, writer = await asyncio.open_connection(HOST, port)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break
            found = await measure(port, given.visits, VISITS[given.door])
            return found, await ask(port, b"/garbage")

        found, left = asyncio.run(run())
    finally:
        server.kill()
        server.wait()
    early, late = found[3], found[-1]
    for name, counts in left.items():
        most = sorted(counts.items(), key=lambda each: -each[1])[:12]
        sys.stdout.write(f"{name}: {', '.join(f'{count:,} {kind}' for kind, count in most) or 'nothing'}\n")
    sys.stdout.write(
        f"{given.door}: grown by {(late['bytes'] - early['bytes']) / 2**20:.1f} MB and "
        f"{late['blocks'] - early['blocks']:,} blocks since the third\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
