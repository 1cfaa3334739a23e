"""Catch-alls for outgoing events: who is shown what, and that they cost nothing where there are none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtframework import Namespace, Socket
from rtframework.handlers.registry import HandlerRegistry
from rtframework.namespaces.host import Host
from rtframework.namespaces.outgoing import OutgoingCatchAlls
from tests.support.clients import FakeClient, Gate, idle, make_host


async def joined(host: Host, *names: str) -> list[FakeClient]:
    """Return clients that are in the main namespace."""
    clients = [FakeClient(host, name) for name in names]
    for client in clients:
        assert await client.connect() == "connected"
    return clients


async def test_each_receiver_is_shown_before_it_is_sent_to() -> None:
    """A log of what was sent would miss receivers, or name those who got nothing."""
    host = make_host()
    main = host.of("/", None)
    log: list[Any] = []

    @main.on_any_outgoing
    def shown(socket: Socket, event: str, *args: Any) -> None:
        log.append((socket.id, event, args, len(clients[0].heard())))

    clients = await joined(host, "ada", "bob")
    ada = clients[0]
    assert log == []
    await main.emit("all", 1)
    await ada.socket().emit("one")
    await main.to("nobody").emit("none")
    asked = asyncio.create_task(ada.socket().emit_with_ack("question"))
    await asyncio.sleep(0)
    ada.answer(ada.questions()[0])
    await asked
    assert sorted(log[:2]) == [("ada1", "all", (1,), 1), ("bob1", "all", (1,), 1)]
    assert log[2:] == [("ada1", "one", (), 2), ("ada1", "question", (), 3)]


async def test_namespace_then_socket_in_the_order_of_registration() -> None:
    """A catch-all that counts on one before it would run too early."""
    host = make_host()
    main = host.of("/", None)
    log: list[str] = []
    (ada,) = await joined(host, "ada")
    socket = ada.socket()
    socket.on_any_outgoing(lambda event: log.append("own"))
    socket.prepend_any_outgoing(lambda event: log.append("own first"))
    main.on_any_outgoing(lambda socket, event: log.append("of all"))
    main.prepend_any_outgoing(lambda socket, event: log.append("of all first"))
    await main.emit("e")
    assert log == ["of all first", "of all", "own first", "own"]
    assert len(main.listeners_any_outgoing()) == len(socket.listeners_any_outgoing()) == 2


async def test_nothing_is_looked_at_where_nobody_listens() -> None:
    """Each emit would cost a look at each receiver, for a catch-all that was removed long ago."""
    host = make_host()
    main = host.of("/", None)
    ada, bob = await joined(host, "ada", "bob")
    tapped = main._outgoing.tapped
    assert not tapped

    @main.on_any_outgoing
    def of_all(socket: Socket, event: str) -> None: ...

    ada.socket().on_any_outgoing(print)
    bob.socket().on_any_outgoing(print)
    assert tapped == {None, "ada1", "bob1"}
    main.off_any_outgoing(of_all)
    ada.socket().off_any_outgoing()
    bob.drop()
    assert not tapped
    bob.receivers["/"] = socket = Socket(main, bob, "bob2", bob.handshake("/", None), None)
    socket._left = "transport close"
    socket.on_any_outgoing(print)
    assert not tapped, "it has left: nothing will be sent to it"


async def test_a_parent_s_catch_alls_see_what_its_children_send() -> None:
    """A namespace that a client brings into being would send what nobody is shown."""
    host = make_host()
    parent = host.of("/{name}", None)
    log: list[tuple[str, str]] = []
    early = host.of("/early", None)

    @parent.on_any_outgoing
    def shown(socket: Socket, event: str) -> None:
        log.append((socket.nsp, event))

    late = host.of("/late", None)
    for namespace in (early, late):
        await FakeClient(host).connect(namespace.name)
        await namespace.emit("e")
    assert log == [("/early", "e"), ("/late", "e")]
    parent.off_any_outgoing(shown)
    assert not early._outgoing.tapped
    assert not late._outgoing.tapped


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_catch_all_that_fails_stops_nothing(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in a log line would keep events from being sent."""
    host = make_host()
    main = host.of("/", None)

    def plain(socket: Socket, event: str) -> None:
        raise RuntimeError("a mistake of the program")

    async def with_await(socket: Socket, event: str) -> None:
        raise RuntimeError("a mistake of the program")

    main.on_any_outgoing(plain if kind == "plain" else with_await)
    ada, bob = await joined(host, "ada", "bob")
    await main.emit("e")
    await idle(host)
    assert ada.heard()[1:] == bob.heard()[1:] == [("event", "e")]
    records = [(record.sid, record.event) for record in caplog.records]  # type: ignore[attr-defined]
    assert sorted(records) == [("ada1", "e"), ("bob1", "e")]


async def test_one_that_waits_holds_up_nobody() -> None:
    """Emitting would wait for a database that a catch-all writes to."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()
    log: list[str] = []

    @main.on_any_outgoing
    async def slow(socket: Socket, event: str) -> None:
        await gate.wait()
        log.append(event)

    (ada,) = await joined(host, "ada")
    await main.emit("e")
    assert ada.heard()[1:] == [("event", "e")]
    await gate.reached()
    assert log == []
    gate.open()
    await idle(host)
    assert log == ["e"]


async def test_a_catch_all_may_change_who_listens() -> None:
    """A catch-all for one time would fail at the moment that it removes itself."""
    host = make_host()
    main: Namespace = host.of("/", None)
    log: list[str] = []
    clients = await joined(host, "ada", "bob")

    def once(event: str) -> None:
        log.append(event)
        for client in clients:
            client.socket().off_any_outgoing(once)

    for client in clients:
        client.socket().on_any_outgoing(once)
    await main.emit("e")
    await main.emit("f")
    assert log == ["e"]


def test_a_socket_that_goes_leaves_its_continuation_alone() -> None:
    """A recovered client's catch-all would never be called again, once the old socket's handlers have ended."""

    class Known:
        """A socket, as its namespace's catch-alls see it."""

        id = "s1"
        _outgoing: tuple[Any, ...] = ()
        _left: str | None = None

    old, new = Known(), Known()
    new._outgoing = (object(),)
    catch_alls = OutgoingCatchAlls(HandlerRegistry(), {"s1": new}, lambda work: None)  # type: ignore[dict-item]
    catch_alls.socket_changed(new)  # type: ignore[arg-type]
    catch_alls.socket_changed(old)  # type: ignore[arg-type]
    assert catch_alls.tapped == {"s1"}
