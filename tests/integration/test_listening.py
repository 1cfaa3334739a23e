"""Who hears an event, and who answers it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Struct

from rtframework import (
    Ack,
    ConfigurationError,
    ConnectionRefused,
    Depends,
    Event,
    EventError,
    Server,
    Socket,
)
from rtframework.protocols import CallNext
from rtframework.testing import TestServer
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until

INTERNAL = {"error": {"code": "internal_error", "message": "Internal server error"}}


class Message(Struct):
    text: str


# --- several handlers of one event -----------------------------------------------------------------------------------


async def test_several_handlers_in_order(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A second handler would replace the first, or run before it, or wait for what the first waits for."""
    io = Server()
    log: list[str] = []
    release = asyncio.Event()

    @io.on("x")
    async def first(socket: Socket, text: str) -> None:
        log.append("first " + text)
        await release.wait()
        log.append("first ends")

    @io.on("x")
    def second(socket: Socket, text: str) -> str:
        log.append("second " + text)
        return "answer"

    @io.on("x")
    async def third(socket: Socket, *args: Any) -> str:
        log.append("third")
        await asyncio.sleep(0)
        return "too late"

    client = await js.connect((await serve(io)).url, via=transport)
    assert io.listeners("x") == (first, second, third)
    assert await client.ack_args("x", "a") == ["answer"]  # while the first still waits
    await until(lambda: log == ["first a", "second a", "third"])
    release.set()
    await until(lambda: log[-1] == "first ends")
    assert await client.ack_args("x", "b") == ["answer"]
    assert log[4:7] == ["first b", "first ends", "second b"]


async def test_the_first_answer_counts(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A client would get two answers, the one of a logger, or none because one handler of several failed."""
    io = Server()

    def handles(event: str, answer: Any) -> None:
        @io.on(event)
        async def handler(socket: Socket, *args: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    for event, answers in {
        "none": (None, None),
        "late": (None, "late"),
        "two": ("one", "two"),
        "empty": ((), "two"),
        "refused": (EventError("no"), "two"),
        "refused late": ("one", EventError("no")),
        "broken": (RuntimeError("first"), "two"),
        "all broken": (None, RuntimeError("second")),
        "unsendable": (float("nan"), "two"),
    }.items():
        for answer in answers:
            handles(event, answer)

    @io.on("checked")
    async def logs(socket: Socket, *args: Any) -> None: ...

    @io.on("checked")
    async def checked(socket: Socket, message: Message) -> str:
        return message.text

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.ack_args("none") == []
    assert await client.ack_args("late") == ["late"]
    assert await client.ack_args("two") == ["one"]
    assert await client.ack_args("empty") == []
    assert await client.emit_with_ack("refused") == {"error": {"code": "no", "message": "no"}}
    assert await client.emit_with_ack("refused late") == "one"
    assert await client.emit_with_ack("broken") == "two"
    assert await client.emit_with_ack("all broken") == INTERNAL
    assert await client.emit_with_ack("unsendable") == INTERNAL
    assert await client.emit_with_ack("checked", {"text": "fits"}) == "fits"
    assert (await client.emit_with_ack("checked", {"text": 1}))["error"]["code"] == "invalid_payload"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "unhandled error in a handler of 'broken'",
        "unhandled error in a handler of 'all broken'",
        "the acknowledgement of 'unsendable' cannot be sent",
    ]


async def test_middleware_sees_the_first_answer(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that middleware changes would have been sent before it could, or it would miss an exception."""
    io = Server()

    @io.use_event
    async def loud(socket: Socket, event: Event, call_next: CallNext) -> Any:
        answer = await call_next()
        return answer.upper() if isinstance(answer, str) else answer

    @io.use_event
    async def errors(socket: Socket, event: Event, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except LookupError as error:
            raise EventError("not_found") from error

    @io.on("x")
    async def quiet(socket: Socket) -> None:
        raise RuntimeError("another's answer is there")

    @io.on("lookup")
    async def lookup(socket: Socket) -> None:
        raise LookupError

    @io.on("lookup")
    async def log(socket: Socket) -> None: ...

    @io.on("x")
    async def answers(socket: Socket) -> str:
        return "answer"

    @io.on("by ack")
    async def by_ack(socket: Socket, ack: Ack) -> None:
        ack("as it is")

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("x") == "ANSWER"
    assert "another's answer is there" in caplog.text
    assert (await client.emit_with_ack("lookup"))["error"]["code"] == "not_found"
    assert len(caplog.records) == 1
    assert await client.emit_with_ack("by ack") == "as it is"
    assert (await client.emit_with_ack("unheard"))["error"]["code"] == "unknown_event"


async def test_several_handlers_in_turn(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An event that is served strictly in turn would overtake a second handler of the one before it."""
    io = Server()
    log: list[str] = []

    @io.on("step")
    async def fast(socket: Socket, number: int) -> None:
        log.append(f"fast {number}")

    @io.on("step", ordered=True)
    async def slow(socket: Socket, number: int) -> int:
        await asyncio.sleep(0.002)
        log.append(f"slow {number}")
        return number

    client = await js.connect((await serve(io)).url, via=transport)
    await asyncio.gather(*(client.emit_with_ack("step", number) for number in range(4)))
    assert log == [f"{word} {number}" for number in range(4) for word in ("fast", "slow")]


async def test_off(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What was switched off would go on, or more would be switched off than was asked for."""
    io = Server()
    heard: list[str] = []

    class Listener:
        def hear(self, socket: Socket) -> None:
            heard.append("method")

    @io.on("x")
    def one(socket: Socket) -> None:
        heard.append("one")

    listener = Listener()
    io.on("x")(listener.hear)
    io.on("x")(one)
    client = await js.connect((await serve(io)).url, via=transport)
    await client.emit_with_ack("x")
    assert heard == ["one", "method", "one"]
    io.off("x", one)  # the one that was added last
    heard.clear()
    await client.emit_with_ack("x")
    assert heard == ["one", "method"]
    io.off("x", listener.hear)
    io.off("x", print)
    heard.clear()
    await client.emit_with_ack("x")
    assert heard == ["one"]
    io.off("x")
    io.off("never there")
    assert (await client.emit_with_ack("x"))["error"]["code"] == "unknown_event"
    assert io.listeners("x") == ()
    io.on("x")(one)
    assert await client.ack_args("x") == []


async def test_once(serve: Serve, js: JSClients, transport: Transport) -> None:
    """What is meant for one time would happen again, or a client that sends rubbish would use it up."""
    io = Server()
    heard: list[Any] = []
    connections: list[str] = []

    @io.once("x")
    async def first(socket: Socket, number: int) -> str:
        heard.append(number)
        await asyncio.sleep(0)
        return "first"

    @io.once("connection")
    async def opening(socket: Socket) -> None:
        connections.append(socket.id)

    server = await serve(io)
    client, other = await js.connect(server.url, via=transport), await js.connect(server.url, via=transport)
    assert connections == [await client.id()]
    assert (await other.emit_with_ack("x", "rubbish"))["error"]["code"] == "invalid_payload"
    answers = await asyncio.gather(client.emit_with_ack("x", 1), client.emit_with_ack("x", 2))
    assert answers[0] == "first"
    assert answers[1]["error"]["code"] == "unknown_event"
    assert heard == [1]

    io.once("y")(first)
    io.off("y", first)
    assert (await client.emit_with_ack("y", 1))["error"]["code"] == "unknown_event"

    @io.on("z")
    async def again(socket: Socket) -> str:
        io.once("z")(lambda socket: heard.append("later"))  # not for the event that is being served
        return "again"

    assert await client.emit_with_ack("z") == "again"
    assert heard == [1]
    io.off("z", again)
    await client.emit_with_ack("z")
    assert heard == [1, "later"]


# --- ack callables ----------------------------------------------------------------------------------------------------


async def test_ack_callables(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler could not answer before it ends, or after; one that answers twice would confuse its client."""
    io = Server()
    kept: list[Ack] = []
    wanted: list[bool] = []

    @io.on("early")
    async def early(socket: Socket, text: str, ack: Ack) -> str:
        ack(text, 2)
        ack("twice")
        await asyncio.sleep(0)
        return "what is returned does not count"

    @io.on("late")
    def late(socket: Socket, ack: Callable[..., None]) -> None:
        asyncio.get_running_loop().call_later(0.001, ack)

    @io.on("first")
    async def first(socket, ack, text="default"):  # type: ignore[no-untyped-def]
        ack(text)

    @io.on("rest")
    async def rest(socket: Socket, *numbers: int, ack: Ack) -> None:
        ack(sum(numbers))

    @io.on("kept")
    async def keeps(socket: Socket, ack: Ack) -> None:
        wanted.append(ack.wanted)
        kept.append(ack)

    @io.on("refuses")
    async def refuses(socket: Socket, ack: Ack) -> None:
        raise EventError("no")

    @io.on("fails late")
    async def fails_late(socket: Socket, ack: Ack) -> None:
        ack("done")
        raise RuntimeError("after the answer")

    @io.on("unsendable")
    async def unsendable(socket: Socket, ack: Ack) -> None:
        ack(float("nan"))

    @io.on("both")
    async def returns(socket: Socket) -> None: ...

    @io.on("both")
    async def calls(socket: Socket, ack: Ack) -> None:
        await asyncio.sleep(0)
        ack("called")

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.ack_args("early", "a") == ["a", 2]
    assert await client.ack_args("late") == []
    assert await client.ack_args("first") == ["default"]
    assert await client.ack_args("first", "given") == ["given"]
    assert await client.ack_args("rest", 1, 2, 3) == [6]
    assert (await client.emit_with_ack("rest", "1"))["error"]["code"] == "invalid_payload"
    assert (await client.emit_with_ack("refuses"))["error"]["code"] == "no"
    assert await client.emit_with_ack("fails late") == "done"
    assert "after the answer" in caplog.text
    assert await client.emit_with_ack("unsendable") == INTERNAL
    assert await client.emit_with_ack("both") == "called"

    await client.emit("kept")  # asks for no answer
    await until(lambda: kept)
    kept.pop()("nobody hears it")
    asking = asyncio.create_task(client.emit_with_ack("kept"))
    await until(lambda: kept)
    assert wanted == [False, True]
    kept[0]("at last")
    assert await asking == "at last"
    assert not kept[0].wanted
    asking = asyncio.create_task(client.emit_with_ack("kept"))
    await until(lambda: len(kept) == 2)
    asking.cancel()
    await client.disconnect()
    await until(lambda: not io.sockets)
    kept[1]("to one who has gone")


# --- handlers of one socket -------------------------------------------------------------------------------------------


async def test_handlers_of_one_socket(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Who comes from Node would find no ``socket.on``; a closure would hear other people's events."""
    io = Server()
    log: list[Any] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        who = socket.handshake.auth["who"]

        @socket.on("say")
        async def say(message: Message, times: int = 1) -> str:
            return f"{who}: {message.text * times}"

        @socket.on("ask")
        def ask(question: str, ack: Ack) -> None:
            ack(f"{who} was asked {question}")

        @socket.once("greet")
        async def greet(*args: Any) -> str:
            return f"hello {who}"

        @socket.on("shared")
        def shared(number: int) -> str:
            log.append((who, number))
            return "its own"

        @socket.on("disconnecting")
        def leaving(reason: str) -> None:
            log.append((who, reason, len(socket.rooms)))

        @socket.on("disconnect")
        async def left() -> None:
            log.append((who, "left"))

        if who == "ada":
            socket.on("only ada")(lambda: "yes")

    @io.on("shared")
    async def for_all(socket: Socket, number: int) -> str | None:
        log.append(("all", number))
        return "of all" if number == 2 else None

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(("all", reason))

    server = await serve(io)
    ada = await js.connect(server.url, via=transport, auth={"who": "ada"})
    bob = await js.connect(server.url, via=transport, auth={"who": "bob"})
    assert await ada.emit_with_ack("say", {"text": "a"}) == "ada: a"
    assert await bob.emit_with_ack("say", {"text": "b"}, 2) == "bob: bb"
    error = (await bob.emit_with_ack("say", {"text": 1}))["error"]
    assert error["details"] == [{"path": "$[0].text", "message": "Expected `str`, got `int`"}]
    assert await bob.emit_with_ack("ask", "why") == "bob was asked why"
    assert await ada.emit_with_ack("greet", 1, 2) == "hello ada"
    assert (await ada.emit_with_ack("greet"))["error"]["code"] == "unknown_event"
    assert await bob.emit_with_ack("greet") == "hello bob"
    assert await ada.emit_with_ack("only ada") == "yes"
    assert (await bob.emit_with_ack("only ada"))["error"]["code"] == "unknown_event"
    assert await ada.emit_with_ack("shared", 1) == "its own"
    assert await bob.emit_with_ack("shared", 2) == "of all"
    assert log == [("all", 1), ("ada", 1), ("all", 2), ("bob", 2)]

    bobs = io.sockets[await bob.id()]
    bobs.off("shared")
    bobs.off("never there")
    await bob.emit_with_ack("shared", 3)
    assert log[4:] == [("all", 3)]
    assert len(bobs.listeners("say")) == 1
    bobs.off("say", bobs.listeners("say")[0])
    assert (await bob.emit_with_ack("say", {"text": "b"}))["error"]["code"] == "unknown_event"

    await ada.disconnect()
    await until(lambda: len(log) == 8)
    why = "client namespace disconnect"
    assert log[5:] == [("ada", why, 1), ("all", why), ("ada", "left")]


async def test_handlers_of_one_socket_under_middleware_and_in_turn(
    serve: Serve, js: JSClients, transport: Transport
) -> None:
    """Middleware that guards a namespace would be walked around by a socket's own handlers."""
    io = Server(ordered=True)
    log: list[str] = []

    @io.use_event
    async def guard(socket: Socket, event: Event, call_next: CallNext) -> Any:
        if event.name == "forbidden":
            raise EventError("forbidden")
        event.name = str(event.name).removeprefix("old ")
        return await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("step")
        async def step(number: int) -> None:
            log.append(f"begin {number}")
            await asyncio.sleep(0)
            log.append(f"end {number}")

        socket.on("forbidden")(lambda: log.append("walked around"))
        socket.on("free", ordered=False)(lambda: "free")

    client = await js.connect((await serve(io)).url, via=transport)
    assert (await client.emit_with_ack("forbidden"))["error"]["code"] == "forbidden"
    await asyncio.gather(*(client.emit_with_ack("step", number) for number in range(3)))
    await client.emit_with_ack("old step", 3)
    assert log == [f"{word} {number}" for number in range(4) for word in ("begin", "end")]
    assert await client.emit_with_ack("free") == "free"
    error = (await client.emit_with_ack("old unheard"))["error"]
    assert error == {"code": "unknown_event", "message": "no handler for 'unheard'"}


async def test_the_signature_of_a_closure_is_read_once(serve: Serve, js: JSClients) -> None:
    """Each client that connects would cost what inspecting signatures costs; types of its own would be mixed up."""
    io = Server()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        class Own(Struct):
            number: int

        @socket.on("common")
        async def common(message: Message) -> str:
            return message.text

        @socket.on("own")
        async def own(value: Own) -> bool:
            return isinstance(value, Own)

    server = await serve(io)
    clients = [await js.connect(server.url) for _ in range(2)]
    for client in clients:
        assert await client.emit_with_ack("common", {"text": "a"}) == "a"
        assert await client.emit_with_ack("own", {"number": 1}) is True
    one, two = (socket._own for socket in io.sockets.values())
    assert one is not None
    assert two is not None
    assert one.handlers["common"]._converters is two.handlers["common"]._converters  # type: ignore[union-attr]
    assert len(io.of("/")._listening.signatures) == 1


@NOT_ON_UVLOOP
async def test_signatures_keep_no_socket() -> None:
    """A socket that a provider, or a default, of its own handler knows would be kept until the next one comes."""
    io = Server()
    gone: list[weakref.ref[Socket]] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        gone.append(weakref.ref(socket))

        def own_id() -> str:
            return socket.id

        def nested(id: str = Depends(own_id)) -> str:
            return id

        @socket.on("provided")
        async def provided(id: str = Depends(own_id)) -> str:
            return id

        @socket.on("nested")
        async def nesting(*, id: str = Depends(nested)) -> str:
            return id

        @socket.on("default")
        async def default(text: str = "", data: Any = socket) -> str:
            return text + str(data.id)

    async with TestServer(io) as server:
        for _ in range(2):
            client = await server.connect()
            (id,) = io.sockets
            assert [await client.emit_with_ack(event) for event in ("provided", "nested", "default")] == [id] * 3
            await client.disconnect()
        await until(lambda: gc.collect() >= 0 and not any(each() for each in gone))


async def test_nothing_of_a_socket_is_left(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Each client that came and went would leave its handlers, and with them itself, in memory."""
    io = Server()
    sockets: list[weakref.ref[Socket]] = []

    @io.use
    async def door(socket: Socket, call_next: CallNext) -> None:
        sockets.append(weakref.ref(socket))
        socket.on_any_outgoing(lambda event: socket.data.update(sent=event))
        if socket.handshake.auth.get("refuse") == "door":
            raise ConnectionRefused("at the door")
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.on("x")(lambda: socket.id)
        socket.on_any(lambda event: socket.data.update(seen=event))
        if socket.handshake.auth.get("refuse") == "handler":
            raise ConnectionRefused("in the handler")

    server = await serve(io)
    for refuse in ("door", "handler"):
        client = await js.connect(server.url, via=transport, auth={"refuse": refuse}, wait=False)
        await client.refused()
    client = await js.connect(server.url, via=transport)
    await client.emit_with_ack("x")
    await client.disconnect()
    await until(lambda: not io.sockets)
    assert not io.of("/")._outgoing.tapped
    gc.disable()  # what goes without the collector goes at once, also when there are thousands
    try:
        await until(lambda: sum(each() is not None for each in sockets) == 0)
    finally:
        gc.enable()


# --- catch-alls -------------------------------------------------------------------------------------------------------


async def test_catch_alls_for_what_comes_in(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A log of everything would miss events, see them too late, or change how they are served."""
    io = Server()
    log: list[Any] = []
    release = asyncio.Event()

    @io.use_event
    async def rename(socket: Socket, event: Event, call_next: CallNext) -> Any:
        event.name = "known"
        if event.args == ["stop"]:
            raise EventError("stopped")
        return await call_next()

    @io.on("known")
    async def known(socket: Socket, *args: Any) -> str:
        log.append(("known", *args))
        return "answer"

    @io.on_any
    async def slow(socket: Socket, event: str, *args: Any) -> str:
        log.append(("slow", event, *args))
        await release.wait()
        return "does not count"

    @io.prepend_any
    def before(socket: Socket, event: str, *args: Any) -> None:
        log.append(("before", event, *args))
        raise RuntimeError("the log is full")

    @io.on_any
    def narrow(socket: Socket, event: str, number: int) -> None:
        log.append(("narrow", event, number))

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        def own(event: str, *args: Any) -> None:
            log.append(("own", event, *args))

        socket.on_any(own)
        socket.prepend_any(lambda event, *args: log.append(("own before", event, *args)))

    client = await js.connect((await serve(io)).url, via=transport)
    assert await client.emit_with_ack("odd", 5, b"x") == "answer"
    seen = ("odd", 5, b"x")
    names = ("before", "slow", "own before", "own")
    assert log == [*((name, *seen) for name in names), ("known", 5, b"x")]
    log.clear()
    assert (await client.emit_with_ack("odd", "stop"))["error"]["code"] == "stopped"
    assert [entry[0] for entry in log] == list(names)
    log.clear()
    await client.emit_with_ack("odd", 5)
    assert ("narrow", "odd", 5) in log
    assert all("unhandled error in a catch-all" in each.getMessage() for each in caplog.records if each.levelno > 30)
    release.set()

    assert io.listeners_any() == (before, slow, narrow)
    io.off_any(slow)
    io.off_any(print)
    log.clear()
    (socket,) = io.sockets.values()
    assert len(socket.listeners_any()) == 2
    socket.off_any(socket.listeners_any()[1])
    await client.emit_with_ack("odd", "a")
    assert [entry[0] for entry in log] == ["before", "own before", "known"]
    io.off_any()
    socket.off_any()
    log.clear()
    await client.emit_with_ack("odd", "a")
    assert log == [("known", "a")]


async def test_unknown_events_under_a_catch_all(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A log would turn "unknown_event" into silence; a catch-all that wants to answer could not."""
    io = Server()
    seen: list[str] = []

    @io.on("known")
    async def known(socket: Socket) -> str:
        return "known"

    @io.on_any
    def log(socket: Socket, event: str) -> str:
        seen.append(event)
        return "does not count"

    client = await js.connect((await serve(io)).url, via=transport)
    assert (await client.emit_with_ack("unknown"))["error"]["code"] == "unknown_event"
    assert seen == ["unknown"]

    @io.on_any
    async def answers(socket: Socket, event: str, *args: Any, ack: Ack) -> None:
        if event != "known":
            ack("caught", event)

    assert await client.ack_args("unknown") == ["caught", "unknown"]
    assert await client.ack_args("known") == ["known"]
    io.off_any(answers)
    assert (await client.emit_with_ack("unknown"))["error"]["code"] == "unknown_event"
    (socket,) = io.sockets.values()
    socket.on_any(lambda event, ack: ack("own"))
    assert await client.ack_args("unknown") == ["own"]


async def test_a_catch_all_may_disconnect(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An event would be served though its client has just been thrown out for it."""
    io = Server()
    served: list[str] = []

    @io.on("bad")
    async def bad(socket: Socket) -> None:
        served.append("bad")

    @io.on_any
    async def bouncer(socket: Socket, event: str) -> None:
        await socket.disconnect()

    client = await js.connect((await serve(io)).url, via=transport)
    await client.emit("bad")
    assert await client.disconnected() == "io server disconnect"
    assert served == []


async def test_catch_alls_for_what_goes_out(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A log of everything that is sent would miss broadcasts, or the log's failure would keep it from being sent."""
    io = Server()
    log: list[Any] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("watched"):
            socket.on_any_outgoing(lambda event, *args: log.append((event, *args)))
            await socket.emit("welcome", 1)

    @io.on("hello")
    async def hello(socket: Socket) -> str:
        return "an acknowledgement is no event"

    server = await serve(io)
    watched = await js.connect(server.url, via=transport, auth={"watched": True})
    other = await js.connect(server.url, via=transport)
    await watched.answer("question", 42)
    socket = io.sockets[await watched.id()]
    await io.emit("all", {"a": b"1"})
    await io.except_(socket.id).emit("others")
    await io.to(socket.id).emit("room")
    await socket.volatile.emit("volatile")
    assert await socket.emit_with_ack("question", "q") == 42
    assert dict(await io.to(socket.id).emit_with_ack("question", "many")) == {socket.id: 42}
    await watched.emit_with_ack("hello")
    names = ["welcome", "all", "room", "volatile", "question", "question"]
    assert [entry[0] for entry in log] == names
    assert log[1] == ("all", {"a": b"1"})

    seen: list[Any] = []

    @io.on_any_outgoing
    async def everything(socket: Socket, event: str, *args: Any) -> None:
        await asyncio.sleep(0)
        seen.append((socket.id, event, *args))
        raise RuntimeError("asynchronous")

    @io.prepend_any_outgoing
    def fails(socket: Socket, event: str, *args: Any) -> None:
        raise RuntimeError("plain")

    assert io.listeners_any_outgoing() == (fails, everything)
    await io.emit("news", 1)
    assert await watched.wait_for("news") == [1]
    assert await other.wait_for("news") == [1]
    await until(lambda: len(seen) == 2)
    assert {entry[0] for entry in seen} == {socket.id, await other.id()}
    assert len([each for each in caplog.records if "goes out" in each.getMessage()]) == 4
    io.off_any_outgoing(everything)
    io.off_any_outgoing()
    assert len(socket.listeners_any_outgoing()) == 1
    tap = socket.prepend_any_outgoing(lambda event, *args: fails(socket, event, *args))
    socket.off_any_outgoing(tap)
    socket.off_any_outgoing()
    log.clear()
    await io.emit("news", 2)
    await watched.wait_for("news")
    assert log == []
    assert len(seen) == 2
    assert not io.of("/")._outgoing.tapped


# --- names ------------------------------------------------------------------------------------------------------------


async def test_reserved_names_are_refused(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A client could make itself a disconnect, or make connection handlers run for it again."""
    io = Server()
    heard: list[str] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        heard.append("connection")

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        heard.append(reason)

    for name in ("connect_error", "newListener", "removeListener", "", 1.5, True):
        for register in (io.on, io.once, io.of("/a").on, io.on_server_side):
            with pytest.raises(ConfigurationError):
                register(name)(connection)  # type: ignore[arg-type]

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    assert (await client.emit_with_ack("connection"))["error"]["code"] == "unknown_event"
    assert heard == ["connection"]
    for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"):
        heard.clear()
        client = await js.connect(server.url, via=transport)
        await client.send_packet("message", f'2["{name}","forged"]')
        await client.disconnected()
        await until(lambda: len(heard) == 2)
        assert heard == ["connection", "parse error"]
