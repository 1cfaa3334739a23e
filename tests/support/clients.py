"""Clients without a network: both sides of the seam of ``rtframework.protocols``, for tests of namespaces.

A :class:`FakeEngine` encodes with the real serializer, a :class:`FakeConnection` remembers what it is given and can be
closed, dropped or slow, a :class:`FakeClient` joins namespaces on it and says what a client would say.

Example::

    host = make_host()
    ada = FakeClient(host, "ada")
    assert await ada.connect() == "connected"
    assert ada.heard() == [("connect", {"sid": "ada1"})]
    ada.drop()
    await idle(host)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from rtframework import Handshake, History, Limits, Packet, PacketType, Presence, Recovery
from rtframework.adapters.recovering import in_memory
from rtframework.counters import Counters
from rtframework.limits.guard import Guard
from rtframework.limits.rates import RateLimit
from rtframework.namespaces.host import Host, Settings
from rtframework.namespaces.socket import Socket
from rtframework.protocols import (
    AdapterFactory,
    Authenticator,
    Connection,
    Engine,
    Frames,
    KeyValueStore,
    Outlet,
    Receiver,
)
from rtframework.serializers import JSONSerializer
from rtframework.testing import Clock
from rtframework.types import DisconnectReason

F = TypeVar("F")

Line = tuple[Any, ...]
"""A packet as tests write it: ``("connect", {...})``, ``("refused", {...})``, ``("disconnect",)``,
``("event", name, *args)``, ``("question", id, name, *args)`` or ``("ack", id, *args)``."""


def _line(packet: Packet) -> Line:
    match packet.type:
        case PacketType.CONNECT:
            return ("connect", packet.data)
        case PacketType.CONNECT_ERROR:
            return ("refused", packet.data)
        case PacketType.DISCONNECT:
            return ("disconnect",)
        case PacketType.ACK:
            return ("ack", packet.id, *packet.data)
        case _ if packet.id is not None:
            return ("question", packet.id, *packet.data)
        case _:
            return ("event", *packet.data)


class FakeFrames:
    """One packet or several, encoded: what connections remember."""

    def __init__(self, lines: Sequence[tuple[str, Line]], size: int, *, compress: bool = True) -> None:
        self.lines = tuple(lines)
        """Each with its namespace."""
        self.size = size
        self.compress = compress
        self.droppable = False
        self.offset: str | None = None
        self.entry: str | None = None
        self.websocket = b""
        self.polling = ""

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        """Nothing here looks at bytes."""
        return b""

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], F]) -> F:
        """Nor at the forms of other protocols."""
        raise NotImplementedError


class FakeEngine:
    """Encodes with the real serializer, so that what cannot be sent fails as it does for users."""

    def __init__(self) -> None:
        self.serializer = JSONSerializer()
        self.encoded = 0
        """How many packets were encoded."""
        self.congestion: asyncio.Future[None] | None = None
        """What emitters wait for, while clients are slow."""

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        """Encode a packet. Raises ``EncodeError``."""
        self.encoded += 1
        messages = self.serializer.encode(packet)
        return FakeFrames([(packet.nsp, _line(packet))], sum(map(len, messages)), compress=compress)

    def text(self, packet: Packet) -> str | None:
        """Return a packet's data as JSON."""
        messages = self.serializer.encode(Packet(PacketType.EVENT, "/", packet.data))
        return str(messages[0])[1:] if len(messages) == 1 else None

    def plain(self, data: Sequence[Any]) -> list[Any]:
        """Turn arguments into JSON's own types and bytes."""
        return cast("list[Any]", self.serializer.plain(list(data)))

    def splice(self, nsp: str, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        """Make an event of its arguments as JSON."""
        packet = Packet(PacketType.EVENT, nsp, [*json.loads(args), *([] if tail is None else [tail])])
        return FakeFrames([(nsp, _line(packet))], len(args), compress=compress)

    def join(self, frames: Sequence[Frames]) -> Frames:
        """Make several packets one."""
        several = cast("Sequence[FakeFrames]", frames)
        return FakeFrames([line for each in several for line in each.lines], sum(each.size for each in several))

    def deliver(self, outlets: Sequence[Outlet], frames: Frames, *, volatile: bool = False) -> Awaitable[None] | None:
        """Hand frames to many outlets."""
        for outlet in outlets:
            outlet.send(frames, volatile=volatile)
        return self.congestion


class FakeConnection:
    """A connection that remembers what it is given."""

    def __init__(self, *, transport: str = "websocket", protocol: int = 4) -> None:
        self.transport = transport
        self.protocol = protocol
        self.is_open = True
        self.is_slow = False
        """True: it has no room for volatile packets."""
        self.has_dropped = False
        self.sent: list[FakeFrames] = []
        self.dropped: dict[str, int] = {}
        self.working = 0
        self.closed: str | None = None
        """The reason for which it was closed."""
        self.clients: list[FakeClient] = []

    def send(self, frames: Frames, *, volatile: bool = False) -> None:
        """Remember the frames, while it is open."""
        if volatile and self.is_slow:
            self.count_dropped("volatile", 1)
        elif self.is_open:
            self.sent.append(cast("FakeFrames", frames))

    def count_dropped(self, reason: str, packets: int) -> None:
        """Count packets that were dropped."""
        self.dropped[reason] = self.dropped.get(reason, 0) + packets

    def began(self) -> int:
        """Count a handler at work."""
        self.working += 1
        return 1

    def ended(self, weight: int) -> None:
        """Count a handler that has ended."""
        self.working -= weight

    def close(self, reason: str) -> None:
        """Close it; every receiver hears the reason at once, as with the engine."""
        if not self.is_open:
            return
        self.is_open = False
        self.closed = reason
        for client in self.clients:
            receivers = list(client.receivers.values())
            client.receivers.clear()
            for receiver in receivers:
                receiver._disconnected(reason)


class FakeClient:
    """A client, on a connection of its own unless it is given one; its ids are its name and a number."""

    def __init__(
        self,
        host: Host,
        name: str = "ada",
        *,
        conn: FakeConnection | None = None,
        transport: str = "websocket",
        protocol: int = 4,
    ) -> None:
        self.name = name
        self.receivers: dict[str, Receiver] = {}
        self.buckets: dict[Any, Any] | None = None
        self.received = 0
        self.line = FakeConnection(transport=transport, protocol=protocol) if conn is None else conn
        self.line.clients.append(self)
        self._host = host
        self._ids = itertools.count(1)
        self._questions = itertools.count()

    # --- what the framework asks ------------------------------------------------------------------------------------

    @property
    def conn(self) -> Connection:
        """Its connection."""
        return self.line

    prepare = None

    @property
    def address(self) -> str | None:
        """Its address: the name of the test client stands for it."""
        return f"address of {self.name}"

    def handshake(self, nsp: str, auth: Any) -> Handshake:
        """Describe the client."""
        return Handshake(auth=auth if isinstance(auth, dict) else {}, nsp=nsp)

    def new_id(self, nsp: str) -> str:
        """Make an id: ``ada1``, ``ada2`` …"""
        return f"{self.name}{next(self._ids)}"

    def greeting(self, data: dict[str, Any]) -> Any:
        """The payload of CONNECT."""
        return data

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """The payload of CONNECT_ERROR."""
        return {"message": message} if data is None else {"message": message, "data": data}

    def enter(self, nsp: str, receiver: Receiver) -> bool:
        """Have the receiver hear of this namespace."""
        if not self.line.is_open:
            return False
        self.receivers[nsp] = receiver
        return True

    def leave(self, nsp: str) -> None:
        """End a namespace."""
        self.receivers.pop(nsp, None)

    # --- what a test has it do --------------------------------------------------------------------------------------

    async def connect(self, nsp: str = "/", auth: Any = None) -> str:
        """Ask for a namespace. Return what the server has counted: one of ``rtframework.counters.CONNECTS``."""
        before = dict(self._host.counts.connects)
        await self._host.connect(self, nsp, auth)
        (outcome,) = [key for key, count in self._host.counts.connects.items() if count > before[key]]
        return outcome

    def socket(self, nsp: str = "/") -> Socket:
        """Return its socket in a namespace that it has joined."""
        return cast("Socket", self.receivers[nsp])

    def drop(self, reason: str = DisconnectReason.TRANSPORT_CLOSE) -> None:
        """Lose the connection."""
        self.line.close(reason)

    def depart(self, nsp: str = "/") -> None:
        """Send DISCONNECT: leave a namespace and keep the connection."""
        self.receivers.pop(nsp)._disconnected(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)

    def say(self, event: str | int, *args: Any, id: int | None = None, nsp: str = "/") -> asyncio.Task[None] | None:
        """Send an event. Return the task that serves it; ``None`` when it is passed over."""
        return _started(self.receivers[nsp]._receive(Packet(PacketType.EVENT, nsp, [event, *args], id)))

    async def ask(self, event: str | int, *args: Any, nsp: str = "/") -> Any:
        """Send an event and wait until it is served. Return the arguments of the answer, ``None`` without one."""
        id = next(self._questions)
        task = self.say(event, *args, id=id, nsp=nsp)
        if task is not None:
            await task
        answers = [list(line[2:]) for line in self.heard(nsp) if line[:2] == ("ack", id)]
        assert len(answers) <= 1, "a client takes one answer"
        return answers[0] if answers else None

    def answer(self, id: int, *args: Any, nsp: str = "/") -> None:
        """Answer a question."""
        assert self.receivers[nsp]._receive(Packet(PacketType.ACK, nsp, list(args), id)) is None

    def heard(self, nsp: str = "/") -> list[Line]:
        """Return what it has received in a namespace so far."""
        return [line for frames in self.line.sent for name, line in frames.lines if name == nsp]

    def questions(self, nsp: str = "/") -> list[int]:
        """Return the ids of the questions that it was asked."""
        return [line[1] for line in self.heard(nsp) if line[0] == "question"]


def _started(work: Coroutine[Any, Any, None] | None) -> asyncio.Task[None] | None:
    return None if work is None else asyncio.get_running_loop().create_task(work)


def make_host(
    *,
    auth: Authenticator | None = None,
    adapter: AdapterFactory | None = None,
    recovery: Recovery | None = None,
    history: Sequence[History] = (),
    store: KeyValueStore | None = None,
    ordered: bool = False,
    validate_returns: bool = False,
    clean_up: bool = False,
    engine: Engine | None = None,
    rate_limit: RateLimit | None = None,
    presence: tuple[Presence, ...] = (),
    **limits: Any,
) -> Host:
    """Make the namespaces of a server, the main one among them; ``limits`` are those of ``Limits``."""

    settings = Settings(
        limits=Limits(**limits),
        authenticator=auth,
        adapter_factory=adapter or in_memory,
        recovery=recovery,
        history=tuple(history),
        store=store,
        linger=45.0,
        ordered=ordered,
        validate_returns=validate_returns,
        clean_up=clean_up,
        presence=presence,
    )
    host = Host(cast("Any", SimpleNamespace(dependency_overrides={})), settings)
    counts = Counters()
    host.bind(engine or FakeEngine(), counts, Guard(rate_limit or RateLimit(), counts))
    host.of("/", None)
    return host


async def idle(host: Host) -> None:
    """Wait until nothing runs in the background of a server."""
    while host._tasks:
        await asyncio.wait(host._tasks)


async def turn(count: int = 5) -> None:
    """Let everything run that can run, for a few turns of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def assert_nothing_left(host: Host) -> None:
    """Check that no socket, room or way to a client is in any namespace."""
    for namespace in host.namespaces.values():
        membership = namespace._membership
        assert not membership.sockets
        assert not membership.outlets
        assert not membership.by_pid
        assert not membership.departing
        assert not namespace._outgoing.tapped
        index = cast("Any", namespace.adapter).index
        assert len(index) == 0
        assert not index.all_rooms()


@contextlib.asynccontextmanager
async def held_clock() -> AsyncIterator[Clock]:
    """Make time stand still, for as long as the test does not move it."""
    clock = Clock()
    clock.hold()
    try:
        yield clock
    finally:
        clock.release()


class Gate:
    """A place at which handlers wait until the test lets them go on."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self) -> None:
        """Wait here: what a handler calls."""
        self._arrived.set()
        await self._opened.wait()

    async def reached(self) -> None:
        """Return once a handler waits here."""
        await asyncio.wait_for(self._arrived.wait(), 5)

    def open(self) -> None:
        """Let all go on."""
        self._opened.set()
