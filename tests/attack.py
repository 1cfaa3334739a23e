"""Attackers of many kinds against one server, beside honest clients: ``python -m tests.attack --seconds 60``.

It starts a server and attackers, each in a process of its own, and prints what the honest clients saw and what the
server took. It exits with 1 if an honest client lost an event or its connection, or if the server took more memory than
``Limits.max_inbound`` and 64 MB above what it took before. Times are printed, not judged: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from aiohttp import ClientError, ClientSession, web

from rtframework import Deflate, Limits, Server, Socket
from tests.support.websocket import BINARY, CONTINUATION, PING, RSV1, TEXT, Peer, frame, tcp

SPARE: Final = 64_000_000
"""Bytes that the server may take above ``Limits.max_inbound``."""

PATIENCE: Final = 30.0
"""Seconds after which an answer counts as lost."""

ZEROS: Final = bytes(4)


def message(text: str) -> bytes:
    """A text frame; the mask of zeros costs the attacker nothing."""
    return frame(TEXT, text.encode(), mask=ZEROS)


def packed(text: str) -> bytes:
    """A compressed text frame (RFC 7692)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(TEXT, data.removesuffix(b"\0\0\xff\xff"), rsv=RSV1, mask=ZEROS)


# --- the server -------------------------------------------------------------------------------------------------------


def make_server(max_inbound: int) -> Server:
    """A server with handlers that attackers like."""
    io = Server(limits=Limits(max_inbound=max_inbound), per_message_deflate=Deflate())

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    @io.on("hold")
    async def hold(socket: Socket, *args: Any) -> None:
        await asyncio.sleep(5)

    @io.on("fail")
    async def fail(socket: Socket, *args: Any) -> None:
        raise ValueError("as asked")

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0.5)

    io.of("/room/{name}")
    return io


async def serve(max_inbound: int) -> None:
    """Run the server until standard input ends; write its port, then a line of figures for each line that comes."""
    io = make_server(max_inbound)
    app = web.Application()
    io.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        stats = io.stats()
        figures = {"rss": resident, "inbound": stats.inbound_bytes, "connections": sum(stats.connections.values())}
        print(json.dumps({**figures, "cpu": time.process_time()}), flush=True)
    await runner.cleanup()


# --- attackers --------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def opened(url: str, *headers: str, joined: bool = True) -> AsyncIterator[Peer]:
    """A websocket of an attacker."""
    async with tcp(url) as peer:
        await peer.open(*headers)
        await peer.receive()
        if joined:
            peer.send(message("40"))
            await peer.receive()
        reading = asyncio.create_task(swallow(peer))
        try:
            yield peer
        finally:
            reading.cancel()


async def swallow(peer: Peer) -> None:
    """Read what the server sends, and forget it."""
    while True:
        await asyncio.sleep(0.05)
        peer._data.clear()


async def write(peer: Peer, data: bytes, times: int = 1) -> None:
    """Write as fast as the server reads."""
    for _ in range(times):
        if peer.transport.is_closing():
            raise ConnectionError
        peer.send(data)
        while peer.transport.get_write_buffer_size() > 1_000_000:
            await asyncio.sleep(0.01)
            if peer.transport.is_closing():
                raise ConnectionError
    await asyncio.sleep(0)


async def tiny_packets(url: str) -> None:
    """Bodies of very many packets, by polling."""
    async with ClientSession() as session:
        endpoint = f"{url}/socket.io/?EIO=4&transport=polling"
        async with session.get(endpoint) as answer:
            sid = json.loads((await answer.text())[1:])["sid"]
        await session.post(f"{endpoint}&sid={sid}", data="40")
        async with session.get(f"{endpoint}&sid={sid}") as answer:
            await answer.read()
        for _ in range(5):
            async with session.post(f"{endpoint}&sid={sid}", data="\x1e".join(['42["no"]'] * 100_000)) as answer:
                if answer.status != 200:
                    return


async def large_auth(url: str) -> None:
    """CONNECT to many namespaces with as much auth as is taken, and with more."""
    async with opened(url) as peer:
        auth = "{},".join([""] * 5_000) + "{}"
        for number in range(90):
            await write(peer, message(f'40/room/{number},{{"a":[{auth}]}}'))
        await asyncio.sleep(1)
        await write(peer, message(f'40/room/x,{{"a":"{"x" * 900_000}"}}'))


async def heavy_arguments(url: str) -> None:
    """Events that take 25 times their size, to a handler that waits."""
    async with opened(url) as peer:
        await write(peer, message('42["hold",[' + "{}," * 300_000 + "0]]"), 30)


async def lost_attachments(url: str) -> None:
    """Packets whose last attachment never ends, from clients that have joined and from others."""
    async with opened(url, joined=random.random() < 0.5) as peer:
        await write(peer, message('459-["hold","' + "a" * 400_000 + '"]'))
        await write(peer, frame(BINARY, bytes(500_000), mask=ZEROS)[:-1])
        await asyncio.sleep(3)


async def control_frames(url: str) -> None:
    """Pings and empty fragments."""
    async with opened(url) as peer:
        await write(peer, frame(PING, mask=ZEROS) * 40_000, 5)
        await write(peer, frame(TEXT, b"42", fin=False, mask=ZEROS))
        await write(peer, frame(CONTINUATION, fin=False, mask=ZEROS) * 40_000, 5)


async def bombs(url: str) -> None:
    """Compressed messages of a megabyte each."""
    async with opened(url, "Sec-WebSocket-Extensions: permessage-deflate") as peer:
        await write(peer, packed('42["no","' + "a" * 990_000 + '"]') * 50, 2)


async def joins_and_leaves(url: str) -> None:
    """CONNECT and DISCONNECT in turn."""
    async with opened(url) as peer:
        await write(peer, (message("41") + message("40")) * 200, 20)


async def structures(url: str) -> None:
    """Messages that take long to decode."""
    async with opened(url) as peer:
        for body in ("[]," * 330_000, '"\\ud800' + r"\\" * 490_000 + '",', '{"a":0},' * 120_000):
            await write(peer, message(f'42["no",{body}0]'))
        await asyncio.sleep(0.2)


async def headers(url: str) -> None:
    """Handshakes with as many headers as are taken."""
    for _ in range(20):
        async with tcp(url) as peer:
            lines = [f"X-{number}: {'x' * 7_000}" for number in range(2)]
            await peer.request("Host: localhost", *lines, first="GET /socket.io/?EIO=4&transport=polling HTTP/1.1")


async def refused(url: str) -> None:
    """CONNECT to namespaces that there are not, as fast as it goes."""
    async with opened(url) as peer:
        for number in itertools.count():
            await write(peer, message(f"40/nowhere-{number},") * 100)
            if number > 50:
                return


async def failures(url: str) -> None:
    """Events whose handler raises."""
    async with opened(url) as peer:
        await write(peer, message('42["fail",1]') * 500, 10)


ATTACKS: Final[tuple[Callable[[str], Awaitable[None]], ...]] = (
    tiny_packets,
    large_auth,
    heavy_arguments,
    lost_attachments,
    control_frames,
    bombs,
    joins_and_leaves,
    structures,
    headers,
    refused,
    failures,
)


async def attack(url: str, number: int) -> None:
    """Be one attacker, again and again."""
    while True:
        with contextlib.suppress(OSError, AssertionError, TimeoutError, ClientError, ValueError):
            async with asyncio.timeout(20):
                await ATTACKS[number % len(ATTACKS)](url)
        await asyncio.sleep(0.05)


async def run_attackers(url: str, count: int) -> None:
    """Attack until the process is killed. The honest clients, in their process, have precedence on the CPU."""
    os.nice(10)
    await asyncio.gather(*(attack(url, number) for number in range(count)))


# --- honest clients ---------------------------------------------------------------------------------------------------


class Honest:
    """A client that emits, and counts what comes back."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.lost = 0
        self.failed: str | None = None

    async def run(self, url: str, until: float) -> None:
        """Emit ten events a second, each after the answer to the one before."""
        loop = asyncio.get_running_loop()
        try:
            async with tcp(url) as peer:
                peer.patience = PATIENCE
                await peer.open()
                await peer.receive()
                peer.send(message("40"))
                await peer.receive()
                for number in itertools.count():
                    if loop.time() >= until:
                        return
                    await self._ask(peer, number)
                    await asyncio.sleep(0.1)
        except (OSError, AssertionError, TimeoutError) as error:
            self.failed = repr(error)

    async def _ask(self, peer: Peer, number: int) -> None:
        began = time.perf_counter()
        peer.send(message(f'42{number}["echo",{number}]'))
        self.lost += 1
        while (found := await peer.receive()) != f"43{number}[{number}]":
            if found == "2":
                peer.send(message("3"))
            else:
                assert found == "2", found
        self.lost -= 1
        self.times.append(time.perf_counter() - began)


# --- everything -------------------------------------------------------------------------------------------------------


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start a part of this in a process of its own."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attack", *arguments, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )


async def ask(server: asyncio.subprocess.Process) -> dict[str, Any]:
    """The figures of the server at this moment."""
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(b"\n")
    figures: dict[str, Any] = json.loads(await asyncio.wait_for(server.stdout.readline(), 60))
    return figures


async def run(seconds: float, attackers: int, honest: int, max_inbound: int) -> dict[str, Any]:
    """Run everything; what was found."""
    server = await start("--serve", "--max-inbound", str(max_inbound))
    assert server.stdout is not None
    url = f"http://127.0.0.1:{int(await server.stdout.readline())}"
    before = await ask(server)
    enemies = await start("--attack", url, "--attackers", str(attackers))
    clients = [Honest() for _ in range(honest)]
    until = asyncio.get_running_loop().time() + seconds
    most = 0
    try:
        running = [asyncio.create_task(each.run(url, until)) for each in clients]
        while not all(task.done() for task in running):
            most = max(most, (await ask(server))["rss"])
            await asyncio.sleep(0.2)
        after = await ask(server)
    finally:
        enemies.kill()
        await enemies.wait()
        server.kill()
        await server.wait()
    times = sorted(itertools.chain.from_iterable(each.times for each in clients)) or [0.0]
    return {
        "acks": len(times),
        "p50 ms": round(1000 * statistics.median(times), 1),
        "p99 ms": round(1000 * times[len(times) * 99 // 100], 1),
        "lost": sum(each.lost for each in clients),
        "failed": sorted({each.failed for each in clients if each.failed}),
        "rss before MB": before["rss"] // 1_000_000,
        "rss most MB": most // 1_000_000,
        "cpu s": round(after["cpu"] - before["cpu"], 1),
        "in bounds": most - before["rss"] <= max_inbound + SPARE,
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--attackers", type=int, default=50)
    parser.add_argument("--honest", type=int, default=200)
    parser.add_argument("--max-inbound", type=int, default=Limits().max_inbound, help="bytes, see Limits")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--attack", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        asyncio.run(serve(given.max_inbound))
        return 0
    if given.attack:
        asyncio.run(run_attackers(given.attack, given.attackers))
        return 0
    found = asyncio.run(run(given.seconds, given.attackers, given.honest, given.max_inbound))
    print("\n".join(f"{name:14} {value}" for name, value in found.items()))
    return 0 if found["in bounds"] and not found["lost"] and not found["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
