"""Connection state recovery, with real clients that lose their connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    Disconnected,
    Identity,
    Limits,
    MemoryAdapter,
    Recovery,
    Server,
    Socket,
    StaticTokenAuth,
)
from rtframework.adapters.recovering import SessionAwareAdapter
from rtframework.protocols import Session
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.counting import Via, measure
from tests.support.js import JS_FOLDER, JSClient, JSClients
from tests.support.proxy import Proxy, running_proxy
from tests.support.raw import RawClient, RawWebSocket, raw_client
from tests.support.transports import POLLING, WEBSOCKET, Transport
from tests.support.until import until

LONG: Final = bool(os.environ.get("RTF_TEST_LONG"))
"""Whether to count over 200 cuts, for minutes, instead of a few."""


def recovering(**options: Any) -> Server:
    """A server that recovers, with a room for everybody."""
    io = Server(connection_state_recovery=options.pop("recovery", Recovery()), **options)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if not socket.recovered:
            socket.data["came"] = 1
            await socket.join("lobby")

    return io


async def reachable(io: Server) -> None:
    """Wait until every client can be sent something at once: a polling client is between two GETs at times."""
    connections = io._server.eio.connections
    await until(lambda: all(each.has_poll for each in connections.values() if each.polling))


async def lose(client: JSClient, io: Server) -> None:
    """Cut a client off; the server has noticed, as it does when a request is open."""
    await reachable(io)
    await client.kill()
    await client.disconnected()
    await until(lambda: not io.sockets)


async def come_back(client: JSClient) -> bool:
    """Have it connect again; whether it was recovered."""
    await client.open()
    return bool((await client.reconnected())["recovered"])


async def numbers(client: JSClient, count: int) -> list[int]:
    """The first arguments of so many events "n", which are all that came."""
    found = [(await client.wait_for("n"))[0] for _ in range(count)]
    await client.expect_nothing("n")
    return found


def only(io: Server) -> Socket:
    """The one socket of the server."""
    (socket,) = io.sockets.values()
    return socket


async def test_a_client_goes_on_where_it_was(serve: Serve, js: JSClients, transport: Transport) -> None:
    """After a tunnel people would have to reload the page to see what was said meanwhile."""
    ada = Identity("1", name="Ada")
    io = recovering(auth=StaticTokenAuth({"a": ada, "b": Identity("2")}))
    seen: list[tuple[bool, frozenset[str], dict[str, Any], Any]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        seen.append((socket.recovered, socket.rooms, dict(socket.data), socket.user))

    server = await serve(io)
    client = await js.connect(server.url, via=transport, auth={"token": "a"})
    before = only(io)
    assert not before.recovered
    before.data["cart"] = [1]
    await io.emit("n", 1)
    assert await numbers(client, 1) == [1]
    await lose(client, io)
    await io.emit("n", 2)
    await io.to("lobby").emit("n", 3)
    await io.to("elsewhere").emit("n", -1)
    await io.except_("lobby").emit("n", -1)
    await before.emit("n", 4)
    await before.broadcast.emit("n", -1)
    await io.volatile.emit("n", -1)
    await io.to("lobby").timeout(0.05).emit_with_ack("n", -1)
    await io.to(before.id, "lobby").emit("n", 5)
    assert await come_back(client)
    assert await numbers(client, 4) == [2, 3, 4, 5]
    after = only(io)
    assert after._session is not None
    assert not after._session.missed, "what was sent is nobody's memory any more"
    assert after is not before
    assert after.id == before.id == await client.id()
    assert after.data is before.data
    await io.to("lobby").emit("n", 6)
    await after.emit("n", 7)
    await before.emit("n", 8)
    assert await numbers(client, 3) == [6, 7, 8]
    rooms = frozenset({after.id, "lobby", "$user:1"})
    assert seen == [(False, rooms, {"came": 1}, ada), (True, rooms, {"came": 1, "cart": [1]}, ada)]


async def test_again_and_again(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client would be recovered once, and lose its state when the train enters the second tunnel."""
    io = recovering()
    client = await js.connect((await serve(io)).url, via=transport)
    id = await client.id()
    for number in range(5):
        await io.emit("n", number)
        assert await numbers(client, 1) == [number]
        await lose(client, io)
        if number % 2:
            await io.emit("n", -number)
        assert await come_back(client)
        assert await client.id() == id
        assert await numbers(client, number % 2) == [-number] * (number % 2)


async def test_a_client_that_had_received_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who is lost before the first message comes would miss it (with Node, too)."""
    io = recovering()
    client = await js.connect((await serve(io)).url, via=transport)
    await lose(client, io)
    await io.emit("n", 1)
    assert await come_back(client)
    assert await numbers(client, 1) == [1]


async def test_arguments_are_no_offsets(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A volatile event whose last argument is a string would cost the session (with Node, too)."""
    io = recovering()
    client = await js.connect((await serve(io)).url, via=transport)
    await client.echo("question")
    await io.emit("n", 1)
    assert await numbers(client, 1) == [1]
    await reachable(io)
    await io.volatile.emit("cursor", "a string")
    assert (await client.wait_for("cursor"))[0] == "a string"
    await reachable(io)
    await io.volatile.emit("tick")
    await client.wait_for("tick")
    assert await only(io).timeout(5).emit_with_ack("question", "a string") == "a string"
    await lose(client, io)
    await io.emit("n", 2)
    assert await come_back(client)
    assert await numbers(client, 1) == [2]


async def test_questions_are_not_asked_again(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who asked was told that the client has gone; the answer to a second asking would go nowhere."""
    io = recovering()
    client = await js.connect((await serve(io)).url, via=transport)
    await client.silent("question")
    asking = asyncio.create_task(only(io).emit_with_ack("question"))
    await client.wait_for("question")
    await lose(client, io)
    with pytest.raises(Disconnected):
        await asking
    assert await come_back(client)
    await client.expect_nothing("question")


@pytest.mark.parametrize("skip", [None, True])
async def test_skipped_middleware_is_told_once(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture, skip: bool | None
) -> None:
    """Somebody who was banned by middleware would be back for two minutes, and nobody would know why."""
    io = recovering(recovery=Recovery(skip_middlewares=skip))

    @io.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> None:
        await call_next()

    client = await js.connect((await serve(io)).url)
    for _ in range(2):
        await lose(client, io)
        assert await come_back(client)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == (1 if skip is None else 0)
    assert all("Recovery(skip_middlewares=False)" in line for line in told)


@pytest.mark.parametrize("nsp", ["/", "/chat/a"])
async def test_a_users_sessions_are_forgotten(serve: Serve, js: JSClients, nsp: str) -> None:
    """Somebody who is thrown out while offline would be back for two minutes, with all that was sent meanwhile."""
    io = Server(
        auth=StaticTokenAuth({"a": Identity(id="ada", name="Ada"), "b": Identity(id="bob", name="Bob")}),
        connection_state_recovery=Recovery(),
    )
    io.of("/chat/{name}")
    server = await serve(io)
    ada = await js.connect(server.url + nsp, auth={"token": "a"})
    bob = await js.connect(server.url + nsp, auth={"token": "b"})
    ids = await ada.id(), await bob.id()
    for client in (ada, bob):
        await client.kill()
        await client.disconnected()
    await until(lambda: not io.of(nsp).sockets)
    assert await io.forget_sessions("carol") == 0
    assert await io.forget_sessions(Identity(id="ada", name="another name")) == 1
    assert await io.forget_sessions("ada") == 0
    assert not await come_back(ada)
    assert await come_back(bob)
    assert (await ada.id() != ids[0], await bob.id()) == (True, ids[1])
    assert await Server().forget_sessions("ada") == 0


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.parametrize("how", ["socket", "selection", "handler"])
async def test_who_is_thrown_out_leaves_no_session(serve: Serve, js: JSClients, how: str, close: bool) -> None:
    """A kick would last until the client asks again."""
    io = recovering()

    @io.on("me")
    async def me(socket: Socket) -> None:
        await socket.disconnect(close=close)

    client = await js.connect((await serve(io)).url)
    if how == "socket":
        await only(io).disconnect(close=close)
    elif how == "selection":
        await io.disconnect_sockets(close=close)
    else:
        await client.emit("me")
    await client.disconnected()
    await until(lambda: not io.sockets)
    assert io.of("/").adapter.session_time() == 0
    assert not await come_back(client)


@pytest.mark.parametrize("skip", [True, False])
async def test_middleware_is_skipped_or_run(serve: Serve, js: JSClients, skip: bool) -> None:
    """Middleware that counts visits would count each tunnel; middleware that checks would be passed by."""
    io = recovering(recovery=Recovery(skip_middlewares=skip))
    ran: list[tuple[bool, int | None]] = []

    @io.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> None:
        ran.append((socket.recovered, socket.data.get("came")))
        socket.user = socket.user or {"made": "by middleware"}
        await socket.join(f"run {len(ran)}")
        await socket.leave("run 1")
        if socket.handshake.auth.get("refuse"):
            raise ConnectionRefused("not you")
        await call_next()

    client = await js.connect((await serve(io)).url)
    first = only(io)
    assert first.rooms == {first.id, "lobby"}
    await lose(client, io)
    if not skip:
        await client.set_auth({"refuse": True})
        await client.open()
        assert (await client.refused())["message"] == "not you"
        assert not io.sockets
        assert io.of("/").adapter.sockets.__self__.index.select(None, frozenset()) == []  # type: ignore[attr-defined]
        await client.set_auth({})
    await io.emit("n", 1)
    assert await come_back(client)
    assert await numbers(client, 1) == [1]
    second = only(io)
    assert second.user == {"made": "by middleware"}
    assert ran == ([(False, None)] if skip else [(False, None), (True, 1), (True, 1)])
    assert second.rooms == {second.id, "lobby", *([] if skip else ["run 2", "run 3"])}


@pytest.mark.parametrize("how", ["client", "server", "server closes", "parse error"])
async def test_who_is_meant_to_go_does_not_recover(serve: Serve, js: JSClients, how: str) -> None:
    """Who was thrown out, or has signed out, would be back with all rooms."""
    io = recovering()
    client = await js.connect((await serve(io)).url, via=WEBSOCKET)
    socket = only(io)
    if how == "client":
        await client.disconnect()
    elif how == "parse error":
        await client.send_frame("4x")
    else:
        await socket.disconnect(close=how == "server closes")
    await client.disconnected()
    await until(lambda: not io.sockets)
    await io.emit("n", 1)
    assert not await come_back(client)
    assert only(io).id != socket.id
    assert not only(io).recovered
    await client.expect_nothing("n")


async def test_a_ghost_is_evicted(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who moves to another network would be there twice, or not be recovered, until the server has noticed."""
    io = recovering()
    log: list[tuple[str, bool, str]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(("come", socket.recovered, socket.id))

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await asyncio.sleep(0.05)
        log.append((reason, socket.recovered, socket.id))

    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport)
        ghost = only(io)
        await io.emit("n", 1)
        assert await numbers(client, 1) == [1]
        await reachable(io)
        proxy.strand()
        await io.emit("n", 2)
        await client.kill()
        await client.disconnected()
        await io.emit("n", 3)
        assert only(io) is ghost
        assert await come_back(client)
        await io.emit("n", 4)
        assert await numbers(client, 3) == [2, 3, 4]
        socket = only(io)
        assert socket.id == ghost.id
        assert not ghost.connected
        assert log == [
            ("come", False, ghost.id),
            ("transport close", False, ghost.id),  # before the connection handlers, though it took its time
            ("come", True, ghost.id),
        ]
        await client.disconnect()


@pytest.mark.parametrize("where", ["middleware", "handler"])
async def test_what_is_emitted_while_a_restore_runs(
    serve: Serve, js: JSClients, transport: Transport, where: str
) -> None:
    """What is emitted while a client is being recovered would be lost or come twice (with Node: lost)."""
    io = recovering(recovery=Recovery(skip_middlewares=False))
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def hold(socket: Socket) -> None:
        if socket.recovered:
            waiting.set()
            await go_on.wait()

    @io.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> None:
        if where == "middleware":
            await hold(socket)
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if where == "handler":
            await hold(socket)
            if socket.recovered:
                await socket.emit("n", 4)

    client = await js.connect((await serve(io)).url, via=transport)
    id = await client.id()
    await lose(client, io)
    await io.emit("n", 1)
    await client.open()
    await asyncio.wait_for(waiting.wait(), 5)
    await io.emit("n", 2)
    await io.to(id).emit("n", 3)
    go_on.set()
    assert (await client.reconnected())["recovered"]
    expected = [1, 2, 3] if where == "middleware" else [1, 2, 3, 4]
    assert await numbers(client, len(expected)) == expected
    await io.emit("n", 5)
    assert await numbers(client, 1) == [5]


@pytest.mark.parametrize("where", ["middleware", "handler"])
async def test_a_restore_that_is_lost_itself(serve: Serve, where: str) -> None:
    """A client that is cut off once more while it is being recovered would not be recovered any more."""
    io = recovering(recovery=Recovery(skip_middlewares=False))
    log: list[str] = []
    stuck = asyncio.Event()

    async def hold(socket: Socket) -> None:
        if socket.recovered and not stuck.is_set():
            stuck.set()
            await asyncio.sleep(0.2)

    @io.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> None:
        if where == "middleware":
            await hold(socket)
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        log.append("come")
        if where == "handler":
            await hold(socket)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append("gone")

    server = await serve(io)
    async with session(server.url) as first:
        sid, pid = await first.enter()
        await io.emit("n", 1)
        offset = (await first.event())[-1]
    await until(lambda: not io.sockets)
    await io.emit("n", 2)
    async with session(server.url) as second:
        await second.send(pid=pid, offset=offset)
        await asyncio.wait_for(stuck.wait(), 5)
        async with session(server.url) as third:
            assert await third.enter(pid=pid, offset=offset) == (sid, pid)
            assert [event[1] for event in third.missed] == [2]
            assert only(io).conn.is_open
    await until(lambda: not io.sockets)
    await until(lambda: not io.of("/")._membership.departing)
    assert log.count("come") == log.count("gone")


async def test_another_user_does_not_get_a_session(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who has got hold of a pid, or signs in as somebody else on the same page, would read another's messages."""
    io = recovering(auth=StaticTokenAuth({"a": Identity("1"), "b": Identity("2")}))
    server = await serve(io)
    async with running_proxy(server.url) as proxy, session(server.url) as thief:
        client = await js.connect(proxy.url, via=transport, auth={"token": "a"})
        first = only(io)
        assert first._pid is not None
        sid, _ = await thief.enter(pid=first._pid, token="b")
        assert sid != first.id
        assert first.connected, "a socket must not be thrown out by another user"
        await thief.close()
        await until(lambda: len(io.sockets) == 1)
        await lose(client, io)
        await io.to("lobby").emit("n", 1)
        async with session(server.url) as again:
            sid, _ = await again.enter(pid=first._pid, token="b")
            assert sid != first.id
            assert again.missed == []
        async with session(server.url) as unknown:
            await unknown.send(pid=first._pid, token="c")
            assert str(await unknown.receive()).startswith('44{"message":"Unknown token"')
        await until(lambda: not io.sockets)
        assert await come_back(client), "nor his session be used up"
        assert await numbers(client, 1) == [1]
        await lose(client, io)
        await client.set_auth({"token": "b"})
        assert not await come_back(client)
        assert only(io).user == Identity("2")
        await client.expect_nothing("n")
        await client.disconnect()


async def test_a_refusal_does_not_use_up_the_session(serve: Serve, js: JSClients) -> None:
    """A token that runs out while a client is away would cost it its state, though it renews the token."""
    io = recovering(auth=StaticTokenAuth({"a": Identity("1")}))
    refuse = False

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if refuse:
            raise ConnectionRefused("not now")

    client = await js.connect((await serve(io)).url, auth={"token": "a"})
    await lose(client, io)
    await io.emit("n", 1)
    await client.set_auth({"token": "old"})
    await client.open()
    assert (await client.refused())["data"] == {"code": "unknown_token"}
    await client.set_auth({"token": "a"})
    refuse = True
    await client.open()
    assert (await client.refused())["message"] == "not now"
    assert not io.sockets
    refuse = False
    assert await come_back(client)
    assert await numbers(client, 1) == [1]


async def test_bounds_are_told(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client would be told that it has everything when a bound has cut off the beginning."""
    io = recovering(recovery=Recovery(max_packets=3))
    client = await js.connect((await serve(io)).url, via=transport)
    first = await client.id()
    await lose(client, io)
    for number in range(3):
        await io.emit("n", number)
    assert await come_back(client)
    assert await numbers(client, 3) == [0, 1, 2]
    await lose(client, io)
    for number in range(4):
        await io.emit("n", number)
    assert not await come_back(client)
    await client.expect_nothing("n")
    assert await client.id() != first
    assert not only(io).recovered
    await lose(client, io)
    assert await come_back(client), "the new session is one like any other, though the client's offset is of the old"
    await client.expect_nothing("n")


async def test_more_than_a_client_can_be_sent(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client that has missed too much would be sent it all, be cut off as slow, and come back for more, for ever."""
    io = recovering(limits=Limits(max_outbox=10_000))
    client = await js.connect((await serve(io)).url, via=transport)
    await lose(client, io)
    for _ in range(3):
        await io.emit("n", "x" * 3_000)
    assert await come_back(client)
    assert len(await numbers(client, 3)) == 3
    await lose(client, io)
    for _ in range(5):
        await io.emit("n", "x" * 3_000)
    assert not await come_back(client)
    await client.expect_nothing("n")
    assert only(io).connected


async def test_a_time_is_over(serve: Serve, js: JSClients) -> None:
    """Who comes back after an hour would find rooms and data that everybody else took for gone."""
    io = recovering(recovery=Recovery(max_disconnection_duration=0.05))
    client = await js.connect((await serve(io)).url)
    await lose(client, io)
    await asyncio.sleep(0.1)
    assert not await come_back(client)


@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest"])
async def test_a_slow_client_is_not_recovered_with_a_gap(serve: Serve, js: JSClients, policy: Any) -> None:
    """A dashboard that was too slow for some packets would be told that it has them all."""
    io = recovering(limits=Limits(max_outbox=200_000, slow_consumer=policy))
    client = await js.connect((await serve(io)).url, via=WEBSOCKET)
    socket = only(io)
    await client.pause()
    for _ in range(1_000):
        await io.emit("blob", "x" * 20_000)
        await asyncio.sleep(0)
    if policy == "disconnect":
        await until(lambda: not io.sockets)
        assert socket._left == "slow consumer"
        await client.resume()
        await client.disconnected()
    else:
        await io.emit("n", 1)
        await client.resume()
        await client.wait_for("n")
        await lose(client, io)
    await io.emit("n", 2)
    assert not await come_back(client)
    await client.expect_nothing("n")


async def test_each_namespace_recovers(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Only the main namespace would go on where it was, or offsets of one would be taken for those of another."""
    io = recovering()
    admin = io.of("/admin")
    server = await serve(io)
    async with running_proxy(server.url) as proxy:
        client = await js.connect(proxy.url, via=transport)
        other = await client.of("/admin")
        await admin.emit("n", 1)
        await admin.emit("n", 2)
        assert await numbers(other, 2) == [1, 2]
        await reachable(io)
        proxy.strand()
        await client.kill()
        await client.disconnected()
        await other.disconnected()
        await io.emit("n", 3)
        await admin.emit("n", 4)
        await client.open()
        await other.open()
        assert (await client.reconnected())["recovered"]
        assert (await other.reconnected())["recovered"]
        assert await numbers(client, 1) == [3]
        assert await numbers(other, 1) == [4]
        assert len(io.sockets) == len(admin.sockets) == 1
        await client.disconnect()


async def test_a_namespace_of_a_parent(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A tenant whose only visitor is in a tunnel would be cleaned up, and all that was said there with it."""
    io = recovering(cleanup_empty_child_namespaces=True, limits=Limits(max_dynamic_namespaces=1))
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    elsewhere = await js.connect(url, via=transport)
    client = await js.connect(f"{url}/chat/a", via=transport)
    (child,) = chats.children.values()
    (before,) = child.sockets.values()
    await before.join("lobby")
    for _ in range(2):
        await reachable(io)
        await client.kill()
        await client.disconnected()
        await until(lambda: not len(child))
        await chats.emit("n", 1)
        await chats.to("lobby").emit("n", 2)
        await chats.timeout(1).emit_with_ack("n", -1)
        full = await elsewhere.of("/chat/b", wait=False)
        assert (await full.refused())["message"] == "Invalid namespace"
        assert await come_back(client)
        assert await numbers(client, 2) == [1, 2]
    assert chats.children == {"/chat/a": child}
    (after,) = child.sockets.values()
    assert after.id == before.id
    assert after.rooms == {before.id, "lobby"}
    await chats.emit("n", 3)
    assert await numbers(client, 1) == [3]
    await client.disconnect()  # for good: nobody will ask for the session
    await until(lambda: not chats.children)
    await elsewhere.of("/chat/b")


async def test_a_namespace_is_not_kept_for_ever(serve: Serve, js: JSClients) -> None:
    """Namespaces whose clients do not come back would stay until there is no room for others."""
    io = recovering(recovery=Recovery(max_disconnection_duration=0.3), limits=Limits(max_dynamic_namespaces=2))
    tidy = recovering(recovery=Recovery(max_disconnection_duration=0.3), cleanup_empty_child_namespaces=True)
    for each in (io, tidy):
        chats = each.of("/chat/{tenant}")
        kept = each.of("/chat/kept")
        server = await serve(each)
        for name in ("kept", "a", "b"):
            client = await js.connect(f"{server.url}/chat/{name}", transports=["websocket"])
            await client.kill()
            await client.disconnected()
        await until(lambda chats=chats: not len(chats))  # type: ignore[misc]
        if each is io:
            await until(lambda: len(io._host.dynamic._idle) == 2)
            other = await js.connect(f"{server.url}/chat/c")
            await other.barrier()
            assert list(chats.children) == ["/chat/kept", "/chat/b", "/chat/c"]
        else:
            await until(lambda chats=chats, kept=kept: chats.children == {"/chat/kept": kept})  # type: ignore[misc]
    waiting = await js.connect(f"{server.url}/chat/d", transports=["websocket"])
    await waiting.kill()
    await until(lambda: not len(chats) and tidy._host.dynamic._children["/chat/d"].waiting is not None)
    child = tidy._host.dynamic._children["/chat/d"]
    await server.stop()
    assert child.waiting is None


async def test_listening_and_selecting(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Catch-alls would see offsets; handlers of the old socket would run, or twice; nobody could select who is back."""
    io = recovering()
    seen: list[Any] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("say")
        async def say(text: str) -> str:
            return f"{text}, {socket.recovered}"

        if not socket.recovered:
            socket.on("old")(lambda: "old")

    @io.on_any_outgoing
    def outgoing(socket: Socket, event: str, *args: Any) -> None:
        seen.append((event, *args))

    client = await js.connect((await serve(io)).url, via=transport)
    first = only(io)
    first.on_any_outgoing(outgoing_of_one := lambda *args: seen.append(("one", *args)))
    await io.emit("n", 1)
    await first.emit("n", 2)
    await io.volatile.emit("tick", "x")
    emitted = [("n", 1), ("n", 2), ("tick", "x")]  # and no offset
    assert seen == [event for each in emitted for event in (each, ("one", *each))]
    assert first.listeners_any_outgoing() == (outgoing_of_one,)
    assert await numbers(client, 2) == [1, 2]
    await lose(client, io)
    seen.clear()
    await io.emit("n", 3)
    assert await io.fetch_sockets() == []
    assert await come_back(client)
    assert await numbers(client, 1) == [3]
    assert await client.emit_with_ack("say", "hello") == "hello, True"
    assert (await client.emit_with_ack("old"))["error"]["code"] == "unknown_event"
    (remote,) = await io.to("lobby").fetch_sockets()
    assert remote.id == first.id
    assert remote.data == {"came": 1}
    assert remote.rooms == {first.id, "lobby"}
    await remote.join("x")
    await io.to("x").compress(False).emit("n", 4)
    assert await numbers(client, 1) == [4]
    assert seen == [("n", 4)]
    await client.echo("question")
    answers = await io.to("x").timeout(5).emit_with_ack("question", "a string")
    assert dict(answers) == {first.id: "a string"}
    await lose(client, io)
    await io.emit("n", 5)
    assert await come_back(client), "the question's last argument is no offset"
    assert await numbers(client, 1) == [5]
    await io.to("x").disconnect_sockets()
    await client.disconnected()
    assert not await come_back(client)


async def test_middleware_cannot_emit_to_who_comes_back(serve: Serve, js: JSClients) -> None:
    """What it emits would overtake what was missed, and have no offset."""
    io = recovering(recovery=Recovery(skip_middlewares=False))
    raised: list[bool] = []

    @io.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(ConfigurationError, match="not in middleware"):
            await socket.emit("n", 0)
        raised.append(socket.recovered)
        await call_next()

    client = await js.connect((await serve(io)).url)
    await lose(client, io)
    assert await come_back(client)
    await client.expect_nothing("n")
    assert raised == [False, True]


@pytest.mark.parametrize(
    ("packet", "reason"), [("2", "transport error"), ("41/x,", "forced server close"), ("1", "transport close")]
)
async def test_reasons_of_the_connection(serve: Serve, packet: str, reason: str) -> None:
    """A client that a proxy or a bug cuts off would lose its state, where with Node it does not."""
    io = recovering()
    server = await serve(io)
    async with session(server.url) as first:
        entered = await first.enter()
        socket = only(io)
        await first._websocket.send(packet)
        await until(lambda: not io.sockets)
        assert socket._left == reason
    async with session(server.url) as second:
        assert await second.enter(pid=entered[1]) == entered


async def test_what_came_before_the_end_is_served_first(serve: Serve) -> None:
    """What a handler emits whose client is gone would be lost, or go to who is not there any more."""
    io = recovering()

    @io.on("say")
    async def say(socket: Socket, number: int) -> None:
        await asyncio.sleep(0.05)
        await socket.emit("n", number)
        await io.to("lobby").emit("n", number + 1)

    server = await serve(io)
    async with session(server.url) as first:
        entered = await first.enter()
        for number in (1, 11):
            await first._websocket.send(f'42["say",{number}]')
        await first._websocket.close()
    await until(lambda: not io.sockets)
    await asyncio.sleep(0.1)
    async with session(server.url) as second:
        assert await second.enter(pid=entered[1]) == entered
        assert [event[1] for event in second.missed] == [1, 2, 11, 12]


async def test_binary_and_msgpack(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Pictures would not survive a tunnel; by msgpack a client that has received nothing says so in another way."""
    for serializer, parser in ((None, {}), (MsgpackSerializer(), {"parser": "msgpack"})):
        io = recovering(serializer=serializer)
        client = await js.connect((await serve(io)).url, via=transport, **parser)  # type: ignore[arg-type]
        await lose(client, io)
        await io.emit("picture", b"\x00\xff", {"more": [b"\x01"]})
        await io.emit("n", 1)
        assert await come_back(client)
        assert (await client.wait_for("picture"))[:2] == [b"\x00\xff", {"more": [b"\x01"]}]
        assert await numbers(client, 1) == [1]


async def test_nothing_is_left_behind(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Each lost connection would cost memory for ever."""
    io = recovering(recovery=Recovery(max_disconnection_duration=0.3), ping_interval=0.5, ping_timeout=0.5)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None: ...

    client = await js.connect((await serve(io)).url, via=transport)
    for number in range(3):
        await lose(client, io)
        await io.emit("n", number)
        await come_back(client)
    await client.disconnect()
    main = io.of("/")
    adapter = main.adapter
    assert isinstance(adapter, SessionAwareAdapter)
    await until(lambda: not (io.sockets or adapter._sessions or len(adapter._log)))
    await until(lambda: not main._membership.departing)
    for left in (main._membership.by_pid, main._membership.outlets, adapter._present, adapter.index):
        assert not len(left)


async def test_an_adapter_that_fails_harms_nobody(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """When the store of a cluster is down, sockets would not go, and nobody could come."""

    class Fails(MemoryAdapter):
        def persist_session(self, session: Session) -> None:
            raise OSError("the store is down")

        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            raise OSError("the store is down")

    io = recovering(adapter=Fails)
    client = await js.connect((await serve(io)).url, via=WEBSOCKET)
    id = await client.id()
    await lose(client, io)
    assert not await come_back(client)
    assert await client.id() != id
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "unhandled error while a session is kept",
        "unhandled error while a session is restored",
    ]


async def test_off_by_default(serve: Serve) -> None:
    """Everybody would pay for what they have not asked for."""
    io = Server()
    server = await serve(io)
    async with session(server.url) as raw:
        await raw.send(pid="a pid", offset="an offset")
        packet = str(await raw.receive())
        assert set(json.loads(packet[2:])) == {"sid"}
        await io.emit("n", 1)
        assert await raw.receive() == '42["n",1]'


# --- what is on the wire --------------------------------------------------------------------------------------------


class Wire:
    """A client of the main namespace, packet by packet, by polling or websocket."""

    def __init__(self, client: RawClient, websocket: RawWebSocket | None) -> None:
        self._client = client
        self._websocket = websocket
        self.missed: list[list[Any]] = []
        """Events that came before CONNECT."""

    async def send(self, **auth: Any) -> None:
        """CONNECT."""
        packet = "40" + (json.dumps(auth) if auth else "")
        await (self._websocket.send(packet) if self._websocket else self._client.post(packet))

    async def receive(self) -> str | bytes:
        """The next packet."""
        return await (self._websocket.receive() if self._websocket else self._client.receive())

    async def enter(self, **auth: Any) -> tuple[str, str]:
        """CONNECT, and wait to be let in; sid and pid."""
        await self.send(**auth)
        while True:
            packet = str(await self.receive())
            if packet.startswith("40"):
                answer = json.loads(packet[2:])
                return answer["sid"], answer["pid"]
            assert packet.startswith("42"), packet
            self.missed.append(json.loads(packet[2:]))

    async def event(self) -> list[Any]:
        """The next packet, an event."""
        packet = str(await self.receive())
        assert packet.startswith("42"), packet
        event: list[Any] = json.loads(packet[2:])
        return event

    async def close(self) -> None:
        """Go, so that the server notices at once: an Engine.IO "close"."""
        await (self._websocket.send("1") if self._websocket else self._client.post("1"))


@contextlib.asynccontextmanager
async def session(url: str, via: Transport = WEBSOCKET) -> Any:
    """A raw client, with its handshake done; its connection ends with it."""
    async with raw_client(url) as client:
        if via is POLLING:
            await client.handshake()
            yield Wire(client, None)
            if client.sid:
                with contextlib.suppress(AssertionError):
                    await client.post("1")
        else:
            websocket, _ = await client.open_websocket()
            yield Wire(client, websocket)


@pytest.mark.parametrize("via", [POLLING, WEBSOCKET], ids=str)
async def test_the_wire_is_node_s(serve: Serve, via: Transport) -> None:
    """Clients in other languages rely on it: pid in CONNECT, an offset at the end, what was missed before CONNECT."""
    io = recovering()
    server = await serve(io)
    async with session(server.url, via) as first:
        sid, pid = await first.enter()
        await io.emit("n", 1)
        name, number, offset = await first.event()
        assert (name, number) == ("n", 1)
        assert isinstance(offset, str)
        await first.close()
    await until(lambda: not io.sockets)
    await io.emit("n", 2)
    await io.emit("n", 3)
    async with session(server.url, via) as second:
        assert await second.enter(pid=pid, offset=offset) == (sid, pid)
        assert [event[:2] for event in second.missed] == [["n", 2], ["n", 3]]
        assert second.missed[-1][-1] != offset
        await second.close()
    await until(lambda: not io.sockets)
    for auth in (
        {"pid": "somebody", "offset": offset},
        {"pid": pid, "offset": "nonsense"},
        {"pid": pid, "offset": 7},
        {"pid": [pid], "offset": offset},
        {"pid": pid, "offset": offset.rpartition(".")[0] + ".99"},
    ):
        async with session(server.url, via) as stranger:
            fresh = await stranger.enter(**auth)
            assert fresh[0] != sid
            assert fresh[1] != pid
            assert stranger.missed == []
            await stranger.close()
        await until(lambda: not io.sockets)


async def test_a_pid_has_one_socket(serve: Serve) -> None:
    """Two connections would share an id, and each get the other's messages (with Node, too)."""
    io = recovering()
    server = await serve(io)
    async with session(server.url) as first, session(server.url) as second, session(server.url) as third:
        sid, pid = await first.enter()
        await io.emit("n", 1)
        offset = (await first.event())[-1]
        assert await second.enter(pid=pid, offset=offset) == (sid, pid)
        one = only(io)
        both = asyncio.gather(third.enter(pid=pid, offset=offset), first._websocket.closed())
        assert (await both)[0] == (sid, pid)
        assert only(io) is not one
        assert not one.connected
        await io.emit("n", 2)
        assert (await third.event())[1] == 2


async def test_what_may_have_arrived_is_not_sent_again(serve: Serve) -> None:
    """The JS client keeps what came before CONNECT even when CONNECT does not come: it would have it twice."""
    io = recovering()
    server = await serve(io)
    async with session(server.url) as first:
        sid, pid = await first.enter()
        await io.emit("n", 1)
        offset = (await first.event())[-1]
    await until(lambda: not io.sockets)
    async with session(server.url) as nothing_missed:
        assert await nothing_missed.enter(pid=pid, offset=offset) == (sid, pid)
    await until(lambda: not io.sockets)
    await io.emit("n", 2)
    for _ in range(2):  # one answer to a poll arrives whole or not at all
        async with session(server.url, POLLING) as second:
            assert await second.enter(pid=pid, offset=offset) == (sid, pid)
            assert [event[1] for event in second.missed] == [2]
        await until(lambda: not io.sockets)
    async with session(server.url) as third:
        assert await third.enter(pid=pid, offset=offset) == (sid, pid)
        assert [event[1] for event in third.missed] == [2]
        reached = third.missed[-1][-1]
    await until(lambda: not io.sockets)
    async with session(server.url) as fourth:
        assert (await fourth.enter(pid=pid, offset=offset))[0] != sid, "it may have 2, and not know it yet"
        assert fourth.missed == []
    await until(lambda: not io.sockets)
    async with session(server.url) as fifth:
        assert await fifth.enter(pid=pid, offset=reached) == (sid, pid)


# --- the measure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["polling", "websocket", "upgrade"])
async def test_every_packet_is_counted(via: Via, serve: Serve) -> None:
    """Somewhere between cut, return and traffic a packet would get lost, doubled or out of order."""
    if LONG:
        counts = await measure(via=via, resets=100, silent=100, pause=(0.1, 1.2), ping=0.5)
    else:
        counts = await measure(via=via, resets=3, silent=3, pause=(0.1, 0.4), ping=3)
    print(f"{via}: {counts}")
    assert counts.flawless, str(counts)
    assert counts.returns >= (800 if LONG else 8)
    # Some come back so late, on a slow machine, that what they missed is uncertain: they are told, and start anew.
    assert counts.recovered >= (0.8 if LONG else 0.5) * counts.returns, str(counts)


# --- in a browser ---------------------------------------------------------------------------------------------------

PAGE: Final = """<!doctype html><title>-</title><link rel="icon" href="data:,">
<script src="/client.js"></script><script>
const transports = location.search.slice(1).split(",");
const socket = io({ transports, reconnectionDelay: 50, reconnectionDelayMax: 100 });
const seen = (window.seen = []);
socket.on("n", (n) => seen.push(n));
socket.on("connect", () => (document.title = `${socket.io.engine.transport.name} ${socket.recovered}`));
socket.on("disconnect", () => (document.title = "away"));
socket.io.on("open", () => socket.io.engine.on("upgrade", () => (document.title = `websocket ${socket.recovered}`)));
</script>"""


@pytest.mark.parametrize(
    ("cut", "transports"),
    [
        (Proxy.cut, "polling,websocket"),
        (
            Proxy.strand,
            "websocket",
        ),  # Chromium would send requests by idle connections that nobody has told it are dead
    ],
)
async def test_in_a_browser(serve: Serve, browser: Pages, cut: Callable[[Proxy], Any], transports: str) -> None:
    """What works with Node's sockets might not with a browser's, whose network fails in other ways."""
    browser.expect_errors(r"ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|WebSocket connection to .* failed")
    io = recovering(ping_interval=0.5, ping_timeout=0.5)

    def application() -> web.Application:
        app = web.Application()

        async def page(request: web.Request) -> web.Response:
            return web.Response(text=PAGE, content_type="text/html")

        async def script(request: web.Request) -> web.FileResponse:
            return web.FileResponse(JS_FOLDER / "node_modules/socket.io-client/dist/socket.io.min.js")

        app.router.add_get("/", page)
        app.router.add_get("/client.js", script)
        io.attach(app)
        return app

    server = await serve(application)
    emitted: list[int] = []

    async def emit() -> None:
        while True:
            emitted.append(len(emitted))
            await io.emit("n", emitted[-1])
            await asyncio.sleep(0.005)

    async with running_proxy(server.url) as proxy:
        page = await browser.open(f"{proxy.url}/?{transports}")
        await page.wait_for_function("document.title === 'websocket false'")
        id = only(io).id
        emitting = asyncio.create_task(emit())
        try:
            for _ in range(3):
                await page.wait_for_function("new Promise((done) => setTimeout(() => done(true), 200))")
                done = cut(proxy)
                if asyncio.iscoroutine(done):
                    await done
                await page.wait_for_function("document.title === 'away'")
                await page.wait_for_function("document.title === 'websocket true'")
        finally:
            emitting.cancel()
        await page.wait_for_function(f"seen.at(-1) === {emitted[-1]}")
        assert await page.evaluate("seen") == emitted
        assert [socket.id for socket in io.sockets.values()] == [id]
        await page.close()
