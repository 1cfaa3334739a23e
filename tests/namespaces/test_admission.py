"""The way in, step by step: who is asked in which order, what a client is told, and what is left of one that is not
let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from rtframework import (
    ConnectionRefused,
    Disconnected,
    EventError,
    Handshake,
    MemoryAdapter,
    Namespace,
    Recovery,
    Socket,
)
from rtframework.counters import (
    ANOTHER_USER,
    AUTHENTICATION,
    CONNECTED,
    CONNECTION_HANDLER,
    GONE,
    INTERNAL_ERROR,
    MIDDLEWARE,
    NOT_FOUND,
    RECOVERED,
    TOO_MUCH,
    UNCERTAIN,
)
from rtframework.namespaces.host import Host
from rtframework.protocols import UNKNOWN, CallNext, Session
from tests.support.clients import FakeClient, Gate, Line, assert_nothing_left, held_clock, idle, make_host, turn
from tests.support.in_process import NOT_ON_UVLOOP

INTERNAL: Final[Line] = ("refused", {"message": "Internal server error", "data": {"code": "internal_error"}})


class Users:
    """An authenticator that takes the client's word, and asks a function of the test before."""

    def __init__(self, before: Callable[[], Awaitable[object]] | None = None) -> None:
        self._before = before

    async def authenticate(self, handshake: Handshake) -> Any:
        """Return what the client gives as ``user``."""
        if self._before is not None:
            await self._before()
        return handshake.auth.get("user", "somebody")


async def admit(nsp: Namespace, client: FakeClient, auth: Any = None) -> str:
    """Ask the admission of a namespace. What it says is what it has counted."""
    assert nsp._host is not None
    counts = nsp._host.counts.connects
    before = dict(counts)
    outcome = await nsp._admission.connect(client, auth)
    assert {key: count - before[key] for key, count in counts.items() if count != before[key]} == {outcome: 1}
    return outcome


# --- the order --------------------------------------------------------------------------------------------------------


async def test_who_is_asked_in_which_order() -> None:
    """Middleware would run for clients that nobody knows, or handlers for those that middleware refuses."""
    log: list[str] = []

    async def before() -> None:
        log.append("authenticator")

    class Noted(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            log.append(f"restore {pid} {offset}")
            return None

    host = make_host(auth=Users(before), adapter=Noted, recovery=Recovery())
    main = host.of("/", None)
    for name in "ab":

        @main.use
        async def middleware(socket: Socket, call_next: CallNext, name: str = name) -> None:
            log.append(f"middleware {name}")
            await call_next()
            log.append(f"{name} is back")

    for number in (1, 2):

        @main.on("connection")
        async def connection(socket: Socket, number: int = number) -> None:
            log.append(f"handler {number}")
            await asyncio.sleep(0)

    ada = FakeClient(host)
    assert await admit(main, ada, {"pid": "p", "offset": "o"}) == CONNECTED
    assert log == [
        "authenticator",
        "restore p o",
        "middleware a",
        "middleware b",
        "b is back",
        "a is back",
        "handler 1",
        "handler 2",
    ]


async def test_what_is_sent_in_which_order() -> None:
    """A client would drop events that come before it knows that it is connected."""
    host = make_host()
    main = host.of("/", None)

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("first")
        await main.emit("second")
        await socket.volatile.emit("lost")
        assert ada.heard() == []
        assert (socket.connected, socket.id in main.sockets) == (True, True)

    ada = FakeClient(host)
    assert await admit(main, ada) == CONNECTED
    await main.emit("third")
    assert ada.heard() == [("connect", {"sid": "ada1"}), ("event", "first"), ("event", "second"), ("event", "third")]
    assert ada.line.dropped == {"volatile": 1}


async def test_accept_in_the_middle() -> None:
    """A handler that goes on for long would keep its client out, or let it in twice."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("before")
        socket.accept()
        await socket.emit("after")
        socket.accept()
        await gate.wait()

    @main.on("connection")
    async def second(socket: Socket) -> None:
        await socket.emit("second")

    @main.on("ask")
    async def ask(socket: Socket) -> str:
        return "answer"

    ada = FakeClient(host)
    admission = asyncio.create_task(admit(main, ada))
    await gate.reached()
    expected: list[Line] = [("connect", {"sid": "ada1"}), ("event", "before"), ("event", "after")]
    assert ada.heard() == expected
    assert await ada.ask("ask") == ["answer"]
    gate.open()
    assert await admission == CONNECTED
    assert ada.heard() == [*expected, ("ack", 0, "answer"), ("event", "second")]


async def test_accept_does_nothing_in_other_states() -> None:
    """Middleware could let in whom the next one refuses, or a client that has left be told that it is connected."""
    host = make_host()
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        socket.accept()
        assert socket.disconnected
        await call_next()

    ada = FakeClient(host)
    assert await admit(main, ada) == CONNECTED
    socket = ada.socket()
    ada.depart()
    socket.accept()
    assert ada.heard() == [("connect", {"sid": "ada1"})]
    assert_nothing_left(host)


# --- each end at each step --------------------------------------------------------------------------------------------

STEPS: Final = ("authenticator", "middleware", "handler", "accepted")
ENDS: Final = (
    "refuse",
    "event error",
    "error",
    "cancelled inside",
    "cancelled",
    "drop",
    "drop and refuse",
    "drop and fail",
    "close",
    "depart",
    "disconnect",
)
OF_SOCKETS: Final = ("depart", "disconnect")
"""What can only happen to a client that is in the namespace."""
WHERE: Final = {"authenticator": AUTHENTICATION, "middleware": MIDDLEWARE, "handler": CONNECTION_HANDLER}
HELLO: Final[Line] = ("connect", {"sid": "ada1"})


def _expected(step: str, end: str) -> tuple[str, list[Line], list[str]]:
    """The outcome, what the client has heard, and the reasons that "disconnect" handlers have heard."""
    accepted = step == "accepted"
    if end in OF_SOCKETS and not accepted:
        if end == "depart":
            return GONE, [], ["client namespace disconnect"]
        return CONNECTED, [HELLO, ("disconnect",)], ["server namespace disconnect"]
    if end in ("drop", "drop and refuse", "drop and fail", "close"):
        reason = "forced server close" if end == "close" else "transport close"
        if accepted:
            return CONNECTED, [HELLO], [reason]
        return GONE, [], [reason] if step == "handler" and end in ("drop", "close") else []
    if accepted:
        if end == "depart":
            return CONNECTED, [HELLO], ["client namespace disconnect"]
        return CONNECTED, [HELLO, ("disconnect",)], ["server namespace disconnect"]
    if end == "refuse":
        return WHERE[step], [("refused", {"message": "no", "data": {"why": 1}})], []
    if end == "event error":
        return WHERE[step], [("refused", {"message": "text", "data": {"code": "code", "message": "text"}})], []
    return INTERNAL_ERROR, [INTERNAL], []


@pytest.mark.parametrize(
    ("step", "end"),
    [(step, end) for step in STEPS for end in ENDS if step in ("handler", "accepted") or end not in OF_SOCKETS],
)
async def test_each_end_at_each_step(step: str, end: str) -> None:
    """A client would wait for ever, be counted twice, or stay in tables and rooms after it has gone."""
    log: list[str] = []
    sockets: list[Socket] = []
    gate = Gate()

    async def happen() -> None:
        """What the test is about; at any step."""
        if end == "cancelled":
            await gate.wait()
        if end.startswith("drop"):
            ada.drop()
        elif end == "close":
            ada.conn.close("forced server close")
        elif end == "depart":
            ada.depart()
        elif end == "disconnect":
            await ada.socket().disconnect()
        if end in ("refuse", "drop and refuse"):
            raise ConnectionRefused("no", {"why": 1})
        if end == "event error":
            raise EventError("code", "text")
        if end in ("error", "drop and fail"):
            raise RuntimeError("a mistake of the program")
        if end == "cancelled inside":
            raise asyncio.CancelledError

    host = make_host(auth=Users(happen) if step == "authenticator" else None)
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        await socket.join("room")
        socket.on("x")(print)
        sockets.append(socket)
        if step == "middleware":
            await happen()
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        log.append("connection")
        if step == "accepted":
            socket.accept()
        if step in ("handler", "accepted"):
            await happen()

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(reason)

    ada = FakeClient(host)
    outcome, heard, reasons = _expected(step, end)
    before = host.counts.connects[outcome]
    if end == "cancelled":
        task = asyncio.create_task(admit(main, ada))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert host.counts.connects[outcome] == before + 1
    else:
        assert await admit(main, ada) == outcome
    await idle(host)
    assert ada.heard() == heard
    assert sum(host.counts.connects.values()) == 1
    assert log == [*["connection"] * (step in ("handler", "accepted")), *reasons]
    assert ada.receivers == {}
    assert all(socket._own is None for socket in sockets), "handlers of its own would keep it alive"
    assert_nothing_left(host)


async def test_a_cancellation_while_an_exception_handler_is_asked() -> None:
    """A client that is refused at shutdown would stay in tables and rooms, and wait for ever for the answer."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        raise LookupError("a mistake of the program")

    @main.exception_handler(LookupError)
    async def lookup(socket: Socket, error: LookupError) -> EventError:
        await gate.wait()
        return EventError("not_found")

    ada = FakeClient(host)
    task = asyncio.create_task(admit(main, ada))
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ada.heard() == [INTERNAL]
    assert host.counts.connects[INTERNAL_ERROR] == 1
    assert_nothing_left(host)


@pytest.mark.parametrize("step", ["authenticator", "middleware", "handler"])
async def test_a_refused_client_may_ask_again(step: str) -> None:
    """One wrong password would shut a client out until it opens another connection."""
    refusals = [ConnectionRefused("not yet")]

    async def happen() -> None:
        if refusals:
            raise refusals.pop()

    host = make_host(auth=Users(happen) if step == "authenticator" else None)
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if step == "middleware":
            await happen()
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        if step == "handler":
            await happen()

    ada = FakeClient(host)
    assert await admit(main, ada) == WHERE[step]
    assert await admit(main, ada) == CONNECTED
    assert [line[0] for line in ada.heard()] == ["refused", "connect"]


async def test_an_authenticator_that_knows_nobody() -> None:
    """A forgotten ``return`` would let everybody in."""
    host = make_host(auth=Users())
    ada = FakeClient(host)
    assert await admit(host.of("/", None), ada, {"user": None}) == AUTHENTICATION
    assert ada.heard() == [("refused", {"message": "Unauthorized", "data": {"code": "unauthorized"}})]


async def test_middleware_that_forgets_to_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """A forgotten ``await call_next()`` would let clients in past the middleware behind it."""
    host = make_host()
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None: ...

    ada = FakeClient(host)
    assert await admit(main, ada) == MIDDLEWARE
    assert ada.heard() == [("refused", {"message": "Connection refused"})]
    assert "neither called call_next() nor refused" in caplog.text
    assert_nothing_left(host)


async def test_a_client_that_leaves_while_it_is_asked_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Each client that closes its page at the wrong moment would write a traceback."""
    host = make_host()
    main = host.of("/", None)

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit_with_ack("who are you?")

    ada = FakeClient(host)
    admission = asyncio.create_task(admit(main, ada))
    await turn()
    ada.drop()
    assert await admission == CONNECTED
    assert not caplog.records
    assert_nothing_left(host)

    @main.on("connection")
    async def raises(socket: Socket) -> None:
        raise Disconnected("of somebody else")

    main.off("connection", connection)
    assert await admit(main, FakeClient(host)) == INTERNAL_ERROR
    assert "of somebody else" in caplog.text


async def test_handlers_of_one_socket_are_forgotten_with_it() -> None:
    """A refused client would be kept alive by the handlers that middleware has set up for it."""
    host = make_host()
    main = host.of("/", None)
    sockets: list[Socket] = []

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        sockets.append(socket)
        socket.on("disconnect")(lambda: sockets.append(socket))
        socket.on_any_outgoing(print)
        raise ConnectionRefused

    assert await admit(main, FakeClient(host)) == CONNECTION_HANDLER
    (socket,) = sockets
    assert socket._own is None
    assert_nothing_left(host)


# --- what a client is told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [object(), {"x": float("nan")}, "\ud83d"], ids=["object", "nan", "half a character"])
async def test_a_refusal_that_cannot_be_sent(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A client would wait for ever for the answer."""
    host = make_host()
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        raise ConnectionRefused("no", data)

    ada = FakeClient(host)
    assert await admit(main, ada) == MIDDLEWARE
    assert ada.heard() == [("refused", {"message": "Connection refused"})]
    assert "cannot be sent as it is" in caplog.text


@pytest.mark.parametrize(
    ("made", "message", "outcome"),
    [
        (EventError("code", "text"), "text", MIDDLEWARE),
        (None, "Internal server error", INTERNAL_ERROR),
        ("an answer", "Internal server error", INTERNAL_ERROR),
        (ConnectionRefused("raised"), "raised", MIDDLEWARE),
        (RuntimeError("raised"), "Internal server error", INTERNAL_ERROR),
    ],
)
async def test_what_exception_handlers_make_of_an_error(
    made: Any, message: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A client would be told of the inside of the server, or nothing that it can act on."""
    host = make_host()
    main = host.of("/", None)
    asked: list[tuple[Socket, Exception]] = []

    @main.exception_handler(LookupError)
    async def lookup(socket: Socket, error: LookupError) -> Any:
        asked.append((socket, error))
        if isinstance(made, Exception) and not isinstance(made, EventError):
            raise made
        return made

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        raise KeyError("x")

    ada = FakeClient(host)
    assert await admit(main, ada) == outcome
    ((socket, error),) = asked
    assert (socket.id, repr(error)) == ("ada1", "KeyError('x')")
    ((kind, payload),) = ada.heard()
    assert (kind, payload["message"]) == ("refused", message)
    assert bool(caplog.records) == (outcome == INTERNAL_ERROR)
    assert_nothing_left(host)


async def test_exception_handlers_are_not_asked_without_a_socket() -> None:
    """They would be called with ``None`` where they expect a socket."""

    async def fail() -> None:
        raise LookupError("no database")

    host = make_host(auth=Users(fail))
    main = host.of("/", None)

    @main.exception_handler(Exception)
    async def anything(socket: Socket, error: Exception) -> EventError:
        raise AssertionError("there is no socket yet")

    ada = FakeClient(host)
    assert await admit(main, ada) == INTERNAL_ERROR
    assert ada.heard() == [INTERNAL]


@NOT_ON_UVLOOP
async def test_a_handler_that_keeps_its_client_out_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A handler with an endless loop would keep every client out, and nobody would know why."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.id.startswith("accepted"):
            socket.accept()
        await gate.wait()

    async with held_clock() as clock:
        tasks = [asyncio.create_task(admit_alone(main, FakeClient(host, name))) for name in ("ada", "accepted")]
        await clock.advance(9.9)
        assert not caplog.records
        await clock.advance(0.2)
        (record,) = caplog.records
        assert (record.sid, record.levelno) == ("ada1", logging.WARNING)  # type: ignore[attr-defined]
        gate.open()
        await asyncio.gather(*tasks)
        caplog.clear()
        gate = Gate()
        gate.open()
        await admit(main, FakeClient(host, "bob"))
        await clock.advance(20)
        assert not caplog.records


async def admit_alone(nsp: Namespace, client: FakeClient, auth: Any = None) -> str:
    """As :func:`admit`, while others are on their way, too."""
    return await nsp._admission.connect(client, auth)


async def test_more_than_may_be_held_closes_the_connection() -> None:
    """A client whose handler hangs would fill the memory with what is emitted to it."""
    host = make_host(max_outbox=110)
    main = host.of("/", None)

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        for _ in range(3):
            await main.emit("news", "x" * 40)
        await turn()

    ada = FakeClient(host)
    assert await admit(main, ada) == GONE
    assert ada.line.closed == "slow consumer"
    assert ada.line.dropped == {"not_admitted": 3}
    assert ada.heard() == []
    assert_nothing_left(host)


# --- clients that come back -------------------------------------------------------------------------------------------


def recovering(**options: Any) -> Host:
    """Make a server whose clients continue their sessions."""
    return make_host(recovery=Recovery(**options.pop("recovery", {})), **options)


def pid_of(client: FakeClient) -> str:
    """Return the private id that a client was given last."""
    pid: str = [line[1]["pid"] for line in client.heard() if line[0] == "connect"][-1]
    return pid


def offset_of(client: FakeClient) -> str | None:
    """Return the offset that a client has reached: the last argument of the last event."""
    offsets = [line[-1] for line in client.heard() if line[0] == "event"]
    return offsets[-1] if offsets else None


async def lost(host: Host, name: str = "ada", *, auth: Any = None, transport: str = "websocket") -> dict[str, Any]:
    """Have a client come and lose its connection. Return what it gives as ``auth`` when it comes back."""
    client = FakeClient(host, name, transport=transport)
    assert await admit(host.of("/", None), client, auth) == CONNECTED
    await host.of("/", None).emit("hi")
    client.drop()
    await idle(host)
    return {**(auth or {}), "pid": pid_of(client), "offset": offset_of(client)}


async def test_a_session_goes_on() -> None:
    """A client would lose its rooms, its data and what was emitted while it was away."""
    host = recovering()
    main = host.of("/", None)
    users: list[Any] = []

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        socket.user = {"name": "changed"}
        users.append("middleware")
        await call_next()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        users.append((socket.user, socket.recovered, sorted(socket.rooms), dict(socket.data)))
        await socket.join("room")
        socket.data["n"] = 1

    auth = await lost(host)
    await main.to("room").emit("missed")
    await main.emit("missed, too")
    ada = FakeClient(host, "other")
    assert await admit(main, ada, auth) == CONNECTED
    missed, also, connect = ada.heard()
    assert (missed[1], also[1], connect) == ("missed", "missed, too", ("connect", {"sid": "ada1", "pid": auth["pid"]}))
    assert len(ada.line.sent) == 1, "in one piece: a client that is slow gets all of it or nothing"
    assert users == [
        "middleware",
        ({"name": "changed"}, False, ["ada1"], {}),
        ({"name": "changed"}, True, ["ada1", "room"], {"n": 1}),
    ]
    assert host.counts.recoveries[RECOVERED] == 1
    assert ada.socket().recovered


async def test_middleware_runs_where_it_is_not_skipped() -> None:
    """A client that was banned meanwhile would come in by its old session."""
    host = recovering(recovery={"skip_middlewares": False})
    main = host.of("/", None)
    log: list[bool] = []

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        log.append(socket.recovered)
        await call_next()

    auth = await lost(host)
    assert await admit(main, FakeClient(host), auth) == CONNECTED
    assert log == [False, True]


async def test_what_no_client_may_have() -> None:
    """Somebody would take over the session of another user, and the rightful user would have lost it."""
    host = recovering(auth=Users())
    main = host.of("/", None)
    auth = await lost(host, auth={"user": "ada"})
    eve = FakeClient(host, "eve")
    assert await admit(main, eve, {**auth, "user": "eve"}) == CONNECTED
    assert eve.heard()[0][1]["sid"] == "eve1"
    assert host.counts.recoveries[ANOTHER_USER] == 1
    assert await admit(main, FakeClient(host, "nobody"), {**auth, "pid": "unknown"}) == CONNECTED
    assert host.counts.recoveries[NOT_FOUND] == 1
    ada = FakeClient(host, "again")
    assert await admit(main, ada, auth) == CONNECTED
    assert ada.socket().id == "ada1"


async def test_more_than_can_be_sent_at_once() -> None:
    """A client would be sent what it has missed, and be closed for it, again and again."""
    host = recovering(max_outbox=200)
    main = host.of("/", None)
    auth = await lost(host)
    for _ in range(3):
        await main.emit("news", "x" * 100)
    ada = FakeClient(host, "again")
    assert await admit(main, ada, auth) == CONNECTED
    assert [line[0] for line in ada.heard()] == ["connect"]
    assert ada.socket().id == "again1"
    assert host.counts.recoveries[TOO_MUCH] == 1


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_may_have_arrived_is_not_sent_twice(transport: str) -> None:
    """A client that is lost while it receives what it has missed would receive some of it again."""
    host = recovering()
    main = host.of("/", None)
    auth = await lost(host, transport=transport)
    await main.emit("missed")
    second = FakeClient(host, transport=transport)
    assert await admit(main, second, auth) == CONNECTED
    second.drop()
    third = FakeClient(host, "third", transport=transport)
    assert await admit(main, third, auth) == CONNECTED
    uncertain = transport == "websocket"  # a payload of polling arrives whole or not at all
    assert third.socket().id == ("third1" if uncertain else "ada1")
    assert host.counts.recoveries[UNCERTAIN] == uncertain


@pytest.mark.parametrize(
    "auth", [{"pid": 1}, {"pid": None}, {"pid": "{pid}", "offset": 1}, {"offset": "o"}, ["{pid}"], "{pid}"]
)
async def test_what_is_no_session(auth: Any) -> None:
    """Anything that a client sends in place of a session would be a traceback."""
    host = recovering()
    ada = FakeClient(host)
    assert await admit(host.of("/", None), ada, auth) == CONNECTED
    assert sum(host.counts.recoveries.values()) == 0


async def test_clients_of_socket_io_2_have_no_sessions() -> None:
    """They would be given a private id that they show to the program, or be asked for one."""
    host = recovering()
    ada = FakeClient(host, protocol=3)
    assert await admit(host.of("/", None), ada, {"pid": "p"}) == CONNECTED
    assert ada.heard() == [("connect", {"sid": "ada1"})]
    ada.drop()
    assert_nothing_left(host)


async def test_a_ghost_goes_first() -> None:
    """A client that is back before its old connection was noticed to be dead would be there twice."""
    host = recovering()
    main = host.of("/", None)
    log: list[str] = []
    gate = Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(f"{socket.conn.transport} comes")

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await gate.wait()
        log.append(f"{socket.conn.transport} goes: {reason}")

    ghost = FakeClient(host, transport="polling")
    assert await admit(main, ghost) == CONNECTED
    ada = FakeClient(host)
    admission = asyncio.create_task(admit(main, ada, {"pid": pid_of(ghost)}))
    await gate.reached()
    assert ghost.line.closed == "transport close"
    await main.emit("held")
    assert ada.heard() == [], "it waits for the handlers of the socket that it continues"
    gate.open()
    assert await admission == CONNECTED
    assert log == ["polling comes", "polling goes: transport close", "websocket comes"]
    connect, held = ada.heard()
    assert (connect[1]["sid"], held[1]) == ("ada1", "held")
    assert main.sockets == {"ada1": ada.socket()}
    assert main.adapter.rooms("ada1") == {"ada1"}


async def test_a_ghost_that_is_not_in_yet() -> None:
    """Two connections with one session would both go on with it."""
    host = recovering(recovery={"skip_middlewares": False})
    main = host.of("/", None)
    gate = Gate()

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if socket.recovered and socket.conn.transport == "polling":
            await gate.wait()
        await call_next()

    auth = await lost(host)
    ghost = FakeClient(host, "ghost", transport="polling")
    first = asyncio.create_task(admit_alone(main, ghost, auth))
    await gate.reached()
    ada = FakeClient(host, "again")
    assert await admit(main, ada, auth) == CONNECTED
    assert ada.socket().id == "ada1"
    gate.open()
    assert await first == GONE
    assert main.sockets == {"ada1": ada.socket()}
    assert main.adapter.rooms("ada1") == {"ada1"}
    await main.emit("once")
    assert [line[1] for line in ada.heard() if line[0] == "event"] == ["once"]
    assert ghost.heard() == []


@pytest.mark.parametrize("how", ["drop", "refuse", "fail", "cancel", "cancelled while it waits for handlers"])
async def test_a_session_that_was_not_used_is_kept(how: str) -> None:
    """One attempt that comes to nothing would cost a client its session."""
    host = recovering(recovery={"skip_middlewares": False})
    main = host.of("/", None)
    gate, farewell = Gate(), Gate()

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await farewell.wait()

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if socket.recovered and not gate._opened.is_set():
            await gate.wait()
            if how == "refuse":
                raise ConnectionRefused
            if how == "fail":
                raise RuntimeError("a mistake of the program")
        await call_next()

    ada = FakeClient(host)
    assert await admit(main, ada) == CONNECTED
    await ada.socket().join("room")
    ada.socket().data["n"] = 1
    ada.drop()
    await farewell.reached()
    if how != "cancelled while it waits for handlers":
        farewell.open()
        await idle(host)
    auth = {"pid": pid_of(ada)}
    second = FakeClient(host, "second")
    attempt = asyncio.create_task(admit_alone(main, second, auth))
    if how == "cancelled while it waits for handlers":
        await turn()
        attempt.cancel()
    else:
        await gate.reached()
        if how == "drop":
            second.drop()
        if how == "cancel":
            attempt.cancel()
    gate.open()
    await asyncio.wait({attempt})
    farewell.open()
    await idle(host)
    assert_nothing_left(host)
    third = FakeClient(host, "third")
    assert await admit(main, third, auth) == CONNECTED
    socket = third.socket()
    assert (socket.id, socket.data) == ("ada1", {"n": 1})
    assert socket.rooms == {"ada1", "room"}


@NOT_ON_UVLOOP
async def test_a_session_that_was_not_used_keeps_its_time() -> None:
    """A client that is refused again and again would keep its session for ever."""
    host = recovering(recovery={"skip_middlewares": False, "max_disconnection_duration": 60})
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if not socket.recovered or socket.conn.transport == "polling":
            await call_next()

    async with held_clock() as clock:
        auth = await lost(host)
        await clock.advance(50)
        assert await admit(main, FakeClient(host), auth) == MIDDLEWARE
        await clock.advance(20)
        late = FakeClient(host, "late", transport="polling")
        assert await admit(main, late, auth) == CONNECTED
        assert late.socket().id == "late1"
        late.drop()
        await main.adapter.close()


async def test_a_client_that_leaves_while_its_session_is_looked_for() -> None:
    """Its session would be handed out to nobody, and gone."""
    kept: list[Session] = []
    gate = Gate()

    class Slow(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            await gate.wait()
            return Session("ada1", pid, frozenset({"ada1"}), {}, None, None)

        def persist_session(self, session: Session) -> None:
            kept.append(session)

    host = make_host(adapter=Slow, recovery=Recovery())
    ada = FakeClient(host)
    admission = asyncio.create_task(admit(host.of("/", None), ada, {"pid": "p"}))
    await gate.reached()
    ada.drop()
    gate.open()
    assert await admission == GONE
    assert [(each.sid, each.pid) for each in kept] == [("ada1", "p")]
    assert_nothing_left(host)


async def test_an_adapter_that_cannot_find_sessions(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody who was there before could connect while a database is down."""

    class Broken(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            raise OSError("no database")

        def persist_session(self, session: Session) -> None:
            raise OSError("no database")

    host = make_host(adapter=Broken, recovery=Recovery())
    main = host.of("/", None)
    ada = FakeClient(host)
    assert await admit(main, ada, {"pid": "p"}) == CONNECTED
    assert host.counts.recoveries[NOT_FOUND] == 1
    ada.drop()
    assert [record.message for record in caplog.records] == [
        "unhandled error while a session is restored",
        "unhandled error while a session is kept",
    ]
    assert_nothing_left(host)


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_session_that_comes_back_twice_at_once(accepted: bool) -> None:
    """Two connections would be one socket, and the end of the dead one be that of the other."""
    gate, inside = Gate(), Gate()
    kept: list[Session] = []

    class Slow(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            await gate.wait()
            session = Session("ada1", pid, frozenset({"ada1", "x"}), {}, origin="another server")
            return session if accept(session) else None

        def persist_session(self, session: Session) -> None:
            kept.append(session)

    host = make_host(adapter=Slow, recovery=Recovery(skip_middlewares=accepted))
    main = host.of("/", None)

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if socket.conn is first.line:
            await inside.wait()
        await call_next()

    first, second = FakeClient(host, "first"), FakeClient(host, "second")
    both = [asyncio.create_task(main._admission.connect(client, {"pid": "p"})) for client in (first, second)]
    await gate.reached()
    await turn()
    gate.open()
    assert await both[1] == CONNECTED
    inside.open()
    await asyncio.gather(*both)
    assert first.line.closed == "transport close"
    assert kept == []
    assert second.socket().id == "ada1"
    assert second.socket().rooms == {"ada1", "x"}
    assert main._membership.by_pid == {"p": second.socket()}
    second.depart()
    await idle(host)
    assert_nothing_left(host)


async def test_an_adapter_that_does_not_ask() -> None:
    """An adapter with a mistake would give a session to whoever has seen its pid."""
    kept: list[Session] = []

    class Careless(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            return Session("ada1", pid, frozenset(), {}, identity="somebody else")

        def persist_session(self, session: Session) -> None:
            kept.append(session)

    host = make_host(adapter=Careless, recovery=Recovery(), auth=Users())
    mallory = FakeClient(host, "mallory")
    assert await admit(host.of("/", None), mallory, {"pid": "p"}) == CONNECTED
    assert mallory.socket().id == "mallory1"
    assert [each.pid for each in kept] == ["p"]
    assert host.counts.recoveries["another_user"] == 1


async def test_a_session_of_a_server_that_does_not_say_whose_it_is() -> None:
    """A session of a Node server, which knows no users, could be recovered by nobody."""

    class Foreign(MemoryAdapter):
        async def restore_session(
            self, pid: str, offset: str | None, accept: Callable[[Session], bool]
        ) -> Session | None:
            session = Session("node1", pid, frozenset({"node1"}), {}, identity=UNKNOWN, origin="node")
            return session if accept(session) else None

    host = make_host(adapter=Foreign, recovery=Recovery(), auth=Users())
    ada = FakeClient(host, "ada")
    assert await admit(host.of("/", None), ada, {"pid": "p"}) == CONNECTED
    assert ada.socket().id == "node1"
    assert ada.socket().user is ada.socket()._authenticated is not None


async def test_who_a_user_is_cannot_be_told() -> None:
    """A mistake in ``Recovery.identity`` would cost every client its session."""
    fails = False

    def identity(user: Any) -> Any:
        if fails:
            raise LookupError("a mistake of the program")
        return user

    host = recovering(auth=Users(), recovery={"identity": identity})
    main = host.of("/", None)
    auth = await lost(host)
    fails = True
    assert await admit(main, FakeClient(host), auth) == INTERNAL_ERROR
    fails = False
    ada = FakeClient(host, "again")
    assert await admit(main, ada, auth) == CONNECTED
    assert ada.socket().id == "ada1"


@NOT_ON_UVLOOP
async def test_a_client_does_not_wait_for_ever_for_old_handlers(caplog: pytest.LogCaptureFixture) -> None:
    """A "disconnect" handler that hangs would lock its client out."""
    host = recovering()
    main = host.of("/", None)
    gate = Gate()

    @main.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await gate.wait()

    async with held_clock() as clock:
        ghost = FakeClient(host)
        await admit(main, ghost)
        ghost.drop()
        ada = FakeClient(host, "again")
        admission = asyncio.create_task(admit(main, ada, {"pid": pid_of(ghost)}))
        await clock.advance(9.9)
        assert not admission.done()
        await clock.advance(0.2)
        assert await admission == CONNECTED
        assert "still runs: its client has come back meanwhile" in caplog.text
        gate.open()
        await idle(host)
        assert main.sockets == {"ada1": ada.socket()}


class ByName:
    """Takes the name that a client gives for its user."""

    async def authenticate(self, handshake: Handshake) -> str:
        """Return the user."""
        return str(handshake.auth["user"])


async def test_a_user_has_so_many_places_and_frees_them() -> None:
    """A user would be kept out for good by a client that was refused, or get in as often as it likes."""
    host = make_host(auth=ByName(), max_connections_per_user=1)
    main = host.of("/", None)
    refuses = True

    @main.use
    async def middleware(socket: Socket, call_next: Callable[[], Awaitable[None]]) -> None:
        if refuses:
            raise ConnectionRefused("no")
        await call_next()

    assert await FakeClient(host, "one").connect(auth={"user": "ada"}) == "middleware"
    refuses = False
    two = FakeClient(host, "two")
    assert await two.connect(auth={"user": "ada"}) == "connected"
    assert await FakeClient(host, "three").connect(auth={"user": "ada"}) == "limited"
    assert await FakeClient(host, "four").connect(auth={"user": "bob"}) == "connected"
    host.of("/other", None)
    assert await FakeClient(host, "five").connect("/other", auth={"user": "ada"}) == "connected"
    two.depart()
    assert await FakeClient(host, "six").connect(auth={"user": "ada"}) == "connected"
    assert host.seats is not None
    assert len(host.seats) == 3
    assert host.counts.limited["max_connections_per_user"] == 1


async def test_a_user_who_comes_back_takes_the_place_of_the_lost_connection() -> None:
    """A phone that has changed its network would be refused until the heartbeat notices."""
    host = make_host(auth=ByName(), recovery=Recovery(), max_connections_per_user=1)
    one, again = FakeClient(host, "one"), FakeClient(host, "again")
    assert await one.connect(auth={"user": "ada"}) == "connected"
    pid = one.socket()._pid
    assert await again.connect(auth={"user": "ada", "pid": pid}) == "connected"
    assert again.socket().recovered
    assert one.line.closed == "transport close"
