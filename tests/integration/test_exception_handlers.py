"""Exception handlers, and what a payload that does not fit sets off when nobody waits for the answer."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rtframework import (
    ConnectionRefused,
    Depends,
    Event,
    EventError,
    Handshake,
    InvalidPayload,
    Server,
    Socket,
)
from rtframework.protocols import CallNext
from rtframework.testing import TestServer
from rtframework.types import Packet
from tests.conftest import Serve
from tests.support import heap
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until


class NotFound(LookupError):
    """A program's own exception."""


async def test_exceptions_become_error_acks(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """Every handler would need the same ``try``, or clients would read "internal_error" for what they did wrong."""
    io = Server()
    log: list[Any] = []

    @io.exception_handler(LookupError)
    async def lookup(socket: Socket, error: LookupError) -> EventError:
        return EventError("lookup", str(error), {"sid": socket.id})

    @io.exception_handler(NotFound)
    def not_found(socket: Socket, error: NotFound, event: Event) -> EventError | None:
        log.append((event.name, event.args))
        return EventError("not_found", str(error)) if str(error) else None

    @io.exception_handler(PermissionError)
    async def raising(socket: Socket, error: PermissionError) -> None:
        raise EventError("forbidden")

    @io.exception_handler(ZeroDivisionError)
    async def value(socket: Socket, error: ZeroDivisionError) -> tuple[str, float]:
        return "infinite", 0.0

    @io.exception_handler(OSError)
    async def failing(socket: Socket, error: OSError) -> None:
        raise RuntimeError("in the exception handler")

    @io.on("raise")
    async def handler(socket: Socket, kind: str, text: str = "") -> None:
        kinds = (KeyError, NotFound, PermissionError, ZeroDivisionError, OSError, ValueError)
        raise {each.__name__: each for each in kinds}[kind](text)

    async def provider() -> AsyncIterator[None]:
        raise NotFound("in a provider")
        yield

    @io.on("provided")
    async def provided(socket: Socket, nothing: None = Depends(provider)) -> None: ...

    client = await js.connect((await serve(io)).url, via=transport)

    async def answer(*args: Any) -> Any:
        found = await client.emit_with_ack(*args)
        return found["error"]["code"] if isinstance(found, dict) else found

    assert await client.emit_with_ack("raise", "NotFound", "gone") == {
        "error": {"code": "not_found", "message": "gone"}
    }
    assert log == [("raise", ["NotFound", "gone"])]
    assert await answer("raise", "NotFound") == "lookup"  # it was left to the next
    assert await answer("raise", "KeyError", "x") == "lookup"
    assert await answer("raise", "PermissionError") == "forbidden"
    assert await answer("raise", "ZeroDivisionError") == "infinite"
    assert await answer("provided") == "not_found"
    assert not caplog.records
    assert await answer("raise", "OSError") == "internal_error"
    assert "in the exception handler" in caplog.text
    caplog.clear()
    assert await answer("raise", "ValueError") == "internal_error"
    (record,) = caplog.records
    assert (record.event, record.sid, record.nsp) == ("raise", await client.id(), "/")  # type: ignore[attr-defined]


async def test_inner_before_outer(serve: Serve, js: JSClients) -> None:
    """A namespace could not answer otherwise than the rest of the server, or middleware would see it too late."""
    io = Server()
    seen: list[str] = []

    @io.exception_handler(ValueError)
    async def of_the_server(socket: Socket, error: ValueError) -> EventError:
        return EventError("server")

    rooms = io.of("/room/{id}")
    own = io.of("/own")

    @rooms.exception_handler(ValueError)
    async def of_the_rooms(socket: Socket, error: ValueError) -> EventError:
        return EventError("rooms")

    @own.use_event
    async def middleware(socket: Socket, event: Event, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except ValueError as error:
            seen.append(str(error))
            raise

    for namespace in (io.of("/"), rooms, own):

        @namespace.on("x")
        async def x(socket: Socket) -> None:
            raise ValueError("mine")

        @namespace.on("several")
        async def first(socket: Socket) -> None:
            raise ValueError("one of several")

        @namespace.on("several")
        async def second(socket: Socket) -> None: ...

    client = await js.connect((await serve(io)).url)
    for name, code in (("/", "server"), ("/room/7", "rooms"), ("/own", "server")):
        there = client if name == "/" else await client.of(name)
        assert (await there.emit_with_ack("x"))["error"]["code"] == code
        assert (await there.emit_with_ack("several"))["error"]["code"] == code
    assert seen == ["mine", "one of several"]


async def test_refused_payloads(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that asks for no answer would have its events thrown away, and nobody would ever know."""
    io = Server()
    hook: list[Any] = []

    @io.on("move")
    async def move(socket: Socket, x: int, y: int) -> None: ...

    client = await js.connect((await serve(io)).url, via=transport)
    await client.emit("move", 1, "2")
    await until(lambda: bool(caplog.records))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'move'" in record.getMessage()
    assert "Expected `int`, got `str`" in record.getMessage()
    assert (record.event, record.nsp) == ("move", "/")  # type: ignore[attr-defined]
    caplog.clear()

    @io.exception_handler(InvalidPayload)
    async def invalid(socket: Socket, error: InvalidPayload, event: Event) -> EventError:
        hook.append((event.name, event.args, error.details))
        return error

    await client.emit("move", 1, "2")
    assert (await client.emit_with_ack("move", "1", 2))["error"]["code"] == "invalid_payload"
    assert hook == [
        ("move", [1, "2"], [{"path": "$[1]", "message": "Expected `int`, got `str`"}]),
        ("move", ["1", 2], [{"path": "$[0]", "message": "Expected `int`, got `str`"}]),
    ]
    assert not caplog.records


async def test_while_a_client_connects(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A program's own exception would be "Internal server error" in connect_error, whatever it is about."""
    io = Server()

    @io.exception_handler(NotFound)
    async def not_found(socket: Socket, error: NotFound, event: Event) -> EventError:
        return EventError("not_found", f"{error} {event.name}", {"id": 7})

    @io.exception_handler(PermissionError)
    async def forbidden(socket: Socket, error: PermissionError) -> None:
        raise ConnectionRefused("forbidden", {"code": 403})

    @io.exception_handler(ZeroDivisionError)
    async def answered(socket: Socket, error: ZeroDivisionError) -> str:
        return "no error"

    @io.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth["by"] == "middleware":
            raise NotFound("no such thing:")
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        raise {"handler": PermissionError, "answer": ZeroDivisionError, "other": ValueError}[
            socket.handshake.auth["by"]
        ]

    server = await serve(io)

    async def refusal(by: str) -> tuple[str, Any]:
        error = await (await js.connect(server.url, via=transport, auth={"by": by}, wait=False)).refused()
        return error["message"], error["data"]

    details = {"code": "not_found", "message": "no such thing: connection", "details": {"id": 7}}
    assert await refusal("middleware") == ("no such thing: connection", details)
    assert await refusal("handler") == ("forbidden", {"code": 403})
    assert not caplog.records
    assert await refusal("other") == ("Internal server error", {"code": "internal_error"})
    assert await refusal("answer") == ("Internal server error", {"code": "internal_error"})
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, TypeError]
    assert not io.sockets


class Seeing:
    """An observer that notes what becomes of events."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def connect(self, handshake: Handshake, call_next: Callable[[], Awaitable[str]]) -> str:
        return await call_next()

    async def event(self, socket: Socket, event: Event, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except EventError as error:
            self.log.append(error.code)
            raise

    def start(self) -> None: ...

    def stop(self) -> None: ...


@NOT_ON_UVLOOP
@pytest.mark.parametrize("observed", [False, True])
async def test_one_of_several_handlers_is_explained_once(observed: bool) -> None:
    """A handler that counts or translates refusals would see each twice, and its own translation as a refusal."""
    io = Server()
    log: list[Any] = []
    if observed:
        io.observe(Seeing(log))

    @io.exception_handler(Exception)
    async def translate(socket: Socket, error: Exception) -> EventError | None:
        log.append(repr(error))
        return EventError("translated") if isinstance(error, EventError) else None

    @io.on("refuse")
    @io.on("fail")
    async def nothing(socket: Socket) -> None: ...

    @io.on("refuse")
    async def refuse(socket: Socket) -> None:
        raise EventError("refused")

    @io.on("fail")
    async def fail(socket: Socket) -> None:
        raise KeyError("failed")

    async with TestServer(io) as server:
        client = await server.connect()
        refused = {"error": {"code": "translated", "message": "translated"}}
        assert await client.emit_with_ack("refuse") == refused
        assert log == ["EventError('refused')", *["translated"] * observed]
        log.clear()
        failed = {"error": {"code": "internal_error", "message": "Internal server error"}}
        assert await client.emit_with_ack("fail") == failed
        assert log == ["KeyError('failed')", *["internal_error"] * observed]
        refusals = io.stats().events_refused
        assert (refusals["translated"], refusals["internal_error"]) == (1, 1)


@NOT_ON_UVLOOP
async def test_a_payload_cannot_write_lines_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A client could forge lines of the log, or fill it, by the names of fields that it makes up."""

    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        text: str = ""

    io = Server()

    @io.on("x")
    async def x(socket: Socket, value: Strict) -> None: ...

    async with TestServer(io) as server:
        client = await server.connect()
        await client.emit("x", {"a\nERROR forged" + "b" * 10_000: 1})
        await until(lambda: "does not fit" in caplog.text)
    (message,) = caplog.messages
    assert "\n" not in message
    assert len(message) < 1000


@NOT_ON_UVLOOP
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("translated", [False, True])
async def test_nothing_of_a_failed_event_waits_for_the_garbage_collector(observed: bool, translated: bool) -> None:
    """A client could have every refused event kept, with its payload, until the garbage collector comes by."""
    io = Server()
    if observed:
        io.observe(Seeing([]))

    @io.exception_handler(LookupError)
    async def lookup(socket: Socket, error: LookupError) -> None:
        if translated:
            raise EventError("lookup") from error

    @io.on("fail")
    @io.on("several")
    async def fail(socket: Socket, number: int) -> None:
        raise NotFound

    @io.on("several")
    async def several(socket: Socket, *args: Any) -> None:
        await asyncio.sleep(0)

    async with TestServer(io) as server:
        client = await server.connect()
        for event, argument in itertools.product(("fail", "several", "unknown"), ("x", 1)):
            await client.emit_with_ack(event, argument)
            heap.leave_out()  # to go through what all other tests have left takes long
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                await client.emit_with_ack(event, argument)
                await asyncio.sleep(0)
                gc.collect()
                kept = [each for each in gc.garbage if isinstance(each, Packet | EventError | NotFound)]
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()
            assert not kept, (event, argument)


@NOT_ON_UVLOOP
async def test_what_observers_have_made_of_an_event_is_injected_into_each_of_several_handlers() -> None:
    """A handler would be given the client's trace as an argument, as soon as the event has a second handler."""

    class Stripping(Seeing):
        async def event(self, socket: Socket, event: Event, call_next: CallNext) -> Any:
            del event.args[-1]
            return await call_next()

    io = Server()
    io.observe(Stripping([]))

    @io.on("x")
    async def nothing(socket: Socket, number: int) -> None: ...

    @io.on("x")
    async def x(socket: Socket, number: int, event: Event) -> list[Any]:
        return event.args

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("x", 1, {"traceparent": "..."}) == [1]
