"""Clients that go at every point of their way in, again and again: nothing of them may stay.

The server is a real one, on aiohttp; the network and the time are simulated. ``RTF_LEAK_VISITS=100000`` in the
environment makes many more visits. With ``-rP`` pytest shows how much memory they took, after each tenth of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from rtframework import AckError, ConnectionRefused, Server, Socket
from rtframework.engine.engine_server import EngineServer
from rtframework.types import Handshake
from tests.engine import engine_of
from tests.support.simulation import (
    MemoryTransport,
    SimulatedLoop,
    client_frame,
    read_frame,
    read_head,
    read_response,
    request,
    websocket_request,
)

VISITS: Final = int(os.environ.get("RTF_LEAK_VISITS", 3_000))
BATCH: Final = 50
POINTS: Final = 10
"""How often memory is looked at."""
WARM: Final = 3
"""The first so many looks are not compared: caches and pools fill."""
POLLING: Final = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET: Final = "/socket.io/?EIO=4&transport=websocket"


class Doorman:
    """Lets clients in, or does not, or takes his time, as they ask him to."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """``auth`` says what is to happen here."""
        match handshake.auth.get("at the door"):
            case "refuse":
                raise ConnectionRefused("no", {"why": "asked for"})
            case "nobody":
                return None
            case "fail":
                raise LookupError("asked for")
            case "wait":
                await asyncio.sleep(0.5)
        return {"user": handshake.auth.get("name", "x" * 100)}


class House:
    """A server in which things go wrong at each step, when the client wishes it."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.io = io = Server(auth=Doorman())
        io.of("/admin")
        self.lines: list[MemoryTransport] = []
        self.came = self.went = 0

        @io.use
        async def middleware(socket: Socket, call_next: Callable[[], Awaitable[None]]) -> None:
            match socket.handshake.auth.get("in middleware"):
                case "refuse":
                    raise ConnectionRefused("no")
                case "fail":
                    raise LookupError("asked for")
                case "wait":
                    await asyncio.sleep(0.5)
            await socket.join("early")
            await call_next()

        @io.on("connection")
        async def connection(socket: Socket) -> None:
            self.came += 1
            socket.data["self"] = socket  # a cycle, as programs make them
            await socket.join("everybody", f"room {socket.id}")
            await socket.emit("welcome", "x" * 1_000)
            match socket.handshake.auth.get("inside"):
                case "refuse":
                    self.came -= 1
                    raise ConnectionRefused("no")
                case "fail":
                    self.came -= 1
                    raise LookupError("asked for")
                case "wait":
                    await asyncio.sleep(0.5)
                case "ask":
                    await socket.emit_with_ack("who are you?")

        @io.on("hold")
        async def hold(socket: Socket) -> str:
            await asyncio.sleep(0.5)
            return "done"

        @io.on("ask")
        async def ask(socket: Socket) -> Any:
            with contextlib.suppress(AckError):
                return await socket.timeout(5).emit_with_ack("who are you?")
            return "nobody"

        @io.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            self.went += 1
            await asyncio.sleep(0.01)
            if socket.handshake.auth.get("at the end") == "fail":
                raise LookupError("asked for")

        self.app = web.Application()
        io.attach(self.app)
        self.runner = web.AppRunner(self.app, shutdown_timeout=0.1)

    @property
    def engine(self) -> EngineServer:
        """The inside."""
        return engine_of(self.io)

    def line(self) -> MemoryTransport:
        """A TCP connection to it."""
        server: Any = self.runner.server
        line = MemoryTransport(self.loop, server())
        self.lines.append(line)
        return line

    def assert_no_session(self) -> None:
        """Whoever has gone without a word has been found out."""
        assert not self.engine.connections
        assert len(self.engine.table.unconnected) == 0
        assert self.came == self.went

    def hang_up(self) -> None:
        """End the TCP connections that are left."""
        for line in self.lines:
            line.reset()
        self.lines.clear()


class Visitor:
    """One client, step by step."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.sid = ""
        self.lines: list[MemoryTransport] = []
        self.websocket: MemoryTransport | None = None

    def line(self) -> MemoryTransport:
        """A TCP connection that ends with the visit."""
        line = self.house.line()
        self.lines.append(line)
        return line

    async def send_request(self, method: str, body: str | None = None) -> MemoryTransport:
        """A request that is not answered yet."""
        line = self.line()
        path = f"{POLLING}&sid={self.sid}" if self.sid else POLLING
        line.send(request(method, path, body.encode() if body is not None else None))
        await asyncio.sleep(0)
        return line

    async def poll(self) -> str:
        """A GET."""
        return (await read_response((await self.send_request("GET")).reader))[1]

    async def post(self, body: str) -> None:
        """A POST."""
        await read_response((await self.send_request("POST", body)).reader)

    async def open(self, transport: str) -> None:
        """Open a session."""
        if transport == "polling":
            opened = await self.poll()
        else:
            self.websocket = line = self.line()
            line.send(websocket_request(WEBSOCKET))
            await read_head(line.reader)
            opened = (await read_frame(line.reader))[1].decode()
        self.sid = json.loads(opened[1:])["sid"]

    async def send(self, packet: str) -> None:
        """Send a packet."""
        if self.websocket is None:
            await self.post(packet)
        else:
            self.websocket.send(client_frame(1, packet.encode()))

    async def receive(self) -> str:
        """What comes next."""
        if self.websocket is None:
            return await self.poll()
        return (await read_frame(self.websocket.reader))[1].decode()

    async def connect(self, auth: str) -> None:
        """Ask for the main namespace; ``auth`` is ``step: what is to happen there``."""
        step, _, what = auth.partition(": ")
        await self.send("40" + json.dumps({step: what}))

    async def start_upgrade(self, how_far: int) -> None:
        """The first so many steps of an upgrade."""
        line = self.line()
        line.send(websocket_request(f"{WEBSOCKET}&sid={self.sid}"))
        if how_far > 0:
            await read_head(line.reader)
        if how_far > 1:
            line.send(client_frame(1, b"2probe"))
        if how_far > 2:
            await read_frame(line.reader)
        if how_far > 3:
            line.send(client_frame(1, b"5"))
            self.websocket = line
        if how_far > 4:
            line.send(client_frame(1, b'42["hold"]'))
            await asyncio.sleep(0)

    async def go(self, how: str) -> None:
        """Leave."""
        if how == "say so" and self.sid:
            await self.send("1")
        elif how == "close" and self.websocket is not None:
            self.websocket.send(client_frame(8, b"\x03\xe8"))
            with contextlib.suppress(EOFError):
                await read_frame(self.websocket.reader)
        elif how == "nonsense" and self.sid:
            await self.send("4nonsense")
        elif how == "nothing":
            for line in self.lines:
                line.stop_reading()
            return
        for line in self.lines:
            if how == "reset":
                line.reset()
            else:
                line.hang_up()


def with_header(head: bytes, name: str, value: str) -> bytes:
    """The request with one more header."""
    return head.replace(b"\r\n\r\n", f"\r\n{name}: {value}\r\n\r\n".encode(), 1)


FOREIGN: Final = ("Origin", "http://elsewhere.example")
REFUSED: Final = {
    "polling from a foreign page": (with_header(request("GET", POLLING), *FOREIGN), 403),
    "websocket from a foreign page": (with_header(websocket_request(WEBSOCKET), *FOREIGN), 403),
    "polling of another version": (request("GET", POLLING.replace("EIO=4", "EIO=3")), 400),
    "websocket of another version": (websocket_request(WEBSOCKET.replace("EIO=4", "EIO=3")), 400),
    "an unknown transport": (request("GET", POLLING.replace("polling", "pigeon")), 400),
    "polling of an unknown session": (request("POST", f"{POLLING}&sid=x", b"40"), 400),
    "websocket of an unknown session": (websocket_request(f"{WEBSOCKET}&sid=x"), 400),
    "websocket without a key": (websocket_request(WEBSOCKET).replace(b"Sec-WebSocket-Key", b"No-Key"), 400),
    "a handshake by POST": (request("POST", POLLING, b"40"), 400),
}
"""Requests that get no further than HTTP, and their status."""


def visits() -> Iterator[tuple[str, Callable[[Visitor], Awaitable[None]]]]:
    """Every point at which a client may leave: its name, and the way there."""
    for name, (data, status) in REFUSED.items():

        async def refused(visitor: Visitor, data: bytes = data, status: int = status) -> None:
            line = visitor.line()
            line.send(data)
            assert (await read_head(line.reader))[0] == status

        yield f"refused: {name}", refused
    for cut in (0, 1, 30, 70):

        async def cut_off(visitor: Visitor, cut: int = cut) -> None:
            visitor.line().send(request("GET", POLLING)[:cut])
            visitor.line().send(websocket_request(WEBSOCKET)[:cut])
            await asyncio.sleep(0)

        yield f"request cut off after {cut} bytes", cut_off
    for transport in ("polling", "websocket"):

        async def asked(visitor: Visitor, transport: str = transport) -> None:
            visitor.line().send(request("GET", POLLING) if transport == "polling" else websocket_request(WEBSOCKET))
            await asyncio.sleep(0)

        async def opened(visitor: Visitor, transport: str = transport) -> None:
            await visitor.open(transport)

        async def opened_and_polls(visitor: Visitor, transport: str = transport) -> None:
            await visitor.open(transport)
            await visitor.send_request("GET")

        yield f"{transport} asked for", asked
        yield f"{transport} opened", opened
        if transport == "polling":
            yield "polling opened, a GET waits", opened_and_polls
        for step in ("at the door", "in middleware", "inside"):
            for what in (
                "refuse",
                "fail",
                "wait",
                *(("nobody",) if step == "at the door" else ("ask",) * (step == "inside")),
            ):

                async def on_the_way(
                    visitor: Visitor, transport: str = transport, auth: str = f"{step}: {what}"
                ) -> None:
                    await visitor.open(transport)
                    await visitor.connect(auth)
                    await asyncio.sleep(0)

                yield f"{transport}, {step}: {what}", on_the_way

        async def joined(visitor: Visitor, transport: str = transport) -> None:
            await visitor.open(transport)
            await visitor.connect("at the end: fail")
            await visitor.receive()

        async def in_two_namespaces(visitor: Visitor, transport: str = transport) -> None:
            await joined(visitor, transport)
            await visitor.send("40/admin,")
            await visitor.receive()
            await visitor.send("41/admin,")

        async def while_a_handler_runs(visitor: Visitor, transport: str = transport) -> None:
            await joined(visitor, transport)
            await visitor.send('42["hold"]')
            await visitor.send('421["ask"]')

        yield f"{transport} joined", joined
        yield f"{transport} in two namespaces", in_two_namespaces
        yield f"{transport}, a handler runs", while_a_handler_runs
    for how_far in range(6):
        for waits in (False, True):

            async def upgrading(visitor: Visitor, how_far: int = how_far, waits: bool = waits) -> None:
                await visitor.open("polling")
                await visitor.connect("")
                await visitor.poll()
                if waits:
                    await visitor.send_request("GET")
                await visitor.start_upgrade(how_far)

            yield f"{how_far} steps of an upgrade{', a GET waits' if waits else ''}", upgrading


WAYS_IN: Final = list(visits())
WAYS_OUT: Final = ("reset", "hang up", "say so", "close", "nonsense", "nothing")


@contextlib.contextmanager
def house() -> Iterator[tuple[SimulatedLoop, House]]:
    """A server, and the world that it is in."""
    loop = SimulatedLoop()
    house = House(loop)
    loop.run_until_complete(house.runner.setup())
    try:
        yield loop, house
    finally:
        loop.run_until_complete(house.runner.cleanup())
        loop.run_until_complete(asyncio.sleep(15))
        loop.close()


async def visit(house: House, number: int) -> None:
    """One visit: the way in and the way out are chosen by its number."""
    _, way_in = WAYS_IN[number % len(WAYS_IN)]
    visitor = Visitor(house)
    with contextlib.suppress(EOFError, ConnectionError):
        await way_in(visitor)
        await visitor.go(WAYS_OUT[number // len(WAYS_IN) % len(WAYS_OUT)])
    await asyncio.sleep(0)


class Log(logging.Handler):
    """Keeps no record: what it holds, a traceback for one, would seem to leak. Counts errors that nobody asked for."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.unforeseen: list[str] = []
        self.loggers = [logging.getLogger(name) for name in ("rtframework", "aiohttp", "asyncio")]

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record."""
        error = record.exc_info[1] if record.exc_info else None
        if str(error) != "'asked for'" and str(error) != "asked for" and not isinstance(error, HttpProcessingError):
            self.unforeseen.append(self.format(record))

    def __enter__(self) -> Log:
        for logger in self.loggers:
            logger.propagate = False
            logger.addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        for logger in self.loggers:
            logger.propagate = True
            logger.removeHandler(self)


def census() -> Counter[str]:
    """How many objects of our classes, of aiohttp's server, and tasks and futures are alive."""
    gc.collect()
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith(("rtframework", "aiohttp.web", "aiohttp.streams", "_asyncio"))
        and kind.__module__ != "rtframework.engine.watchdog"  # it looks at the loop from a thread, at any moment
    )


def memory() -> int:
    """Bytes of the process that are in RAM; 0 where nobody says."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@pytest.mark.timeout(60 + VISITS // 200)
def test_visitors_leave_nothing_behind() -> None:
    """A server would grow with every visitor who did not behave, until it is restarted."""
    measured: list[tuple[Counter[str], int, int]] = []
    there = census()  # what other tests have made, among others
    with Log() as log, house() as (loop, place):
        loop.set_exception_handler(lambda loop, context: log.unforeseen.append(str(context)))
        for point in range(POINTS):
            end = VISITS * (point + 1) // POINTS
            for start in range(VISITS * point // POINTS, end, BATCH):
                loop.run_until_complete(gather(place, range(start, min(start + BATCH, end))))
                loop.run_until_complete(asyncio.sleep(130))
                place.assert_no_session()
                place.hang_up()
                loop.run_until_complete(asyncio.sleep(15))
            assert_empty(place, loop)
            measured.append((census(), memory(), sys.getallocatedblocks()))
        assert log.unforeseen == []
        assert place.came > VISITS // 4
    print(f"{VISITS} visits, {len(WAYS_IN)} ways in, {len(WAYS_OUT)} ways out, {place.came} were let in")
    print(f"RSS after each tenth, KiB: {[each[1] // 1024 for each in measured]}")
    print(f"allocated blocks after each tenth: {[each[2] for each in measured]}")
    before, *others = measured[WARM - 1 :]
    for after in others:
        assert after[0] == before[0]
    assert (before[0] - there).total() < 150, before[0] - there
    # Whatever stays of a visitor is more than a block or two.
    assert measured[-1][2] - before[2] < max(1_500, (VISITS - VISITS * WARM // POINTS) // 10)


async def gather(place: House, numbers: range) -> None:
    """Visits at the same time."""
    await asyncio.gather(*(visit(place, number) for number in numbers))


def assert_empty(place: House, loop: SimulatedLoop) -> None:
    """Neither a session nor a socket, room, task or timer."""
    engine = place.engine
    assert not engine.tasks
    assert not engine.table.cork._soon
    assert not engine.table.cork._later
    for namespace in place.io.namespaces.values():
        assert not namespace.sockets
        assert not namespace._membership.outlets
        index = namespace.adapter.index  # type: ignore[attr-defined]
        assert len(index) == 0
        assert not index.all_rooms()
    assert not asyncio.all_tasks(loop)
    assert len(loop.timers()) == 1, "more than the heartbeat's"
