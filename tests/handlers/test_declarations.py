"""What a namespace declares to emit, and strict mode, which checks it."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from msgspec import Struct

from rtframework import ConfigurationError, ContractError, EventError, JSONSerializer, Namespace, Server, Socket, emits
from rtframework.protocols import Serializer
from rtframework.testing import TestClient, TestServer
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


def test_more_attachments_than_clients_may_send_are_checked() -> None:
    """Strict mode would refuse what the server may send, or not look at it."""
    io = strict()
    io.of("/")._packet("bytes", (b"", {1: [b""] * 30}))
    with pytest.raises(ContractError, match=r"\$\[1\]\[\.\.\.\]"):
        io.of("/")._packet("bytes", (b"", {1: [b"", *[3] * 30, *[b""] * 30]}))


async def test_an_application_is_checked_as_well() -> None:
    """Programs that make their application themselves could not be tested strictly."""
    from aiohttp import web

    io = Server()
    app = web.Application()
    io.attach(app)

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
