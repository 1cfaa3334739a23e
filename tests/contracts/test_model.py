"""A server's contract as a value: what is known of it."""

from __future__ import annotations

import enum
import re
from typing import Any

import pytest

from rtframework import Ack, ConfigurationError, History, Namespace, Server, Socket
from rtframework.contracts import describe, typescript
from rtframework.handlers.declarations import NOTHING
from rtframework.testing import TestServer
from tests.support.contract import Chat, Person, Picture, Text, make, namespace_of, received, types
from tests.support.in_process import NOT_ON_UVLOOP


def test_both_directions_are_described() -> None:
    """Half of a contract would be missing, or a reader would not find who serves it."""
    main = namespace_of(make())
    assert [each.name for each in main.receives] == ["post", "find", "move", "divide", "ask me"]
    assert [each.name for each in main.sends] == ["posted", "moved", "sure?", "numbers", "ping"]
    post = main.receives[0]
    assert types(post) == [("post", Text | Picture), ("author", Person)]
    assert (post.returns, post.description) == (int, "Show a post to everybody.")
    assert post.places == ("tests.support.contract.make.<locals>.post",)
    sure = main.sends[2]
    assert (types(sure), sure.returns) == ([("question", str)], bool)
    assert re.search(r"contract\.py:\d+$", sure.places[0])
    assert main.sends[-1].returns is NOTHING


def test_names_of_namespaces_are_described() -> None:
    """The contract of a dynamic namespace would be missing, or look like that of one namespace."""
    io = Server()
    io.of(r"/room/{id:\d{2}}/{part}", factory=Chat)
    io.of(re.compile("/x-(?P<y>.*)"))
    io.of(re.compile(r"/z/\d{3}"))  # reads like a template
    io.of(lambda name, auth: True)
    io.of("/a")
    io.instrument(auth=False)
    assert [(each.name, each.kind, each.params) for each in describe(io).namespaces] == [
        ("/", "name", ()),
        ("/a", "name", ()),
        (r"/room/{id:\d{2}}/{part}", "template", ("id", "part")),
        ("/x-(?P<y>.*)", "expression", ("y",)),
        (r"/z/\d{3}", "expression", ()),
        ("test_names_of_namespaces_are_described.<locals>.<lambda>", "function", ()),
    ]
    room = namespace_of(io, r"/room/{id:\d{2}}/{part}")
    assert [each.name for each in (*room.receives, *room.sends)] == ["say", "said"]
    assert room.description == "Talk within one tenant."
    assert namespace_of(io).description == ""


@NOT_ON_UVLOOP
async def test_describing_changes_nothing() -> None:
    """A namespace would be there that nobody has asked for."""
    io = make()
    before = dict(io.namespaces)
    describe(io)
    assert io.namespaces == before
    assert len(io.parents[0].children) == 0
    async with TestServer(io) as server:
        client = await server.connect("/tenants/acme")
        assert namespace_of(io, "/tenants/{tenant}").receives == namespace_of(make(), "/tenants/{tenant}").receives
        await client.emit("say", "hi")
        assert await client.receive("said") == (client.id, "hi")


def test_a_factory_that_cannot_be_described_is_named() -> None:
    """The contract would leave out a namespace without a word."""
    io = Server()

    def factory(name: str) -> Namespace:
        raise LookupError("no such tenant")

    io.of("/tenants/{tenant}", factory=factory)
    with pytest.raises(ConfigurationError, match=r"factory of /tenants/\{tenant\} .*no such tenant"):
        describe(io)


def test_what_nobody_has_annotated_is_unknown() -> None:
    """A contract would promise what is only guessed."""
    io = Server()

    @io.on("event")
    async def event(socket, a, b: object = 1, *c: Any, ack: Ack):  # type: ignore[no-untyped-def]
        """Nobody knows."""

    contract = received(io)
    assert types(contract) == [("a",), ("b",), ("c",)]
    assert [each.required for each in contract.arguments] == [True, False, False]
    assert contract.returns is Any

    @io.on("other")
    async def other(socket: Socket) -> Socket:  # what the serializer's own hook could turn into something
        return socket

    assert received(io, "other").returns is Any


def test_several_handlers_of_an_event_are_one_contract() -> None:
    """A client that satisfies the first handler would be refused by the second."""
    io = Server()

    @io.on("event")
    async def first(socket: Socket, data: Text, untyped, *rest: int) -> None:  # type: ignore[no-untyped-def]
        ...

    @io.on("event")
    async def second(socket: Socket, data: Picture, word: str = "", more: int = 0) -> str:
        """The second one."""
        return ""

    contract = received(io)
    assert types(contract) == [("data", Text, Picture), ("untyped", str), ("rest", int)]
    assert [each.required for each in contract.arguments] == [True, True, False]
    assert contract.returns == str | None
    assert contract.description == "The second one."
    text = typescript(describe(io))
    assert "[data: Text & Picture, untyped: string, rest: number, ack: (answer?: string | EventError) => void]" in text
    assert "...rest" not in text  # the second one takes no more than three


def test_events_that_are_named_by_integers() -> None:
    """A program with numeric events would have no contract, or two entries for one event."""

    class Kind(enum.IntEnum):
        SAY = 1

    io = Server()

    @io.emits(Kind.SAY, str)
    @io.on(Kind.SAY)
    async def say(socket: Socket, text: str) -> None:
        """Say something."""

    @io.on("1")
    async def note(socket: Socket, text: str) -> None: ...

    main = namespace_of(io)
    assert [(each.name, type(each.name)) for each in (*main.receives, *main.sends)] == [(1, int), (1, int)]
    assert main.receives[0].description == "Say something."
    assert len(main.receives[0].places) == 2


def test_rooms_with_history() -> None:
    """A client's compiler would not know the event that brings what was said."""
    io = Server(history=[History("chat:{room}"), History("a", nsp="/other")])
    io.of("/other")
    io.of("/t/{name}")
    assert [[each.name for each in nsp.sends] for nsp in describe(io).namespaces] == [["history"]] * 3
    assert "(page: HistoryMessage) => void" in typescript(describe(io))
    one = Server(history=History("a", nsp="/other"))
    assert describe(one).namespaces[0].sends == ()
    own = Server(history=History("a"))
    own.emits("history", str)
    (event,) = describe(own).namespaces[0].sends
    assert types(event) == [("data", str)]


@NOT_ON_UVLOOP
async def test_strict_mode_and_rooms_with_history() -> None:
    """A program with declarations could not test its rooms: the ids of entries are in no declaration."""
    io = Server(history=History("chat:{room}"), strict_emits=True)

    @io.emits("said", str)
    @io.on("enter")
    async def enter(socket: Socket) -> None:
        await io.to("chat:1").emit("said", "before")
        await socket.join("chat:1", history=5)
        await io.to("chat:1").emit("said", "live")

    async with TestServer(io) as server:
        client = await server.connect()
        await client.emit("enter")
        assert [each["args"] for each in (await client.receive("history"))["entries"]] == [["before"]]
        assert (await client.receive("said"))[0] == "live"


def test_an_event_that_may_be_sent_again_says_so() -> None:
    """Who writes a client would not know that it may be sent again, or which argument has to be the same then."""
    io = Server()

    @io.on("buy", idempotent="order.id")
    def buy(socket: Socket, order: dict[str, Any]) -> None:
        """Place an order."""

    @io.on("pay", idempotent=True)
    @io.on("ship", idempotent=True)
    def pay(socket: Socket, event_id: str) -> None: ...

    @io.on("ship")
    def ship(socket: Socket, event_id: str) -> None: ...

    descriptions = {each.name: each.description for each in namespace_of(io).receives}
    assert descriptions == {
        "buy": "Place an order. Served once for each `order.id`, so that it may be sent again.",
        "pay": "Served once for each `event_id`, so that it may be sent again.",
        "ship": "",
    }
