"""Injection: providers, what the server gives, clean-up, sharing, overrides, through real clients."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Generic, ParamSpec, TypeVar

import pytest
from aiohttp import web

from rtframework import (
    Ack,
    ConnectionRefused,
    Depends,
    Event,
    EventError,
    Namespace,
    Server,
    Socket,
)
from rtframework.protocols import CallNext
from rtframework.testing import TestServer
from tests.conftest import Serve
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.js import JSClients
from tests.support.transports import Transport
from tests.support.until import until

log: list[str] = []
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Database:
    """Something that is opened and closed."""

    def __init__(self, name: str) -> None:
        self.name = name


async def pool(app: web.Application) -> str:
    """An asynchronous provider that needs what the server has."""
    await asyncio.sleep(0)
    return "pool" if app is not None else "none"


async def get_db(name: str = Depends(pool)) -> AsyncIterator[Database]:
    """An asynchronous generator, nested."""
    log.append("open")
    try:
        yield Database(name)
    except ValueError:
        log.append("rollback")
        raise
    else:
        log.append("commit")
    finally:
        log.append("close")


def get_name(socket: Socket) -> Iterator[str]:
    """A plain generator."""
    log.append("named")
    yield f"name of {socket.nsp}"
    log.append("forgotten")


@pytest.fixture(autouse=True)
def _empty() -> None:
    log.clear()


async def test_everything_that_can_be_injected(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A handler would have to fetch its database from a global, and nobody would close it."""
    io = Server()
    seen: list[Any] = []

    @io.on("save")
    async def save(
        socket: Socket,
        text: str,
        count: int = 1,
        db: Database = Depends(get_db),
        *,
        name: Annotated[str, Depends(get_name)],
        server: Server,
        app: web.Application,
        event: Event,
    ) -> str:
        seen[:] = [server is io, app is io.app, event.name, event.args]
        log.append("handler")
        if text == "wrong":
            raise ValueError(text)
        return f"{text} {count} {db.name} {name}"

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    assert await client.emit_with_ack("save", "a") == "a 1 pool name of /"
    assert log == ["open", "named", "handler", "forgotten", "commit", "close"]
    assert seen == [True, True, "save", ["a"]]
    assert await client.emit_with_ack("save", "b", 2) == "b 2 pool name of /"
    log.clear()
    assert (await client.emit_with_ack("save", "wrong"))["error"]["code"] == "internal_error"
    assert log == ["open", "named", "handler", "rollback", "close"]
    log.clear()
    assert (await client.emit_with_ack("save", 1))["error"]["code"] == "invalid_payload"
    assert (await client.emit_with_ack("save", "a", 1, "b"))["error"]["code"] == "invalid_payload"
    assert log == []  # nothing was opened for what is refused anyway


async def test_acks_and_names(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An ``ack`` of another name, a handler of one socket, or one with ``*args`` would be called wrongly."""
    io = Server()

    @io.on("reply")
    async def reply(socket: Socket, reply: Ack, name: Annotated[str, Depends(get_name)], *words: str) -> None:
        reply([name, *words])

    @io.on("names")
    def names(socket, server, app):  # type: ignore[no-untyped-def]
        return [server is io, app is io.app]

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        @socket.on("mine")
        async def mine(text: str, me: Socket, name: str = Depends(get_name)) -> str:
            return f"{text} {me is socket} {name}"

        local = f"local {socket.nsp}"

        @socket.on("closure")
        async def closure(value: str = Depends(lambda: local)) -> str:
            return value

    @io.once("once")
    async def once(socket: Socket, db: Database = Depends(get_db)) -> str:
        return db.name

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    assert await client.emit_with_ack("reply", "a", "b") == ["name of /", "a", "b"]
    assert await client.emit_with_ack("reply") == ["name of /"]
    assert await client.emit_with_ack("names") == [True, True]
    assert await client.emit_with_ack("mine", "x") == "x True name of /"
    assert await client.emit_with_ack("closure") == "local /"
    assert await client.emit_with_ack("once") == "pool"
    assert (await client.emit_with_ack("once"))["error"]["code"] == "unknown_event"


async def test_connections(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A connection handler, a disconnect handler or connect middleware would have nothing but the socket."""
    io = Server()

    async def user(socket: Socket) -> str:
        name = socket.handshake.auth.get("name")
        if name is None:
            raise ConnectionRefused("who are you?", {"code": 401})
        if name == "Mallory":
            raise EventError("banned", "not you", {"until": "never"})
        log.append(f"asked {name}")
        return str(name)

    @io.use
    async def guard(
        socket: Socket, call_next: CallNext, name: str = Depends(user), db: Database = Depends(get_db)
    ) -> None:
        socket.data["name"] = name
        log.append("guard")
        await call_next()
        log.append("passed")

    @io.use
    async def second(socket: Socket, call_next: CallNext, *, name: str = Depends(user), server: Server) -> None:
        assert server is io
        log.append(f"second {name}")
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket, name: str = Depends(user), db: Database = Depends(get_db)) -> None:
        await socket.emit("welcome", name, db.name)

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str, db: Database = Depends(get_db)) -> None:
        log.append(f"gone: {reason != ''} {db.name}")

    @io.on("disconnecting")
    async def disconnecting(socket: Socket, app: web.Application) -> None:
        log.append(f"going: {app is io.app}")

    server = await serve(io)
    client = await js.connect(server.url, via=transport, auth={"name": "Ada"})
    assert await client.wait_for("welcome") == ["Ada", "pool"]
    opened = ["asked Ada", "open", "guard", "second Ada", "passed", "commit", "close"]
    assert log == [*opened, "asked Ada", "open", "commit", "close"]
    log.clear()
    await client.disconnect()
    await until(lambda: len(log) == 5)
    assert log == ["going: True", "open", "gone: True pool", "commit", "close"]
    for auth, message, data in (
        ({}, "who are you?", {"code": 401}),
        ({"name": "Mallory"}, "not you", {"code": "banned", "message": "not you", "details": {"until": "never"}}),
    ):
        refused = await (await js.connect(server.url, via=transport, auth=auth, wait=False)).refused()
        assert (refused["message"], refused["data"]) == (message, data)


async def test_one_event_asks_a_provider_once(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Middleware and handler would have a database session each, and half of the work would not be committed."""
    io = Server()

    async def one(db: Database = Depends(get_db)) -> Database:
        return db

    async def fresh(db: Database = Depends(get_db, use_cache=False)) -> Database:
        return db

    @io.use_event
    async def outer(socket: Socket, event: Event, call_next: CallNext, db: Database = Depends(get_db)) -> Any:
        result = await call_next()
        log.append("outer")
        return result

    @io.on("save")
    async def save(
        socket: Socket,
        db: Database = Depends(get_db),
        same: Database = Depends(one),
        another: Database = Depends(fresh),
    ) -> list[bool]:
        return [db is same, db is another]

    server = await serve(io)
    client = await js.connect(server.url, via=transport)
    assert await client.emit_with_ack("save") == [True, False]
    assert log == ["open", "open", "commit", "close", "outer", "commit", "close"]
    log.clear()
    assert await client.emit_with_ack("save") == [True, False]
    assert log.count("open") == 2


async def test_handlers_side_by_side_have_their_own(serve: Serve, js: JSClients) -> None:
    """Two handlers that run at the same time would share a session that can do one thing at a time."""
    io = Server()
    seen: list[Database] = []

    @io.on("x")
    async def first(socket: Socket, db: Database = Depends(get_db)) -> None:
        await asyncio.sleep(0)
        seen.append(db)

    @io.on("x")
    async def second(socket: Socket, db: Database = Depends(get_db)) -> str:
        await asyncio.sleep(0)
        seen.append(db)
        return "answer"

    client = await js.connect((await serve(io)).url)
    assert await client.emit_with_ack("x") == "answer"
    await until(lambda: log.count("close") == 2)
    assert seen[0] is not seen[1]


async def test_a_generator_that_catches_does_not_make_a_success(
    serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """The client would be told that all went well."""
    io = Server()

    def swallow() -> Iterator[None]:
        try:
            yield
        except RuntimeError:
            log.append("swallowed")

    async def broken() -> AsyncIterator[None]:
        yield
        raise RuntimeError("commit failed")

    @io.on("x")
    async def handler(socket: Socket, nothing: None = Depends(swallow)) -> None:
        raise RuntimeError("really")

    @io.on("y")
    async def fine(socket: Socket, nothing: None = Depends(broken)) -> str:
        return "saved"

    client = await js.connect((await serve(io)).url)
    assert (await client.emit_with_ack("x"))["error"]["code"] == "internal_error"
    assert log == ["swallowed"]
    assert "really" in caplog.text
    assert (await client.emit_with_ack("y"))["error"]["code"] == "internal_error"
    assert "commit failed" in caplog.text


async def test_class_based_and_dynamic_namespaces(serve: Serve, js: JSClients) -> None:
    """What works on the server would not work in a class, in a child namespace, or for another server's events."""

    class Chat(Namespace):
        async def on_where(self, socket: Socket, name: str = Depends(get_name)) -> str:
            return f"{name} {self.server is socket.server}"

    io = Server()
    io.register_namespace(Chat("/chat"))
    rooms = io.of("/room/{id}")

    @rooms.use_event
    async def named(socket: Socket, event: Event, call_next: CallNext, name: str = Depends(get_name)) -> Any:
        return [name, await call_next()]

    @rooms.on("where")
    async def where(socket: Socket, server: Server) -> bool:
        return server is io and socket.namespace.server is io

    @io.on_any
    async def everything(socket: Socket, name: str, *args: Any, app: web.Application, event: Event) -> None:
        log.append(f"{name} {args} {app is io.app} {event.name} {event.args}")

    server = await serve(io)
    client = await js.connect(server.url)
    assert await (await client.of("/chat")).emit_with_ack("where") == "name of /chat True"
    assert await (await client.of("/room/7")).emit_with_ack("where") == ["name of /room/7", True]
    log.clear()
    await client.emit_with_ack("unknown", 1)
    assert log == ["unknown (1,) True unknown [1]"]


@NOT_ON_UVLOOP
async def test_providers_of_all_kinds() -> None:
    """A class, a partial or an object that can be called would not be taken, or never awaited."""
    io = Server()

    class Settings:
        def __init__(self, server: Server) -> None:
            self.server = server

    class Getter:
        async def __call__(self, socket: Socket) -> str:
            return socket.nsp

    class Opener:
        async def __call__(self) -> AsyncIterator[str]:
            yield "opened"
            log.append("closed")

        __hash__ = None  # type: ignore[assignment]

    async def later() -> str:
        return "later"

    def positional(socket: Socket, /, *rest: Any, **more: Any) -> str:
        return f"{socket.nsp}{len(rest)}{len(more)}"

    @io.on("x")
    async def handler(
        socket: Socket,
        settings: Annotated[Settings, Depends()],
        nsp: str = Depends(Getter()),
        opened: str = Depends(Opener()),
        awaited: str = Depends(lambda: later()),
        where: str = Depends(positional),
        empty: dict[str, Any] = Depends(dict),
    ) -> list[Any]:
        return [settings.server is io, nsp, opened, awaited, where, empty]

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("x") == [True, "/", "opened", "later", "/00", {}]
    assert log == ["closed"]


@NOT_ON_UVLOOP
async def test_overrides() -> None:
    """A test could not put a fake in the place of the database, nor of what the database needs."""
    io = Server()

    @io.on("name")
    async def name(socket: Socket, db: Database = Depends(get_db)) -> str:
        return db.name

    async def fake(socket: Socket) -> Database:
        return Database(f"fake {socket.nsp}")

    async with TestServer(io, overrides={get_db: fake}) as server:
        client = await server.connect()
        assert await client.emit_with_ack("name") == "fake /"
        assert log == []
        io.dependency_overrides = {pool: lambda: "other"}
        assert await client.emit_with_ack("name") == "other"
    assert io.dependency_overrides == {}
    async with TestServer(io) as server:
        assert await (await server.connect()).emit_with_ack("name") == "pool"


@NOT_ON_UVLOOP
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_provider_that_catches_does_not_hide_the_failure_from_others(is_async: bool) -> None:
    """A transaction would be committed although its handler has failed, because a provider inside caught that."""

    async def transaction() -> AsyncIterator[str]:
        try:
            yield "transaction"
        except EventError:
            log.append("rollback")
            raise
        log.append("commit")

    async def catching(outer: str = Depends(transaction)) -> AsyncIterator[str]:
        try:
            yield outer
        except EventError:
            log.append("caught")

    def catching_plainly(outer: str = Depends(transaction)) -> Iterator[str]:
        try:
            yield outer
        except EventError:
            log.append("caught")

    io = Server()
    inner: Any = Depends(catching if is_async else catching_plainly)

    @io.on("x")
    async def x(socket: Socket, value: str = inner) -> None:
        raise EventError("no")

    async with TestServer(io) as server:
        client = await server.connect()
        assert await client.emit_with_ack("x") == {"error": {"code": "no", "message": "no"}}
    assert log == ["caught", "rollback"]


@NOT_ON_UVLOOP
async def test_decorated_generators_are_providers() -> None:
    """A handler would be given the generator itself, and nothing would be closed, because of a logging decorator."""

    def logged(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(*args, **kwargs)

        return wrapper

    def listed(function: Callable[[], Iterator[str]]) -> Callable[[], list[str]]:
        @functools.wraps(function)
        def wrapper() -> list[str]:
            return list(function())

        return wrapper

    @logged
    async def opened(socket: Socket) -> AsyncIterator[str]:
        yield socket.nsp
        log.append("closed")

    @logged
    def opened_plainly(nsp: str = Depends(opened)) -> Iterator[str]:
        yield nsp + nsp
        log.append("closed first")

    @listed
    def several() -> Iterator[str]:
        yield from "ab"

    io = Server()

    @io.on("x")
    async def x(
        socket: Socket,
        one: str = Depends(opened),
        two: str = Depends(opened_plainly),
        all: list[str] = Depends(several),
    ) -> list[Any]:
        return [one, two, all]

    async with TestServer(io) as server:
        assert await (await server.connect()).emit_with_ack("x") == ["/", "//", ["a", "b"]]
    assert log == ["closed first", "closed"]


@dataclasses.dataclass
class Role:
    """A provider that is an object without a hash."""

    name: str

    def __call__(self, socket: Socket) -> str:
        return self.name + socket.nsp


class Repository(Generic[T]):
    """A generic class."""

    def __init__(self, server: Server) -> None:
        self.server = server


@NOT_ON_UVLOOP
async def test_providers_of_every_kind_with_the_same_name() -> None:
    """Providers made by one function, partials and generic classes would be refused, or fail at run time."""

    def one_more(inner: Callable[..., int]) -> Callable[..., int]:
        def add(value: int = Depends(inner)) -> int:
            return value + 1

        return add

    def add(number: int, value: int) -> int:
        return number + value

    def add_to(number: int, value: int = Depends(functools.partial(add, 3, 4))) -> int:
        return number + value

    io = Server()

    @io.on("x")
    async def x(
        socket: Socket,
        user: Annotated[Repository[int], Depends()],
        count: int = Depends(one_more(one_more(lambda: 1))),
        total: int = Depends(functools.partial(add_to, 5)),
        role: str = Depends(Role("admin")),
        repository: Repository[str] = Depends(Repository[str]),
    ) -> list[Any]:
        return [user.server is io, count, total, role, repository.server is io]

    async with TestServer(io, overrides={get_db: lambda: None}) as server:
        assert await (await server.connect()).emit_with_ack("x") == [True, 3, 12, "admin/", True]


@NOT_ON_UVLOOP
async def test_what_a_class_is_called_with_may_be_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class whose base stands in another module would be refused: names would be looked up in the wrong module."""
    module = types.ModuleType("models")
    module.__dict__.update({"Annotated": Annotated, "Depends": Depends, "pool": lambda: "models' pool"})
    monkeypatch.setitem(sys.modules, "models", module)
    exec(
        "from __future__ import annotations\n"
        "class Base:\n"
        "    def __init__(self, name: Annotated[str, Depends(pool)]) -> None:\n"
        "        self.name = name\n"
        "class Called:\n"
        "    def __call__(self, name: Annotated[str, Depends(pool)]) -> str:\n"
        "        return name\n",
        module.__dict__,
    )

    class Heir(module.Base):  # type: ignore[name-defined, misc]
        pass

    class CalledHeir(module.Called):  # type: ignore[name-defined, misc]
        pass

    io = Server()

    @io.on("x")
    async def x(socket: Socket, heir: Any = Depends(Heir), called: str = Depends(CalledHeir())) -> list[str]:
        return [heir.name, called]

    async with TestServer(io) as server:
        assert await (await server.connect()).emit_with_ack("x") == ["models' pool", "models' pool"]


class LazyConnection:
    """A connection that opens when it is awaited, once, as those of aiosqlite and SQLAlchemy do."""

    def __await__(self) -> Any:
        raise RuntimeError("threads can only be started once")


async def test_what_a_plain_provider_returns_is_not_awaited() -> None:
    """Every event that needs a connection of aiosqlite or SQLAlchemy would fail."""
    io = Server()
    connection = LazyConnection()
    task: asyncio.Task[int] | None = None

    def get_connection() -> LazyConnection:
        return connection

    def get_task() -> asyncio.Task[int]:
        assert task is not None
        return task

    async def compute() -> int:
        return 7

    @io.on("x")
    async def x(
        socket: Socket,
        same: LazyConnection = Depends(get_connection),
        made: LazyConnection = Depends(LazyConnection),
        waiting: asyncio.Task[int] = Depends(get_task),
        number: int = Depends(compute),
        other: int = Depends(lambda: compute()),
    ) -> list[Any]:
        return [same is connection, type(made) is LazyConnection, waiting is task, await waiting, number, other]

    async with TestServer(io) as server:
        task = asyncio.get_running_loop().create_task(compute())
        client = await server.connect()
        assert await client.emit_with_ack("x") == [True, True, True, 7, 7, 7]


async def test_a_provider_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback that ends in a library would not tell which of a handler's providers has failed."""
    io = Server()

    async def get_rows() -> list[str]:
        raise OSError("no such host")

    @io.on("x")
    async def x(socket: Socket, rows: list[str] = Depends(get_rows)) -> None:
        raise AssertionError

    async with TestServer(io) as server:
        client = await server.connect()
        assert (await client.emit_with_ack("x"))["error"]["code"] == "internal_error"
    assert "get_rows" in caplog.text
    assert "raised by the provider tests.integration.test_injection" in caplog.text
