"""Search for bytes that break the server, for as long as one says: ``python -m tests.fuzz --seconds 600``.

In turn: made-up frames and bodies for the decoders, as in ``tests/engine/test_fuzz.py``, made-up connections to a
server on a socket, while an honest client asks for an echo, and made-up requests to two servers, which serve them in
different ways and have to answer the same. ``--ways 100000`` makes up so many of the last, and nothing else, with
``--drop-in`` for servers of python-socketio programs. The exit
code is 0 when nothing was found, and 1 otherwise. ``--seed`` repeats a run. Each finding is printed with its seed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final

import rtframework.logs
from rtframework import Server, Socket
from rtframework.engine.v3.payload import MESSAGE
from tests.engine import test_fuzz
from tests.engine.test_fuzz import VALID, frames_of, mutate, rubbish
from tests.gateways import application
from tests.gateways import test_fuzz as of_gateways
from tests.gateways import test_stomp_fuzz as of_stomp
from tests.support.both_ways import BothWays, steps_of
from tests.support.raw import RawWebSocket, raw_client
from tests.support.server import running_server
from tests.support.simulation import client_frame
from tests.support.until import until

INPUTS: Final = 20_000
"""For all decoders, in one round."""
CONNECTIONS: Final = 100
"""In one round."""
CASES: Final = 200
"""For both ways of serving, in one round."""
PATIENCE: Final = 5.0
"""Seconds in which an honest client gets its echo."""

DECODERS: Final[tuple[Callable[[], None], ...]] = (
    test_fuzz.test_no_text_breaks_the_json_decoder,
    test_fuzz.test_no_body_breaks_the_payload_decoder,
    test_fuzz.test_no_frame_breaks_the_messagepack_decoder,
    lambda: test_fuzz.test_no_body_breaks_the_old_payload_decoders(False),
    lambda: test_fuzz.test_no_body_breaks_the_old_payload_decoders(True),
    of_gateways.test_no_message_breaks_the_json_protocol,
    of_stomp.test_no_bytes_break_the_reader,
)


class Complaints(logging.Handler):
    """What the server logs that it should not: errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.found.append(logging.Formatter().format(record))


def decode(seed: int) -> None:
    """Give the decoders so many inputs. Raises ``AssertionError``."""
    constants: Any = test_fuzz
    constants.SEED, constants.INPUTS = seed, INPUTS
    constants.JSON_INPUTS = constants.PAYLOADS = constants.MESSAGEPACK_INPUTS = INPUTS // 4
    for_gateways: Any = of_gateways
    for_stomp: Any = of_stomp
    for each in (for_gateways, for_stomp):
        each.SEED, each.INPUTS = seed, INPUTS
    for each in DECODERS:
        with contextlib.redirect_stdout(None):
            each()


async def connect(seed: int) -> None:
    """Open so many connections and send what nobody should. Raises ``AssertionError``."""
    rng = random.Random(seed)
    complaints = Complaints()
    log = logging.getLogger("rtframework")
    log.addHandler(complaints)
    io = Server(allow_eio3=True)
    unforeseen: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unforeseen.append(str(context)))

    @io.on("echo")
    async def echo(socket: Socket, value: Any) -> Any:
        return value

    try:
        async with running_server(io) as server, raw_client(server.url) as honest:
            websocket, _ = await honest.open_websocket()
            await websocket.send("40")
            await websocket.receive()
            asking = asyncio.create_task(ask(websocket))
            for start in range(0, CONNECTIONS, 10):
                await asyncio.gather(
                    *(visit(server.port, random.Random(rng.random())) for _ in range(start, start + 10))
                )
                assert not asking.done(), "the honest client is not served any more"
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            for connection in [each for each in io._server.eio.connections.values() if each.sid != honest.sid]:
                connection.abort("transport close")
            await until(lambda: len(io._server.eio.connections) <= 1)
            await until(lambda: len(io.sockets) <= 1)
    finally:
        log.removeHandler(complaints)
    assert not complaints.found, complaints.found[0]
    assert not unforeseen, unforeseen[0]
    assert not io._server.eio.tasks


async def visit_gateways(seed: int) -> None:
    """Open so many plain websockets, and STOMP connections, and send what nobody should. Raises ``AssertionError``."""
    complaints = Complaints()
    log = logging.getLogger("rtframework")
    log.addHandler(complaints)
    io = Server()
    io.of("/admin")
    io.on("echo")(lambda socket, *args: args)
    try:
        async with running_server(application(io)) as server:
            await of_gateways.visited(io, server.url, server.port, random.Random(seed), CONNECTIONS)
        io = Server()
        async with running_server(of_stomp.application(io)) as server:
            await of_stomp.visited(io, server.url, server.port, random.Random(seed), CONNECTIONS)
    finally:
        log.removeHandler(complaints)
    assert not complaints.found, complaints.found[0]


async def differ(seed: int) -> None:
    """Send so many made-up cases to both ways of serving. Raises ``AssertionError``."""
    async with BothWays() as both:
        for number in range(CASES):
            await both.check(steps_of(random.Random(seed * CASES + number)))


async def compare(first: int, count: int, *, drop_in: bool) -> int:
    """Send made-up cases to both ways of serving, and print those that they answer differently. Return how many."""
    logging.disable(logging.CRITICAL)
    found = 0
    async with BothWays(drop_in=drop_in) as both:
        for seed in range(first, first + count):
            try:
                await both.check(steps_of(random.Random(seed)))
            except AssertionError as error:
                found += 1
                sys.stdout.write(f"--ways 1{' --drop-in' * drop_in} --seed {seed}:\n{error}\n")
    return found


async def ask(websocket: RawWebSocket) -> None:
    """Ask for an echo, again and again."""
    number = 0
    while True:
        number += 1
        async with asyncio.timeout(PATIENCE):
            await websocket.send(f'421["echo",{number}]')
            while await websocket.receive() != f"431[{number}]":
                pass
        await asyncio.sleep(0.01)


async def visit(port: int, rng: random.Random) -> None:
    """Be one client that nobody wants."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(rng.choice((_noise, _polling, _websocket, _websocket))(rng))
        with contextlib.suppress(TimeoutError, ConnectionError):
            await writer.drain()
            async with asyncio.timeout(rng.choice((0.0, 0.02, 0.1))):
                await reader.read()
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()
        writer.close()


def _noise(rng: random.Random) -> bytes:
    request = bytearray(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(rng.randint(0, 6)):
        request[rng.randrange(len(request))] = rng.randrange(256)
    return bytes(request) + rng.randbytes(rng.randint(0, 50))


def _polling(rng: random.Random) -> bytes:
    body = mutate(rng, "\x1e".join(f"4{each}" for each in rng.choices(VALID, k=3)), VALID).encode(
        errors="surrogatepass"
    )
    query = b"EIO=%d&transport=polling&sid=%s" % (rng.choice((3, 4)), rng.choice((b"", b"x" * 20)))
    head = b"POST /socket.io/?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    return head % (query, len(body) + rng.choice((0, 0, 0, -1, 1))) + body


def _websocket(rng: random.Random) -> bytes:
    head = (
        b"GET /socket.io/?EIO=%d&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ) % rng.choice((3, 4, 4, 4))
    frames = [client_frame(1, b"40")]
    for frame in frames_of(rng):
        if isinstance(frame, str):
            frames.append(client_frame(1, f"4{frame}".encode(errors="surrogatepass")))
        else:
            frames.append(client_frame(2, rng.choice((b"", MESSAGE)) + frame))
    frames.append(client_frame(rng.choice((0, 1, 2, 8, 9, 10, 11)), rubbish(rng).encode(errors="surrogatepass")[:100]))
    sent = bytearray(b"".join(frames))
    for _ in range(rng.choice((0, 0, 1, 4))):
        sent[rng.randrange(len(sent))] = rng.randrange(256)
    return head + bytes(sent)


def main(argv: Sequence[str]) -> int:
    """Search as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)g)")
    parser.add_argument("--ways", type=int, default=0, metavar="COUNT", help="so many requests to two servers, alone")
    parser.add_argument("--drop-in", action="store_true", help="with --ways: to servers of the drop-in")
    parser.add_argument("--seed", type=int, default=None, help="where to begin; by default it is another each time")
    given = parser.parse_args(argv)
    first = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    end = time.monotonic() + given.seconds
    with all_told():
        return search(given, first, end)


@contextlib.contextmanager
def all_told() -> Iterator[None]:
    """Have each error logged, since it is a finding; but none of aiohttp, which tells of each request that is none."""
    logs: Any = rtframework.logs
    of_aiohttp = logging.getLogger("aiohttp")
    period, level = logs.PERIOD, of_aiohttp.level
    logs.PERIOD = 0.0
    of_aiohttp.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logs.PERIOD = period
        of_aiohttp.setLevel(level)


def search(given: argparse.Namespace, first: int, end: float) -> int:
    """Search until the end. Return the exit code."""
    if given.ways:
        different = asyncio.run(compare(first, given.ways, drop_in=given.drop_in))
        sys.stdout.write(f"{given.ways} cases for both ways from --seed {first}: {different} findings\n")
        return 1 if different else 0
    looks: list[Callable[[int], None]] = [decode]
    looks += [partial(_run, each) for each in (connect, visit_gateways, differ)]
    rounds = found = 0
    while rounds == 0 or time.monotonic() < end:
        seed = first + rounds
        rounds += 1
        for look in looks:
            try:
                look(seed)
            except Exception:  # noqa: BLE001 - printed, and the search goes on
                found += 1
                sys.stdout.write(f"--seed {seed}:\n{traceback.format_exc()}\n")
    inputs, connections = rounds * INPUTS * len(DECODERS) // 4, 3 * rounds * CONNECTIONS
    sys.stdout.write(f"{inputs} inputs and {connections} connections from --seed {first}: {found} findings\n")
    return 1 if found else 0


def _run(look: Callable[[int], Coroutine[Any, Any, None]], seed: int) -> None:
    asyncio.run(look(seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
