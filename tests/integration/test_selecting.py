"""Sockets that are chosen by their rooms: looked at, moved, disconnected, asked; and other servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ConfigurationError,
    Deflate,
    Disconnected,
    EncodeError,
    EventError,
    Limits,
    MemoryAdapter,
    Server,
    Socket,
)
from rtframework.protocols import Emitter
from tests.conftest import Serve
from tests.integration.test_rooms import crowd
from tests.support.js import JSClients
from tests.support.proxy import Proxy, _Link
from tests.support.raw import raw_client
from tests.support.transports import Transport
from tests.support.until import until


async def test_fetch_sockets(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A list of who is in a room would miss somebody, or those on it could not be spoken to."""
    io = Server()
    clients, sockets = await crowd(io, serve, js, transport)
    ids = [socket.id for socket in sockets]
    selections: dict[str, tuple[Any, set[int]]] = {
        "all": (io, {0, 1, 2, 3}),
        "room": (io.to("a"), {0, 1}),
        "in": (io.in_("a", "b"), {0, 1, 2}),
        "except": (io.except_("a"), {2, 3}),
        "nobody": (io.to([]), set()),
        "local": (io.local.to("b"), {1, 2}),
        "others": (sockets[0].broadcast, {1, 2, 3}),
        "their room": (sockets[0].to("a"), {1}),
        "one": (io.of("/").to(ids[3]), {3}),
    }
    found = {name: {ids.index(each.id) for each in await who.fetch_sockets()} for name, (who, _) in selections.items()}
    assert found == {name: expected for name, (_, expected) in selections.items()}

    sockets[3].data["name"] = "Ada"
    (remote,) = await io.to(ids[3]).fetch_sockets()
    assert remote.rooms == {ids[3]}
    assert remote.data is sockets[3].data
    assert remote.handshake is sockets[3].handshake
    assert remote.nsp == "/"
    assert repr(remote) == f"<RemoteSocket {ids[3]} of />"
    await remote.join("c", ["d"])
    assert sockets[3].rooms == {ids[3], "c", "d"}
    assert remote.rooms == {ids[3]}
    await remote.leave("d", "never joined")
    assert sockets[3].rooms == {ids[3], "c"}
    await remote.emit("hello", 1)
    await remote.compress(False).emit("hello", 2)
    assert await clients[3].wait_for("hello") == [1]
    assert await clients[3].wait_for("hello") == [2]
    await clients[3].echo("question")
    assert await remote.emit_with_ack("question", "q") == "q"
    assert await remote.timeout(5).emit_with_ack("question", 1, 2) == (1, 2)
    await clients[3].silent("question")
    with pytest.raises(AckTimeout):
        await remote.timeout(0.01).emit_with_ack("question")
    if transport.final == "websocket":
        await remote.volatile.emit("hint")
        await clients[3].wait_for("hint")
    await remote.disconnect()
    assert await clients[3].disconnected() == "io server disconnect"
    await remote.emit("hello", 3)
    with pytest.raises(Disconnected):
        await remote.emit_with_ack("question")
    for client in clients[:3]:
        await client.expect_nothing("hello")


async def test_selected_sockets_join_and_leave(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Moving a room's people to another would forget one, or move somebody else."""
    io = Server()
    _, sockets = await crowd(io, serve, js, transport)

    def members(room: str) -> list[int]:
        return [number for number, socket in enumerate(sockets) if room in socket.rooms]

    await io.sockets_join("all")
    await io.to("a").sockets_join("c", ["d", "e"])
    await io.to([]).sockets_join("nobody")
    await sockets[0].to("a").sockets_join("f")
    await io.except_("a", "b").sockets_join("g")
    assert [members(room) for room in ("all", "c", "d", "e", "nobody", "f", "g")] == [
        *([0, 1, 2, 3], [0, 1], [0, 1], [0, 1], [], [1], [3])
    ]
    await io.to("b").sockets_leave("c", "a", "never joined")
    await io.sockets_leave(["d", "e"])
    assert [members(room) for room in ("a", "c", "d", "e", "b")] == [[0], [0], [], [], [1, 2]]
    with pytest.raises(ConfigurationError, match="a string"):
        await io.sockets_join(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a string"):
        io.to(5)  # type: ignore[arg-type]


async def test_limits_hold_for_selected_sockets(serve: Serve, js: JSClients) -> None:
    """Limits would be walked around, or one full socket would keep the others out."""
    io = Server(limits=Limits(max_rooms=3, max_room_name=10))
    url = (await serve(io)).url
    for _ in range(3):
        await js.connect(url)
    one, two, three = io.sockets.values()
    await two.join("x", "y")
    with pytest.raises(EventError, match="at most 3 rooms"):
        await io.sockets_join("z")
    assert ["z" in socket.rooms for socket in (one, two, three)] == [True, False, True]
    with pytest.raises(EventError, match="at most 10 characters"):
        await io.sockets_join("z" * 11)


@pytest.mark.parametrize("close", [False, True])
async def test_disconnect_sockets(close: bool, serve: Serve, js: JSClients, transport: Transport) -> None:
    """A room that is closed would keep somebody, or somebody else would be thrown out."""
    io = Server()
    reasons: list[str] = []

    @io.of("/other").on("disconnect")
    def gone(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    clients, sockets = await crowd(io, serve, js, transport)
    other = await clients[1].of("/other")
    await io.to([]).disconnect_sockets(close=close)
    await sockets[0].to("a").disconnect_sockets(close=close)
    assert await clients[1].disconnected() == "io server disconnect"
    assert set(io.sockets.values()) == {sockets[0], sockets[2], sockets[3]}
    if close:
        await other.disconnected()
        assert reasons == ["server namespace disconnect"]
    else:
        await other.barrier()
        assert reasons == []
    await io.disconnect_sockets(close=close)
    for client in (clients[0], clients[2], clients[3]):
        await client.disconnected()
    assert not io.sockets


async def test_many_are_asked_through_the_adapter(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An adapter could not count the answers of other servers' clients, or would be told rubbish."""
    asked: list[Any] = []

    class Other(MemoryAdapter):
        async def broadcast_with_ack(self, packet: Any, target: Any, timeout: float | None) -> Any:
            asked.append((packet.id, packet.data, target.rooms, target.volatile, target.compress, timeout))
            return await super().broadcast_with_ack(packet, target, timeout)

    io = Server(adapter=Other)
    clients, sockets = await crowd(io, serve, js, transport)
    for number, client in enumerate(clients):
        await client.answer("vote", number, "more")
    selection = io.to("a").compress(False).timeout(5)
    assert dict(await selection.emit_with_ack("vote", 1)) == {sockets[0].id: (0, "more"), sockets[1].id: (1, "more")}
    assert dict(await sockets[0].timeout(5).to("a").emit_with_ack("vote")) == {sockets[1].id: (1, "more")}
    assert asked[0] == (None, ["vote", 1], frozenset({"a"}), False, False, 5)
    with pytest.raises(EncodeError):
        await io.emit_with_ack("vote", float("nan"))
    asking = asyncio.create_task(io.emit_with_ack("unanswered"))
    for client in clients:
        await client.wait_for("unanswered")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert [socket._acks for socket in sockets] == [{}, {}, {}, {}]


async def test_server_side_emit_with_one_server(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A program would wait for servers that are not there, or take its own answer for another server's."""
    io = Server()
    await serve(io)

    @io.on_server_side("ping")
    def ping() -> str:
        raise AssertionError("it was for the others")

    await io.server_side_emit("ping")
    assert dict(await io.server_side_emit_with_ack("ping", timeout=60)) == {}
    await io.of("/").server_side_emit("ping")
    assert [record.getMessage() for record in caplog.records] == [
        "server_side_emit in / reaches nobody: this adapter knows no other server"
    ]
    with pytest.raises(ConfigurationError, match="reserved"):
        await io.server_side_emit("disconnect")


async def test_an_adapter_hands_in_events_of_other_servers(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Servers of a cluster could not tell each other anything, or a client could pass for a server."""
    emitters: dict[str, Emitter] = {}

    def adapter(nsp: str, emitter: Emitter) -> MemoryAdapter:
        emitters[nsp] = emitter
        return MemoryAdapter(nsp, emitter)

    io = Server(adapter=adapter)
    heard: list[Any] = []

    @io.on_server_side("add")
    async def add(a: int, b: int = 1) -> int:
        heard.append((a, b))
        await asyncio.sleep(0)
        return a + b

    @io.on_server_side("add")
    def log(*args: Any) -> None:
        heard.append("log")

    @io.on_server_side("fails")
    def fails() -> None:
        raise RuntimeError("inside")

    server = emitters["/"]
    assert await server.serve(["add", 1, 2]) == 3
    assert await server.serve(["add", 1]) == 2
    assert await server.serve(["unheard"]) is None
    assert await server.serve(["add", "1"]) is None
    assert await server.serve(["fails"]) is None
    assert heard == [(1, 2), "log", (1, 1), "log", "log"]
    assert "inside" in caplog.text
    with pytest.raises(ConfigurationError, match="another server does not have"):
        io.on_server_side("x")(lambda ack: None)


# --- compress ---------------------------------------------------------------------------------------------------------


class Counting(Proxy):
    """Counts what the server sends."""

    down = 0

    def _passed(self, link: _Link, data: bytes, *, up: bool) -> None:
        if not up:
            self.down += len(data)
        super()._passed(link, data, up=up)


async def test_compress_per_packet_on_a_websocket(serve: Serve, js: JSClients) -> None:
    """Pictures would be compressed again, or one uncompressed packet would switch compression off for others."""
    io = Server(per_message_deflate=Deflate(threshold=100))
    server = await serve(io)
    proxy = Counting(server.url)
    await proxy.start()
    try:
        client = await js.connect(proxy.url, transports=["websocket"], perMessageDeflate=True)
        await client.echo("question")
        (socket,) = io.sockets.values()
        text = "x" * 20_000
        (remote,) = await io.fetch_sockets()

        async def cost(emitter: Any, ask: bool = False) -> int:
            await client.barrier()
            before = proxy.down
            if ask:
                await emitter.emit_with_ack("question", text)
            else:
                await emitter.emit("text", text)
                assert await client.wait_for("text") == [text]
            return proxy.down - before

        yes: list[Any] = [io, socket, io.compress(True), io.compress(False).compress(True), remote]
        no: list[Any] = [io.compress(False), io.to(socket.id).compress(False), socket.compress(False)]
        no += [socket.timeout(5).compress(False).volatile, io.volatile.compress(False), remote.compress(False)]
        for emitter in yes:
            assert await cost(emitter) < 5_000
        for emitter in no:
            assert await cost(emitter) > 20_000
            assert await cost(emitter, ask=True) > 20_000
        assert await cost(socket.timeout(5), ask=True) < 10_000
        other = await js.connect(proxy.url, transports=["websocket"], perMessageDeflate=True)
        assert io.sockets[await other.id()].compress(False).broadcast._target.compress is False
    finally:
        await proxy.stop()


async def test_compress_per_packet_by_polling(serve: Serve) -> None:
    """A polling client's pictures would be compressed again."""
    io = Server()
    server = await serve(io)
    async with raw_client(server.url) as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.poll()
        for compress in ([False], [True], [False, True], [False]):
            for each in compress:
                await io.compress(each).emit("text", "x" * 5_000)
            answer = await raw.request("GET", headers={"Accept-Encoding": "gzip"})
            assert ("Content-Encoding" in answer.headers) == any(compress)
        polling = asyncio.create_task(raw.request("GET", headers={"Accept-Encoding": "gzip"}))
        (socket,) = io.sockets.values()
        await until(lambda: socket.conn.has_poll)  # type: ignore[attr-defined]
        await socket.compress(False).emit("text", "x" * 5_000)
        assert "Content-Encoding" not in (await polling).headers
