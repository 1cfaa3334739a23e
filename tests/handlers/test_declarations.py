"""What a namespace declares to emit, and strict mode, which checks it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pydantic
import pytest
from aiohttp import web
from msgspec import Struct

from rtframework import (
    ConfigurationError,
    ContractError,
    Event,
    EventError,
    JSONSerializer,
    Namespace,
    Server,
    Socket,
    emits,
)
from rtframework.protocols import Serializer
from rtframework.testing import Clock, TestClient, TestServer
from rtframework_msgpack import MsgpackSerializer


class Message(Struct):
    text: str
    at: datetime.datetime | None = None


@dataclass
class Point:
    x: int
    y: int


class Model(pydantic.BaseModel):
    name: str
    since: datetime.date


class Account(pydantic.BaseModel):
    """Is sent in another way than it is read."""

    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = pydantic.Field(validation_alias="login", serialization_alias="user")
    secret: str = pydantic.Field(exclude=True)
    since: datetime.date
    picture: bytes

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def year(self) -> int:
        """Of the first visit."""
        return self.since.year


ACCOUNT = Account.model_validate({"login": "ada", "secret": "s", "since": datetime.date(1815, 12, 10), "picture": b"p"})


class Room(Namespace):
    """Declares with its class, its methods and itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.emits("own", str)

    @emits("said", Message)
    async def on_say(self, socket: Socket, text: str) -> None:
        await self.emit("said", Message(text))


@emits("opened", str)
class Hall(Room):
    pass


# --- declaring --------------------------------------------------------------------------------------------------------


def declared(namespace: Namespace) -> list[str]:
    """The names of the events."""
    return [each.event for each in namespace.declared]


async def test_a_declaration_changes_nothing() -> None:
    """A decorator for readers of the contract would get between a handler and its events."""
    io = Server()

    async def say(socket: Socket, text: str) -> None:
        await io.emit("whatever", text)

    assert io.emits("said", str)(say) is say
    io.on("say")(say)
    async with TestServer(io) as server:
        client = await server.connect()
        await client.emit("say", "hi")
        assert await client.receive("whatever") == "hi"


def test_classes_declare_what_they_emit() -> None:
    """A class-based namespace would have no contract, or that of its base class only."""
    assert declared(Room("/room")) == ["said", "own"]
    assert declared(Hall("/hall")) == ["said", "opened", "own"]


def test_children_declare_what_their_parent_declares() -> None:
    """The contract of a dynamic namespace would depend on when its first client came."""
    io = Server()
    parent = io.of("/room/{id}", factory=Room)
    parent.emits("before", int)
    child = io.of("/room/1")
    parent.emits("after", int)
    assert declared(parent) == ["said", "before", "after"]
    assert declared(child) == ["said", "before", "after", "own"]
    with pytest.raises(ConfigurationError, match="'own' is declared twice"):
        parent.emits("own", int)
    with pytest.raises(ConfigurationError, match="'after' is declared twice"):
        child.emits("after", str)


def test_a_declaration_may_be_repeated() -> None:
    """Two handlers that emit the same event could not both say so."""
    io = Server()
    io.emits("message", Message)
    io.emits("message", Message, description="Somebody has\n  said something.")
    (known,) = io.of("/").declared
    assert known.description == "Somebody has said something."


def test_a_contradiction_names_both_places() -> None:
    """Whoever made it would have to look for the other half."""
    io = Server()
    io.emits("message", Message)
    with pytest.raises(ConfigurationError) as raised:
        io.emits("message", str, returns=bool)
    here = r"at .*test_declarations\.py:\d+"
    assert re.search(rf"as \(data: Message\) {here}, and as \(data: str\) -> bool {here}", str(raised.value))


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("Message",), {}, "give the type itself"),
        ((Socket,), {}, "nobody knows how .*Socket.* is sent"),
        ((list[Socket],), {}, "nobody knows how .*Socket.* is sent"),
        ((3,), {}, "3 cannot be declared"),
        ((), {"returns": Socket}, "nobody knows"),
        ((), {"rest": "int"}, "give the type itself"),
        ((dict[str, Model | Message],), {}, "cannot be declared"),
        ((int, int), {"names": ("x",)}, r"does not name 2 argument\(s\)"),
        ((int, int), {"names": ("x", "x")}, "does not name"),
        ((int,), {"names": "x"}, "does not name"),
        ((int,), {"names": ("a b",)}, "no name for an argument"),
    ],
)
def test_wrong_declarations_fail_at_once(arguments: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    """They would be found when the contract is written, or by clients."""
    with pytest.raises(ConfigurationError, match=said):
        Server().emits("event", *arguments, **options)


def test_reserved_names_and_plain_functions_are_refused() -> None:
    """A declaration would be made that nobody ever reads."""
    with pytest.raises(ConfigurationError, match="reserved"):
        Server().emits("connect")

    def function() -> None: ...

    with pytest.raises(ConfigurationError, match=r"write @io\.emits"):
        emits("event")(function)


def test_a_main_namespace_with_declarations_is_not_replaced() -> None:
    """What was declared would be lost without a word."""
    io = Server()
    io.emits("message", Message)
    with pytest.raises(ConfigurationError, match="exists already"):
        io.register_namespace(Room("/"))


# --- strict mode ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[JSONSerializer, MsgpackSerializer])
def serializer(request: pytest.FixtureRequest) -> Any:
    """Both that ship."""
    return request.param()


def strict(serializer: Serializer | None = None) -> Server:
    """A server with some declarations, in strict mode."""
    io = Server(strict_emits=True, serializer=serializer)
    io.emits("message", Message)
    io.emits("pair", int, Point | None, names=("count", "point"))
    io.emits("numbers", str, rest=float)
    io.emits("bytes", bytes, dict[int, list[bytes]])
    io.emits("model", Model)
    io.emits("accounts", list[Account])
    io.emits("question", returns=bool)
    io.emits("anything", Any)
    return io


@pytest.mark.parametrize(
    ("event", "args"),
    [
        ("message", [Message("hi")]),
        ("message", [Message("hi", datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC))]),
        ("message", [{"text": "hi", "at": "2030-01-01T00:00:00Z"}]),
        ("pair", [1, Point(1, 2)]),
        ("pair", [1, None]),
        ("numbers", ["a"]),
        ("numbers", ["a", 1, 2.5]),
        ("bytes", [bytearray(b"ab"), {1: [memoryview(b"c")] * 3}]),
        ("model", [{"name": "Ada", "since": "1815-12-10"}]),
        ("accounts", [[ACCOUNT]]),
        ("question", []),
        ("anything", [[1, "2", None]]),
    ],
)
async def test_what_fits_is_emitted(serializer: Serializer, event: str, args: list[Any]) -> None:
    """Strict mode would find fault with a program that is right."""
    io = strict(serializer)
    async with TestServer(io) as server:
        client = await server.connect()
        await io.emit(event, *args)
        await client.receive(event)


@pytest.mark.parametrize(
    ("event", "args", "said", "path"),
    [
        ("mesage", [], "no such event is declared; .*'pair' .* Did you mean 'message'?", None),
        ("message", ["hi"], "got `str` at", "$[0]"),
        ("message", [Message(1)], "Expected `str`, got `int` at", "$[0].text"),  # type: ignore[arg-type]
        ("message", [Point(1, 2)], "missing required field `text`", "$[0]"),
        ("message", [], r"takes 1 argument\(s\), got 0; it is declared as \(data: Message\) at .*\.py:\d+", None),
        ("message", [Message("a"), 1], "got 2", None),
        ("pair", [1, Point("1", 2)], "Expected `int`, got `str`", "$[1].x"),  # type: ignore[arg-type]
        ("numbers", [], "takes 1 .* or more, got 0", None),
        ("numbers", ["a", 1, "b"], "got `str`", "$[2]"),
        ("bytes", ["text", {}], "Expected `bytes`|Invalid base64", "$[0]"),
        ("model", [{"name": "Ada", "since": "long ago"}], "date", "$[0].since"),
        ("accounts", [[ACCOUNT.model_copy(update={"name": 1})]], "Field required", "$[0][0].login"),
        ("model", [{"name": 1, "since": "1815-12-10"}], "valid string", "$[0].name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_what_does_not_fit_is_not_emitted(
    serializer: Serializer, event: str, args: list[Any], said: str, path: str | None
) -> None:
    """A test would not find what clients choke on."""
    io = strict(serializer)
    async with TestServer(io) as server:
        client = await server.connect()
        with pytest.raises(ContractError, match=said) as raised:
            await io.emit(event, *args)
        assert (raised.value.event, raised.value.nsp, raised.value.path) == (event, "/", path)
        await client.receive_nothing()


async def test_every_way_out_is_checked() -> None:
    """A way round strict mode would be the one that a program takes."""
    io = strict()
    async with TestServer(io) as server:
        client = await server.connect()
        socket = io.sockets[client.id]
        (remote,) = await io.fetch_sockets()
        for operator in (
            io,
            io.of("/"),
            io.to("room"),
            io.volatile,
            io.local,
            socket,
            socket.volatile,
            socket.broadcast,
            socket.to("room"),
            remote,
            remote.volatile,
        ):
            with pytest.raises(ContractError):
                await operator.emit("message", 1)
            with pytest.raises(ContractError):
                await operator.emit_with_ack("message", 1)
        await client.receive_nothing()


async def test_children_and_parents_are_checked() -> None:
    """Dynamic namespaces would be left out of strict mode."""
    io = Server(strict_emits=True)
    parent = io.of("/room/{id}", factory=Room)
    async with TestServer(io) as server:
        client = await server.connect("/room/1")
        await client.emit("say", "hi")
        assert await client.receive("said") == {"text": "hi", "at": None}
        for namespace in (parent, io.of("/room/1")):
            await namespace.emit("said", Message("yes"))
            assert await client.receive("said") == {"text": "yes", "at": None}
            with pytest.raises(ContractError, match="in /room/"):
                await namespace.emit("said", 1)


def break_the_contract(io: Server) -> None:
    """Handlers that emit what nobody has declared: for an event, and for a client that wants to be greeted."""

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.handshake.auth.get("greet"):
            await socket.emit("hello")


async def hear_of_breaches(server: TestServer) -> TestClient:
    """A client to whom that happened, each time told to the test."""
    client = await server.connect()
    with pytest.raises(ContractError, match="'said'"):
        await client.emit("say", "hi")
    with pytest.raises(ContractError, match="'said'"):
        await client.emit_with_ack("say", "hi")
    with pytest.raises(ContractError, match="'hello'"):
        await server.connect(auth={"greet": True})
    return client


async def test_the_test_hears_of_what_a_handler_emits() -> None:
    """A handler's breach of contract would be an ``internal_error`` in a client that does not ask for an answer."""
    io = Server()

    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        client = await hear_of_breaches(server)
        await client.receive_nothing()  # each is told once
    async with TestServer(io) as server:  # not strict by itself
        client = await server.connect()
        assert await client.emit_with_ack("say", "hi") is None


async def test_an_exception_handler_does_not_hide_a_breach() -> None:
    """A program that answers for every exception would pass all tests in strict mode."""
    io = Server()

    @io.exception_handler(Exception)
    async def sorry(socket: Socket, error: Exception) -> EventError:
        return EventError("sorry")

    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        await hear_of_breaches(server)


async def test_a_breach_at_the_end_is_not_forgotten() -> None:
    """What a program emits when a client leaves, or the server stops, would go unseen."""
    io = Server()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", socket.id)

    server = TestServer(io, strict_emits=True)
    await server.start()
    await server.connect()
    with pytest.raises(ContractError, match="'left'"):
        await server.stop()
    await server.stop()


async def test_a_breach_that_the_program_catches_is_told() -> None:
    """A program that goes on after every error would pass all tests in strict mode."""
    io = Server()

    @io.on("say")
    async def say(socket: Socket, text: str) -> str:
        try:
            await io.emit("said", text)
        except Exception:  # noqa: BLE001 - as programs do
            return "never mind"
        return "ok"

    async with TestServer(io, strict_emits=True) as server:
        client = await server.connect()
        with pytest.raises(ContractError, match="'said'"):
            await client.emit_with_ack("say", "hi")
        await client.receive_nothing()  # each is told once


async def test_a_breach_that_nobody_logs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strict mode would find nothing in a program that has turned its log off."""
    for name in ("rtframework", "asyncio"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    io = Server()
    break_the_contract(io)
    async with TestServer(io, strict_emits=True) as server:
        await hear_of_breaches(server)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_background_task_is_held_to_the_contract(transport: Literal["websocket", "polling"]) -> None:
    """What a program emits from time to time would go unseen, because nobody awaits the task that does it."""
    io = Server()
    kept = set()

    async def tick(event: str, delay: float) -> None:
        await asyncio.sleep(delay)
        await io.emit(event)

    @io.on("start")
    async def start(socket: Socket) -> None:
        kept.add(asyncio.create_task(tick("from a handler", 20.0)))

    async def begin(app: web.Application) -> None:
        kept.add(asyncio.create_task(tick("from the start", 10.0)))

    app = web.Application()
    app.on_startup.append(begin)
    io.attach(app)
    io.check_emits()
    async with TestServer(app, clock=Clock()) as server:
        client = await server.connect(transport=transport)
        await client.emit("start")
        for event in ("from the start", "from a handler"):
            await server.clock.advance(10.0)
            with pytest.raises(ContractError, match=event):
                await client.receive_nothing()
        await client.receive_nothing()
    for task in kept:
        assert isinstance(task.exception(), ContractError)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_the_test_has_caught_is_not_told_again(transport: Literal["websocket", "polling"]) -> None:
    """A test that expects a breach would fail for it."""
    io = Server(strict_emits=True)

    @io.on("ask")
    async def ask(socket: Socket) -> Any:
        return await socket.emit_with_ack("question")

    io.emits("question")
    async with TestServer(io) as server:
        client = await server.connect(transport=transport)

        @client.on("question")
        async def question() -> str:
            with pytest.raises(ContractError):
                await io.emit("unknown")
            return "no"

        with pytest.raises(ContractError):
            await io.emit("unknown")
        task = asyncio.create_task(io.emit("unknown"))
        with pytest.raises(ContractError):
            await task
        both = await asyncio.gather(io.emit("unknown"), io.emit("unknown"), return_exceptions=True)
        assert [type(each) for each in both] == [ContractError, ContractError]
        assert await client.emit_with_ack("ask") == "no"
        await client.receive_nothing()


async def test_every_way_in_is_listened_to() -> None:
    """A breach would be told or not by the way that leads to it."""
    io = Server(strict_emits=True)
    app = web.Application()
    io.attach(app)

    @io.on_any_outgoing
    async def outgoing(socket: Socket, event: str, *args: Any) -> None:
        await asyncio.sleep(0)
        await io.emit("from a catch-all for what goes out")

    @io.on_any
    async def incoming(socket: Socket, event: str) -> None:
        await io.emit("from a catch-all")

    @io.use_event
    async def middleware(socket: Socket, event: Event, call_next: Callable[[], Awaitable[Any]]) -> Any:
        await io.emit("from middleware")

    async def get(request: web.Request) -> web.Response:
        await io.emit("from a route")
        return web.Response()

    io.emits("fine")
    app.router.add_get("/", get)
    async with TestServer(app) as server:
        client = await server.connect()
        await io.emit("fine")
        with pytest.raises(ContractError, match="for what goes out"):
            await client.receive("fine")
        with pytest.raises(ContractError, match="from a catch-all"):
            await client.emit("anything")
        io.off_any()
        with pytest.raises(ContractError, match="from middleware"):
            await client.emit("anything")
        assert (await server.http.get("/")).status == 500
        with pytest.raises(ContractError, match="from a route"):
            await server.settle()


async def test_a_disconnect_is_listened_to_whoever_causes_it() -> None:
    """What a program emits when a client is lost would go unseen."""
    io = Server()

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await io.emit("left", socket.id)

    async with TestServer(io, strict_emits=True) as server:
        client = await server.connect()
        with pytest.raises(ContractError, match="'left'"):
            await client.disconnect()
        client = await server.connect()
        await client.lose_connection()
        with pytest.raises(ContractError, match="'left'"):
            await server.settle()
        await server.connect()
        await io.disconnect_sockets()
        with pytest.raises(ContractError, match="'left'"):
            await server.settle()


async def test_each_test_server_hears_of_its_own_program() -> None:
    """A test with two servers would be told of one's mistake by the other."""
    first, second, third = Server(), Server(), Server()
    app = web.Application()
    for io, path in ((first, "/socket.io"), (second, "/second")):
        io.attach(app, path)
        break_the_contract(io)
    break_the_contract(third)
    async with TestServer(app) as one, TestServer(third, strict_emits=True) as other, TestServer(app_of(Server())) as _:
        at_one, at_other = await one.connect(), await other.connect()
        second.check_emits()
        await at_one.emit("say", "not strict yet")
        first.check_emits()
        for _ in range(2):
            with pytest.raises(ContractError):
                await at_one.emit("say", "strict")
            await at_other.receive_nothing()
            first.check_emits()  # makes a new auditor
        with pytest.raises(ContractError):
            await at_other.emit("say", "strict")
        assert await at_one.receive("said") == "not strict yet"
        await at_one.receive_nothing()


def app_of(io: Server) -> web.Application:
    """An application that serves it."""
    app = web.Application()
    io.attach(app)
    return app


def test_more_attachments_than_clients_take_by_default_are_checked() -> None:
    """Strict mode would refuse what the server may send, or not look at it."""
    io = strict(JSONSerializer(max_attachments=40))
    io.of("/")._packet("bytes", (b"", {1: [b""] * 30}))
    with pytest.raises(ContractError, match=r"\$\[1\]\[\.\.\.\]"):
        io.of("/")._packet("bytes", (b"", {1: [b"", *[3] * 30, *[b""] * 9]}))


async def test_an_application_is_checked_as_well() -> None:
    """Programs that make their application themselves could not be tested strictly."""
    io = Server()
    app = app_of(io)

    @io.on("say")
    async def say(socket: Socket, text: str) -> None:
        await io.emit("said", text)

    with pytest.raises(ConfigurationError, match="check_emits"):
        TestServer(app, strict_emits=True)
    io.check_emits()
    async with TestServer(app) as server:
        client = await server.connect()
        with pytest.raises(ContractError):
            await client.emit("say", "hi")
        io.check_emits(False)
        await client.emit("say", "hi")
        assert await client.receive("said") == "hi"


async def test_other_errors_of_handlers_stay_what_they_are() -> None:
    """Strict mode would make failures of tests out of what a program answers for."""
    io = Server(strict_emits=True)

    @io.on("refuse")
    async def refuse(socket: Socket) -> None:
        raise EventError("no")

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("refuse") == {"error": {"code": "no", "message": "no"}}


def test_it_costs_nothing_when_it_is_off() -> None:
    """Every emit would pay for what only tests use."""
    io = Server()
    assert io.of("/")._auditor is None
    io.check_emits()
    assert io.of("/")._auditor is not None
    io.check_emits(False)
    assert io.of("/")._auditor is None
