"""Whom an emit reaches."""

from __future__ import annotations

from typing import Any

import pytest

from rtframework import ConfigurationError, MemoryAdapter, Packet, Server, Socket, Target
from tests.conftest import Serve
from tests.support.js import JSClient, JSClients
from tests.support.transports import Transport
from tests.support.until import until


async def crowd(io: Server, serve: Serve, js: JSClients, via: Transport) -> tuple[list[JSClient], list[Socket]]:
    """Four clients: 0 and 1 in room a, 1 and 2 in room b, 3 in none."""
    url = (await serve(io)).url
    clients = [await js.connect(url, via=via) for _ in range(4)]
    sockets = [io.sockets[await client.id()] for client in clients]
    await sockets[0].join("a")
    await sockets[1].join("a", "b")
    await sockets[2].join(["b"])
    return clients, sockets


async def who_got(clients: list[JSClient], event: str) -> list[int]:
    """The numbers of the clients that received the event, each as often as it did."""
    for client in clients:
        await client.barrier()
    return [number for number, client in enumerate(clients) for _ in client.received(event)]


async def test_selections(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A message would reach somebody it is not for, not reach somebody it is for, or reach somebody twice."""
    io = Server()
    clients, sockets = await crowd(io, serve, js, transport)
    emits: dict[str, tuple[Any, list[int]]] = {
        "everybody": (io, [0, 1, 2, 3]),
        "room": (io.to("a"), [0, 1]),
        "in": (io.in_("a"), [0, 1]),
        "two_rooms": (io.to("a", "b"), [0, 1, 2]),
        "chained": (io.to("a").to(["b"]), [0, 1, 2]),
        "except": (io.to("a", "b").except_("a"), [2]),
        "all_except": (io.except_("a"), [2, 3]),
        "one": (io.to(sockets[3].id), [3]),
        "nobody": (io.to([]), []),
        "nobody_either": (io.to(), []),
        "no_such_room": (io.to("c"), []),
        "local": (io.local.to("a"), [0, 1]),
        "broadcast": (sockets[0].broadcast, [1, 2, 3]),
        "socket_to": (sockets[1].to("a", "b"), [0, 2]),
        "socket_in": (sockets[1].in_("a"), [0]),
        "socket_except": (sockets[0].except_("b"), [3]),
        "socket_broadcast_except": (sockets[0].broadcast.except_("b"), [3]),
        "socket_local": (sockets[0].local, [1, 2, 3]),
        "outside": (sockets[3].to("a"), [0, 1]),
        "to_itself": (sockets[2], [2]),
    }
    for event, (emitter, _) in emits.items():
        await emitter.emit(event, event)
    expected = {event: reached for event, (_, reached) in emits.items()}
    assert {event: await who_got(clients, event) for event in emits} == expected


async def test_join_and_leave(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that left a room would go on hearing it; a room would outlive its last member."""
    io = Server()
    clients, sockets = await crowd(io, serve, js, transport)
    assert sockets[1].rooms == {sockets[1].id, "a", "b"}
    await sockets[1].leave("a", "never joined")
    assert sockets[1].rooms == {sockets[1].id, "b"}
    await io.to("a").emit("news")
    assert await who_got(clients, "news") == [0]
    await clients[0].disconnect()
    await clients[1].barrier()
    adapter = io.of("/").adapter
    assert isinstance(adapter, MemoryAdapter)
    assert "a" not in adapter.index.all_rooms()
    await sockets[0].join("a")  # too late
    assert "a" not in adapter.index.all_rooms()
    with pytest.raises(ConfigurationError):
        await sockets[1].join([5])  # type: ignore[list-item]


async def test_volatile(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Positions and typing hints for a client that cannot keep up would pile up instead of being dropped."""
    io = Server()
    clients, sockets = await crowd(io, serve, js, transport)
    if transport.final == "websocket":
        await sockets[1].volatile.broadcast.emit("hint")
        assert await who_got(clients, "hint") == [0, 2, 3]
        await sockets[0].volatile.emit("own")
        await io.volatile.to("b").emit("own")
        assert await who_got(clients, "own") == [0, 1, 2]
    # Two in one go: the second finds the transport busy with the first, as with Node.
    await io.emit("first")
    await io.volatile.emit("late")
    await io.emit("last")
    assert await who_got(clients, "last") == [0, 1, 2, 3]
    assert await who_got(clients, "late") == []


async def test_order_of_emits(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Messages would overtake each other, with binary ones among them most easily."""
    io = Server()
    clients, sockets = await crowd(io, serve, js, transport)
    for number in range(0, 300, 3):
        await sockets[0].emit("n", number)
        await io.emit("n", number + 1, b"binary")
        await io.to("a").emit("n", number + 2)
    await clients[0].wait_for("n", where=lambda number, *_: number == 299)
    assert [args[0] for args in clients[0].received("n")] == list(range(300))


async def test_rooms_of_polling_and_websocket_clients_together(serve: Serve, js: JSClients) -> None:
    """Binary encoded for one transport would be wrong for the other."""
    io = Server()
    url = (await serve(io)).url
    clients = [await js.connect(url, transports=[name]) for name in ("polling", "websocket", "polling")]
    for socket in io.sockets.values():
        await socket.join("mixed")
    await io.to("mixed").emit("picture", {"name": "é", "data": [b"\x00\x01", b"\xff"]}, b"more")
    for client in clients:
        assert await client.wait_for("picture") == [{"name": "é", "data": [b"\x00\x01", b"\xff"]}, b"more"]


async def test_an_adapter_of_ones_own(serve: Serve, js: JSClients) -> None:
    """Nobody could write a cluster adapter, or count what is broadcast."""
    seen: list[str] = []

    class Counting(MemoryAdapter):
        async def start(self) -> None:
            seen.append(f"start {self.nsp}")

        async def close(self) -> None:
            seen.append(f"close {self.nsp}")

        async def broadcast(self, packet: Packet, target: Target) -> None:
            seen.append(packet.data[0])
            await super().broadcast(packet, target)

    io = Server(adapter=Counting)
    io.of("/admin")
    server = await serve(io)
    client = await js.connect(server.url)
    await io.emit("news")
    await client.wait_for("news")
    await client.disconnect()
    await server.stop()
    assert seen == ["start /", "start /admin", "news", "close /", "close /admin"]


async def test_an_adapter_tells_of_its_rooms(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A program could not open a feed with the first member of a room and close it with the last."""
    io = Server()
    heard: list[tuple[str, ...]] = []
    adapter = io.of("/").adapter
    for event in ("create_room", "join_room", "leave_room", "delete_room"):
        adapter.on(event)(lambda room, sid="", event=event: heard.append((event, room, sid)))

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    url = (await serve(io)).url
    one, two = await js.connect(url, via=transport), await js.connect(url, via=transport)
    sids = await one.id(), await two.id()
    for client in (one, two):
        await client.emit_with_ack("join", "tea")
    assert [each for each in heard if each[1] == "tea"] == [
        ("create_room", "tea", ""),
        ("join_room", "tea", sids[0]),
        ("join_room", "tea", sids[1]),
    ]
    assert heard.index(("create_room", sids[0], "")) < heard.index(("join_room", sids[0], sids[0]))
    heard.clear()
    await one.disconnect()
    await until(lambda: len(io.sockets) == 1)
    await two.kill()
    await until(lambda: not io.sockets)
    assert [each for each in heard if each[1] == "tea"] == [
        ("leave_room", "tea", sids[0]),
        ("leave_room", "tea", sids[1]),
        ("delete_room", "tea", ""),
    ]
