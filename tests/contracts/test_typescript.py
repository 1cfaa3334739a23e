"""Types and interfaces as they are written of a contract."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec
import pydantic
import pytest
from attrs import define
from msgspec import Meta, Struct, defstruct

from rtframework import ConfigurationError, Server, Socket
from rtframework.contracts import Contract, EventContract, NamespaceContract, asyncapi, describe, typescript
from rtframework.contracts.components import Schemas
from rtframework.testing import TestServer
from rtframework_msgpack import MsgpackSerializer
from tests.support.contract import make, problems_of

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Record(Struct):
    """Called like something of TypeScript's. */ And with the end of a comment."""

    x: int


class Page(Struct, Generic[T]):
    items: list[T]
    next: Page[T] | None = None


class Pair(NamedTuple):
    x: int
    y: str


class Row(Struct, array_like=True):
    x: int
    y: str = ""


class Sparse(Struct, omit_defaults=True):
    x: int
    y: str = ""


class Names(Struct, rename={"a": "a b", "b": "default", "c": "$ok", "d": "items", "e": "$ref"}):
    a: int
    b: int
    c: int
    d: dict[str, int]
    e: int


@define
class Attrs:
    x: int
    y: str = ""


@dataclass
class Data:
    x: int
    y: str = ""
    z: list[int] = field(default_factory=list)


class Model(pydantic.BaseModel):
    """A model."""

    name: str
    nick: str | None = None
    friends: list[Model] = []


Tree = dict[str, "Tree"]


@pytest.mark.parametrize(
    ("kind", "sent", "taken"),
    [
        (int, "number", None),
        (float, "number", None),
        (bool, "boolean", None),
        (str, "string", None),
        (None, "null", None),
        (Any, "unknown", None),
        (object, "unknown", None),
        (bytes, "ArrayBuffer", "BinaryInput"),
        (bytearray | None, "ArrayBuffer | null", "BinaryInput | null"),
        (datetime.datetime, "string", None),
        (datetime.date, "string", None),
        (datetime.timedelta, "string", None),
        (uuid.UUID, "string", None),
        (decimal.Decimal, "string", None),
        (Annotated[int, Meta(ge=1)], "number", None),
        (Literal["a", 1, None], 'null | 1 | "a"', None),
        (dict[str, list[Any]], "Record<string, unknown[]>", None),
        (dict[Colour, Any], "Partial<Record<Colour, unknown>>", None),
        (list, "unknown[]", None),
        (list[int | None], "(number | null)[]", None),
        (set[str], "string[]", None),
        (tuple[int, str], "[number, string]", None),
        (tuple[int, ...], "number[]", None),
        (dict, "Record<string, unknown>", None),
        (dict[str, list[bytes]], "Record<string, ArrayBuffer[]>", "Record<string, BinaryInput[]>"),
        (dict[int, float], "Record<string, number>", None),
        (dict[Literal["a", "b"], int], 'Partial<Record<"a" | "b", number>>', None),
        (Colour, "Colour", None),
        (Page[int], "PageInt", "PageIntInput"),
        (Record, "Record2", None),
    ],
    ids=str,
)
def test_types_as_they_are_written(kind: Any, sent: str, taken: str | None) -> None:
    """A client would be compiled against something else than what the server speaks."""
    io = Server()
    io.emits("there", kind)

    @io.on("back")
    async def back(socket: Socket, data):  # type: ignore[no-untyped-def]
        ...

    back.__annotations__["data"] = kind
    io.off("back")
    io.on("back")(back)
    text = typescript(describe(io))
    assert f"there: (data: {sent}) => void;" in text
    assert f"[data: {taken or sent}]" in text
    assert problems_of(asyncapi(describe(io))) == []


def declaration(kind: Any, *, taken: bool = False) -> str:
    """What is written of a type that has a name."""
    name = kind.__name__
    event = EventContract("event", describe(_taking(kind)).namespaces[0].receives[0].arguments)
    both = (event,), (event,)
    contract = Contract((NamespaceContract("/", receives=both[0] if taken else (), sends=() if taken else both[1]),))
    text = typescript(contract)
    end = r"\{.*?^\}" if f"interface {name} " in text else "=.*?;"
    found = re.search(rf"^export \w+ {name} {end}$", text, re.MULTILINE | re.DOTALL)
    assert found, text
    return found[0]


def _taking(kind: Any) -> Server:
    io = Server()

    @io.on("event")
    async def event(socket: Socket, data: kind) -> None: ...

    return io


def test_fields_with_defaults() -> None:
    """Clients would have to send what has a default, or to look for what is always there."""
    for kind in (Attrs, defstruct("Made", [("x", int), ("y", str, "")])):
        assert "y: string;" in declaration(kind)
        assert "y?: string;" in declaration(kind, taken=True)
    assert "y?: string;" in declaration(Sparse)
    assert "y: string;\n  z: number[];" in declaration(Data)
    assert declaration(Row) == "export type Row = [number, string];"
    assert declaration(Row, taken=True) == "export type Row = [number, string?];"


async def test_a_dataclass_goes_out_as_it_is_described() -> None:
    """The same, seen on the wire: a default that the client has left out would be missing where it is promised."""
    io = Server()

    @io.on("echo")
    async def echo(socket: Socket, data: Data) -> Data:
        return data

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("echo", {"x": 1}) == {"x": 1, "y": "", "z": []}


def test_names_of_fields() -> None:
    """A field that is no identifier, or reads like a word of JSON Schema, would break what is written."""
    text = declaration(Names)
    fields = '"a b": number;', "default: number;", "$ok: number;", "items: Record<string, number>;", "$ref: number;"
    assert "\n  ".join(fields) in text
    io = Server()
    io.emits("a-b", Names)
    assert '"a-b": (data: Names) => void;' in typescript(describe(io))
    assert problems_of(asyncapi(describe(io))) == []


def test_types_of_one_name() -> None:
    """One of two types would stand for both."""
    io = Server()
    io.emits("one", defstruct("Same", [("x", int)], module="one"))
    io.emits("two", defstruct("Same", [("y", str)], module="two"))
    text = typescript(describe(io))
    assert "one: (data: OneSame)" in text
    assert "two: (data: TwoSame)" in text
    assert "export interface OneSame {\n  x: number;\n}" in text
    assert "export interface TwoSame {\n  y: string;\n}" in text


def test_pydantic_models() -> None:
    """Programs with pydantic would have no contract."""
    io = Server()
    io.emits("there", list[Model])
    text = typescript(describe(io))
    assert "there: (data: Model[]) => void;" in text
    fields = "name: string;", "nick: string | null;", "friends: Model[];"
    assert "\n  ".join(("/** A model. */\nexport interface Model {", *fields)) in text
    assert problems_of(asyncapi(describe(io))) == []
    schemas = Schemas([Model], [Model])
    assert schemas.of(Model, "in") == {"$ref": "#/components/schemas/ModelInput"}
    assert schemas.components["ModelInput"]["required"] == ["name"]
    assert schemas.components["ModelInput"]["properties"]["friends"]["items"] == {
        "$ref": "#/components/schemas/ModelInput"
    }


class Ink(enum.Enum):
    RED = "red"


class Pen(pydantic.BaseModel):
    ink: Ink


class Case(pydantic.BaseModel):
    pens: list[Pen]


def test_each_model_is_written_once() -> None:
    """A model that several events carry would be several types, when it has an enum that Structs have as well."""
    io = Server()
    io.emits("ink", list[Ink])
    io.emits("case", Case)
    io.emits("cases", list[Case])
    io.emits("pen", Pen | None)
    io.emits("pens", dict[str, Pen])
    text = typescript(describe(io))
    assert re.findall(r"^export (?:interface|type) (\w+)", text, re.M)[2:] == ["Case", "Ink", "Pen"]


def test_defaults_that_no_document_can_have_are_left_out() -> None:
    """The document would be no JSON, or not be written at all."""

    @dataclass
    class Odd:
        limit: float = float("inf")
        mark: bytes = b"\xff"
        unset: int = object()  # type: ignore[assignment]
        known: int = 1

    class Limit(pydantic.BaseModel):
        limit: float = float("inf")

    io = Server()

    @io.on("odd")
    async def odd(socket: Socket, odd: Odd, limit: Limit) -> None: ...

    document = json.loads(json.dumps(asyncapi(describe(io)), allow_nan=False))
    properties = document["components"]["schemas"]["Odd"]["properties"]
    assert {name for name, each in properties.items() if "default" in each} == {"known"}
    assert problems_of(document) == []


def test_comments_end_where_they_should() -> None:
    """A docstring would end the comment, and what follows would be code."""
    io = Server()
    io.emits("event", Record, description="a */ b")
    text = typescript(describe(io))
    assert "/** a * / b */" in text
    assert "/** Called like something of TypeScript's. * / And with the end of a comment. */" in text


def test_dates_are_what_the_serializer_makes_of_them() -> None:
    """With msgpack a client would call methods of a string on a Date."""
    assert describe(Server()).dates == "string"
    assert describe(Server(serializer=MsgpackSerializer(datetimes="iso"))).dates == "string"
    contract = describe(make(MsgpackSerializer()))
    assert "time: (data: Date) => void;" in typescript(contract)
    assert "time: (data: string) => void;" in typescript(contract, dates="string")
    with pytest.raises(ConfigurationError, match="dates is one of"):
        typescript(contract, dates="number")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returns", "written"),
    [
        (None, "(...args: [] | [ack: (error?: EventError) => void]) => void"),
        (Any, "(...args: [] | [ack: (...answer: unknown[]) => void]) => void"),
        (str, "(ack: (answer: string | EventError) => void) => void"),
        (str | None, "(ack: (answer?: string | EventError) => void) => void"),
        (tuple[int, str], "(ack: (...answer: [number, string] | [EventError]) => void) => void"),
        (tuple[int, str] | None, "(ack: (...answer: [number, string] | [] | [EventError]) => void) => void"),
        (tuple[int], "(ack: (answer: number | EventError) => void) => void"),
        (tuple, "(...args: [] | [ack: (...answer: unknown[]) => void]) => void"),
        (list[int], "(ack: (answer: number[] | EventError) => void) => void"),
    ],
    ids=str,
)
async def test_acknowledgements_as_they_are_written(returns: Any, written: str) -> None:
    """A callback would be compiled that is called with something else."""
    io = Server()

    async def event(socket: Socket): ...  # type: ignore[no-untyped-def]

    event.__annotations__["return"] = returns
    io.on("event")(event)
    assert f"event: {written};" in typescript(describe(io))
    assert problems_of(asyncapi(describe(io))) == []


def test_events_that_are_named_by_integers_are_quoted() -> None:
    """socket.io-client's types let nobody emit an event whose key is a number: ``keyof Events & (string | symbol)``."""
    io = Server()
    io.emits(1, str)
    io.on(-2)(lambda socket: None)
    text = typescript(describe(io))
    assert '  "1": (data: string) => void;' in text
    assert '  "-2": (' in text


def test_the_same_contract_gives_the_same_text() -> None:
    """A generated file would change when nothing has changed."""
    contract = describe(make())
    again = describe(make())
    assert typescript(contract) == typescript(again)
    assert msgspec.json.encode(asyncapi(contract)) == msgspec.json.encode(asyncapi(again))
    assert str(make.__code__.co_filename) not in json.dumps(asyncapi(contract)) + typescript(contract)
