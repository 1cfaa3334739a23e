"""What is registered with a server, as values: for `rtframework routes`."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from rtframework import Ack, Depends, Namespace, Server, Socket
from rtframework.cli.inspection import Argument, Entry, NamespaceEntry, locate, take_inventory, written

HERE = Path(__file__)


def entries(io: Server, name: str = "/") -> list[Entry]:
    """What is registered with one namespace."""
    return list(namespace_of(io, name).entries)


def namespace_of(io: Server, name: str) -> NamespaceEntry:
    (found,) = [each for each in take_inventory(io) if each.name == name]
    return found


def line_of(text: str) -> int:
    """Where something stands in this file."""
    return next(number for number, line in enumerate(HERE.read_text().splitlines(), 1) if line.strip() == text)


def decorated(function: Any) -> Any:
    """A decorator of the program's."""

    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


async def plain(socket: Socket, text: str, *more: int) -> bool: ...  # type: ignore[empty-body]


@decorated
@decorated
async def below_decorators(socket: Socket) -> None: ...


class Component:
    async def method(self, socket: Socket) -> None: ...

    async def __call__(self, socket: Socket) -> None: ...


PLACES: list[tuple[Any, str, str | None]] = [
    (plain, "plain", "async def plain(socket: Socket, text: str, *more: int) -> bool: ...  # type: ignore[empty-body]"),
    (below_decorators, "below_decorators", "async def below_decorators(socket: Socket) -> None: ..."),
    (Component().method, "Component.method", "async def method(self, socket: Socket) -> None: ..."),
    (Component(), "Component", "async def __call__(self, socket: Socket) -> None: ..."),
    (functools.partial(functools.partial(plain)), "plain", None),
    (print, "print", None),
]


@pytest.mark.parametrize(("function", "name", "line"), PLACES, ids=[each[1] for each in PLACES])
def test_a_function_is_where_its_def_is(function: Any, name: str, line: str | None) -> None:
    """One would be led to a decorator, to the wrong file, or to nothing."""
    place = locate(function)
    assert place.name == name
    if line is not None:
        assert (place.module, place.file, place.line) == (__name__, str(HERE), line_of(line))
    if function is print:
        assert (place.module, place.file, place.line) == ("builtins", None, None)


def test_arguments_and_what_else_is_said_of_a_handler() -> None:
    """A reader would take what is injected for something that clients send."""
    io = Server()

    @io.on("save", ordered=True)
    async def save(
        socket: Socket, a: dict[str, int], b: Literal["x"] | None = None, *, io: Server, n: int = Depends(int)
    ) -> bytes:
        return b""

    @io.on("ask")
    async def ask(socket: Socket, question: str, ack: Ack) -> None: ...

    @io.on("bare")
    def bare(socket, *args): ...  # type: ignore[no-untyped-def]

    saved, asked, anything = entries(io)
    assert saved.arguments == (
        Argument("a", "dict[str, int]", True, False),
        Argument("b", "Literal['x'] | None", False, False),
    )
    assert (saved.kind, saved.name, saved.returns, saved.ack, saved.ordered) == ("on", "save", "bytes", False, True)
    assert (asked.returns, asked.ack, asked.ordered) == (None, True, False)
    assert anything.arguments == (Argument("args", None, False, True),)


def test_annotations_are_written_as_in_the_program() -> None:
    """Types would be shown as Python prints them, which nobody can read."""
    io = Server()

    class Local:
        """A class of the program's."""

    async def handler(socket: Any, one: Any, two: Any = None) -> Any: ...

    handler.__annotations__ |= {"one": list[int], "two": int | None, "return": type(None)}
    io.on("e")(handler)
    (entry,) = entries(io)
    assert entry.arguments == (Argument("one", "list[int]", True, False), Argument("two", "int | None", False, False))
    assert entry.returns == "None"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), ""),
        ((Argument("a", "int", True, False),), "a: int"),
        ((Argument("a", None, True, False), Argument("b", None, False, False)), "a, b=..."),
        ((Argument("a", "int | None", False, False),), "a: int | None = ..."),
        ((Argument("args", "str", False, True),), "*args: str"),
    ],
)
def test_arguments_are_written_as_in_a_def(arguments: tuple[Argument, ...], text: str) -> None:
    """A line of the list could not be read at a glance."""
    assert written(arguments) == text


def test_every_kind_of_thing_is_listed() -> None:
    """What is left out is what one looks for."""
    io = Server()
    io.use(plain)
    io.use_event(lambda socket, event, call_next: call_next())
    io.exception_handler(LookupError)(lambda socket, error: None)
    io.on("connection")(below_decorators)
    io.on("e")(plain)
    io.on_any(lambda socket, event, *args: None)
    io.on_any_outgoing(lambda socket, event, *args: None)
    io.on_server_side("clear")(lambda key: None)
    io.on("new_namespace")(lambda namespace: None)
    io.emits("said", str, returns=bool)
    kinds = [(each.kind, each.name) for each in entries(io)]
    assert sorted(kinds, key=str) == sorted(
        [
            ("use", None),
            ("use_event", None),
            ("exception_handler", "LookupError"),
            ("on", "connection"),
            ("on", "e"),
            ("on_any", None),
            ("on_any_outgoing", None),
            ("on_server_side", "clear"),
            ("on", "new_namespace"),
            ("emits", "said"),
        ],
        key=str,
    )
    said = next(each for each in entries(io) if each.kind == "emits")
    assert (said.returns, said.place.file) == ("bool", str(HERE))
    assert said.place.line == line_of('io.emits("said", str, returns=bool)')


def test_a_catch_all_is_shown_without_the_name_that_it_is_given() -> None:
    """The event's name would look like an argument of the client."""
    io = Server()
    io.on_any(lambda socket, event, first, *rest: None)
    io.on_any(lambda socket, *everything: None)
    one, other = entries(io)
    assert written(one.arguments or ()) == "first, *rest"
    assert written(other.arguments or ()) == "*everything"


def test_the_main_namespace_comes_first_and_children_are_their_parents() -> None:
    """A tenant's namespace, which a client has brought into being, would look like one of the program's."""
    io = Server()
    io.of("/chat")
    rooms = io.of("/room/{id}")
    rooms.on("enter")(plain)
    io.of("/room/7")
    io.of(re.compile("/x-(.*)"))
    found = take_inventory(io)
    assert [(each.name, each.kind) for each in found] == [
        ("/", "name"),
        ("/chat", "name"),
        ("/room/{id}", "template"),
        ("/x-(.*)", "expression"),
    ]
    assert [each.name for each in found[2].entries] == ["enter"]


def test_what_a_class_brings_with_it_is_listed_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What the factory of a dynamic namespace makes would be missing before the first client has come."""

    class Room(Namespace):
        async def on_say(self, socket: Socket, text: str) -> None: ...

    io = Server()
    rooms = io.of("/room/{id}", factory=Room)
    rooms.on("enter")(plain)
    assert [each.name for each in entries(io, "/room/{id}")] == ["enter", "say"]
    assert capsys.readouterr().err == ""


def test_a_factory_that_needs_a_name_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole list would be missing because of one factory."""

    def make(name: str) -> Namespace:
        raise ValueError(name)

    io = Server()
    io.of("/room/{id}", factory=make).on("enter")(plain)
    assert [each.name for each in entries(io, "/room/{id}")] == ["enter"]
    assert "note: what /room/{id} makes by itself is not shown (ValueError(" in capsys.readouterr().err
