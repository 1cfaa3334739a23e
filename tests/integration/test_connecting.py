"""Coming in and going out: admission, refusal, lifecycle handlers."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from rtframework import ConnectionRefused, Handshake, Server, Socket
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.pyclient import PyClients
from tests.support.transports import Transport
from tests.support.until import until


async def test_a_client_is_let_in(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Without it nobody could connect at all; the id the client knows must be the server's, and never the engine's."""
    io = Server()
    seen: list[Socket] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        seen.append(socket)

    client = await js.connect((await serve(io)).url, via=transport)
    state = await client.state()
    assert [socket.id for socket in seen] == [state.id]
    assert io.sockets[seen[0].id] is seen[0]
    assert seen[0].rooms == {state.id}
    assert seen[0].transport == transport.final
    assert state.engine_id != state.id


async def test_the_python_client_is_let_in(serve: Serve, py: PyClients, transport: Transport) -> None:
    """Teams with Python clients would be left outside."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, *args: object) -> tuple[object, ...]:
        return args

    client = await py.connect((await serve(io)).url, via=transport)
    assert await client.ack_args("echo", 1, "two", b"three") == [1, "two", b"three"]
    assert list(io.sockets) == [client.id()]


async def test_what_the_handshake_tells(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Authentication by header, query or cookie would have nothing to look at."""
    io = Server()
    seen: list[Handshake] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        seen.append(socket.handshake)

    server = await serve(io)
    await js.connect(
        server.url,
        via=transport,
        auth={"token": "t"},
        query={"colour": "blue"},
        extraHeaders={"X-Test": "yes", "Cookie": "flavour=oat"},
    )
    (handshake,) = seen
    assert handshake.auth == {"token": "t"}
    assert handshake.query["colour"] == "blue"
    assert handshake.headers["x-test"] == "yes"
    assert handshake.cookies["flavour"] == "oat"
    assert handshake.address == "127.0.0.1"
    assert not handshake.secure
    assert not handshake.xdomain
    assert handshake.nsp == "/"
    assert "token" not in repr(handshake).replace("nsp", "")


async def test_refusing_with_message_and_data(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that is refused must learn why: err.message and err.data."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        raise ConnectionRefused("forbidden", {"code": 403})

    client = await js.connect((await serve(io)).url, via=transport, wait=False)
    error = await client.refused()
    assert (error["message"], error["data"]) == ("forbidden", {"code": 403})
    assert not io.sockets


@pytest.mark.parametrize("where", ["authenticator", "middleware", "connection"])
async def test_an_error_on_the_way_in_refuses_and_tells_nothing(
    where: str, serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the login code must not let anybody in, nor show the inside of the program to the world."""

    class Broken:
        async def authenticate(self, handshake: Handshake) -> object:
            if where == "authenticator":
                raise KeyError("the secret inside")
            return "somebody"

    io = Server(auth=Broken())

    @io.use
    async def middleware(socket: Socket, call_next: object) -> None:
        if where == "middleware":
            raise KeyError("the secret inside")
        await call_next()  # type: ignore[operator]

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")
        await io.to("room").emit("news")
        if where == "connection":
            raise KeyError("the secret inside")

    client = await js.connect((await serve(io)).url, via=transport, wait=False)
    error = await client.refused()
    assert error["message"] == "Internal server error"
    assert error["data"] == {"code": "internal_error"}
    await io.emit("news")
    await io.to("room").emit("news")
    await client.expect_nothing("news")
    assert not io.sockets
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert errors[0].exc_info is not None


async def test_an_authenticator_that_returns_none_refuses(serve: Serve, js: JSClients) -> None:
    """A forgotten return in an authenticator would let everybody in."""

    class Forgetful:
        async def authenticate(self, handshake: Handshake) -> None:
            pass

    client = await js.connect((await serve(Server(auth=Forgetful()))).url, wait=False)
    assert (await client.refused())["data"] == {"code": "unauthorized"}


async def test_nothing_reaches_a_client_that_is_not_in(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client whose admission is still being decided would overhear what is meant for others."""
    io = Server()
    entered, go_on = asyncio.Event(), asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")
        entered.set()
        await go_on.wait()
        if socket.handshake.auth.get("refuse"):
            raise ConnectionRefused("no")

    server = await serve(io)
    refused = await js.connect(server.url, transports=transport.transports, auth={"refuse": True}, wait=False)
    await asyncio.wait_for(entered.wait(), 5)
    await io.to("room").emit("news", 1)
    go_on.set()
    assert (await refused.refused())["message"] == "no"
    await refused.expect_nothing("news")


async def test_what_is_emitted_during_the_connection_handler_follows_the_connect(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """Greetings sent in the connection handler would be lost, or come in the wrong order."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("first", b"binary")
        await io.emit("second", len(io.sockets))
        await socket.join("room")
        await io.to("room").emit("third")
        await socket.volatile.emit("never")

    client = await js.connect((await serve(io)).url, via=transport)
    await client.wait_for("third")
    events = [item.name for item in client.inbox.log if not item.life]
    assert events == ["first", "second", "third"]
    assert client.received("first") == [[b"binary"]]
    assert client.received("second") == [[1]]


async def test_accept_lets_a_long_handler_go_on(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A connection handler that keeps sending would keep its client waiting for ever."""
    io = Server()
    done = asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.accept()
        assert await socket.timeout(5).emit_with_ack("question") == "answer"
        done.set()
        while socket.connected:
            await socket.emit("tick")
            await asyncio.sleep(0.01)

    client = await js.connect((await serve(io)).url, via=transport, wait=False)
    await client.answer("question", "answer")
    await client.wait_for("tick")
    await client.wait_for("tick")
    assert done.is_set()


async def test_asking_in_the_connection_handler_lets_the_client_in(serve: Serve, js: JSClients) -> None:
    """A question in the connection handler would wait for a client that waits for the handler."""
    io = Server()
    answers: list[object] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        answers.append(await socket.timeout(5).emit_with_ack("question"))

    client = await js.connect((await serve(io)).url, wait=False)
    await client.answer("question", 42)
    await client.connected()
    await client.barrier()
    await client.disconnect()
    assert answers == [42]


async def test_an_error_after_accept_disconnects(serve: Serve, js: JSClients) -> None:
    """A handler that failed after letting the client in would leave a ghost behind."""
    io = Server()
    gone: asyncio.Queue[str] = asyncio.Queue()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.accept()
        raise RuntimeError("too late to refuse")

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        gone.put_nowait(reason)

    client = await js.connect((await serve(io)).url)
    assert await client.disconnected() == "io server disconnect"
    assert await asyncio.wait_for(gone.get(), 5) == "server namespace disconnect"
    assert not io.sockets


async def test_lifecycle_handlers_and_reasons(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Presence lists would be wrong: who left, from which rooms, and why."""
    io = Server()
    log: list[tuple[str, str, bool]] = []
    gone = asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")

    @io.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        log.append(("disconnecting", reason, "room" in socket.rooms))

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        log.append(("disconnect", reason, bool(socket.rooms)))
        gone.set()

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    await client.disconnect()
    await asyncio.wait_for(gone.wait(), 5)
    assert log == [
        ("disconnecting", "client namespace disconnect", True),
        ("disconnect", "client namespace disconnect", False),
    ]
    assert not io.sockets
    assert not io.of("/").adapter.rooms(str(client.number))

    log.clear()
    gone.clear()
    client = await js.connect(server.url, via=transport)
    await client.close_engine()
    await asyncio.wait_for(gone.wait(), 5)
    assert log[-1] == ("disconnect", "transport close", False)

    log.clear()
    gone.clear()
    client = await js.connect(server.url, via=transport)
    (socket,) = io.sockets.values()
    await socket.disconnect()
    assert await client.disconnected() == "io server disconnect"
    await asyncio.wait_for(gone.wait(), 5)
    assert log[-1] == ("disconnect", "server namespace disconnect", False)
    assert not socket.connected


async def test_disconnect_with_close_ends_every_namespace(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An administrator who throws somebody out would leave him in the other namespaces."""
    io = Server()
    reasons: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    for nsp in (io.of("/"), io.of("/admin")):

        @nsp.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            reasons.put_nowait((socket.nsp, reason))

    client = await js.connect((await serve(io)).url, via=transport)
    other = await client.of("/admin")
    (socket,) = io.sockets.values()
    await socket.disconnect(close=True)
    seen = {await asyncio.wait_for(reasons.get(), 5) for _ in range(2)}
    assert seen == {("/", "server namespace disconnect"), ("/admin", "server namespace disconnect")}
    # After "transport close" they would come back by themselves.
    assert await client.disconnected() == "io server disconnect"
    assert await other.disconnected() == "io server disconnect"


async def test_disconnect_handlers_run_for_a_client_that_left_meanwhile(serve: Serve, js: JSClients) -> None:
    """What a slow connection handler set up would never be taken down when its client does not wait."""
    io = Server()
    entered, go_on = asyncio.Event(), asyncio.Event()
    log: list[str] = []
    gone = asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        entered.set()
        await go_on.wait()
        log.append("set up")

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(f"taken down: {reason}")
        gone.set()

    client = await js.connect((await serve(io)).url, transports=["websocket"], wait=False)
    await asyncio.wait_for(entered.wait(), 5)
    (socket,) = io.sockets.values()
    await client.kill()
    await until(lambda: not socket.connected)
    assert log == []
    go_on.set()
    await asyncio.wait_for(gone.wait(), 5)
    assert log == ["set up", "taken down: transport close"]


async def test_a_late_refusal_does_not_hit_the_next_socket(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that left and came back while its first admission was still being decided would be thrown out."""
    io = Server()
    io.of("/stays")
    slow: list[Socket] = []
    go_on = asyncio.Event()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("slow") and not slow:
            slow.append(socket)
            await go_on.wait()
            raise ConnectionRefused("too late")

    @io.on("echo")
    async def echo(socket: Socket, value: int) -> int:
        return value

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    stays = await client.of("/stays")  # so that the connection goes on
    await client.disconnect()
    await client.set_auth({"slow": True})
    await client.open()
    await until(lambda: slow)
    await client.send_packet("message", "1")
    await until(lambda: not slow[0].connected)
    await client.send_packet("message", "0")
    await client.connected()
    go_on.set()
    assert await client.emit_with_ack("echo", 7) == 7
    await stays.barrier()
    assert len(io.sockets) == 1


async def test_a_failing_disconnect_handler_leaves_nothing_behind(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """One bug in clean-up code would leave ghosts in rooms, or keep the other handlers from running."""
    io = Server()
    ran = asyncio.Event()

    @io.on("disconnect")
    async def fails(socket: Socket, reason: str) -> None:
        raise RuntimeError("a bug")

    @io.on("disconnect")
    async def runs(socket: Socket) -> None:
        ran.set()

    client = await js.connect((await serve(io)).url)
    await client.disconnect()
    await asyncio.wait_for(ran.wait(), 5)
    assert not io.sockets
    assert "a bug" in caplog.text


async def test_who_has_left_needs_no_garbage_collector(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Memory would be held until a full collection, which is what coming and going would then cost most."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")

    @io.on("echo")
    async def echo(socket: Socket, value: int) -> int:
        await asyncio.sleep(0)
        return value

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("echo", 1) == 1
    (left,) = (weakref.ref(socket) for socket in io.sockets.values())
    gc.disable()
    try:
        await client.close_engine()
        await until(lambda: not io.sockets)
        await until(lambda: left() is None)
    finally:
        gc.enable()


async def test_invalid_namespace(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that asks for a namespace that does not exist would wait for ever."""
    server = await serve(Server())
    client = await js.connect(server.url + "/nowhere", transports=transport.transports, wait=False)
    assert (await client.refused())["message"] == "Invalid namespace"


async def test_namespaces_are_apart(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What is said in one namespace would be heard in another."""
    io = Server()
    admin = io.of("/admin")

    @admin.on("who")
    async def who(socket: Socket) -> str:
        return socket.nsp

    server = await serve(io)
    main = await js.connect(server.url, via=transport)
    other = await main.of("/admin")
    assert await other.emit_with_ack("who") == "/admin"
    assert (await main.emit_with_ack("who"))["error"]["code"] == "unknown_event"
    await admin.emit("secret")
    await other.wait_for("secret")
    await main.expect_nothing("secret")
    await other.disconnect()
    await main.barrier()
    assert len(io.sockets) == 1
