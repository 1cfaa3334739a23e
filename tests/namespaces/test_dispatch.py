"""An event on its way to its acknowledgement: who is called in which order, and what the client is answered."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import pytest

from rtframework import Ack, DisconnectReason, Event, EventError, InvalidPayload, Socket
from rtframework.namespaces.host import Host
from rtframework.protocols import CallNext
from rtframework.types import Handshake, Packet, PacketType
from tests.support.clients import FakeClient, Gate, idle, make_host, turn

INTERNAL = {"error": {"code": "internal_error", "message": "Internal server error"}}


async def joined(host: Host, name: str = "ada") -> FakeClient:
    """Return a client that is in the main namespace."""
    client = FakeClient(host, name)
    assert await client.connect() == "connected"
    return client


class Observing:
    """An observer that notes each event and what becomes of it."""

    def __init__(self, log: list[Any]) -> None:
        self._log = log

    async def connect(self, handshake: Handshake, call_next: Any) -> str:
        """Let everybody pass."""
        outcome: str = await call_next()
        return outcome

    async def event(self, socket: Any, event: Any, call_next: CallNext) -> Any:
        """Note the result, or what was raised."""
        try:
            result = await call_next()
        except BaseException as error:
            self._log.append((event.name, repr(error)))
            raise
        self._log.append((event.name, result))
        return result

    def start(self) -> None: ...

    def stop(self) -> None: ...


OBSERVED = pytest.mark.parametrize("observed", [False, True], ids=["", "observed"])


# --- the answer -------------------------------------------------------------------------------------------------------


@OBSERVED
@pytest.mark.parametrize("middleware", [False, True], ids=["", "middleware"])
@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (None, []),
        (1, [1]),
        ((1, 2), [1, 2]),
        ((), []),
        ([1, 2], [[1, 2]]),
        (EventError("no", "text", [1]), [{"error": {"code": "no", "message": "text", "details": [1]}}]),
        (RuntimeError("a mistake"), [INTERNAL]),
        (object(), [INTERNAL]),
        (asyncio.CancelledError(), [INTERNAL]),
    ],
    ids=["None", "value", "tuple", "empty", "list", "refused", "error", "unsendable", "cancelled inside"],
)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_what_a_client_is_answered(
    is_async: bool, result: Any, answer: list[Any], middleware: bool, observed: bool
) -> None:
    """A client would be answered otherwise as soon as there is a metric or a middleware."""
    host = make_host()
    main = host.of("/", None)
    log: list[Any] = []
    if middleware:

        @main.use_event
        async def passing(socket: Socket, event: Event, call_next: CallNext) -> Any:
            return await call_next()

    if observed:
        host.observe(Observing(log))

    def give() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    @main.on("plain")
    def plain(socket: Socket) -> Any:
        return give()

    @main.on("async")
    async def with_await(socket: Socket) -> Any:
        await asyncio.sleep(0)
        return give()

    ada = await joined(host)
    event = "async" if is_async else "plain"
    assert await ada.ask(event) == answer
    heard = ada.heard()
    task = ada.say(event)  # nobody waits for the answer
    assert task is not None
    await task
    assert ada.heard() == heard
    assert len(log) == 2 * observed


async def test_an_answer_that_cannot_be_sent_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A client would wait for ever for an answer that the server could not write."""
    host = make_host()
    main = host.of("/", None)

    @main.on("returns")
    def returns(socket: Socket) -> Any:
        return {"x": float("nan")}

    @main.on("refuses")
    def refuses(socket: Socket) -> Any:
        raise EventError("no", details=object())

    ada = await joined(host)
    for event in ("returns", "refuses"):
        caplog.clear()
        assert await ada.ask(event) == [INTERNAL]
        (record,) = caplog.records
        assert (record.event, record.sid, record.nsp) == (event, "ada1", "/")  # type: ignore[attr-defined]
    assert host.counts.events_refused["internal_error"] == 2
    assert "no" not in host.counts.events_refused


async def test_unknown_events() -> None:
    """A typing error in a client would go without an answer."""
    host = make_host()
    ada = await joined(host)
    (answer,) = await ada.ask("typo")
    assert answer["error"]["code"] == "unknown_event"
    assert host.counts.events_refused["unknown_event"] == 1


async def test_an_ack_answers_once() -> None:
    """A client would take the second answer for that of its next question."""
    host = make_host()
    main = host.of("/", None)
    acks: list[Ack] = []

    @main.on("now")
    async def now(socket: Socket, ack: Ack) -> str:
        assert ack.wanted
        ack("first", 1)
        assert not ack.wanted
        ack("second")
        return "not this"

    @main.on("later")
    async def later(socket: Socket, ack: Ack) -> None:
        acks.append(ack)

    @main.on("fails")
    async def fails(socket: Socket, ack: Ack) -> None:
        ack("answered")
        raise RuntimeError("afterwards")

    ada = await joined(host)
    assert await ada.ask("now") == ["first", 1]
    assert await ada.ask("later") is None
    acks[0]("late")
    acks[0]("later")
    assert ada.heard()[-1] == ("ack", 1, "late")
    assert await ada.ask("fails") == ["answered"]
    assert await ada.ask("later") is None
    ada.drop()
    acks[1]("nobody hears this")
    assert ada.heard()[-1] == ("ack", 2, "answered")


@OBSERVED
async def test_a_handler_that_is_cancelled_says_so(observed: bool) -> None:
    """A client would wait for ever when the program, or a shutdown, cancels what serves it."""
    host = make_host()
    main = host.of("/", None)
    log: list[Any] = []
    if observed:
        host.observe(Observing(log))
    gate = Gate()

    @main.on("hang")
    async def hang(socket: Socket) -> None:
        await gate.wait()

    @main.exception_handler(Exception)
    async def anything(socket: Socket, error: Exception) -> EventError:
        raise AssertionError("a cancellation is no exception of the program")

    ada = await joined(host)
    task = ada.say("hang", id=7)
    assert task is not None
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ada.heard()[-1] == ("ack", 7, {"error": {"code": "cancelled", "message": "The handler was cancelled"}})
    assert host.counts.events_refused["cancelled"] == 1
    assert log == ([("hang", "CancelledError()")] if observed else [])


async def test_answers_of_those_who_left_are_dropped() -> None:
    """A handler that outlives its client would fail, or write into a connection that is somebody else's."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()

    @main.on("ask")
    async def ask(socket: Socket) -> str:
        await gate.wait()
        await socket.emit("also lost")
        return "too late"

    ada = await joined(host)
    task = ada.say("ask", id=1)
    await gate.reached()
    ada.depart()
    assert task is not None
    gate.open()
    await task
    assert [line[0] for line in ada.heard()] == ["connect"]


# --- exception handlers -----------------------------------------------------------------------------------------------


@OBSERVED
async def test_exception_handlers_are_asked_once(observed: bool) -> None:
    """A failure would be counted, or its text written to a ticket, twice."""
    host = make_host()
    main = host.of("/", None)
    asked: list[str] = []
    log: list[Any] = []
    if observed:
        host.observe(Observing(log))

    @main.exception_handler(LookupError)
    async def lookup(socket: Socket, error: LookupError) -> EventError:
        asked.append(str(error))
        return EventError("not_found", str(error))

    @main.exception_handler(ValueError)
    def value(socket: Socket, error: ValueError) -> tuple[str, int]:
        return "an answer", 1

    @main.exception_handler(OSError)
    def fails(socket: Socket, error: OSError) -> None:
        raise RuntimeError("in the exception handler")

    @main.on("x")
    async def x(socket: Socket, kind: str) -> None:
        raise {"lookup": LookupError("gone"), "value": ValueError(), "os": OSError()}[kind]

    ada = await joined(host)
    assert await ada.ask("x", "lookup") == [{"error": {"code": "not_found", "message": "gone"}}]
    assert await ada.ask("x", "value") == ["an answer", 1]
    assert await ada.ask("x", "os") == [INTERNAL]
    assert asked == ["gone"]
    assert {key: count for key, count in host.counts.events_refused.items() if count} == {
        "not_found": 1,
        "internal_error": 1,
    }
    if observed:
        assert log == [
            ("x", "EventError('gone')"),
            ("x", ("an answer", 1)),
            ("x", "RuntimeError('in the exception handler')"),
        ]


async def test_a_payload_that_does_not_fit_is_logged_when_nobody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends the wrong thing without asking for an answer would look like one that sends nothing."""
    host = make_host()
    main = host.of("/", None)

    @main.on("x")
    async def x(socket: Socket, number: int) -> None: ...

    @main.exception_handler(InvalidPayload)
    async def own(socket: Socket, error: InvalidPayload) -> Any:
        return EventError("mine") if socket.data else None

    ada = await joined(host)
    with caplog.at_level(logging.WARNING):
        task = ada.say("x", "no number" * 200)
        assert task is not None
        await task
        (record,) = caplog.records
        assert "does not fit its handler" in record.message
        assert len(record.message) < 800
        caplog.clear()
        assert (await ada.ask("x", "no number"))[0]["error"]["code"] == "invalid_payload"
        ada.socket().data["own"] = True
        task = ada.say("x", "no number")
        assert task is not None
        await task
        assert not caplog.records


# --- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["event", "namespace", "server", "socket"])
async def test_ordered_events_wait_for_each_other(how: str) -> None:
    """ "save" would overtake the "upload" before it."""
    host = make_host(ordered=how == "server")
    main = host.of("/", None)
    if how == "namespace":
        main._listening.ordered = True
    log: list[str] = []
    gates = {name: Gate() for name in "abc"}

    async def serve(name: str) -> None:
        log.append(f"{name} starts")
        await gates[name].wait()
        log.append(f"{name} ends")

    ordered = True if how in ("event", "socket") else None
    if how != "socket":

        @main.on("x", ordered=ordered)
        async def x(socket: Socket, name: str) -> None:
            await serve(name)

    @main.on("free", ordered=False)
    async def free(socket: Socket) -> None:
        log.append("free")

    ada, bob = await joined(host), await joined(host, "bob")
    for client in (ada, bob):
        if how == "socket":
            client.socket().on("x", ordered=ordered)(serve)
    tasks = [ada.say("x", "a"), ada.say("x", "b"), ada.say("free"), bob.say("x", "c")]
    await turn()
    assert log == ["a starts", "free", "c starts"]
    tasks[0].cancel()  # type: ignore[union-attr]
    await turn()
    assert log[3:] == ["b starts"], "the turn of one that is cancelled is over"
    for gate in gates.values():
        gate.open()
    await asyncio.wait([task for task in tasks if task is not None])
    assert log[4:] == ["b ends", "c ends"] or log[4:] == ["c ends", "b ends"]


async def test_catch_alls_see_an_event_before_its_handlers() -> None:
    """A log of what came would have the answers before the questions; or a slow catch-all would hold up everybody."""
    host = make_host()
    main = host.of("/", None)
    log: list[Any] = []
    gate = Gate()

    @main.on_any
    async def slow(socket: Socket, event: str, *args: Any) -> None:
        log.append(("slow", event, args))
        await gate.wait()

    @main.prepend_any
    def first(socket: Socket, event: str, *args: Any) -> None:
        log.append(("first", event, args))
        raise RuntimeError("a mistake of the program")

    @main.use_event
    async def middleware(socket: Socket, event: Event, call_next: CallNext) -> Any:
        log.append("middleware")
        event.name = "y"
        return await call_next()

    @main.on("y")
    async def y(socket: Socket, *args: Any) -> str:
        log.append("handler")
        return "answer"

    ada = await joined(host)
    ada.socket().on_any(lambda event, *args: log.append(("own", event, args)))
    task = ada.say("x", 1, id=3)
    assert task is not None
    await turn()
    assert log == [("first", "x", (1,)), ("slow", "x", (1,)), ("own", "x", (1,)), "middleware", "handler"]
    assert ada.heard()[-1] == ("ack", 3, "answer")
    gate.open()
    await task


async def test_a_catch_all_may_disconnect() -> None:
    """A guard that sends a client away would have its event served all the same."""
    host = make_host()
    main = host.of("/", None)
    log: list[str] = []

    @main.on_any
    async def guard(socket: Socket, event: str) -> None:
        await socket.disconnect()

    @main.on("x")
    async def x(socket: Socket) -> None:
        log.append("served")

    ada = await joined(host)
    task = ada.say("x", id=1)
    assert task is not None
    await task
    assert log == []
    assert ada.heard()[1:] == [("disconnect",)]


async def test_handlers_of_the_namespace_and_of_the_socket_are_one() -> None:
    """One of the two would be passed over, or the client be answered twice."""
    host = make_host()
    main = host.of("/", None)
    log: list[str] = []

    @main.on("x")
    async def of_all(socket: Socket) -> None:
        log.append("of all")

    ada = await joined(host)

    @ada.socket().on("x")
    def own() -> str:
        log.append("own")
        return "answer"

    ada.socket().on("y")(lambda: "own event")
    assert await ada.ask("x") == ["answer"]
    assert log == ["of all", "own"]
    assert await ada.ask("y") == ["own event"]
    bob = await joined(host, "bob")
    assert await bob.ask("x") == []
    assert (await bob.ask("y"))[0]["error"]["code"] == "unknown_event"


@pytest.mark.parametrize("own", [False, True])
async def test_a_catch_all_that_answers_takes_what_has_no_handler(own: bool) -> None:
    """A proxy that passes everything on would have each event answered twice."""
    host = make_host()
    main = host.of("/", None)

    def proxy(socket: Socket, event: str, *args: Any, ack: Ack) -> None:
        ack(event, *args)

    ada = await joined(host)
    if own:
        ada.socket().on_any(partial(proxy, ada.socket()))
    else:
        main.on_any(proxy)
    assert await ada.ask("anything", 1) == ["anything", 1]
    assert sum(host.counts.events_refused.values()) == 0


# --- in each state ----------------------------------------------------------------------------------------------------


async def test_an_event_before_the_client_knows_that_it_is_connected() -> None:
    """A client that speaks before it may would be served before its connection handler has set it up."""
    host = make_host()
    main = host.of("/", None)
    gate = Gate()

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await gate.wait()

    @main.on("x")
    async def x(socket: Socket) -> None:
        raise AssertionError("it is not in yet")

    ada = FakeClient(host)
    admission = asyncio.create_task(ada.connect())
    await gate.reached()
    assert ada.say("x", id=1) is None
    assert ada.line.closed == DisconnectReason.FORCED_SERVER_CLOSE
    gate.open()
    assert await admission == "gone"
    await idle(host)


async def test_an_event_after_the_client_has_left() -> None:
    """What waits in a queue would be served for a client whose "disconnect" handler has run."""
    host = make_host()
    main = host.of("/", None)

    @main.on("x")
    async def x(socket: Socket) -> None:
        raise AssertionError("it has left")

    ada = await joined(host)
    socket = ada.socket()
    ada.depart()
    for kind in (PacketType.EVENT, PacketType.ACK):
        assert socket._receive(Packet(kind, "/", ["x"], 1)) is None
    assert ada.line.is_open


async def test_answers_of_clients() -> None:
    """An answer would wake whoever asks something else, or one that nobody waits for any more close a connection."""
    host = make_host()
    ada = await joined(host)
    socket = ada.socket()
    ada.answer(99, "nobody asked")
    first, second = (asyncio.create_task(socket.emit_with_ack("q", n)) for n in (1, 2))
    await turn()
    one, two = ada.questions()
    ada.answer(two, "b")
    ada.answer(two, "again")
    ada.answer(one, "a", 1)
    assert (await first, await second) == (("a", 1), "b")
    third = asyncio.create_task(socket.emit_with_ack("q"))
    await turn()
    third.cancel()
    await asyncio.wait({third})
    ada.answer(ada.questions()[-1], "too late")
    assert not socket._acks
