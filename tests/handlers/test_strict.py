"""Strict mode: what is emitted against what is declared."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from msgspec import Struct

from rtframework import ConfigurationError, ContractError, JSONSerializer, Namespace, Server, Socket, emits
from rtframework.protocols import Serializer
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.support.in_process import NOT_ON_UVLOOP

pytestmark = NOT_ON_UVLOOP


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
        ("message", [], r"takes 1 argument, got 0; it is declared as \(data: Message\) at .*\.py:\d+", None),
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


def test_more_attachments_than_clients_take_by_default_are_checked() -> None:
    """Strict mode would refuse what the server may send, or not look at it."""
    io = strict(JSONSerializer(max_attachments=40))
    io.of("/")._packet("bytes", (b"", {1: [b""] * 30}))
    with pytest.raises(ContractError, match=r"\$\[1\]\[\.\.\.\]"):
        io.of("/")._packet("bytes", (b"", {1: [b"", *[3] * 30, *[b""] * 9]}))


async def test_integers_are_declared_as_well() -> None:
    """A program whose events are numbers could not use strict mode."""
    io = Server(strict_emits=True)
    io.emits(1, str)
    io.emits("2", int)
    io.emits("one", int)
    async with TestServer(io) as server:
        client = await server.connect()
        await io.emit(1, "x")
        await io.emit(2, 5)
        assert [(await client.receive_event()).event for _ in range(2)] == [1, 2]
        with pytest.raises(ContractError, match=r"emit\(1, \.\.\.\) in /: .* at \$\[0\]") as raised:
            await io.emit(1, 2)
        assert raised.value.event == 1
        with pytest.raises(ContractError, match=r"emit\(3, .*no such event .* declared are: 1 \(data: str\), '2' "):
            await io.emit(3)


def test_an_integer_is_declared_once() -> None:
    """``emits(1, str)`` and ``emits("1", int)`` would contradict each other without a word."""
    io = Server()
    io.emits(1, str)
    with pytest.raises(ConfigurationError, match="'1' is declared twice"):
        io.emits("1", int)


def test_it_costs_nothing_when_it_is_off() -> None:
    """Every emit would pay for what only tests use."""
    io = Server()
    assert io.of("/")._auditor is None
    io.check_emits()
    assert io.of("/")._auditor is not None
    io.check_emits(False)
    assert io.of("/")._auditor is None
