"""The sockets of a namespace: who is in, each way out, and that nobody is left behind, whatever the order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtframework import ConnectionRefused, Disconnected, DisconnectReason, EventError, Handshake, Recovery, Socket
from rtframework.namespaces.membership import State
from rtframework.protocols import CallNext
from tests.support.clients import FakeClient, Gate, assert_nothing_left, idle, make_host, turn
from tests.support.simulation import SimulatedLoop
from tests.support.thorough import examples

# --- held back --------------------------------------------------------------------------------------------------------


async def test_what_comes_first_is_sent_before_what_was_held_back() -> None:
    """A client that joins a room would get what is said now before what was said until now."""
    host = make_host()
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    held = main._membership.hold(socket)
    assert held is not None
    await socket.emit("second")
    await main.emit("third")
    assert ada.heard()[1:] == []
    held.below.send(main._engine.encode(main._packet("first", ())))
    main._membership.release(socket, held)
    await socket.emit("fourth")
    assert ada.heard()[1:] == [("event", name) for name in ("first", "second", "third", "fourth")]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("accepted_after", [0, 1, 3])
async def test_several_at_once_while_it_connects(order: tuple[int, ...], accepted_after: int) -> None:
    """A client that joins three rooms in its connection handler would get their packets mixed up, or never."""
    host = make_host()
    main = host.of("/", None)
    membership = main._membership

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("at first")
        held = []
        for number in range(3):
            each = membership.hold(socket)
            assert each is not None
            held.append(each)
            await socket.emit("held by", number)
        for count, number in enumerate(order):
            if count == accepted_after:
                socket.accept()
            membership.release(socket, held[number])
        membership.release(socket, held[0])  # again: nothing happens

    ada = FakeClient(host)
    await ada.connect()
    await main.emit("at last")
    events = [line[1:] for line in ada.heard() if line[0] == "event"]
    assert events == [("at first",), ("held by", 0), ("held by", 1), ("held by", 2), ("at last",)]


async def test_who_is_thrown_out_gets_what_was_held_back() -> None:
    """A client that is thrown out while it joins a room would not be told why."""
    host = make_host()
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    held, above = main._membership.hold(socket), main._membership.hold(socket)
    assert held is not None
    assert above is not None
    await socket.emit("news")
    await socket.disconnect(reason="spam", reconnect=False)
    told = [
        ("event", "news"),
        ("event", "kicked", {"reason": "spam", "reconnect": False}),
        ("disconnect",),
    ]
    assert ada.heard()[1:] == told
    main._membership.release(socket, held)  # it has left: nothing happens
    assert main._membership.hold(socket) is None
    assert ada.heard()[1:] == told
    assert_nothing_left(host)


# --- each way out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "reason", "told"),
    [
        ("drop", "transport close", False),
        ("depart", "client namespace disconnect", False),
        ("disconnect", "server namespace disconnect", True),
        ("close", "server namespace disconnect", True),
        ("shutdown", "server shutting down", False),
    ],
)
async def test_each_way_out(way: str, reason: str, told: bool) -> None:
    """Handlers would be told of the wrong reason, or clients come back that were sent away."""
    host = make_host()
    main = host.of("/", None)
    log: list[Any] = []

    @main.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        log.append(("disconnecting", reason, sorted(socket.rooms), socket.disconnected, dict(main.sockets)))

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(("disconnect", reason, sorted(socket.rooms)))

    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    await socket.join("room")
    if way == "drop":
        ada.drop()
    elif way == "depart":
        ada.depart()
    elif way == "shutdown":
        ada.conn.close(DisconnectReason.SERVER_SHUTTING_DOWN)
    else:
        await socket.disconnect(close=way == "close")
    assert socket.disconnected
    assert_nothing_left(host)
    await idle(host)
    assert log == [("disconnecting", reason, ["ada1", "room"], True, {}), ("disconnect", reason, [])]
    assert ada.line.is_open == (way in ("depart", "disconnect"))
    assert ada.heard()[1:] == ([("disconnect",)] if way == "disconnect" else [])
    assert told or not ada.heard()[1:]
    assert ada.receivers == {}


async def test_a_socket_ends_once() -> None:
    """Disconnect handlers would run twice: money would be paid back twice."""
    host = make_host()
    main = host.of("/", None)
    log: list[str] = []

    @main.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        log.append(reason)

    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    ada.depart()
    socket._disconnected("later")
    await socket.disconnect()
    await socket.disconnect(close=True)
    main._membership.evict(socket)
    ada.drop()
    await idle(host)
    assert log == ["client namespace disconnect"]
    assert ada.line.closed == "transport close"


async def test_handlers_run_in_order_and_a_failure_stops_none(caplog: pytest.LogCaptureFixture) -> None:
    """One handler that fails, or waits for a task that it has cancelled, would keep the others from cleaning up."""
    host = make_host()
    main = host.of("/", None)
    log: list[str] = []

    @main.on("connection")
    def connection(socket: Socket) -> None:
        for phase in ("disconnecting", "disconnect"):
            socket.on(phase)(functools.partial(log.append, f"{phase} of the socket"))

    for phase in ("disconnecting", "disconnect"):

        @main.on(phase)
        async def fails(socket: Socket, reason: str, phase: str = phase) -> None:
            log.append(f"{phase} fails")
            raise RuntimeError("a mistake of the program")

        @main.on(phase)
        async def cancels(socket: Socket, reason: str, phase: str = phase) -> None:
            log.append(f"{phase} cancels")
            background = asyncio.get_running_loop().create_future()
            background.cancel()
            await background

        @main.on(phase)
        async def works(socket: Socket, reason: str, phase: str = phase) -> None:
            log.append(f"{phase} works")

    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    ada.drop()
    await idle(host)
    ways = ("fails", "cancels", "works", "of the socket")
    assert log == [f"{phase} {way}" for phase in ("disconnecting", "disconnect") for way in ways]
    assert [record.message for record in caplog.records] == [
        f"unhandled error in a {phase!r} handler" for phase in ("disconnecting", "disconnect") for _ in range(2)
    ]
    assert socket._own is None
    assert_nothing_left(host)


async def test_handlers_that_are_cancelled_at_shutdown_leave_nothing() -> None:
    """A client that comes back would wait for handlers that nobody runs any more."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    gate = Gate()

    @main.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        await gate.wait()

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        raise AssertionError("it was cancelled before")

    ada = FakeClient(host)
    await ada.connect()
    ada.drop()
    await gate.reached()
    assert list(main._membership.departing) == ["ada1"]
    for task in host._tasks:
        task.cancel()
    await idle(host)
    assert_nothing_left(host)


async def test_questions_fail_when_the_client_leaves() -> None:
    """Whoever asked would wait for ever."""
    host = make_host()
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    asked = [asyncio.create_task(socket.emit_with_ack("q")) for _ in range(2)]
    await turn()
    ada.answer(ada.questions()[0], "in time")
    ada.drop()
    assert await asked[0] == "in time"
    with pytest.raises(Disconnected):
        await asked[1]
    assert socket._acks is None


async def test_a_client_that_comes_back_waits_for_all_old_handlers() -> None:
    """What the old handlers take down would be what the new ones have just set up."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    log: list[str] = []
    coming, going = Gate(), Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        log.append("comes")
        socket.accept()
        if not socket.recovered:
            await coming.wait()
            raise RuntimeError("a mistake of the program")

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await going.wait()
        log.append("goes")

    ada, again = FakeClient(host), FakeClient(host, "again")
    first = asyncio.create_task(host.connect(ada, "/", None))
    await coming.reached()
    pid = ada.socket()._pid
    ada.drop()
    await going.reached()
    coming.open()
    await first
    second = asyncio.create_task(host.connect(again, "/", {"pid": pid}))
    await turn()
    assert log == ["comes"]
    going.open()
    await second
    assert log == ["comes", "goes", "comes"]
    assert again.socket().recovered


@pytest.mark.parametrize("dropped", [False, True])
async def test_who_may_come_back(dropped: bool) -> None:
    """A client that was too slow for an event would come back and never hear that one is missing."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    for reason in DisconnectReason:
        ada = FakeClient(host, f"{reason}")
        await ada.connect()
        sid, pid = ada.socket().id, ada.socket()._pid
        assert pid is not None
        ada.line.has_dropped = dropped
        ada.drop(reason)
        session = await main.adapter.restore_session(pid, None, lambda _: True)
        lost = (
            DisconnectReason.CLIENT_NAMESPACE_DISCONNECT,
            DisconnectReason.SERVER_NAMESPACE_DISCONNECT,
            DisconnectReason.PARSE_ERROR,
            DisconnectReason.SLOW_CONSUMER,
            DisconnectReason.RATE_LIMITED,
            DisconnectReason.MISSED_PACKETS,
            DisconnectReason.KICKED,
            DisconnectReason.TOKEN_REVOKED,
        )
        assert (session is None) == (dropped or reason in lost), reason
        assert session is None or (session.sid, set(session.rooms)) == (sid, {sid})


# --- whatever the order -----------------------------------------------------------------------------------------------

ROOMS: Final = ("red", "blue")
STEPS: Final = ("authenticator", "middleware", "handler", None)
TRANSPORTS: Final = ("websocket", "polling")
WAYS: Final = ("drop", "depart", "disconnect", "close", "cancel", "broadcast")


@dataclass(eq=False)
class Life:
    """One client on one connection, from CONNECT to its end."""

    client: FakeClient
    stop: str | None
    """The step at which it waits to be told to go on."""
    takes_its_time: bool
    """True if its "disconnecting" handler waits for the test."""
    memory: list[tuple[int, str]] = field(default_factory=list)
    """What its client has heard on other connections, as it came: the number of each event, and its offset."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    goodbye: asyncio.Event = field(default_factory=asyncio.Event)
    is_refused: bool = False
    task: asyncio.Task[None] | None = None
    socket: Socket | None = None
    chain: Chain | None = None
    log: list[str] = field(default_factory=list)
    at: str | None = None

    def __repr__(self) -> str:
        return f"<{self.client.name} at {self.at}, {self.log}>"

    @property
    def is_member(self) -> bool:
        """True from the start of its connection handlers until it leaves."""
        return "/" in self.client.receivers

    @property
    def has_left(self) -> bool:
        """True once it has been a member and is none any more."""
        return self.chain is not None and not self.is_member

    @property
    def is_departing(self) -> bool:
        """True while its disconnect handlers run."""
        return "disconnecting" in self.log and "disconnect" not in self.log

    @property
    def is_done(self) -> bool:
        """True once it has been decided about."""
        return self.task is not None and self.task.done()

    @property
    def is_accepted(self) -> bool:
        """True once it has heard that it is connected."""
        return any(line[0] == "connect" for line in self.client.heard())

    @property
    def known(self) -> list[tuple[int, str]]:
        """What its client has heard so far."""
        return [*self.memory, *((line[2], line[3]) for line in self.client.heard() if line[0] == "event")]


@dataclass(eq=False)
class Chain:
    """One session: a socket, and those that have continued it."""

    sid: str
    pid: str | None = None
    lives: list[Life] = field(default_factory=list)
    rooms: set[str] = field(default_factory=set)
    expected: list[int] = field(default_factory=list)
    is_over: bool = False


class Users:
    """Stops those that are to stop at the authenticator."""

    def __init__(self, lives: list[Life]) -> None:
        self._lives = lives

    async def authenticate(self, handshake: Handshake) -> str:
        """Let everybody in."""
        await pause(self._lives[handshake.auth["life"]], "authenticator")
        return "somebody"


async def pause(life: Life, step: str) -> None:
    """Wait here if this is where a life is to stop."""
    if life.stop == step:
        life.at = step
        try:
            await life.gate.wait()
        finally:
            life.at = None
        if life.is_refused:
            raise ConnectionRefused


class Members(RuleBasedStateMachine):
    """Sockets that come, stop on the way, join rooms, leave in each way and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.lives: list[Life] = []
        self.chains: dict[str, Chain] = {}
        self.numbers = itertools.count()
        self.by_conn: dict[Any, Life] = {}
        logging.getLogger("rtframework").setLevel(logging.CRITICAL)  # thousands of refusals, by design

    @initialize(skip_middlewares=st.booleans())
    def open(self, skip_middlewares: bool) -> None:
        """Make the namespace and its handlers."""
        self.host = host = make_host(auth=Users(self.lives), recovery=Recovery(skip_middlewares=skip_middlewares))
        self.main = main = host.of("/", None)

        @main.use
        async def middleware(socket: Socket, call_next: CallNext) -> None:
            await pause(self.by_conn[socket.conn], "middleware")
            await call_next()

        @main.on("connection")
        async def connection(socket: Socket) -> None:
            life = self.by_conn[socket.conn]
            before = self.chains.get(socket.id)
            if before is None:
                life.memory.clear()  # the client begins anew
            else:
                assert socket.recovered
                assert not any(each.is_departing for each in before.lives), "its handlers still run"
            chain = self.chains.setdefault(
                socket.id, Chain(socket.id, socket._pid, rooms={socket.id, "$user:somebody"})
            )
            assert not chain.is_over
            assert chain.pid == socket._pid
            chain.lives.append(life)
            life.chain, life.socket = chain, socket
            life.log.append("connection")
            await pause(life, "handler")
            life.log.append("done")

        @main.on("disconnecting")
        async def disconnecting(socket: Socket, reason: str) -> None:
            life = self.by_conn[socket.conn]
            life.log.append("disconnecting")
            if life.takes_its_time:
                await life.goodbye.wait()

        @main.on("disconnect")
        async def disconnect(socket: Socket, reason: str) -> None:
            self.by_conn[socket.conn].log.append("disconnect")

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(
        stop=st.sampled_from(STEPS), takes_its_time=st.booleans(), transport=st.sampled_from(["websocket", "polling"])
    )
    def come(self, stop: str | None, takes_its_time: bool, transport: str) -> None:
        """A new client asks for the namespace."""
        self._come({}, stop, takes_its_time, transport)

    @precondition(lambda self: self.chains)
    @rule(data=st.data(), stop=st.sampled_from(STEPS), takes_its_time=st.booleans())
    def come_back(self, data: st.DataObject, stop: str | None, takes_its_time: bool) -> None:
        """A client is here again, though its old connection may not have been noticed to be dead."""
        chain = data.draw(st.sampled_from(list(self.chains.values())))
        memory = chain.lives[-1].known
        offset = memory[-1][1] if memory else None
        self._come({"pid": chain.pid, "offset": offset}, stop, takes_its_time, "websocket", memory)

    @precondition(lambda self: self._waiting())
    @rule(data=st.data(), is_refused=st.booleans())
    def go_on(self, data: st.DataObject, is_refused: bool) -> None:
        """One that has stopped goes on, or is refused there."""
        life = data.draw(st.sampled_from(self._waiting()))
        life.is_refused = is_refused
        if is_refused and life.is_accepted and life.is_member:
            self._end(life)
        life.gate.set()
        self._settle()

    @precondition(lambda self: self._members())
    @rule(data=st.data())
    def accept(self, data: st.DataObject) -> None:
        """A connection handler lets its client in before it ends."""
        socket = data.draw(st.sampled_from(self._members())).socket
        assert socket is not None
        self._do(socket.accept)

    @precondition(lambda self: self._alive())
    @rule(data=st.data(), way=st.sampled_from(WAYS))
    def leave(self, data: st.DataObject, way: str) -> None:
        """A client leaves, or is made to leave."""
        life = data.draw(st.sampled_from(self._alive()))
        if way == "drop":
            if life.chain is not None and not life.is_accepted and len(life.chain.lives) == 1:
                self._end(life)  # it has never known its session
            self._do(life.client.drop)
        elif way == "cancel":
            assert life.task is not None
            if not life.is_done and life.is_member and (life.is_accepted or len(self._chain(life).lives) == 1):
                self._end(life)
            life.task.cancel()
        elif life.is_member:
            socket = life.socket
            assert socket is not None
            self._end(life)
            if way == "depart":
                self._do(life.client.depart)
            elif way == "broadcast":
                self._run(self.main.to(socket.id).disconnect_sockets())
            else:
                self._run(socket.disconnect(close=way == "close"))
        self._settle()

    @precondition(lambda self: self._departing())
    @rule(data=st.data())
    def say_goodbye(self, data: st.DataObject) -> None:
        """A "disconnecting" handler that takes its time comes to its end."""
        data.draw(st.sampled_from(self._departing())).goodbye.set()
        self._settle()

    @precondition(lambda self: self._members())
    @rule(data=st.data(), room=st.sampled_from(ROOMS), joins=st.booleans())
    def join_or_leave(self, data: st.DataObject, room: str, joins: bool) -> None:
        """A socket joins a room, or leaves it."""
        life = data.draw(st.sampled_from(self._members()))
        assert life.socket is not None
        self._run(life.socket.join(room) if joins else life.socket.leave(room))
        (self._chain(life).rooms.add if joins else self._chain(life).rooms.discard)(room)

    @rule(room=st.sampled_from((None, *ROOMS)))
    def emit(self, room: str | None) -> None:
        """The program emits to a room, or to everybody."""
        number = next(self.numbers)
        for chain in self.chains.values():
            if not chain.is_over and (room is None or room in chain.rooms):
                chain.expected.append(number)
        self._run((self.main if room is None else self.main.to(room)).emit("n", number))

    # --- what holds -------------------------------------------------------------------------------------------------

    @invariant()
    def tables_agree(self) -> None:
        """Nobody is in one table and not in the others."""
        if not hasattr(self, "main"):
            return
        membership = self.main._membership
        index = self.main.adapter.index  # type: ignore[attr-defined]
        resumed = {each.id for each in membership.by_pid.values() if each._state is State.RESUMED}
        members = {self._chain(life).sid: life.socket for life in self._members()}
        assert membership.sockets == members
        assert set(membership.outlets) == {*members, *resumed} == set(index._rooms)
        assert set(index.all_rooms()) == {room for sid in index._rooms for room in index.rooms(sid)}
        for sid, socket in membership.sockets.items():
            assert socket._state is (State.CONNECTED if self.by_conn[socket.conn].is_accepted else State.JOINED)
            assert socket.rooms == self.chains[sid].rooms
            assert socket.conn.is_open
        for pid, socket in membership.by_pid.items():
            assert socket._pid == pid
            assert State.CONNECTING < socket._state < State.DISCONNECTED
        for socket in membership.sockets.values():
            assert socket._state is not State.CONNECTED or membership.by_pid[socket._pid or ""] is socket
        assert set(membership.departing) == {
            self._chain(life).sid
            for life in self.lives
            if life.is_departing or (life.has_left and not life.is_accepted and not life.is_done)
        }

    @invariant()
    def handlers_run_once_each_in_order(self) -> None:
        """What they set up is taken down once, and after it was set up."""
        for life in self.lives:
            assert life.log in (
                [],
                ["connection"],  # it waits, was cancelled or refused; or it was let in meanwhile
                ["connection", "done"],
                ["connection", "disconnecting"],
                ["connection", "disconnecting", "disconnect"],
                ["connection", "disconnecting", "done"],
                ["connection", "disconnecting", "disconnect", "done"],
                ["connection", "disconnecting", "done", "disconnect"],
                ["connection", "done", "disconnecting"],
                ["connection", "done", "disconnecting", "disconnect"],
            ), life.log
            if life.has_left and (life.is_accepted or life.log[1:2] == ["done"]):
                assert "disconnecting" in life.log
            if not life.is_accepted and "done" not in life.log:
                assert "disconnecting" not in life.log

    @invariant()
    def everything_arrives(self) -> None:
        """Each event arrives once, in order, also with those who were away."""
        for life in self.lives:
            if life.is_member and life.is_accepted:
                assert [number for number, _ in life.known] == self._chain(life).expected
            kinds = [line[0] for line in life.client.heard()]
            assert kinds.count("connect") <= 1
            assert "refused" not in kinds or kinds == ["refused"]

    def teardown(self) -> None:
        """All go on, and all leave; nobody is left."""
        try:
            if hasattr(self, "main"):
                for life in self.lives:
                    life.gate.set()
                    life.goodbye.set()
                self._settle()
                for life in self.lives:
                    self._do(life.client.drop)
                self._run(idle(self.host))
                assert_nothing_left(self.host)
                self.handlers_run_once_each_in_order()
                assert sum(self.host.counts.connects.values()) == len(self.lives)
                for life in self.lives:
                    assert life.is_done
                    assert not life.is_departing
                self._run(self.main.adapter.close())
            assert not asyncio.all_tasks(self.loop)
            assert self.loop.timers() == []
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            with contextlib.suppress(BaseException):
                self._run(turn())
            self.loop.close()
            logging.getLogger("rtframework").setLevel(logging.NOTSET)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _come(
        self,
        auth: dict[str, Any],
        stop: str | None,
        takes_its_time: bool,
        transport: str,
        memory: Sequence[tuple[int, str]] = (),
    ) -> None:
        client = FakeClient(self.host, f"n{len(self.lives)}-", transport=transport)
        life = Life(client, stop, takes_its_time, list(memory))
        auth = {**auth, "life": len(self.lives)}
        self.lives.append(life)
        self.by_conn[client.line] = life
        life.task = self.loop.create_task(self.host.connect(client, "/", auth))
        self._settle()

    def _end(self, life: Life) -> None:
        """Note that nobody can take up this session any more."""
        self._chain(life).is_over = True

    def _chain(self, life: Life) -> Chain:
        assert life.chain is not None
        return life.chain

    def _waiting(self) -> list[Life]:
        return [life for life in self.lives if life.at is not None]

    def _members(self) -> list[Life]:
        return [life for life in self.lives if life.is_member]

    def _alive(self) -> list[Life]:
        return [life for life in self.lives if life.client.line.is_open]

    def _departing(self) -> list[Life]:
        return [life for life in self.lives if life.is_departing]

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)

    def _do(self, what: Callable[[], object]) -> None:
        """Do something in the event loop, and let happen what follows from it."""

        async def work() -> None:
            what()

        self._run(work())
        self._settle()

    def _settle(self) -> None:
        self._run(turn(15))
        for life in self.lives:
            assert life.task is not None
            if life.is_done and not life.task.cancelled():
                life.task.result()


TestMembers = Members.TestCase
TestMembers.settings = settings(
    max_examples=examples(400),
    stateful_step_count=40,
    derandomize=True,  # a run that everybody waits for gives the same answer twice
    suppress_health_check=list(HealthCheck),
)


# --- rooms ------------------------------------------------------------------------------------------------------------


async def test_ids_are_no_rooms_for_others() -> None:
    """A client would hear what is emitted to another one, by a program that lets it name rooms."""
    host = make_host()
    main = host.of("/", None)
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    await ada.connect()
    await bob.connect()
    check = main._membership.check_no_ids
    await check(["ada1", "x", "x" * 20], "ada1")
    with pytest.raises(EventError) as refused:
        await check(["x", "bob1"], "ada1")
    assert refused.value.code == "room_of_a_socket"
    await ada.socket().join("bob1", socket_ids=True)
    assert ada.socket().rooms == {"ada1", "bob1"}
    bob.drop()
    await check(["bob1"], "ada1")
