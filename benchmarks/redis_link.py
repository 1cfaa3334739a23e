"""What a message through Redis costs the server: our connection and redis-py's, in one run.

``python -m benchmarks.redis_link``, in an environment for tests with redis-server. Prints a table, in Markdown:
microseconds of this process' CPU time for each message of 200 bytes, the median of the rounds, on uvloop. With
``--quick`` it does less.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop
from redis.asyncio import Redis

from rtframework_redis.address import Address
from rtframework_redis.commands import begin, bulk, read_streams
from rtframework_redis.handshake import connect
from rtframework_redis.link import Link

EVENT: Final = b"x" * 200
FIELDS: Final = ("uid", "0123456789abcdef", "nsp", "/", "type", "3", "data", EVENT)
"""The fields of an entry as Node's adapter writes it."""
PREFIX: Final = begin(14, "XADD", "s", "MAXLEN", "~", 10000, "*", *FIELDS[:-1])
BURSTS: Final = (1, 16, 100)
READ_COUNT: Final = 100

Measure = Callable[[int], Awaitable[None]]


class Client(Protocol):
    """What is measured."""

    title: str

    async def add(self, burst: int) -> None:
        """XADD ``burst`` entries at once, and await all replies."""

    async def read(self, last: bytes) -> bytes:
        """XREAD after ``last``; return the id of the last entry."""

    async def receive(self, count: int, publish: Callable[[], Awaitable[None]]) -> None:
        """Receive ``count`` messages, after ``publish`` was called."""


class Ours:
    """A link of rtframework_redis."""

    def __init__(self, link: Link, reader: Link, *, packed: bool) -> None:
        self.title = "own protocol + hiredis" + (", fields packed before" if packed else "")
        self._packed = packed
        self._link = link
        self._reader = reader
        self.received = 0
        self.wanted = 0
        self.done = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str, *, packed: bool) -> AsyncIterator[Ours]:
        """Connect."""
        address = Address.from_url(f"unix://{path}")
        made: list[Ours] = []
        link, reader = await connect(address), await connect(address, on_push=lambda push: made[0].take(push))
        made.append(cls(link, reader, packed=packed))
        yield made[0]
        await link.close()
        await reader.close()

    def take(self, push: list[Any]) -> None:
        """Count a message."""
        self.received += 1
        if self.received == self.wanted:
            self.done.set()

    async def add(self, burst: int) -> None:
        """XADD ``burst`` entries at once."""
        if self._packed:
            send = self._link.send_packed
            replies = [send(PREFIX + bulk(EVENT)) for _ in range(burst)]
        else:
            replies = [self._link.send("XADD", "s", "MAXLEN", "~", 10000, "*", *FIELDS) for _ in range(burst)]
        for reply in replies:
            await reply

    async def read(self, last: bytes) -> bytes:
        """XREAD after ``last``."""
        found = await self._reader.send_blocking(5, "XREAD", "COUNT", READ_COUNT, "BLOCK", 5000, "STREAMS", "s", last)
        ((_, entries),) = read_streams(found)
        return bytes(entries[-1][0])

    async def receive(self, count: int, publish: Callable[[], Awaitable[None]]) -> None:
        """Receive ``count`` messages."""
        await self._reader.subscribe("SUBSCRIBE", "c")
        self.received, self.wanted = 0, count
        self.done.clear()
        await publish()
        await self.done.wait()


class RedisPy:
    """redis-py's client; a burst is a pipeline."""

    def __init__(self, client: Any, title: str) -> None:
        self._client = client
        self.title = title

    @classmethod
    @asynccontextmanager
    async def open(cls, path: str, protocol: int) -> AsyncIterator[RedisPy]:
        """Make a client of one connection."""
        client = Redis(unix_socket_path=path, protocol=protocol, socket_timeout=None)
        yield cls(client, f"redis-py, RESP{protocol}")
        await client.aclose()

    async def add(self, burst: int) -> None:
        """XADD ``burst`` entries at once."""
        fields = dict(zip(FIELDS[::2], FIELDS[1::2], strict=True))
        if burst == 1:
            await self._client.xadd("s", fields, maxlen=10000, approximate=True)
            return
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(burst):
            pipeline.xadd("s", fields, maxlen=10000, approximate=True)
        await pipeline.execute()

    async def read(self, last: bytes) -> bytes:
        """XREAD after ``last``."""
        found = await self._client.xread({"s": last}, count=READ_COUNT, block=5000)
        entries = found[0][1] if isinstance(found, list) else next(iter(found.values()))[0]
        return bytes(entries[-1][0])

    async def receive(self, count: int, publish: Callable[[], Awaitable[None]]) -> None:
        """Receive ``count`` messages."""
        async with self._client.pubsub() as pubsub:
            await pubsub.subscribe("c")
            await pubsub.get_message(timeout=5)
            await publish()
            received = 0
            async for message in pubsub.listen():
                received += message["type"] == "message"
                if received == count:
                    break


@contextmanager
def redis_server() -> Iterator[str]:
    """Start a Redis, and give the path of its Unix socket."""
    with tempfile.TemporaryDirectory(prefix="rtf") as folder:
        path = Path(folder) / "redis.sock"
        command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while not path.exists():
                    time.sleep(0.01)
                yield str(path)
            finally:
                process.kill()


async def cost(work: Callable[[], Awaitable[None]], messages: int) -> float:
    """Return the microseconds of CPU time for each message."""
    started = time.process_time()
    await work()
    return (time.process_time() - started) / messages * 1e6


async def measure(client: Client, path: str, count: int) -> list[float]:
    """Return the figures of one client: XADD for each burst, XREAD, pub/sub."""
    figures = []
    for burst in BURSTS:

        async def add(burst: int = burst) -> None:
            for _ in range(count // burst):
                await client.add(burst)

        await client.add(burst)
        figures.append(await cost(add, count // burst * burst))

    feeder = await connect(Address.from_url(f"unix://{path}"))

    async def fill() -> bytes:
        await feeder.send("DEL", "s")
        first = await feeder.send("XADD", "s", "*", *FIELDS)
        for _ in range(count // READ_COUNT):
            last = (await asyncio.gather(*(feeder.send("XADD", "s", "*", *FIELDS) for _ in range(READ_COUNT))))[-1]
        ends.append(last)
        return bytes(first)

    ends: list[bytes] = []
    position = await fill()

    async def read() -> None:
        nonlocal position
        while position != ends[-1]:
            position = await client.read(position)

    figures.append(await cost(read, count // READ_COUNT * READ_COUNT))

    publisher = 'for i = 1, tonumber(ARGV[1]) do redis.call("PUBLISH", "c", ARGV[2]) end'

    async def publish() -> None:
        feeder.send("EVAL", publisher, 0, count, EVENT)

    figures.append(await cost(lambda: client.receive(count, publish), count))
    await feeder.close()
    return figures


async def run(rounds: int, count: int) -> dict[str, list[float]]:
    """Measure all clients, each in every round."""
    found: dict[str, list[list[float]]] = {}
    with redis_server() as path:
        for _ in range(rounds):
            async with AsyncExitStack() as stack:
                clients: Sequence[Client] = [
                    await stack.enter_async_context(Ours.open(path, packed=True)),
                    await stack.enter_async_context(Ours.open(path, packed=False)),
                    await stack.enter_async_context(RedisPy.open(path, 2)),
                    await stack.enter_async_context(RedisPy.open(path, 3)),
                ]
                for client in clients:
                    found.setdefault(client.title, []).append(await measure(client, path, count))
    return {title: [statistics.median(column) for column in zip(*rows, strict=True)] for title, rows in found.items()}


def markdown(figures: dict[str, list[float]]) -> str:
    """Return the table."""
    heads = [*(f"XADD, {burst} at once" for burst in BURSTS), "XREAD, per entry", "pub/sub, per message"]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {title} | {' | '.join(f'{value:.2f}' for value in row)} |" for title, row in figures.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round with less work")
    quick = parser.parse_args().quick
    print(markdown(uvloop.run(run(1, 1000) if quick else run(3, 20_000))))


if __name__ == "__main__":
    main()
