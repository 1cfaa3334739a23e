"""The account of what clients send, in any order of events: Hypothesis chooses what clients, network and handlers do.

The server is a real one, on aiohttp; network and time are simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any, Final

from aiohttp import web
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtframework import Limits, Server, Socket
from rtframework.engine.connection import Connection
from rtframework.engine.inbound import LARGE
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
from tests.support.thorough import examples

LIMITS: Final = Limits(max_inbound=900_000, max_inbox=300_000, max_pending_events=3, body_timeout=1.0)
POLLING: Final = "/socket.io/?EIO=4&transport=polling"

VALUES: Final = {
    "none": "0",
    "lists": "[" + "[]," * 900 + "0]",
    "many lists": "[" + "[]," * 10_000 + "0]",
    "more lists": "[" + "[]," * 30_000 + "0]",
    "text": json.dumps("x" * 200_000),
    "wide": '"\U0001f600' + "x" * 60_000 + '"',
}
PACKETS: Final = (
    *(f'42["{name}",{value}]' for name in ("hold", "gone", "ask", "note") for value in VALUES.values()),
    *(f'42["hold","{"x" * (size - 11)}"]' for size in (LARGE - 1, LARGE, LARGE + 1)),
    *(f'4{head}-["hold",{{"_placeholder":true,"num":0}}]' for head in ("51", "52")),
    "40",
    "41",
    '40{"token":"' + "x" * 2_000 + '"}',
    "40/room,",
    "3",
    "6" * 50_000,
    "rubbish",
)
KINDS: Final = st.sampled_from(range(len(PACKETS))) | st.integers(0, 23)


class Attacker:
    """A client by websocket or polling, which may stop in the middle of anything."""

    def __init__(self, machine: Budget, segment: int) -> None:
        self.machine = machine
        self.segment = segment
        self.sid = ""
        self.line: MemoryTransport | None = None
        self.rest = b""
        """What is missing of a message that has begun."""
        self.bodies: list[tuple[MemoryTransport, bytes]] = []

    def new_line(self) -> MemoryTransport:
        """A TCP connection."""
        server: Any = self.machine.runner.server
        return MemoryTransport(self.machine.loop, server(), segment=self.segment)

    async def open(self, by: str) -> None:
        """Open a session, and join."""
        line = self.new_line()
        if by == "polling":
            line.send(request("GET", POLLING))
            self.sid = json.loads((await read_response(line.reader))[1][1:])["sid"]
            line.hang_up()
            self.post(b"40")
        else:
            line.send(websocket_request(POLLING.replace("polling", "websocket")))
            await read_head(line.reader)
            self.sid = json.loads((await read_frame(line.reader))[1][1:])["sid"]
            self.line = line
            line.send(client_frame(1, b"40"))

    def upgrade(self) -> None:
        """Move to a websocket, whatever else is under way."""
        line = self.new_line()
        line.send(websocket_request(f"{POLLING.replace('polling', 'websocket')}&sid={self.sid}"))
        line.send(client_frame(1, b"2probe") + client_frame(1, b"5"))
        self.line = line

    def post(self, body: bytes, missing: int = 0) -> None:
        """Send a body, or all of it but the last bytes."""
        line = self.new_line()
        data = request("POST", f"{POLLING}&sid={self.sid}", body)
        line.send(data[: len(data) - missing])
        self.bodies = [*self.bodies[-3:], (line, data[len(data) - missing :])]

    def send(self, packet: str | bytes, missing: int) -> None:
        """Send a packet, or all of it but the last bytes."""
        if self.line is None:
            text = packet.encode() if isinstance(packet, str) else b"bAAAA"
            self.post(text, min(missing, len(text)))
            return
        frame = client_frame(1, packet.encode()) if isinstance(packet, str) else client_frame(2, packet)
        self.line.send(self.rest + frame[: len(frame) - missing])
        self.rest = frame[len(frame) - missing :]

    def lines(self) -> list[MemoryTransport]:
        """All TCP connections."""
        return [line for line in (self.line, *(line for line, _ in self.bodies)) if line is not None]


class Budget(RuleBasedStateMachine):
    """Clients, and the account of what they have sent."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.clients: list[Attacker] = []
        self.connections: list[Connection] = []
        self.gates: list[asyncio.Event] = []
        self.left: list[MemoryTransport] = []
        """TCP connections of clients that have gone."""
        self.io = io = Server(limits=LIMITS, ping_interval=5, ping_timeout=3)
        io.of("/room")

        @io.on("hold")
        async def hold(socket: Socket, value: Any = None) -> None:
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()

        @io.on("gone")
        async def gone(socket: Socket, value: Any) -> None:
            while socket.connected:  # noqa: ASYNC110 - as programs do
                await asyncio.sleep(0.1)

        @io.on("ask")
        async def ask(socket: Socket, value: Any) -> None:
            with contextlib.suppress(Exception):
                await socket.timeout(2).emit_with_ack("sure?")

        @io.on("note")
        def note(socket: Socket, value: Any) -> None:
            pass

        app = web.Application()
        io.attach(app)
        self.runner = web.AppRunner(app)
        self.table = engine_of(io).table
        opened = self.table.open

        def opening(*args: Any) -> Connection:
            self.connections.append(opened(*args))
            return self.connections[-1]

        self.table.open = opening  # type: ignore[assignment, method-assign]
        self.run(self.runner.setup())

    def run(self, work: Any) -> Any:
        """Run until it is done, and everything that it sets off."""
        result = self.loop.run_until_complete(work)
        self.loop.run_until_complete(asyncio.sleep(0.001))
        return result

    def client(self, number: int) -> Attacker | None:
        """One of the clients."""
        return self.clients[number % len(self.clients)] if self.clients else None

    @rule(by=st.sampled_from(["polling", "websocket"]), segment=st.sampled_from([0, 0, 5_000, 40_000]))
    def arrive(self, by: str, segment: int) -> None:
        """A client more."""
        if len(self.clients) < 5:
            client = Attacker(self, segment)
            self.clients.append(client)
            self.run(client.open(by))

    @rule(number=st.integers(0, 4), kinds=st.lists(KINDS, min_size=1, max_size=4), missing=st.sampled_from([0, 0, 1]))
    def send(self, number: int, kinds: list[int], missing: int) -> None:
        """Packets, of which the last may not be complete."""
        client = self.client(number)
        if client is None:
            return
        for kind in kinds:
            client.send(PACKETS[kind], 0)
            if PACKETS[kind].startswith("45"):
                client.send(b"x" * 40_000, 0)
        client.send(PACKETS[kinds[0]], missing)
        self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 4), kinds=st.lists(KINDS, min_size=2, max_size=300), missing=st.sampled_from([0, 5]))
    def post(self, number: int, kinds: list[int], missing: int) -> None:
        """Many packets in one body."""
        client = self.client(number)
        if client is not None and client.line is None:
            client.post("\x1e".join(PACKETS[kind] for kind in kinds).encode()[:990_000], missing)
            self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 4))
    def complete(self, number: int) -> None:
        """The rest of what has begun."""
        client = self.client(number)
        if client is None:
            return
        if client.line is not None:
            client.line.send(client.rest)
            client.rest = b""
        for line, rest in client.bodies:
            line.send(rest)
        client.bodies = [(line, b"") for line, _ in client.bodies]
        self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 4))
    def move(self, number: int) -> None:
        """An upgrade."""
        client = self.client(number)
        if client is not None and client.line is None:
            client.upgrade()
            self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 4), how=st.sampled_from(["reset", "hang up", "abort", "close"]))
    def leave(self, number: int, how: str) -> None:
        """The end of a client."""
        client = self.client(number)
        if client is None:
            return
        self.clients.remove(client)
        connection = self.table.by_sid.get(client.sid)
        if how in ("abort", "close") and connection is not None:
            self.loop.call_soon(connection.abort if how == "abort" else connection.close, "forced close")
            self.run(asyncio.sleep(0))
        for line in client.lines():
            (line.hang_up if how == "hang up" else line.reset)()
            self.left.append(line)
        self.run(asyncio.sleep(0))

    @rule(number=st.integers(0, 9))
    def end_handler(self, number: int) -> None:
        """The end of a handler."""
        if self.gates:
            self.gates.pop(number % len(self.gates)).set()
            self.run(asyncio.sleep(0))

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.1, 4]))
    def wait(self, seconds: float) -> None:
        """Time."""
        self.run(asyncio.sleep(seconds))

    @invariant()
    def adds_up(self) -> None:
        """What connections hold is what the account says, and who is held up has something to wait for."""
        account = self.table.inbound
        assert account.held == sum(each.held for each in self.connections)
        for each in self.connections:
            large = [packet for packet in each.inbox or () if isinstance(packet, str | bytes) and len(packet) > LARGE]
            assert each.held >= 0
            assert not each.blocked or each._parked >= sum(map(sys.getsizeof, large)), "it waits uncounted"
            if each.is_closed:
                assert each not in account._waiting
                assert each.inbox is None
                assert each._parked == 0
            elif each.blocked:
                assert each._working or each in account._waiting, "nothing would go on"

    def teardown(self) -> None:
        """When handlers end and clients go, nothing is left."""
        for gate in self.gates:
            gate.set()
        self.gates.clear()
        self.loop.run_until_complete(asyncio.sleep(3))
        for gate in self.gates:
            gate.set()
        for line in (*self.left, *(line for client in self.clients for line in client.lines())):
            line.reset()  # who closes while it is not read is noticed when it is written to
        for _ in range(60):
            self.loop.run_until_complete(asyncio.sleep(1))
            for gate in self.gates:
                gate.set()
        account = self.table.inbound
        assert not self.table.by_sid
        assert not self.table.tasks
        assert (account.held, account.idle, account._waiting, account._timer) == (0, 0, {}, None)
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()


TestBudget = Budget.TestCase
TestBudget.settings = settings(
    max_examples=examples(60), stateful_step_count=30, suppress_health_check=list(HealthCheck)
)
