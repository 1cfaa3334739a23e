"""What a namespace declares to emit."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pydantic
import pytest
from msgspec import Struct

from rtframework import ConfigurationError, Namespace, Server, Socket, emits
from rtframework.testing import TestServer
from tests.support.in_process import NOT_ON_UVLOOP


class Message(Struct):
    text: str
    at: datetime.datetime | None = None


class Model(pydantic.BaseModel):
    name: str
    since: datetime.date


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


def declared(namespace: Namespace) -> list[str | int]:
    """The names of the events."""
    return [each.event for each in namespace.declared]


@NOT_ON_UVLOOP
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
