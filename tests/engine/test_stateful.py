"""Sessions in any order of events: Hypothesis chooses what clients, network and program do, and when.

The server is a real one, on aiohttp; network and time are simulated, so that a failure happens again when it is
repeated. ``RTF_STATEFUL_EXAMPLES=5000`` in the environment runs longer, with other choices each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtframework import ConnectionRefused, Disconnected, Limits, Server, Socket
from rtframework.engine import gateway, outbox
from rtframework.engine.engine_server import EngineServer
from tests.engine import engine_of
from tests.support.raw import NOOP, PING, PONG, SEPARATOR
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
from tests.support.thorough import examples

MAX_OUTBOX: Final = 200_000
NAMESPACES: Final = ("/", "/admin", "/slow")
BLOB: Final = "x" * 10_000

# Packets that end a connection whatever its state is, and the reason.
RUBBISH: Final = {
    "9": "parse error",
    "4": "parse error",
    "4x": "parse error",
    '42["connect"]': "parse error",
    "42[]": "parse error",
    '4511-["a"]': "parse error",
    "2": "transport error",
    '42/nowhere,["n",1]': "forced server close",
    "44": "parse error",
    "1": "transport close",
}


class Records(logging.Handler):
    """Keeps what is logged as an error, and what the event loop could not hand to anybody."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, unless it is aiohttp's word on a request that is no HTTP: those do not reach us."""
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            return
        self.messages.append(self.format(record))

    def handle_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For ``loop.set_exception_handler``."""
        self.messages.append(f"{context.get('message')}: {context.get('exception')!r}")


class World:
    """A server, its clients, and a record of who said what to whom."""

    def __init__(self) -> None:
        self.loop = SimulatedLoop()
        self.records = Records()
        self.loop.set_exception_handler(self.records.handle_exception)
        self.numbers = itertools.count(1)
        self.sent: dict[str, list[int]] = defaultdict(list)
        """By socket: what the server emitted to it."""
        self.heard: dict[str, list[int]] = defaultdict(list)
        """By socket: what its handler was called with."""
        self.reasons: dict[str, str] = {}
        self.peers: list[Peer] = []
        self.asking: set[asyncio.Task[None]] = set()
        self.io = Server(limits=Limits(max_outbox=MAX_OUTBOX))
        for name in NAMESPACES:
            self._serve(name)

        @self.io.of("/refused").on("connection")
        def refuse(socket: Socket) -> None:
            raise ConnectionRefused("no", {"code": 7})

        self.app = web.Application()
        self.io.attach(self.app)
        self.runner = web.AppRunner(self.app, shutdown_timeout=0.1)

    def _serve(self, name: str) -> None:
        namespace = self.io.of(name)

        @namespace.on("connection")
        async def connection(socket: Socket) -> None:
            await socket.join("everybody", f"half {len(self.sent) % 2}")
            await self.emit(socket)
            if name == "/slow":
                await asyncio.sleep(0.05)
                await self.emit(socket)

        @namespace.on("n")
        async def heard(socket: Socket, number: int) -> None:
            self.heard[socket.id].append(number)
            if number % 3 == 0:
                await asyncio.sleep(0.001 * (number % 5))

        @namespace.on("echo")
        def echo(socket: Socket, number: int) -> int:
            return number

        @namespace.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            assert socket.id not in self.reasons, "the disconnect handler ran twice"
            assert not socket.connected
            self.reasons[socket.id] = reason

    @property
    def engine(self) -> EngineServer:
        """The inside."""
        return engine_of(self.io)

    def sockets(self) -> list[Socket]:
        """Every socket of every namespace."""
        return [socket for name in NAMESPACES for socket in self.io.of(name).sockets.values()]

    async def emit(self, socket: Socket) -> None:
        """A number for one socket."""
        number = next(self.numbers)
        if socket.connected:
            self.sent[socket.id].append(number)
        await socket.emit("n", number)

    async def broadcast(self, nsp: str, rooms: list[str], without: Socket | None) -> None:
        """A number for everybody, or some."""
        number = next(self.numbers)
        namespace = self.io.of(nsp)
        for socket in namespace.sockets.values():
            if socket is not without and (not rooms or socket.rooms & set(rooms)):
                self.sent[socket.id].append(number)
        source: Any = without.broadcast if without is not None else namespace
        await (source.to(rooms) if rooms else source).emit("n", number)

    def ask(self, socket: Socket) -> None:
        """A question that is answered, or fails because the client leaves, but never hangs."""

        async def ask() -> None:
            number = next(self.numbers)
            try:
                assert await socket.emit_with_ack("ask", number) == number
            except Disconnected:
                assert not socket.connected

        task = self.loop.create_task(ask())
        self.asking.add(task)
        task.add_done_callback(self.asking.discard)

    def line(self, segment: int = 0) -> MemoryTransport:
        """A TCP connection to the server."""
        server: Any = self.runner.server
        return MemoryTransport(self.loop, server(), segment=segment)


class Peer:
    """A client that keeps to the protocols, as the JavaScript client does, until a rule makes it misbehave."""

    def __init__(self, world: World, *, segment: int, thinks: float) -> None:
        self.world = world
        self.segment = segment
        self.thinks = thinks
        """Seconds that it takes to answer a ping."""
        self.sid = ""
        self.transport = "polling"
        self.joined: dict[str, str] = {}
        """Namespaces it is in, with its public id there."""
        self.ids: list[str] = []
        """All public ids it ever had."""
        self.asked: set[str] = set()
        self.received: dict[str, list[int]] = defaultdict(list)
        self.said: dict[str, list[int]] = defaultdict(list)
        self.ended = False
        """It knows that the connection is over."""
        self.excused = False
        """It broke a rule, or was thrown out: it may be closed, and may miss the last packets."""
        self.must_end = False
        """It broke a rule for which its connection is closed."""
        self.mute = False
        self.polls = True
        self.moving = False
        self.moves_by = 0.0
        """When it has moved at the latest."""
        self.tries_until = 0.0
        """Until when a websocket of its own may be in its way."""
        self.answers: dict[int, int] = {}
        self._held: list[MemoryTransport] = []
        self._out: list[str] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._websocket: MemoryTransport | None = None
        self._poll: asyncio.Task[None] | None = None
        self._polling: MemoryTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what rules make it do --------------------------------------------------------------------------------------

    async def open(self, transport: str) -> None:
        """Open a session."""
        self.transport = transport
        line = self._line()
        if transport == "polling":
            line.send(request("GET", "/socket.io/?EIO=4&transport=polling"))
            status, body = await read_response(line.reader)
            assert status == 200
            line.hang_up()
            self._opened(body)
            self._start_polling()
        else:
            line.send(websocket_request("/socket.io/?EIO=4&transport=websocket"))
            assert (await read_head(line.reader))[0] == 101
            _, payload = await read_frame(line.reader)
            self._opened(payload.decode())
            self._websocket = line
            self._spawn(self._read(line))

    def send(self, *packets: str) -> None:
        """Send packets, after those that wait."""
        if self.ended:
            return
        self._out += packets
        self._flush()

    def connect(self, nsp: str) -> None:
        """Ask for a namespace, once."""
        if nsp not in self.asked:
            self.asked.add(nsp)
            self.send("40" if nsp == "/" else f"40{nsp},")

    def leave(self, nsp: str) -> None:
        """Leave a namespace."""
        if self.joined.pop(nsp, None) is not None:
            self.asked.discard(nsp)
            self.send("41" if nsp == "/" else f"41{nsp},")

    def say(self, nsp: str, count: int) -> None:
        """Send events."""
        sid = self.joined.get(nsp)
        if sid is None:
            return
        packets = []
        for _ in range(count):
            number = next(self.world.numbers)
            self.said[sid].append(number)
            packets.append(f'42{"" if nsp == "/" else nsp + ","}["n",{number}]')
        self.send(*packets)

    def upgrade(self, pace: float, hasty: bool, meanwhile: Sequence[str]) -> None:
        """Move to a websocket, with pauses; a hasty one does not wait for its poll to end.

        ``meanwhile``: what happens before each of the five steps.
        """
        if self.transport == "polling" and not self.moving and not self.ended:
            self.moving = True
            self.moves_by = self.world.loop.time() + 2 * pace + 0.2
            self._spawn(self._upgrade(pace, hasty, meanwhile))

    async def try_to_upgrade(self, how: str, turns: int) -> None:
        """An upgrade that fails, or lies: the session goes on by polling."""
        line = self._line()
        line.send(websocket_request(self._path("websocket")))
        self.tries_until = max(
            self.tries_until, self.world.loop.time() + (10.1 if how in ("silence", "2probe") else 5.1)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        if how == "reset":
            line.reset()
        elif how == "close":
            line.send(client_frame(8, b""))
        elif how == "hang up":
            line.hang_up()
        elif how == "silence":
            self._held.append(line)
        else:
            line.send(client_frame(1, how.encode()))
            self._held.append(line)

    def stop_reading(self) -> None:
        """Read nothing any more."""
        self.excused = True
        self.polls = False
        if self._websocket is not None:
            self._websocket.stop_reading()

    def abuse(self, *lines: bytes, hang_up: bool = False, reset: bool = False) -> None:
        """Write requests of one's own, each on a connection of its own."""
        self.excused = True
        for data in lines:
            line = self._line()
            line.send(data)
            if hang_up:
                line.hang_up()
            if reset:
                self.world.loop.call_soon(self.world.loop.call_soon, line.reset)

    def abort_poll(self, reset: bool) -> None:
        """Cut off the GET that waits, and send the next."""
        if self._polling is not None and self.transport == "polling":
            self.excused = True
            line, self._polling = self._polling, None
            (line.reset if reset else line.hang_up)()
            if self._poll is not None:
                self._poll.cancel()
            self._start_polling()

    def vanish(self, how: str) -> None:
        """Go away."""
        self.excused = self.ended = True
        for line in self._held:
            if how == "reset":
                line.reset()
            elif how == "hang up":
                line.hang_up()
            else:
                line.stop_reading()
        if how != "silently":
            for task in list(self._tasks):
                task.cancel()

    def get(self) -> bytes:
        """A poll of this session."""
        return request("GET", self._path("polling"))

    def post(self, body: str) -> bytes:
        """A POST of this session."""
        return request("POST", self._path("polling"), body.encode())

    # --- inside -----------------------------------------------------------------------------------------------------

    def _path(self, transport: str) -> str:
        return f"/socket.io/?EIO=4&transport={transport}&sid={self.sid}"

    def _line(self) -> MemoryTransport:
        line = self.world.line(self.segment)
        self._held = [each for each in self._held if not each.ended]
        self._held.append(line)
        return line

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def run() -> None:
            # The connection under it may go at any moment: that is the end of this work, not of the test.
            with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
                await work

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            work.close()  # it may have been cancelled before it began

        task = self.world.loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def _opened(self, packet: str) -> None:
        assert packet[0] == "0", packet
        self.sid = json.loads(packet[1:])["sid"]

    def _start_polling(self) -> None:
        self._poll = self._spawn(self._poll_on())

    async def _poll_on(self) -> None:
        while self.polls and not self.ended and not self._yields:
            line = self._polling = self._line()
            line.send(self.get())
            status, body = await read_response(line.reader)
            line.hang_up()
            if status != 200:
                if self.transport == "polling":  # else it came too late, which a hasty client has to expect
                    self._end()
                return
            packets = body.split(SEPARATOR)
            # The JavaScript client would heed the close first, and come back though it was thrown out.
            assert "1" not in packets or not any(packet.startswith("41") for packet in packets), packets
            for packet in packets:
                self._take(packet)

    _yields = False
    """It has been told that the websocket works, so it polls and posts no more."""

    async def _upgrade(self, pace: float, hasty: bool, meanwhile: Sequence[str]) -> None:
        line = self._line()
        try:
            line.send(websocket_request(self._path("websocket")))
            if (await read_head(line.reader))[0] != 101:
                return
            await self._happen(meanwhile[0])
            await asyncio.sleep(pace)
            await self._happen(meanwhile[1])
            line.send(client_frame(1, b"2probe"))
            opcode, payload = await read_frame(line.reader)
            if opcode == 8:  # another one is under way, or it is too late
                assert self.excused or self.world.loop.time() < self.tries_until
                return
            assert payload == b"3probe", payload
            self._yields = True
            await self._happen(meanwhile[2])
            if self._poll is not None and not hasty:
                await self._poll
            await self._idle.wait()
            await self._happen(meanwhile[3])
            await asyncio.sleep(pace)
            if self.ended or line.is_closing():
                return
            line.send(client_frame(1, b"5"))
            await self._happen(meanwhile[4])
            self._websocket = line
            self.transport = "websocket"
            self._spawn(self._read(line))
        except (EOFError, ConnectionError):
            pass
        finally:
            self._yields = self.moving = False
            if not self.ended:
                if self.transport == "polling":
                    line.hang_up()
                    if self._poll is None or self._poll.done():
                        self._start_polling()
                self._flush()

    async def _happen(self, what: str) -> None:
        for nsp in list(self.joined):
            socket = self.world.io.of(nsp).sockets.get(self.joined.get(nsp, ""))
            if what == "emit" and socket is not None:
                await self.world.emit(socket)
            elif what == "ask" and socket is not None:
                self.world.ask(socket)
            elif what.startswith("say"):
                self.say(nsp, int(what[3:]))

    async def _read(self, line: MemoryTransport) -> None:
        try:
            while not self.ended:
                opcode, payload = await read_frame(line.reader)
                if opcode == 1:
                    self._take(payload.decode())
                elif opcode == 8:
                    line.send(client_frame(8, payload))
                    break
        finally:
            self._end()

    def _flush(self) -> None:
        if self._yields or not self._out or self.ended:
            return
        if self._websocket is not None:
            packets, self._out = self._out, []
            for packet in packets:
                self._websocket.send(client_frame(1, packet.encode()))
        elif self._idle.is_set():
            self._idle.clear()
            self._spawn(self._post_all())

    async def _post_all(self) -> None:
        try:
            while self._out and not self._yields and not self.ended:
                packets, self._out = self._out, []
                line = self._line()
                line.send(self.post(SEPARATOR.join(packets)))
                status, body = await read_response(line.reader)
                line.hang_up()
                if status != 200:
                    self._end()
                    return
                assert body == "ok"
        finally:
            self._idle.set()

    def _end(self) -> None:
        self.ended = True

    def _take(self, packet: str) -> None:
        if packet == PING:
            if self.thinks:
                self.world.loop.call_later(self.thinks, self._answer_ping)
            else:
                self._answer_ping()
        elif packet == "1":
            self._end()
        elif packet == NOOP:
            assert self.transport == "polling", "a NOOP on a websocket"
        else:
            assert packet[0] == "4", packet
            self._take_message(packet[1], packet[2:])

    def _answer_ping(self) -> None:
        if not self.mute:
            self.send(PONG)

    @property
    def polled(self) -> bool:
        """Whether no GET of its waits."""
        return self._poll is None or self._poll.done()

    @property
    def said_everything(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._out and self._idle.is_set()

    def _take_message(self, kind: str, rest: str) -> None:
        nsp = "/"
        if rest.startswith("/"):
            nsp, _, rest = rest.partition(",")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        data = json.loads(rest[len(digits) :] or "null")
        if kind == "0":
            assert nsp in self.asked
            self.joined[nsp] = data["sid"]
            self.ids.append(data["sid"])
        elif kind == "1":
            self.joined.pop(nsp, None)
            self.asked.discard(nsp)
        elif kind == "4":
            assert nsp == "/refused" or data["message"] == "Invalid namespace", data
            self.asked.discard(nsp)
        elif kind == "3":
            assert self.answers.pop(int(digits)) == data[0]
        elif nsp in self.joined:  # else it has just left
            event, number = data[:2]
            if event == "n":
                self.received[self.joined[nsp]].append(number)
            elif event == "ask":
                self.send(f"43{'' if nsp == '/' else nsp + ','}{digits}[{number}]")


who = st.integers(0, 11)
"""A client, by a number that is taken modulo how many there are."""
turns = st.integers(0, 6)
namespaces = st.sampled_from(NAMESPACES)
transports = st.sampled_from(["polling", "polling", "websocket"])


class Sessions(RuleBasedStateMachine):
    """What may happen, and what must hold whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.ends = "vanish"
        self.bad: list[Peer] = []
        self.patch = pytest.MonkeyPatch()
        self.loggers = [logging.getLogger(name) for name in ("rtframework", "aiohttp", "asyncio")]
        for logger in self.loggers:
            logger.addHandler(self.world.records)
        self.run(self.world.runner.setup())

    def run(self, work: Coroutine[Any, Any, Any], turns: int = 0) -> None:
        """Let something happen, and the event loop make so many turns after it."""

        async def all_of_it() -> None:
            await work
            for _ in range(turns):
                await asyncio.sleep(0)

        self.world.loop.run_until_complete(all_of_it())

    def do(self, action: Callable[[], object], turns: int) -> None:
        """The same for what does not wait."""

        async def act() -> None:
            action()

        self.run(act(), turns)

    def with_socket(
        self, client: Peer, nsp: str, action: Callable[[Socket], Coroutine[Any, Any, None]], turns: int
    ) -> None:
        """Something that the program does to a client's socket, if it has one in this namespace."""
        socket = self.world.io.of(nsp).sockets.get(client.joined.get(nsp, ""))
        if socket is not None:
            self.run(action(socket), turns)

    @initialize(ends=st.sampled_from(["vanish", "shutdown"]), nsp=namespaces, crowded=st.booleans())
    def begin(self, ends: str, nsp: str, crowded: bool) -> None:
        """Some clients are there; and how it will end. ``crowded``: one of them is a crowd to broadcasts."""
        self.ends = ends
        if crowded:
            self.crowd()
        for transport in ("polling", "polling", "websocket"):
            self.come(transport, nsp)
        self.bad.append(self.come("polling", "/"))

    def crowd(self) -> None:
        """Have a broadcast go to one client in a turn of the event loop, as if there were thousands."""
        self.patch.setattr(gateway, "_MANY", 2)
        self.patch.setattr(outbox, "_PER_LOOK", 1)
        self.patch.setattr(outbox, "_AT_LEAST", 1)
        self.patch.setattr(self.world.engine.table.cork, "_clock", itertools.count().__next__)

    # --- clients that behave ----------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.peers) < 12)
    @rule(
        transport=transports,
        nsp=namespaces,
        segment=st.sampled_from([0, 0, 7]),
        thinks=st.sampled_from([0, 0, 5, 15]),
        turns=turns,
    )
    def open(self, transport: str, nsp: str, segment: int, thinks: float, turns: int) -> None:
        """A client comes and joins a namespace."""
        self.come(transport, nsp, segment, thinks, turns)

    @precondition(lambda self: len(self.world.peers) < 12)
    @rule(transport=transports, nsp=namespaces, turns=turns)
    def open_badly(self, transport: str, nsp: str, turns: int) -> None:
        """A client comes that will not behave."""
        self.bad.append(self.come(transport, nsp, 0, 0, turns))

    def peer(self, number: int) -> Peer:
        """A client that is there."""
        there = [peer for peer in self.world.peers if not peer.ended]
        return there[number % len(there)]

    @property
    def pollers(self) -> list[Peer]:
        """The clients that could move to a websocket."""
        return [each for each in self.world.peers if each.transport == "polling" and not each.moving and not each.ended]

    def come(self, transport: str, nsp: str, segment: int = 0, thinks: float = 0, turns: int = 0) -> Peer:
        """A client comes and joins a namespace."""

        async def come() -> None:
            peer = Peer(self.world, segment=segment, thinks=thinks)
            self.world.peers.append(peer)
            await peer.open(transport)
            peer.connect(nsp)

        self.run(come(), turns)
        return self.world.peers[-1]

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=st.sampled_from([*NAMESPACES, "/refused", "/nowhere"]), turns=turns)
    def connect(self, client: int, nsp: str, turns: int) -> None:
        """It asks for one more namespace."""
        peer = self.peer(client)
        self.do(lambda: peer.connect(nsp), turns)

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=namespaces, turns=turns)
    def leave(self, client: int, nsp: str, turns: int) -> None:
        """It leaves one."""
        peer = self.peer(client)
        self.do(lambda: peer.leave(nsp), turns)

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=namespaces, count=st.sampled_from([1, 2, 5, 300]), turns=turns)
    def say(self, client: int, nsp: str, count: int, turns: int) -> None:
        """It sends events."""
        peer = self.peer(client)
        self.do(lambda: peer.say(nsp, count), turns)

    @precondition(lambda self: self.pollers)
    @rule(
        client=who,
        pace=st.sampled_from([0, 0.0005, 0.05, 3]),
        hasty=st.booleans(),
        meanwhile=st.lists(st.sampled_from(["", "emit", "ask", "say1", "say300"]), min_size=5, max_size=5),
        turns=turns,
    )
    def upgrade(self, client: int, pace: float, hasty: bool, meanwhile: list[str], turns: int) -> None:
        """It moves to a websocket."""
        pollers = self.pollers
        peer = pollers[client % len(pollers)]
        self.do(lambda: peer.upgrade(pace, hasty, meanwhile), turns)

    @precondition(lambda self: self.pollers)
    @rule(
        client=who,
        how=st.sampled_from(["reset", "close", "hang up", "silence", "2x", "2probe", '42["n",0]']),
        before=turns,
        turns=turns,
    )
    def fail_to_upgrade(self, client: int, how: str, before: int, turns: int) -> None:
        """A websocket comes to nothing, or claims what is not so; no harm is done."""
        pollers = self.pollers
        self.run(pollers[client % len(pollers)].try_to_upgrade(how, before), turns)

    # --- the program ------------------------------------------------------------------------------------------------

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=namespaces, turns=turns)
    def emit(self, client: int, nsp: str, turns: int) -> None:
        """It emits to one socket."""
        peer = self.peer(client)
        self.with_socket(peer, nsp, self.world.emit, turns)

    @rule(
        nsp=namespaces,
        rooms=st.sampled_from([[], [], ["everybody"], ["half 0"], ["half 0", "half 1"]]),
        without=st.none() | who,
        then=st.none() | who,
        turns=turns,
    )
    def broadcast(self, nsp: str, rooms: list[str], without: int | None, then: int | None, turns: int) -> None:
        """It emits to all or some, and then to one of them, which must not get that first."""
        sockets = list(self.world.io.of(nsp).sockets.values())
        left_out = sockets[without % len(sockets)] if without is not None and sockets else None

        async def broadcast() -> None:
            await self.world.broadcast(nsp, rooms, left_out)
            if then is not None and sockets:
                await self.world.emit(sockets[then % len(sockets)])

        self.run(broadcast(), turns)

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=namespaces, turns=turns)
    def ask(self, client: int, nsp: str, turns: int) -> None:
        """It asks a question."""
        peer = self.peer(client)

        async def ask(socket: Socket) -> None:
            self.world.ask(socket)

        self.with_socket(peer, nsp, ask, turns)

    @precondition(lambda self: not all(peer.ended for peer in self.world.peers))
    @rule(client=who, nsp=namespaces, settled=st.booleans(), close=st.booleans(), turns=turns)
    def disconnect(self, client: int, nsp: str, settled: bool, close: bool, turns: int) -> None:
        """It throws a client out."""
        peer = self.peer(client)
        settled = settled or peer not in self.bad
        if settled:
            self.settle()

        async def disconnect(socket: Socket) -> None:
            await socket.disconnect(close)
            # What crosses it on the way is out of place, which closes the connection, as with Node.
            peer.excused = peer.excused or close or not settled or peer.moving
            peer.must_end = peer.must_end or close

        self.with_socket(peer, nsp, disconnect, turns)
        if settled:
            self.settle()

    # --- clients that do not behave ---------------------------------------------------------------------------------

    @precondition(lambda self: self.bad)
    @rule(client=who, packet=st.sampled_from(sorted(RUBBISH)), turns=turns)
    def rubbish(self, client: int, packet: str, turns: int) -> None:
        """A client sends what closes its connection."""
        peer = self.bad[client % len(self.bad)]

        def send() -> None:
            peer.excused = True
            peer.must_end = peer.must_end or not peer.ended  # one whose upgrade has failed sends nothing any more
            peer.send(packet)

        self.do(send, turns)

    @precondition(lambda self: self.bad)
    @rule(client=who, what=st.sampled_from(["gets", "posts", "both", "put", "long", "sockets"]), turns=turns)
    def overlap(self, client: int, what: str, turns: int) -> None:
        """A client sends requests that overlap, or that are none of the protocol's."""
        peer = self.bad[client % len(self.bad)]
        get, post = peer.get(), peer.post("3")
        requests = {
            "gets": [get, get],
            "posts": [post[:-1], post],
            "both": [get, post, get, post],
            "put": [request("PUT", peer._path("polling"), b"")],
            "long": [post.replace(b"Length: 1", b"Length: 1000001")],
            "sockets": [websocket_request(peer._path("websocket"))] * 2,
        }
        if what in ("gets", "posts", "long") and peer.transport == "polling" and not peer.moving:
            peer.must_end = True
        self.do(lambda: peer.abuse(*requests[what]), turns)

    @precondition(lambda self: self.bad)
    @rule(client=who, what=st.sampled_from(["poll", "poll", "get", "post", "part"]), reset=st.booleans(), turns=turns)
    def abort(self, client: int, what: str, reset: bool, turns: int) -> None:
        """A request is cut off: the poll that waits, as if it was nothing, or one beside it."""
        peer = self.bad[client % len(self.bad)]
        if what == "poll":
            self.do(lambda: peer.abort_poll(reset), turns)
            return
        post = peer.post("3" * 20)
        data = {"get": peer.get(), "post": post, "part": post[:-10]}[what]
        self.do(lambda: peer.abuse(data, hang_up=not reset, reset=reset), turns)

    @precondition(lambda self: self.bad)
    @rule(client=who, what=st.sampled_from(["answers", "reads"]), turns=turns)
    def stall(self, client: int, what: str, turns: int) -> None:
        """A client answers no pings any more, or reads nothing while much is sent to it."""
        peer = self.bad[client % len(self.bad)]
        peer.excused = True
        if what == "answers":
            peer.mute = True
            return
        self.do(peer.stop_reading, turns)

        async def flood(socket: Socket) -> None:
            for _ in range(40):
                await socket.emit("blob", BLOB)
            await asyncio.sleep(0)

        for nsp in NAMESPACES:
            self.with_socket(peer, nsp, flood, turns)

    @precondition(lambda self: self.bad)
    @rule(client=who, how=st.sampled_from(["reset", "hang up", "silently"]), turns=turns)
    def vanish(self, client: int, how: str, turns: int) -> None:
        """A client is gone."""
        peer = self.bad.pop(client % len(self.bad))
        self.do(lambda: peer.vanish(how), turns)

    @rule(
        path=st.sampled_from(["polling", "websocket", "polling&sid=x", "websocket&sid=x"]),
        end=st.integers(0, 250),
        reset=st.booleans(),
        turns=turns,
    )
    def come_to_nothing(self, path: str, end: int, reset: bool, turns: int) -> None:
        """A handshake is cut off somewhere."""

        async def come() -> None:
            make = websocket_request if path.startswith("websocket") else lambda path: request("GET", path)
            data = make(f"/socket.io/?EIO=4&transport={path}") + client_frame(1, b"40")
            line = self.world.line()
            line.send(data[:end])
            for _ in range(turns):
                await asyncio.sleep(0)
            (line.reset if reset else line.hang_up)()

        self.run(come(), turns)

    # --- time -------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.2, 4, 11, 26, 60]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.rest(seconds)

    @rule(seconds=st.sampled_from([1, 30, 100]), turns=turns)
    def block(self, seconds: float, turns: int) -> None:
        """The program blocks the event loop, which must disconnect nobody."""
        for peer in self.world.peers:
            peer.excused = peer.excused or peer.moving  # an upgrade has its time, blocked or not
            peer.tries_until += seconds
        self.do(lambda: self.world.loop.block(seconds), turns)

    @rule()
    def settle(self) -> None:
        """Everything that can happen at once happens."""
        self.rest(0.02)

    def rest(self, seconds: float) -> None:
        """Let time pass, and whatever is due at its end come to its end."""
        self.run(asyncio.sleep(seconds))
        self.run(asyncio.sleep(1e-6))
        self.check()

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def nothing_is_unhandled(self) -> None:
        """No exception reached the event loop or the log."""
        assert self.world.records.messages == []

    @invariant()
    def everything_arrives_once_and_in_order(self) -> None:
        """What has arrived is the beginning of what was sent, whoever it is."""
        for peer in self.world.peers:
            for sid in peer.ids:
                sent, received = self.world.sent[sid], peer.received[sid]
                assert received == sent[: len(received)]
                said, heard = peer.said[sid], self.world.heard[sid]
                assert heard == said[: len(heard)]

    @invariant()
    def what_waits_is_bounded(self) -> None:
        """No outbox holds more than it may."""
        for connection in self.world.engine.connections.values():
            assert sum(each.size for each in connection.outbox._frames) <= MAX_OUTBOX
            transport = connection.websocket
            assert transport is None or transport.buffered() <= MAX_OUTBOX + len(BLOB) + 100

    def check(self) -> None:
        """At rest, everything has arrived, and nobody who behaves was closed."""
        engine = self.world.engine
        for peer in self.world.peers:
            if peer.must_end and peer.said_everything:
                assert peer.sid not in engine.connections or not engine.connections[peer.sid].is_open
            if peer.excused:
                continue
            assert not peer.ended, f"a client was closed: {[self.world.reasons.get(sid) for sid in peer.ids]}"
            assert peer.sid in engine.connections
            if peer.moving:
                assert self.world.loop.time() < peer.moves_by, "an upgrade that does not end"
                continue
            assert engine.connections[peer.sid].transport == peer.transport
            assert peer.polled is (peer.transport == "websocket")
            for nsp, sid in peer.joined.items():
                assert sid in self.world.io.of(nsp).sockets
                assert peer.received[sid] == self.world.sent[sid]
                assert self.world.heard[sid] == peer.said[sid]
        for socket in self.world.sockets():
            assert socket.conn.is_open
        assert len(engine.table.unconnected) == sum(
            connection._on_connected is not None for connection in engine.connections.values()
        )

    def teardown(self) -> None:
        """Everybody goes, or the server stops; nothing may be left."""
        world = self.world
        try:
            self.settle()
            self.rest(7)  # long enough for every upgrade
            if self.ends == "vanish":
                for number, peer in enumerate(world.peers):
                    self.do(functools.partial(peer.vanish, ("reset", "hang up", "silently")[number % 3]), 1)
                self.run(asyncio.sleep(130))
                assert not world.engine.connections
                self.assert_nothing_left()
            self.run(world.runner.cleanup())
            for peer in world.peers:
                peer.vanish("reset")
            self.run(asyncio.sleep(15))  # aiohttp waits ten seconds for the rest of a body that it does not need
            self.assert_nothing_left()
            self.nothing_is_unhandled()
            left = asyncio.all_tasks(world.loop)
            assert not left, left
            assert world.loop.timers() == []
            assert set(world.reasons) == set(world.sent), "a socket left without a word"
        finally:
            for logger in self.loggers:
                logger.removeHandler(world.records)
            for task in asyncio.all_tasks(world.loop):
                task.cancel()
            with contextlib.suppress(BaseException):
                self.run(asyncio.sleep(0))
            world.loop.close()
            self.patch.undo()

    def assert_nothing_left(self) -> None:
        """Neither a connection nor a receiver, task, room or outbox."""
        engine = self.world.engine
        assert not engine.connections
        assert not engine.tasks
        assert not self.world.asking, "a question that nobody answers"
        assert len(engine.table.unconnected) == 0
        assert not engine.table.cork.congested
        assert not engine.table.cork._soon
        assert not engine.table.cork._later
        for namespace in self.world.io.namespaces.values():
            assert not namespace.sockets
            assert not namespace._membership.outlets
            index = namespace.adapter.index  # type: ignore[attr-defined]
            assert len(index) == 0
            assert not index.all_rooms()


_LONG: Final = os.environ.get("RTF_STATEFUL_EXAMPLES")

TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=int(_LONG or examples(200)),
    stateful_step_count=60 if _LONG else 40,
    derandomize=not _LONG,  # a run that everybody waits for gives the same answer twice
    suppress_health_check=list(HealthCheck),
)


def test_a_post_that_ends_before_it_is_read_costs_no_traceback() -> None:
    """Over TLS, where the end can come in one piece with the data, anybody could fill the log."""
    machine = Sessions()
    peer = machine.come("polling", "/")
    machine.do(lambda: peer.abuse(peer.post("3" * 20)[:-10], hang_up=True), 2)
    machine.teardown()
    assert peer.ended
