"""The side of a driven server in Python: commands from standard input, answers on standard output."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Command: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]

right_time: Callable[[], float] = time.time
"""Time for records, also in a process whose clock is wrong on purpose."""


async def answer_commands(commands: Mapping[str, Command], ready: Mapping[str, Any], ended: asyncio.Event) -> None:
    """Announce that the server is ready, and carry out commands until standard input ends or ``ended`` is set."""
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    tasks: set[asyncio.Task[None]] = set()

    def send(message: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    async def carry_out(command: dict[str, Any]) -> None:
        try:
            send({"id": command["id"], "value": await commands[command["do"]](command)})
        except Exception as error:  # noqa: BLE001 - the test is told
            send({"id": command["id"], "error": {"name": type(error).__name__, "message": str(error)}})

    async def read() -> None:
        async for line in reader:
            task = asyncio.create_task(carry_out(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        ended.set()

    send({"ready": dict(ready)})
    reading = asyncio.create_task(read())
    await ended.wait()
    reading.cancel()


class Floods:
    """Emits in a row, in the background, with a record of each: the commands ``flood`` and ``flooded``."""

    def __init__(self, emit: Callable[[dict[str, Any], str, list[Any]], Awaitable[None]]) -> None:
        self._emit = emit
        self._records: dict[str, dict[str, Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, command: dict[str, Any]) -> None:
        """Start a flood: an emit every ``interval`` milliseconds, none of which waits for the one before."""
        record = self._records[command["name"]] = {"times": [], "raised": [], "uncertain": [], "done": False}
        self._keep(self._run(command, record))

    async def state(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the times of the emits so far (milliseconds since 1970) and the numbers of those that raised.

        Those of which nobody knows whether they were sent are among them, and in ``uncertain`` as well.
        """
        return self._records[command["name"]]

    async def stop(self) -> None:
        """Give up all emits that still wait."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, command: dict[str, Any], record: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        running = []
        for number in range(command["count"]):
            await asyncio.sleep(max(start + number * command["interval"] / 1000 - loop.time(), 0))
            record["times"].append(right_time() * 1000)
            running.append(self._keep(self._one(command, number, record)))
        await asyncio.gather(*running)
        record["done"] = True

    async def _one(self, command: dict[str, Any], number: int, record: dict[str, Any]) -> None:
        try:
            await self._emit(command, command["event"], [command["name"], number, round(right_time() * 1000)])
        except (OSError, RuntimeError) as error:  # ClusterUnavailable is a ConnectionError
            record["raised"].append(number)
            if getattr(error, "uncertain", False):
                record["uncertain"].append(number)
