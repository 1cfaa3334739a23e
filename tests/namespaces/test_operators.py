"""Selections: immutable, made of rooms that are strings, and handed to the adapter as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import (
    ClusterUnavailable,
    ConfigurationError,
    Disconnected,
    EncodeError,
    MemoryAdapter,
    Packet,
    Server,
    Target,
)
from rtframework.namespaces.broadcasting import Broadcasting
from rtframework.namespaces.operators import BroadcastOperator, room_names
from rtframework.types import AckResponses, Handshake, SocketDetails
from tests.support.clients import FakeClient, make_host, turn


class Noted(MemoryAdapter):
    """An adapter that notes what it is asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[tuple[Any, ...]] = []
        self.answers: AckResponses = AckResponses({})

    async def broadcast(self, packet: Packet, target: Target) -> None:
        self.calls.append(("broadcast", packet.data, target))

    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        self.calls.append(("broadcast_with_ack", packet.data, target, timeout))
        return self.answers

    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        self.calls.append(("fetch_sockets", target, timeout))
        return [SocketDetails("a", Handshake(nsp="/x"), frozenset({"a"}), {"n": 1})]

    async def add_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        self.calls.append(("add_sockets", target, rooms))

    async def del_sockets(self, target: Target, rooms: Iterable[str]) -> None:
        self.calls.append(("del_sockets", target, rooms))

    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        self.calls.append(("disconnect_sockets", target, close, reason))


def noted() -> tuple[BroadcastOperator, Noted]:
    """Return the selection of everybody in a namespace, and its adapter."""
    namespace = make_host(adapter=Noted).of("/x", None)
    assert isinstance(namespace.adapter, Noted)
    return namespace._everybody(), namespace.adapter


STEPS: dict[str, Callable[[BroadcastOperator], BroadcastOperator]] = {
    "to": lambda operator: operator.to("a", ["b"]),
    "in_": lambda operator: operator.in_("c"),
    "nobody": lambda operator: operator.to(),
    "except_": lambda operator: operator.except_("d", {"e"}),
    "volatile": lambda operator: operator.volatile,
    "local": lambda operator: operator.local,
    "broadcast": lambda operator: operator.broadcast,
    "compress": lambda operator: operator.compress(False),
    "timeout": lambda operator: operator.timeout(3),
}


@given(st.lists(st.sampled_from(list(STEPS)), max_size=6))
def test_steps_change_a_selection_in_any_order_and_never_one_that_is_there(steps: list[str]) -> None:
    """A selection that a program keeps would grow with each use; or a room be lost by a flag after it."""
    operator, _ = noted()
    seen = [operator]
    for step in steps:
        before = [(each._target, each._timeout) for each in seen]
        seen.append(STEPS[step](seen[-1]))
        assert [(each._target, each._timeout) for each in seen[:-1]] == before
    rooms = {"to": {"a", "b"}, "in_": {"c"}, "nobody": set[str]()}
    chosen = [rooms[step] for step in steps if step in rooms]
    assert seen[-1]._target == Target(
        rooms=frozenset[str]().union(*chosen) if chosen else None,
        except_=frozenset("de") if "except_" in steps else frozenset(),
        volatile="volatile" in steps,
        local="local" in steps,
        compress="compress" not in steps,
    )
    assert seen[-1]._timeout == (3 if "timeout" in steps else None)


def test_names_of_rooms() -> None:
    """``to(["a", "b"])`` would be a room of that name, or ``to(42)`` reach nobody without a word."""
    assert room_names(()) == []
    assert room_names(("a", ["b", "c"], ("d",), (each for each in "e"), "")) == ["a", "b", "c", "d", "e", ""]
    for wrong in (1, None, b"a", ["a", 1], [["a"]], object()):
        with pytest.raises(ConfigurationError, match="a room's name is a string"):
            room_names((wrong,))  # type: ignore[arg-type]


async def test_a_wrong_name_is_refused_everywhere() -> None:
    """A number as a room would be joined, and a string of it not find it again."""
    host = make_host()
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    select: list[Callable[[Any], Any]] = [
        main.to,
        main.in_,
        main.except_,
        socket.to,
        socket.in_,
        socket.except_,
        socket.volatile.to,
        socket.volatile.in_,
        socket.volatile.except_,
    ]
    for method in select:
        with pytest.raises(ConfigurationError):
            method(1)
    for act in (socket.join, socket.leave, main.sockets_join, main.sockets_leave):
        with pytest.raises(ConfigurationError):
            await act(1)  # type: ignore[arg-type]
    assert socket.rooms == {"ada1"}


async def test_what_the_adapter_is_asked_for() -> None:
    """An adapter of a cluster would not be told what it has to pass on."""
    operator, adapter = noted()
    chosen = operator.to("a").volatile.timeout(2)
    target = Target(frozenset("a"), volatile=True)
    await chosen.emit("e", 1, b"2")
    await chosen.emit_with_ack("q")
    (remote,) = await chosen.fetch_sockets()
    await chosen.sockets_join("x", ["y"])
    await chosen.sockets_leave("x")
    await chosen.disconnect_sockets()
    await chosen.disconnect_sockets(close=True, reason="banned")
    assert adapter.calls == [
        ("broadcast", ["e", 1, b"2"], target),
        ("broadcast_with_ack", ["q"], target, 2),
        ("fetch_sockets", target, 2),
        ("add_sockets", target, ["x", "y"]),
        ("del_sockets", target, ["x"]),
        ("disconnect_sockets", target, False, None),
        ("disconnect_sockets", target, True, "banned"),
    ]
    adapter.calls.clear()
    one = Target(frozenset("a"))
    assert (remote.id, remote.nsp, remote.data) == ("a", "/x", {"n": 1})
    assert remote.rooms == {"a"}
    await remote.join("r")
    await remote.leave("r")
    await remote.volatile.emit("e")
    await remote.compress(False).emit("e")
    await remote.disconnect()
    await remote.disconnect(close=True, reason="banned")
    adapter.answers = AckResponses({"a": "yes"})
    assert await remote.timeout(1).emit_with_ack("q") == "yes"
    adapter.answers = AckResponses({}, ("a",))
    with pytest.raises(Disconnected):
        await remote.emit_with_ack("q")
    assert adapter.calls == [
        ("add_sockets", one, ["r"]),
        ("del_sockets", one, ["r"]),
        ("broadcast", ["e"], Target(frozenset("a"), volatile=True)),
        ("broadcast", ["e"], Target(frozenset("a"), compress=False)),
        ("disconnect_sockets", one, False, None),
        ("disconnect_sockets", one, True, "banned"),
        ("broadcast_with_ack", ["q"], one, 1),
        ("broadcast_with_ack", ["q"], one, None),
    ]


async def test_reserved_names_reach_no_adapter() -> None:
    """A client would be told that it has been disconnected, by an event."""
    operator, adapter = noted()
    for emit in (operator.emit, operator.emit_with_ack, operator.volatile.emit):
        for name in ("disconnect", "connect_error", "newListener"):
            with pytest.raises(ConfigurationError):
                await emit(name)
    assert adapter.calls == []


async def test_the_shortcuts_of_namespaces_and_sockets() -> None:
    """A shortcut would lose an option, or a socket hear what it sends to the others."""
    host = make_host()
    main = host.of("/", None)
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    for client in (ada, bob):
        await client.connect()
    socket = ada.socket()
    me = frozenset({"ada1"})
    targets = [
        (main.to("a"), Target(frozenset("a"))),
        (main.in_("a"), Target(frozenset("a"))),
        (main.except_("a"), Target(except_=frozenset("a"))),
        (main.volatile, Target(volatile=True)),
        (main.local, Target(local=True)),
        (main.compress(False), Target(compress=False)),
        (main.timeout(1), Target()),
        (socket.broadcast, Target(except_=me)),
        (socket.local, Target(except_=me, local=True)),
        (socket.to("a"), Target(frozenset("a"), except_=me)),
        (socket.in_("a"), Target(frozenset("a"), except_=me)),
        (socket.except_("a"), Target(except_=me | {"a"})),
        (socket.volatile.broadcast, Target(except_=me, volatile=True)),
        (socket.volatile.local, Target(except_=me, volatile=True, local=True)),
        (socket.volatile.to("a"), Target(frozenset("a"), except_=me, volatile=True)),
        (socket.volatile.in_("a"), Target(frozenset("a"), except_=me, volatile=True)),
        (socket.compress(False).except_("a"), Target(except_=me | {"a"}, compress=False)),
        (socket.timeout(1).volatile.compress(False).broadcast, Target(except_=me, volatile=True, compress=False)),
    ]
    for operator, target in targets:
        assert operator._target == target
    assert main.timeout(1)._timeout == socket.timeout(1).compress(False).volatile.broadcast._timeout == 1


async def test_options_of_one_socket() -> None:
    """A packet that may be dropped would wait, or one that is compressed already cost CPU time again."""
    host = make_host()
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    ada.line.is_slow = True
    await socket.volatile.emit("lost")
    await socket.compress(False).emit("as it is")
    with pytest.raises(TimeoutError):
        await socket.timeout(0.001).emit_with_ack("q")
    asked = asyncio.create_task(socket.timeout(60).compress(False).emit_with_ack("q"))
    await turn()
    ada.answer(ada.questions()[-1], 1, 2)
    assert await asked == (1, 2)
    assert [(frames.lines[0][1][0], frames.compress) for frames in ada.line.sent[1:]] == [
        ("event", False),
        ("question", True),
        ("question", False),
    ]
    assert ada.line.dropped == {"volatile": 1}


@pytest.mark.parametrize("value", [float("nan"), object()], ids=["nan", "object"])
async def test_what_cannot_be_sent_reaches_nobody(value: Any) -> None:
    """Some would have an event and others not."""
    host = make_host()
    main = host.of("/", None)
    clients = [FakeClient(host, name) for name in ("ada", "bob")]
    for client in clients:
        await client.connect()
    socket = clients[0].socket()
    (remote, _) = await main.fetch_sockets()
    for emit in (main.emit, main.emit_with_ack, socket.emit, socket.emit_with_ack, socket.volatile.emit, remote.emit):
        with pytest.raises(EncodeError):
            await emit("e", value)
    assert [[line[0] for line in client.heard()] for client in clients] == [["connect"], ["connect"]]
    await turn()
    assert not socket._acks


async def test_operators_are_immutable() -> None:
    """A selection that is kept and reused would grow with every use."""
    io = Server()
    operator = io.to("a")
    operator.to("b").except_("c")
    assert operator._target == Target(rooms=frozenset({"a"}))
    with pytest.raises(AttributeError):
        operator.other = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_for_all", [True, False])
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_an_error_that_comes_while_its_emitter_is_cancelled_is_told(is_cancelled: bool, is_for_all: bool) -> None:
    """A handler that is cancelled at that very moment would leave an event behind that is lost, unknown to all."""
    found: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    class Adapter:
        def broadcast(self, packet: Packet, target: Target) -> asyncio.Future[None]:
            return found

    class Namespace(Broadcasting):
        __slots__ = ("lost",)
        name = "/"
        adapter: Any = Adapter()
        _history = None

        def __init__(self) -> None:
            self.lost: list[Exception] = []

        def _everybody(self) -> BroadcastOperator:
            return BroadcastOperator(self, Target())  # type: ignore[arg-type]

        def _packet(self, event: str, args: tuple[Any, ...]) -> Packet:
            return Packet(2, "/", [event, *args])

        def _lost(self, packet: Packet, target: Target, error: ClusterUnavailable) -> None:
            self.lost.append(error)

    nsp = Namespace()
    emitting = asyncio.create_task((nsp if is_for_all else nsp._everybody()).emit("news"))
    await asyncio.sleep(0)
    found.set_exception(ClusterUnavailable())
    if is_cancelled:
        emitting.cancel()
    (outcome,) = await asyncio.gather(emitting, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError if is_cancelled else ClusterUnavailable)
    assert len(nsp.lost) == 1
