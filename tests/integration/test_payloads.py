"""Typed payloads: every kind of annotation, models of pydantic, what is returned, what is emitted."""

from __future__ import annotations

import datetime
import ipaddress
import pathlib
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NamedTuple, NoReturn, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from rtframework import (
    ConfigurationError,
    EncodeError,
    EventError,
    InvalidReturn,
    JSONSerializer,
    Server,
    Socket,
)
from rtframework.protocols import Serializer
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import ClientOptions, JSClients
from tests.support.transports import Transport

BOTH = pytest.mark.parametrize("parser", ["json", "msgpack"])


def server_of(parser: str, **options: Any) -> Server:
    """A server that speaks it."""
    serializer: Serializer = MsgpackSerializer() if parser == "msgpack" else JSONSerializer()
    return Server(serializer=serializer, **options)


def speaking(parser: str) -> ClientOptions:
    """The options of a client that speaks it."""
    return {"parser": "msgpack"} if parser == "msgpack" else {}


class Colour(Enum):
    """Of a pen."""

    RED = "red"


class Struct(msgspec.Struct, rename="camel"):
    """msgspec's."""

    some_text: str
    picture: bytes | None = None
    colour: Colour = Colour.RED


@dataclass
class Point:
    """A dataclass."""

    x: float
    y: float = 0.0


@attrs.define
class Size:
    """An attrs class."""

    width: int


class Options(TypedDict, total=False):
    """A TypedDict."""

    bold: bool


class Pair(NamedTuple):
    """A named tuple."""

    a: int
    b: str


class User(pydantic.BaseModel):
    """pydantic's."""

    name: str = pydantic.Field(min_length=1, alias="fullName")
    born: datetime.date | None = None
    key: uuid.UUID | None = None
    avatar: bytes | None = None
    home: pydantic.AnyUrl | None = None


@pydantic.dataclasses.dataclass
class Tag:
    """A dataclass of pydantic."""

    text: str = pydantic.Field(max_length=3)


KINDS: dict[str, tuple[Any, list[Any], Any, str]] = {
    "struct": (Struct, [{"someText": "a", "picture": b"\x00"}], {"someText": "a", "picture": 1}, "$[0].picture"),
    "dataclass": (Point, [{"x": 1.5, "y": 0.0}], {"x": "1.5"}, "$[0].x"),
    "attrs": (Size, [{"width": 3}], {"width": 3.5}, "$[0].width"),
    "typed_dict": (Options, [{"bold": True}, {}], {"bold": 1}, "$[0].bold"),
    "named_tuple": (Pair, [[1, "b"]], [1], "$[0]"),
    "union": (int | str | None, [1, "a", None], 1.5, "$[0]"),
    "literal": (Literal["a", "b"], ["a"], "c", "$[0]"),
    "nested": (dict[str, list[Point]], [{"p": [{"x": 1, "y": 0}]}], {"p": [{"x": 1}, {"y": 1}]}, "$[0][...][1]"),
    "keys": (dict[int, str], [{"1": "a", "-2": "b"}, {}], {"one": "a"}, "$[0]"),
    "keys_within": (
        list[dict[Colour, dict[uuid.UUID, Point]]],
        [[{"red": {str(uuid.UUID(int=1)): {"x": 1, "y": 0}}}]],
        [{"red": {"1": {"x": 1}}}],
        "$[0][0][...]",
    ),
    "bytes": (bytes, [b"\x01\x02"], "AQI=", "$[0]"),
    "model": (User, [{"fullName": "Ada", "born": "1815-12-10", "key": str(uuid.UUID(int=1))}], {}, "$[0].fullName"),
    "model_with_bytes": (User, [{"fullName": "A", "avatar": b"\x03"}], {"fullName": "A", "avatar": 3}, "$[0].avatar"),
    "models": (
        list[User] | None,
        [[{"fullName": "Ada"}], None],
        [{"fullName": "Ada"}, {"fullName": 1}],
        "$[0][1].fullName",
    ),
    "pydantic_dataclass": (Tag, [{"text": "abc"}], {"text": "abcd"}, "$[0].text"),
}


@BOTH
async def test_every_kind_of_annotation(serve: Serve, js: JSClients, transport: Transport, parser: str) -> None:
    """A payload would reach the handler unchecked, converted without a word, or be refused though it fits."""
    io = server_of(parser, validate_returns=True)

    def register(name: str, kind: Any) -> None:
        async def handler(socket, value):  # type: ignore[no-untyped-def]
            assert isinstance(kind, type) is False or kind in (Options, Pair) or isinstance(value, kind)
            return value

        handler.__annotations__ = {"value": kind, "return": kind}
        io.on(name)(handler)

    for name, (kind, _, _, _) in KINDS.items():
        register(name, kind)
    client = await js.connect((await serve(io)).url, via=transport, **speaking(parser))
    for name, (_, fitting, wrong, path) in KINDS.items():
        for value in fitting:
            answer = await client.emit_with_ack(name, value)
            if isinstance(value, dict):
                assert value.items() <= answer.items(), name
            elif isinstance(value, list) and value and isinstance(value[0], dict):
                assert value[0].items() <= answer[0].items(), name
            else:
                assert answer == value, name
        error = (await client.emit_with_ack(name, wrong))["error"]
        assert error["code"] == "invalid_payload", name
        assert error["details"][0]["path"].startswith(path), (name, error)
        assert error["details"][0]["message"] in error["message"]


async def test_all_that_is_wrong_with_a_model(serve: Serve, js: JSClients) -> None:
    """A form would show one mistake after the other."""
    io = Server()

    @io.on("user")
    async def user(socket: Socket, user: User) -> None: ...

    client = await js.connect((await serve(io)).url)
    error = (await client.emit_with_ack("user", {"fullName": "", "born": 7}))["error"]
    assert {each["path"] for each in error["details"]} == {"$[0].fullName", "$[0].born"}


@BOTH
async def test_models_are_sent_as_they_are(serve: Serve, js: JSClients, parser: str) -> None:
    """A program would have to turn every model into a dict before it can emit it."""
    io = server_of(parser)
    user = User.model_validate({"fullName": "Ada", "avatar": b"\x00\xff", "home": "https://example.org/ada"})
    client = await js.connect((await serve(io)).url, **speaking(parser))
    await io.emit("user", user, [Tag("a")], Struct("x", b"\x01"), Point(1, 2), Size(3))
    seen = await client.wait_for("user")
    assert seen[0]["fullName"] == "Ada"
    assert (seen[0]["avatar"], seen[0]["home"]) == (b"\x00\xff", "https://example.org/ada")
    assert seen[1:] == [
        [{"text": "a"}],
        {"someText": "x", "picture": b"\x01", "colour": "red"},
        {"x": 1, "y": 2},
        {"width": 3},
    ]
    with pytest.raises(EncodeError, match="object"):
        await io.emit("user", object())


async def test_a_date_of_msgpack_stands_beside_a_string(serve: Serve, js: JSClients) -> None:
    """A model with a date and an id would be refused, whatever a client sends."""

    class Visit(pydantic.BaseModel):
        at: datetime.datetime
        by: uuid.UUID

    io = server_of("msgpack")

    @io.on("visit")
    async def visit(socket: Socket, visit: Visit) -> Visit:
        return visit

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("now", datetime.datetime.now(datetime.UTC))

    client = await js.connect((await serve(io)).url, **speaking("msgpack"))
    (now,) = await client.wait_for("now")
    assert await client.emit_with_ack("visit", {"at": now, "by": str(uuid.UUID(int=1))}) == {
        "at": now,
        "by": str(uuid.UUID(int=1)),
    }


@BOTH
async def test_fields_that_only_pydantic_knows_are_sent(serve: Serve, js: JSClients, parser: str) -> None:
    """A model with an address or a path, which its contract calls a string, could not be emitted."""

    class Host(pydantic.BaseModel):
        address: ipaddress.IPv4Address
        network: ipaddress.IPv6Network
        home: pathlib.Path

    io = server_of(parser)
    client = await js.connect((await serve(io)).url, **speaking(parser))
    host = {"address": "127.0.0.1", "network": "fe80::/10", "home": "/srv/ada"}
    await io.emit("host", Host.model_validate(host))
    assert await client.wait_for("host") == [host]


async def test_returns_are_checked_when_asked(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A client would get what the contract does not say, and fail far away from the mistake."""

    def register(io: Server) -> None:
        @io.on("text")
        async def text(socket: Socket, value: Any) -> str:
            return value  # type: ignore[no-any-return]

        @io.on("several")
        def several(socket: Socket, value: Any) -> tuple[int, str]:
            return 1, value

        @io.on("none")
        def none(socket: Socket, value: Any) -> None:
            return value  # type: ignore[no-any-return]

        @io.on("struct")
        async def struct(socket: Socket, value: Any) -> Struct:
            return Struct(value)

        @io.on("silent")
        async def silent(socket: Socket, value: Any):  # type: ignore[no-untyped-def]
            return value

        @io.on("connection")
        async def connection(socket: Socket) -> None:
            @socket.on("mine")
            async def mine(value: Any) -> int:
                return value  # type: ignore[no-any-return]

    io = Server(validate_returns=True)
    register(io)
    client = await js.connect((await serve(io)).url, via=transport)
    for event in ("text", "several", "struct", "silent"):
        assert "error" not in str(await client.emit_with_ack(event, "a"))
    assert await client.emit_with_ack("none", None) is None
    assert await client.emit_with_ack("mine", 7) == 7
    assert not caplog.records
    for event in ("text", "several", "none", "struct", "mine"):
        caplog.clear()
        answer = await client.emit_with_ack(event, [1] if event != "mine" else "x")
        assert answer["error"]["code"] == "internal_error", event
        (record,) = caplog.records
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], InvalidReturn)
        assert f".{event} of '{event}' returned Expected `" in str(record.exc_info[1])
    off = Server()
    register(off)
    client = await js.connect((await serve(off)).url, via=transport)
    assert await client.emit_with_ack("text", [1]) == [1]


def test_what_nothing_can_be_checked_against_is_found_at_registration() -> None:
    """The first client to send the event would find it."""

    class Thing:
        pass

    class Mixed(msgspec.Struct):
        user: User

    io = Server(validate_returns=True)
    with pytest.raises(ConfigurationError, match="Thing is nothing that a client can send"):

        @io.on("x")
        async def thing(socket: Socket, things: list[Thing]) -> None: ...

    with pytest.raises(ConfigurationError, match="User is a model of pydantic inside a type that is none"):

        @io.on("x")
        async def mixed(socket: Socket, mixed: Mixed) -> None: ...

    with pytest.raises(ConfigurationError, match="'x' cannot be checked"):

        @io.on("x")
        async def both(socket: Socket, x: User | Thing) -> None: ...

    with pytest.raises(ConfigurationError, match=r"both_ways.* of 'x': what it returns cannot be checked: .*Thing"):

        @io.on("x")
        async def both_ways(socket: Socket) -> Thing: ...  # type: ignore[empty-body]

    assert io.of("/")._is_pristine


@NOT_ON_UVLOOP
async def test_returns_that_say_more_than_a_type(caplog: pytest.LogCaptureFixture) -> None:
    """A program that is right would be refused, or would fail, as soon as its returns are checked."""
    io = Server(validate_returns=True)

    @io.on("by number")
    async def by_number(socket: Socket) -> dict[int, str]:
        return {1: "a"}

    @io.on("anything")
    async def anything(socket: Socket) -> object:
        return "x"

    @io.on("refusing")
    async def refusing(socket: Socket) -> NoReturn:
        raise EventError("no")

    async def count() -> int:
        return 1

    @io.on("later")
    def later(socket: Socket) -> Awaitable[int]:
        return count()

    @io.on("much later")
    def much_later(socket: Socket) -> Awaitable[str]:
        return count()  # type: ignore[return-value]

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("by number") == {"1": "a"}
        assert await client.emit_with_ack("anything") == "x"
        assert await client.emit_with_ack("refusing") == {"error": {"code": "no", "message": "no"}}
        assert await client.emit_with_ack("later") == 1
        assert not caplog.records
        assert (await client.emit_with_ack("much later"))["error"]["code"] == "internal_error"
