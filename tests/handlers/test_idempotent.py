"""Handlers that serve an event once: where the id is, as the registration says and checks."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NewType, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from rtframework import Ack, ConfigurationError, InvalidPayload, Namespace, Server, Socket, idempotent
from rtframework.handlers.handler import Handler
from rtframework.handlers.idempotent import EventId, IdempotentHandler
from rtframework.handlers.signatures import Signature

OrderId = NewType("OrderId", str)


class Struct(msgspec.Struct, rename="camel"):
    """A client's object."""

    order_id: str
    when: float = 0.0


@dataclasses.dataclass
class Data:
    """A client's object."""

    id: OrderId
    meta: Struct


class Typed(TypedDict):
    """A client's object."""

    id: int


class Model(pydantic.BaseModel):
    """A client's object."""

    id: UUID = pydantic.Field(alias="orderId")
    price: float


def source(function: Any, source: bool | str = True) -> EventId:
    """Inspect a handler."""
    return EventId(Signature.of("buy", function), source)


async def by_name(socket: Socket, what: str, client_offset: str | None = None) -> None: ...
async def by_event_id(socket: Socket, event_id: Annotated[int, "an id"]) -> None: ...
async def of_struct(socket: Socket, order: Struct) -> None: ...
async def of_data(socket: Socket, data: Data) -> None: ...
async def of_typed(socket: Socket, data: Typed) -> None: ...
async def of_model(socket: Socket, data: Model) -> None: ...
async def of_dict(socket: Socket, data: dict[str, Any]) -> None: ...
async def untyped(socket, what, event_id):  # type: ignore[no-untyped-def]
    ...


def test_a_handler_without_it_is_as_it_was() -> None:
    """Programs that do not need it would pay for it at every event."""
    io = Server()

    @io.on("free")
    async def free(socket: Socket, event_id: str) -> None: ...

    @io.on("off", idempotent=False)
    @idempotent()
    async def off(socket: Socket, event_id: str) -> None: ...

    @io.on("once", idempotent=True)
    async def once(socket: Socket, event_id: str) -> None: ...

    handlers = io.of("/")._listening.handlers
    assert [type(handlers[name]) for name in ("free", "off", "once")] == [Handler, Handler, IdempotentHandler]
    assert io._host._repeats is None


@pytest.mark.parametrize(
    ("function", "given", "args", "id"),
    [
        (by_name, True, ["tea", "1"], "$1"),
        (by_name, True, ["tea"], None),
        (by_name, True, ["tea", None], None),
        (by_name, "what", ["tea"], "$tea"),
        (by_event_id, True, [1], "#1"),
        (untyped, True, ["tea", "#1"], "$#1"),
        (of_struct, "order.orderId", [{"orderId": "1"}], "$1"),
        (of_struct, "order.orderId", ["no object"], None),
        (of_data, "data.id", [{"id": "1"}], "$1"),
        (of_data, "data.meta.orderId", [{"meta": {"orderId": "1"}}], "$1"),
        (of_typed, "data.id", [{"id": 5}], "#5"),
        (of_model, "data.orderId", [{"orderId": "1"}], "$1"),
        (of_dict, "data.a.b", [{"a": {"b": "1"}}], "$1"),
        (of_dict, "data.a.b", [{"a": 1}], None),
        (of_dict, "data.a.b", [{}], None),
    ],
)
def test_where_the_id_is(function: Any, given: bool | str, args: list[Any], id: str | None) -> None:
    """The event of one id would be taken for that of another: the number 1, say, for the text "1"."""
    assert source(function, given).find("buy", args) == id


@pytest.mark.parametrize("value", ["", "x" * 257, 1.0, True, [], {}, b"1"], ids=repr)
def test_what_is_no_id(value: Any) -> None:
    """A client could fill the memory with ids, or have an event served that it cannot repeat."""
    with pytest.raises(InvalidPayload, match=r"the id 'data.id' is a text of 1 to 256 characters") as caught:
        source(of_dict, "data.id").find("buy", [{"id": value}])
    assert caught.value.details[0]["path"] == "$[0].id"


async def no_id(socket: Socket, text: str) -> None: ...
async def two_ids(socket: Socket, event_id: str, client_offset: str) -> None: ...
async def variadic(socket: Socket, *event_id: str) -> None: ...
async def with_ack(socket: Socket, event_id: str, ack: Ack) -> None: ...
async def of_float(socket: Socket, event_id: float) -> None: ...
async def of_flag(socket: Socket, event_id: bool) -> None: ...


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (no_id, True, "has no parameter 'event_id' or 'client_offset'"),
        (two_ids, True, "has no parameter"),
        (variadic, True, "has no parameter"),
        (with_ack, True, "return the answer instead"),
        (of_float, True, "annotate it as str or int"),
        (of_flag, True, "annotate it as str or int"),
        (no_id, "nobody", "has no parameter 'nobody'"),
        (of_struct, "order.order_id", r"nothing is 'order_id' .* there are \['orderId', 'when'\]"),
        (of_struct, "order.when", "annotate it as str or int"),
        (of_struct, "order", "annotate it as str or int"),
        (of_model, "data.id", "nothing is 'id'"),
        (of_model, "data.price", "annotate it as str or int"),
        (no_id, "", "idempotent is True, or the name"),
        (no_id, "text.", "idempotent is True, or the name"),
        (no_id, 1, "idempotent is True, or the name"),
    ],
)
def test_mistakes_show_at_registration(function: Any, given: Any, message: str) -> None:
    """A text would be taken for its own id, and the second "hello" never be heard."""
    with pytest.raises(ConfigurationError, match=message):
        Server().on("buy", idempotent=given)(function)


def test_other_mistakes() -> None:
    """A program would believe that something is served once which is not."""
    io = Server()
    with pytest.raises(ConfigurationError, match="cannot be idempotent"):
        io.on("connection", idempotent=True)(no_id)
    with pytest.raises(ConfigurationError, match=r"write @idempotent\(\)"):
        idempotent(no_id)  # type: ignore[arg-type]

    class Chat(Namespace):
        @idempotent("id")
        async def on_message(self, socket: Socket, text: str) -> None: ...

    with pytest.raises(ConfigurationError, match="has no parameter"):
        Chat("/chat")
