"""A server of a cluster, for benchmarks/cluster.py and workers.py: rtframework's or python-socketio's, with uvloop.

``cluster.py KIND PORT WHERE``, the port of Redis or the directory of a group of workers. Commands come by standard
input, one JSON object a line, and are answered likewise.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvloop
from aiohttp import web

PAYLOAD: Final = {"text": "x" * 150, "number": 1}


class Ours:
    """A server of this framework."""

    def __init__(self, url: str, adapter: str) -> None:
        import rtframework_redis
        from rtframework import RateLimit, Server

        redis: Any = rtframework_redis
        self.adapter = redis.RedisPubSub(url) if adapter == "pubsub" else redis.RedisStreams(url, delivery=adapter)
        self.io = Server(adapter=self.adapter, rate_limit=RateLimit(connects=None, refusals=None))
        self.io.of("/dynamic/{number}")

    def emitter(self, room: str | None) -> Callable[..., Awaitable[None]]:
        """Return what emits to a room, or to everybody."""
        return self.io.emit if room is None else self.io.to(room).emit

    async def join(self, room: str) -> None:
        """Put a socket that nobody has into a room: events to it are made ready to be sent."""
        waiting = self.io.of("/").adapter.add("ghost", ["ghost", room])
        if waiting is not None:
            await waiting

    def gaps(self) -> int:
        """Return how often packets were missing."""
        return getattr(self.adapter, "gaps", 0)


class OneOfWorkers(Ours):
    """A worker of a port, whose group has a directory; ``adapter``: ``recovering`` keeps packets and sessions."""

    def __init__(self, directory: str, adapter: str) -> None:
        from rtframework import RateLimit, Recovery, Server, Workers

        os.environ["RTFRAMEWORK_WORKERS"] = directory
        self.adapter = Workers()
        self.io = Server(
            adapter=self.adapter,
            rate_limit=RateLimit(connects=None, refusals=None),
            connection_state_recovery=Recovery() if adapter == "recovering" else None,
        )


class PythonSocketIO:
    """A server of python-socketio."""

    def __init__(self, url: str, adapter: str) -> None:
        import socketio

        manager = socketio.AsyncRedisManager(url)
        self.io = socketio.AsyncServer(async_mode="aiohttp", client_manager=manager, namespaces="*")

    def emitter(self, room: str | None) -> Callable[..., Awaitable[None]]:
        """Return what emits to a room, or to everybody."""

        async def emit(event: str, data: Any) -> None:
            await self.io.emit(event, data, room=room)

        return emit

    def gaps(self) -> int:
        """Return how often packets were missing."""
        return 0


class Program:
    """The commands."""

    def __init__(self, server: Any) -> None:
        self.server = server

    async def emit(self, room: str | None, mode: str, size: int, count: int) -> list[float]:
        """Emit so many events: in bursts, one each 2 ms; by so many tasks; or alone, each awaited, which are timed."""
        emit = self.server.emitter(room)
        took: list[float] = []

        async def one_after_another(number: int) -> None:
            for _ in range(number):
                await emit("news", PAYLOAD)

        if mode == "bursts":
            due = time.monotonic()
            for _ in range(count // size):
                await asyncio.gather(*(emit("news", PAYLOAD) for _ in range(size)))
                due = max(due + 0.002, time.monotonic() - 0.1)
                await asyncio.sleep(due - time.monotonic())
        elif mode == "tasks":
            await asyncio.gather(*(one_after_another(count // size) for _ in range(size)))
        else:
            for _ in range(count):
                begun = time.perf_counter()
                await emit("news", PAYLOAD)
                took.append(time.perf_counter() - begun)
        return took

    async def mark(self, name: str) -> None:
        """Emit a mark to everybody."""
        await self.server.emitter(None)("mark", name)

    async def pace(self, rate: int, seconds: float) -> None:
        """Emit times to everybody at a rate."""
        emit = self.server.emitter(None)
        tasks = set()
        begun = time.monotonic()
        for number in range(round(rate * seconds)):
            due = begun + number / rate
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            task = asyncio.ensure_future(emit("time", time.monotonic()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def cpu(self) -> float:
        """Return the microseconds of CPU time that this process has used."""
        return time.process_time() * 1e6

    async def gaps(self) -> int:
        """Return how often packets were missing."""
        return int(self.server.gaps())

    async def join(self, room: str) -> None:
        """Have a receiver in a room that costs nothing to send to."""
        await self.server.join(room)


async def main(kind: str, port: str, redis: str, *ignored: str) -> None:
    """Serve until standard input ends."""
    family, _, adapter = kind.partition(":")
    server: Any
    if family == "workers":
        server = OneOfWorkers(redis, adapter)
    else:
        server = (Ours if family == "ours" else PythonSocketIO)(f"redis://127.0.0.1:{redis}", adapter)
    program, app = Program(server), web.Application()
    server.io.attach(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        command = json.loads(line)
        value = await getattr(program, command.pop("do"))(**command)
        print(json.dumps({"value": value}), flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
