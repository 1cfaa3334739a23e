"""What a parameter is filled with: the program's providers, what the server has, or the client's arguments."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import pytest
from aiohttp import web

from rtframework import Ack, Depends, Event, Server, Socket
from rtframework.exceptions import ConfigurationError
from rtframework.handlers.dependencies import (
    IN_CONNECTION,
    IN_ERROR,
    IN_EVENT,
    IN_OUTGOING,
    IN_SERVER_SIDE_EVENT,
    SUPPLIES,
    Dependency,
    Place,
    Scope,
    Supply,
    wanted_by,
)
from rtframework.types import Packet
from tests.support.sockets import AnsweringSocket, event_packet

if TYPE_CHECKING:
    from rtframework.server import Server as OnlyForTheTypeChecker

T = TypeVar("T")


class Database:
    """What a program injects."""


class Repository(Generic[T]):
    """As before, and generic."""


class Interface(ABC):
    """As before, and not to be made."""

    @abstractmethod
    def ask(self) -> None: ...


class Special(Socket):
    """A program's own socket class."""


def get_db() -> Database:
    return Database()


def wanted(function: Callable[..., Any], place: Place = IN_EVENT) -> Dependency | Supply | None:
    """What the only parameter of a function is filled with."""
    (parameter,) = inspect.signature(function).parameters.values()
    return wanted_by(function, parameter, "the handler", place)


def provider_of(function: Callable[..., Any]) -> Any:
    """The provider of the only parameter."""
    found = wanted(function)
    assert isinstance(found, Dependency)
    return found.provider


# Ruff would have these written as lambdas' defaults in constants; they are read by wanted_by alone.
def by_default(db: Database = Depends(get_db)) -> None: ...
def by_note(db: Annotated[Database, Depends(get_db)]) -> None: ...
def by_second_note(db: Annotated[Database, "a note", Depends(get_db)]) -> None: ...
def by_both(db: Annotated[Database, Depends(get_db)] = Depends(Database)) -> None: ...
def by_class(db: Database = Depends()) -> None: ...
def by_noted_class(db: Annotated[Database, Depends()]) -> None: ...
def by_generic(users: Repository[int] = Depends()) -> None: ...


@pytest.mark.parametrize(
    ("function", "provider"),
    [
        (by_default, get_db),
        (by_note, get_db),
        (by_second_note, get_db),
        (by_both, get_db),
        (by_class, Database),
        (by_noted_class, Database),
        (by_generic, Repository[int]),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_a_provider_is_found_where_it_is_written(function: Callable[..., Any], provider: Any) -> None:
    """One of the ways to write it would be taken for an argument of the client."""
    assert provider_of(function) == provider


def test_a_class_without_a_provider_keeps_its_choice_of_caching() -> None:
    """``Depends(use_cache=False)`` would share what each is to have for itself."""

    def handler(db: Database = Depends(use_cache=False)) -> None: ...

    found = wanted(handler)
    assert isinstance(found, Dependency)
    assert not found.use_cache


def untyped(db=Depends()): ...  # type: ignore[no-untyped-def]
def anything(db: Any = Depends()) -> None: ...
def abstract(db: list[Interface] | Interface = Depends()) -> None: ...
def a_union(db: Database | None = Depends()) -> None: ...
def a_type(db: type[Database] = Depends()) -> None: ...


@pytest.mark.parametrize("function", [untyped, anything, abstract, a_union, a_type])
def test_without_a_class_there_is_nothing_to_make(function: Callable[..., Any]) -> None:
    """A handler would be called with something that nobody meant."""
    with pytest.raises(ConfigurationError, match=r"'db' has a Depends\(\) without a provider, and no class"):
        wanted(function)


@pytest.mark.parametrize("provider", [5, "get_db", [get_db]])
def test_a_provider_can_be_called(provider: Any) -> None:
    """The mistake would show when the first event comes."""
    with pytest.raises(ConfigurationError, match="Depends takes a function or a class"):
        Depends(provider)


def test_a_tuple_of_arguments_is_the_clients() -> None:
    """``*args`` with a provider would be filled by the client, or not at all, and nobody say so."""

    def plain(*args: int) -> None: ...
    def injected(*args: Annotated[int, Depends(get_db)]) -> None: ...
    def keywords(**more: Annotated[int, Depends(get_db)]) -> None: ...

    assert wanted(plain) is None
    for function in (injected, keywords):
        with pytest.raises(ConfigurationError, match="none of them is injected"):
            wanted(function)


def of_socket(someone: Socket) -> None: ...
def of_special(someone: Special) -> None: ...
def of_server(io: Server) -> None: ...
def of_app(application: web.Application) -> None: ...
def of_ack(answer: Ack) -> None: ...
def of_event(what: Event) -> None: ...
def of_unseen(io: OnlyForTheTypeChecker) -> None: ...
def named_socket(socket): ...  # type: ignore[no-untyped-def]
def named_server(server): ...  # type: ignore[no-untyped-def]
def named_app(app): ...  # type: ignore[no-untyped-def]
def named_ack(ack): ...  # type: ignore[no-untyped-def]
def typed_ack(ack: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (of_socket, "socket"),
        (of_special, "socket"),
        (of_server, "server"),
        (of_app, "app"),
        (of_ack, "ack"),
        (of_event, "event"),
        (named_socket, "socket"),
        (named_server, "server"),
        (named_app, "app"),
        (named_ack, "ack"),
        (typed_ack, "ack"),
    ],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_what_the_server_has_is_found_by_class_or_by_name(function: Callable[..., Any], name: str) -> None:
    """Whoever writes ``server: Server`` would wait for a client to send one."""
    assert wanted(function) is SUPPLIES[name]


def named_data(server: str) -> None: ...
def named_event(event): ...  # type: ignore[no-untyped-def]
def plain_data(text: str) -> None: ...
def no_annotation(text): ...  # type: ignore[no-untyped-def]
def other_class(db: Database) -> None: ...
def named_other(socket: Database) -> None: ...


@pytest.mark.parametrize(
    "function", [named_data, named_event, plain_data, no_annotation, other_class, named_other, of_unseen]
)
def test_everything_else_is_the_clients(function: Callable[..., Any]) -> None:
    """An argument that happens to be called "server" would never reach the handler."""
    assert wanted(function) is None


def test_a_name_that_only_the_type_checker_imports_is_known_by_its_last_word() -> None:
    """A handler whose module imports ``Socket`` for the type checker alone would not be given its socket."""

    def handler(someone: nowhere.Socket) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert wanted(handler) is SUPPLIES["socket"]


@pytest.mark.parametrize(
    ("place", "there"),
    [
        (IN_EVENT, {"socket", "server", "app", "ack", "event"}),
        (IN_ERROR, {"socket", "server", "app", "event"}),
        (IN_CONNECTION, {"socket", "server", "app"}),
        (IN_SERVER_SIDE_EVENT, {"server", "app"}),
        (IN_OUTGOING, set()),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_a_name_alone_is_meant_only_where_it_is_there(place: Place, there: set[str]) -> None:
    """A catch-all for outgoing events that calls an argument "server" would not be given the argument."""
    assert place.supplies == there
    for function, name in ((named_socket, "socket"), (named_server, "server"), (named_app, "app")):
        assert (wanted(function, place) is not None) is (name in there)
    # "ack" is reserved everywhere, and a class is always meant: the plan refuses them where they are not there.
    for function in (named_ack, of_ack, of_server):
        assert wanted(function, place) is not None


def test_dependencies_are_equal_when_they_say_the_same() -> None:
    """The signature of each closure would be found out again, for each client."""
    assert Depends(get_db) == Depends(get_db)
    assert hash(Depends(get_db)) == hash(Depends(get_db))
    assert Depends(get_db) != Depends(get_db, use_cache=False)
    assert Depends(get_db) != Depends(Database)
    assert Dependency(get_db, True) != object()


def test_a_dependency_in_a_signature_can_be_read() -> None:
    """``help()`` and error messages would show an object at an address."""
    assert repr(Depends(get_db)) == f"Depends({__name__}.get_db)"
    assert repr(Depends()) == "Depends()"


def test_a_scope_gives_what_there_is() -> None:
    """A provider that middleware has asked already would be asked again."""
    server = object()
    socket = AnsweringSocket(server=server)
    packet: Packet = event_packet("e", 1)
    assert Scope(socket).found == {}
    event = Event("e", [1], packet)
    assert Scope(socket, packet, event).found == {}
    event.found = {get_db: 5}
    assert Scope(socket, packet, event).found == {get_db: 5}
    assert SUPPLIES["socket"].get(Scope(socket)) is socket
    assert SUPPLIES["server"].get(Scope(socket)) is server
