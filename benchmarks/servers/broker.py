"""A broker of workers in a process of its own, for benchmarks/workers.py: ``broker.py DIRECTORY``.

It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from rtframework.workers.broker import Broker


async def main(directory: str) -> None:
    """Serve until standard input ends."""
    broker = Broker(directory)
    await broker.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await broker.stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
