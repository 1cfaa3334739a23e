"""What servers of a cluster ask each other, over a bus that does no more than carry bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ClusterUnavailable,
    EncodeError,
    FetchTimeout,
    Packet,
    Server,
    Target,
)
from rtframework.cluster.adapter import ClusterAdapter
from rtframework.cluster.messages import (
    Broadcast,
    Data,
    EventPacket,
    Message,
    MessageType,
    SocketsRooms,
    new_id,
    options_of,
)
from rtframework.cluster.pubsub_wire import decode, encode_ephemeral
from rtframework.protocols import Emitter
from rtframework.testing import TestClient, TestServer
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.values import PLAIN, SERIALIZER, VALUES, check_between_servers

pytestmark = NOT_ON_UVLOOP


class Bus:
    """Carries messages to all adapters but the sender's. ``up``: false, and nothing can be sent."""

    def __init__(self) -> None:
        self.up = True
        self.adapters: list[BusAdapter] = []
        self.sent: list[Message] = []
        self.silent = 0
        """Servers that are counted and never answer."""

    def adapter(self, nsp: str, emitter: Emitter) -> BusAdapter:
        """Make an adapter."""
        return BusAdapter(self, nsp, emitter)

    def carry(self, message: Message, to: str | None = None) -> None:
        """Deliver a message, to one or to all others."""
        if not self.up:
            raise ClusterUnavailable("the bus is down")
        self.sent.append(message)
        payload = encode_ephemeral(message)
        for adapter in self.adapters:
            if adapter.nsp == message.nsp and adapter.uid != message.uid and to in (None, adapter.uid):
                adapter.hear(decode(payload))


class BusAdapter(ClusterAdapter):
    """An adapter on the bus."""

    def __init__(self, bus: Bus, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter, max_message=10_000)
        self.uid = new_id()
        self._bus = bus
        self._tasks: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        """Take part."""
        self._bus.adapters.append(self)

    async def close(self) -> None:
        """Take part no longer."""
        await super().close()
        self._bus.adapters.remove(self)

    async def broadcast(self, packet: Packet, target: Target) -> None:
        """Deliver a packet here and on the other servers."""
        plain = self._emitter.plain(packet.data)
        self.deliver_here(plain, target)
        if not target.local:
            await self._tell(MessageType.BROADCAST, Broadcast(EventPacket(2, plain), opts=options_of(target)))

    async def _others(self) -> int:
        return self._bus.silent + sum(each.nsp == self.nsp for each in self._bus.adapters) - 1

    async def _request(self, kind: MessageType, data: Data) -> None:
        await self._tell(kind, data)

    def _reply(self, uid: str, kind: MessageType, data: Data) -> None:
        self._bus.carry(Message(int(kind), data, self.uid, self.nsp), uid)

    async def _tell(self, kind: MessageType, data: Data) -> None:
        message = Message(int(kind), data, self.uid, self.nsp)
        self.check_size(encode_ephemeral(message))
        self._bus.carry(message)

    def _spawn(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextlib.asynccontextmanager
async def cluster(**options: Any) -> AsyncIterator[tuple[Bus, list[Server], list[TestClient]]]:
    """Run two servers on a bus, with one client on each."""
    bus = Bus()
    async with contextlib.AsyncExitStack() as stack:
        servers, clients = [], []
        for _ in range(2):
            io = Server(adapter=bus.adapter, **options)
            server = await stack.enter_async_context(TestServer(io))
            servers.append(io)
            clients.append(await server.connect())
        yield bus, servers, clients


async def test_an_event_reaches_the_clients_of_all_servers() -> None:
    """Half of a room would not hear what is said."""
    async with cluster() as (_, (a, b), (x, y)):
        await a.emit("all", 1)
        await b.local.emit("local", 2)
        await a.except_(y.id).emit("not for y", 3)
        await a.emit("last")
        await x.receive("last")
        await y.receive("last")
        assert [each.event for each in x.received] == ["all", "not for y", "last"]
        assert [each.event for each in y.received] == ["all", "local", "last"]


async def test_sockets_of_all_servers_are_moved_and_closed() -> None:
    """An order to another server's clients would do nothing, or an echo would do it twice."""
    async with cluster() as (bus, (a, b), (x, y)):
        await a.sockets_join("red")
        await b.to("red").emit("red", 1)
        await x.receive("red")
        await y.receive("red")
        await b.in_(x.id).sockets_leave("red")
        found = await a.in_("red").fetch_sockets()
        assert [each.id for each in found] == [y.id]
        assert {each.id for each in await b.fetch_sockets()} == {x.id, y.id}
        await a.in_(y.id).disconnect_sockets(reason="kicked")
        assert await y.receive_disconnect() == "io server disconnect"
        await a.to([]).sockets_join("nobody")
        assert x.connected
        kinds = [each.type for each in bus.sent]
        assert kinds.count(MessageType.SOCKETS_JOIN) == kinds.count(MessageType.DISCONNECT_SOCKETS) == 1


async def test_a_server_that_is_silent_is_told_with_what_did_come() -> None:
    """One frozen server would make a list of who is online impossible."""
    async with cluster() as (bus, (a, _), (x, y)):
        bus.silent = 1
        with pytest.raises(FetchTimeout) as fetched:
            await a.timeout(0.1).fetch_sockets()
        assert {each.id for each in fetched.value.sockets} == {x.id, y.id}
        with pytest.raises(AckTimeout):
            await a.server_side_emit_with_ack("anybody", timeout=0.1)
        assert [each.id for each in await a.local.fetch_sockets()] == [x.id]


async def test_clients_of_all_servers_acknowledge() -> None:
    """The answers of other servers' clients would be missing, or awaited for ever."""
    async with cluster() as (_, (a, _), (x, y)):

        @x.on("ask")
        def one(number: int) -> int:
            return number + 1

        @y.on("ask")
        def two(number: int) -> tuple[int, int]:
            return number + 1, number + 2

        answers = await a.timeout(5).emit_with_ack("ask", 1)
        assert dict(answers) == {x.id: 2, y.id: (2, 3)}
        with pytest.raises(AckTimeout) as error:
            await a.timeout(0.1).emit_with_ack("silence")
        assert not error.value.responses


async def test_values_of_the_programs_own_types_are_sent() -> None:
    """A program with models would work on one server, and fail on two."""
    async with cluster(serializer=SERIALIZER) as (_, (a, b), (x, y)):
        await check_between_servers(a, b)
        x.on("ask")(lambda *args: list(args))
        y.on("ask")(lambda *args: list(args))
        answers = await a.timeout(5).emit_with_ack("ask", *VALUES, b"x")
        assert dict(answers) == {x.id: [*PLAIN, b"x"], y.id: [*PLAIN, b"x"]}


async def test_servers_talk_to_each_other() -> None:
    """A server could not tell the others that its configuration has changed."""
    async with cluster() as (_, (a, b), _):
        heard = asyncio.get_running_loop().create_future()

        @b.on_server_side("told")
        async def told(*args: Any) -> None:
            heard.set_result(args)

        @b.on_server_side("asked")
        async def asked(number: int) -> int:
            return number * 2

        await a.server_side_emit("told", 1, b"\x00")
        assert await heard == (1, b"\x00")
        assert list((await a.server_side_emit_with_ack("asked", 4)).values()) == [8]


async def test_without_the_others_the_error_says_who_has_it() -> None:
    """A program would send an event again to clients that have it."""
    async with cluster() as (bus, (a, _), (x, _)):
        bus.up = False
        with pytest.raises(ClusterUnavailable) as joined:
            await a.sockets_join("red")
        assert joined.value.local
        assert "red" in {room for each in await a.local.fetch_sockets() for room in each.rooms}
        with pytest.raises(ClusterUnavailable) as asked:
            await a.timeout(1).emit_with_ack("ask")
        assert asked.value.local
        await x.receive("ask")
        with pytest.raises(ClusterUnavailable) as told:
            await a.server_side_emit("told")
        assert not told.value.local
        bus.up = True


async def test_a_message_that_is_too_long_is_refused_at_the_call() -> None:
    """One program's huge message would cut the connections of all."""
    async with cluster() as (bus, (a, _), _):
        with pytest.raises(EncodeError, match="max_message=10000"):
            await a.server_side_emit("told", "x" * 10_000)
        assert not bus.sent


async def test_a_room_too_many_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An order of another server that is not carried out would leave no trace."""
    async with cluster() as (bus, _, _):
        adapter = bus.adapters[0]
        rooms = [f"room {number}" for number in range(100_000)]
        data = SocketsRooms(options_of(Target()), rooms)
        adapter.hear(Message(int(MessageType.SOCKETS_JOIN), data, "other", "/"))
        assert "does not join rooms as another server wants" in caplog.text
