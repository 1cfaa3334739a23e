"""What metrics and traces cost per event with an ack: ``python -m benchmarks.observing``.

In one process, without a network: websocket frames go in, frames of acks come out, so that the figures are those of the
server's own code. Each way is measured in turn, several times over; the lowest of each is shown, in microseconds of CPU
time, beside the server that is not observed. Needs the extras ``prometheus`` and ``opentelemetry``, and
``opentelemetry-sdk``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry, generate_latest

from rtframework import Handshake, Server, Socket
from rtframework.engine.connection import Connection
from rtframework.engine.transports.websocket import WebSocketTransport
from rtframework_opentelemetry import Tracing
from rtframework_prometheus import Metrics

EVENTS: Final = 20_000
ROUNDS: Final = 7
CLIENTS: Final = (1_000, 10_000)
_BURST: Final = 64


class Sink(asyncio.Transport):
    """Takes what is written, and throws it away."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def write(self, data: Any) -> None:
        self.count += 1

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def frame(text: str) -> bytes:
    """A client's websocket frame (RFC 6455, 5.2) of at most 125 bytes."""
    payload, mask = text.encode(), b"\x11\x22\x33\x44"
    masked = bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload))
    return bytes((0x81, 0x80 | len(payload))) + mask + masked


def connect(io: Server, number: int = 0) -> tuple[Connection, WebSocketTransport]:
    """A client without a network."""
    engine = cast("Any", io)._server.eio
    transport = WebSocketTransport(Sink(), io.options, set())
    connection = Connection(
        f"client {number}",
        address=None,
        transport=transport,
        options=io.options,
        cork=engine.table.cork,
        on_connected=lambda: None,
        on_closed=lambda connection: None,
        runner=engine.table.runner,
    )
    connection.serve(engine.table._make_handler(connection, Handshake()))
    engine.connections[connection.sid] = connection
    connection.measure(engine.table.meters)
    transport.data_received(frame("40"))
    return connection, transport


class Way:
    """A server, observed in one way or not at all."""

    def __init__(self, name: str, observe: Callable[[Server], object]) -> None:
        self.name = name
        self.best = float("inf")
        io = Server()

        @io.on("echo")
        async def echo(socket: Socket, text: str) -> str:
            return text

        observe(io)
        self.connection, self.transport = connect(io)

    async def run(self) -> None:
        """One round."""
        burst = b"".join(frame(f'42{number}["echo","{"x" * 32}"]') for number in range(_BURST))
        start = time.process_time()
        for _ in range(EVENTS // _BURST):
            self.transport.data_received(burst)
            while self.connection.inbox:  # noqa: ASYNC110 - it costs nothing else here
                await asyncio.sleep(0)
        self.best = min(self.best, (time.process_time() - start) / (EVENTS // _BURST * _BURST) * 1e6)


async def measure_scrape(clients: int) -> tuple[float, float]:
    """Milliseconds of ``stats()`` and of a whole scrape."""
    io = Server()
    metrics = Metrics(io, CollectorRegistry())
    for number in range(clients):
        connect(io, number)
    while len(io.sockets) < clients:  # noqa: ASYNC110
        await asyncio.sleep(0)

    def best(function: Callable[[], object]) -> float:
        times = []
        for _ in range(ROUNDS):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
        return min(times) * 1e3

    return best(io.stats), best(lambda: generate_latest(metrics.registry))


async def main() -> None:
    """Measure, and print."""
    ways = [
        Way("nothing", lambda io: None),
        Way("`Metrics`", lambda io: Metrics(io, CollectorRegistry())),
        Way("`Tracing`, no SDK", Tracing),
        Way(
            "`Tracing`, nothing sampled",
            lambda io: Tracing(io, tracer_provider=TracerProvider(sampler=ALWAYS_OFF)),
        ),
        Way("`Tracing`, all sampled, no exporter", lambda io: Tracing(io, tracer_provider=TracerProvider())),
    ]
    await asyncio.sleep(0.05)
    for _ in range(ROUNDS):
        for way in ways:
            await way.run()
    base = ways[0].best
    for way in ways:
        print(f"| {way.name} | {way.best:.1f} | {way.best - base:+.1f} |")
    for clients in CLIENTS:
        stats, scrape = await measure_scrape(clients)
        print(f"{clients} clients: stats() {stats:.2f} ms, a scrape {scrape:.2f} ms")


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
