"""The facade: options that are refused, one application at a time, and the views of what is there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from rtframework import (
    ConfigurationError,
    ContractError,
    Cookie,
    Cors,
    JSONSerializer,
    Limits,
    MemoryAdapter,
    Namespace,
    Recovery,
    Server,
    Socket,
)
from rtframework.adapters.recovering import SessionAwareAdapter
from rtframework.namespaces.parent import ParentNamespace
from rtframework.protocols import Emitter


class Serving:
    """Serves an application without a socket: from start-up to clean-up."""

    def __init__(self, *servers: Server, add: Callable[[Server, web.Application], None] = Server.attach) -> None:
        self.app = web.Application()
        for io in servers:
            add(io, self.app)
        self._runner = web.AppRunner(self.app)

    async def __aenter__(self) -> web.Application:
        await self._runner.setup()
        return self.app

    async def __aexit__(self, *exception: object) -> None:
        await self._runner.cleanup()


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"ping_interval": 0},
        {"ping_timeout": -1},
        {"connect_timeout": "45"},
        {"upgrade_timeout": float("inf")},
        {"transports": ()},
        {"max_http_buffer_size": 0},
        {"proxy_headers": "via"},
        {"cookie": "no name"},
        {"http_compression_threshold": -1},
        {"unknown": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_make_no_sense_are_refused_at_once(options: dict[str, Any]) -> None:
    """A typing error in a setting would show with the first client, or never."""
    with pytest.raises((ConfigurationError, TypeError)):
        Server(**options)


def test_short_options_change_what_they_are_short_for() -> None:
    """An option would be lost beside the object that holds the others."""
    io = Server(
        limits=Limits(max_rooms=5, max_http_buffer_size=10),
        max_http_buffer_size=20,
        cors=Cors(allowed_origins="https://a.example", credentials=False, max_age=3),
        cors_allowed_origins="https://b.example",
        cors_credentials=True,
    )
    assert (io.options.limits.max_rooms, io.options.limits.max_http_buffer_size) == (5, 20)
    assert io.options.cors == Cors(allowed_origins="https://b.example", credentials=True, max_age=3)
    assert io._host.settings.limits is io.options.limits
    kept = Server(cors=Cors(allowed_origins="*", credentials=False)).options.cors
    assert (kept.allowed_origins, kept.credentials) == ("*", False)


@pytest.mark.parametrize("options", [{"cors_allowed_origins": "*"}, {"cors": Cors(allowed_origins=["*"])}])
def test_all_pages_with_cookies_are_warned_of(options: dict[str, Any]) -> None:
    """Every page on the web could act as whoever visits it, and nothing would say so."""
    with pytest.warns(UserWarning, match="name your pages") as caught:
        Server(**options)
    assert caught[0].filename == __file__
    Server(**options, cors_credentials=False)
    Server(cors_allowed_origins=lambda origin: True)


@pytest.mark.parametrize(
    ("given", "cookie"),
    [
        (False, None),
        (True, Cookie()),
        ("sticky", Cookie("sticky")),
        (Cookie("x", secure=True), Cookie("x", secure=True)),
    ],
)
def test_a_cookie_in_three_forms(given: Any, cookie: Cookie | None) -> None:
    """A proxy would wait for a cookie of another name."""
    assert Server(cookie=given).options.cookie == cookie


def test_the_adapter_follows_recovery_unless_one_is_given() -> None:
    """A server that says it recovers sessions would keep none; or an adapter of one's own be replaced."""

    class Own(MemoryAdapter): ...

    assert type(Server().of("/").adapter) is MemoryAdapter
    assert type(Server(connection_state_recovery=Recovery()).of("/").adapter) is SessionAwareAdapter
    assert type(Server(connection_state_recovery=Recovery(), adapter=Own).of("/").adapter) is Own
    names: list[str] = []

    def factory(nsp: str, emitter: Emitter) -> MemoryAdapter:
        names.append(nsp)
        return MemoryAdapter(nsp, emitter)

    io = Server(adapter=factory)
    io.of("/x")
    assert names == ["/", "/x"]


def test_the_serializer_has_the_limits_of_the_server_unless_it_is_given() -> None:
    """A limit on attachments would have no effect."""
    made = Server(limits=Limits(max_attachments=3)).serializer
    assert isinstance(made, JSONSerializer)
    assert made._max_attachments == 3
    own = JSONSerializer()
    assert Server(serializer=own).serializer is own


# --- one application at a time ----------------------------------------------------------------------------------------


async def test_attaching_twice() -> None:
    """Attached twice, it would be started twice and closed under its clients' feet."""
    io = Server()
    async with Serving(io) as app:
        assert io.app is app
        with pytest.raises(ConfigurationError, match="attached to an application already"):
            io.attach(web.Application())
    with pytest.raises(ConfigurationError, match="serves no application"):
        _ = io.app
    async with Serving(io) as again:
        assert io.app is again


def test_an_application_that_never_starts_keeps_its_server() -> None:
    """A server would be attached to two applications, of which one starts first by chance."""
    io = Server()
    io.attach(web.Application())
    with pytest.raises(ConfigurationError, match="attached to an application already"):
        io.attach(web.Application())


async def test_several_servers_in_one_application() -> None:
    """The chat and the admin pages of one program could not be apart."""
    chat, other = Server(), Server()
    async with Serving(chat, other, add=lambda io, app: io.attach(app, f"/{id(io)}")) as app:
        assert chat.app is other.app is app


async def test_mounted_for_tests_one_runs_at_a_time() -> None:
    """A test that does not stop its application would share clients with the next one."""
    io = Server()
    io.attach(web.Application())
    first, second = Serving(io, add=Server._mount), Serving(io, add=Server._mount)
    async with first as app:
        assert io.app is app
        with pytest.raises(ConfigurationError, match="serves another application"):
            await second._runner.setup()
        await second._runner.cleanup()
        assert io.app is app, "the second one did not take it away"
    async with Serving(io, add=Server._mount) as third:
        assert io.app is third


async def test_a_start_that_fails_leaves_it_free() -> None:
    """A program that tries again after its database has come up could not serve."""
    fails = True

    class Broken(MemoryAdapter):
        async def start(self) -> None:
            if fails:
                raise OSError("no database")

    io = Server(adapter=Broken)
    serving = Serving(io)
    with pytest.raises(OSError, match="no database"):
        await serving._runner.setup()
    await serving._runner.cleanup()
    fails = False
    async with Serving(io) as app:
        assert io.app is app


async def test_it_starts_and_stops_with_its_application() -> None:
    """Adapters would be used before they have a connection, or after it is closed."""
    log: list[str] = []

    class Noted(MemoryAdapter):
        async def start(self) -> None:
            log.append(f"start {self.nsp}")

        async def close(self) -> None:
            log.append(f"close {self.nsp}")

    io = Server(adapter=Noted)
    io.of("/x")
    async with Serving(io):
        assert log == ["start /", "start /x"]
        io.of("/y")
        while "start /y" not in log:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0)
        log.clear()
    assert log == ["close /", "close /x", "close /y"]


# --- namespaces -------------------------------------------------------------------------------------------------------


def test_what_of_returns() -> None:
    """Handlers would be registered with a namespace that no client ever enters."""
    io = Server()
    assert io.of("/") is io.namespaces["/"]
    assert io.of("/x") is io.of("/x")
    for key in ("/{a}", re.compile("/b"), lambda name, auth: True):
        assert isinstance(io.of(key), ParentNamespace)
        assert io.of(key) is io.of(key)
    for wrong in ("x", "/a,b", "/{", ""):
        with pytest.raises(ConfigurationError):
            io.of(wrong)
    for name in ("/", "/x"):
        with pytest.raises(ConfigurationError, match="exists already"):
            io.of(name, factory=Namespace)


def test_views_of_namespaces_are_live_and_read_only() -> None:
    """A plugin would miss namespaces that are made later, or remove one by mistake."""
    io = Server()
    namespaces = io.namespaces
    io.of("/x")
    first = io.of("/{a}")
    second = io.of("/{b}")
    assert set(namespaces) == {"/", "/x"}
    assert io.parents == (first, second)
    with pytest.raises(TypeError):
        namespaces["/y"] = io.of("/x")  # type: ignore[index]
    with pytest.raises(TypeError):
        io.sockets["x"] = None  # type: ignore[index]


def test_the_main_namespace_can_be_a_class() -> None:
    """Handlers that are registered with the server would be those of a namespace that was replaced."""

    class Main(Namespace):
        def on_x(self, socket: Socket) -> None: ...

    io = Server()
    main = io.register_namespace(Main("/"))
    assert io.of("/") is main
    assert io.listeners("x") == (main.on_x,)
    io.on("y")(lambda socket: None)
    assert len(main.listeners("y")) == 1
    with pytest.raises(ConfigurationError, match="exists already"):
        io.register_namespace(Namespace("/"))


def test_what_is_registered_with_the_server_is_the_main_namespace_s() -> None:
    """A handler, a guard or a declaration would be lost between the server and its main namespace."""
    io = Server()
    main = io.of("/")

    async def middleware(socket: Any, *rest: Any) -> None: ...

    def handler(socket: Socket, *args: Any) -> None: ...

    io.on("a")(handler)
    io.on_any(handler)
    io.use(middleware)
    io.use_event(middleware)
    io.emits("e", int)
    io.on_server_side("s")(lambda: None)
    assert (main.listeners("a"), main.listeners_any()) == ((handler,), (handler,))
    assert (main.middlewares, main.event_middlewares) == ([middleware], [middleware])
    assert [each.event for each in main.declared] == ["e"]
    assert main._server_side_events() == ("s",)
    assert io.server is io
    assert io.to("x")._target == main.to("x")._target


def test_exception_handlers_of_the_server_are_those_of_all() -> None:
    """A namespace would tell its clients of the inside of the server."""
    io = Server()

    @io.exception_handler(ValueError)
    def value(socket: Socket, error: ValueError) -> None: ...

    for namespace in (io.of("/"), io.of("/x"), io.of("/{a}"), io.of("/child")):
        assert namespace._exception_handlers
    with pytest.raises(ConfigurationError, match="already"):
        io.exception_handler(ValueError)(value)
    with pytest.raises(ConfigurationError):
        io.exception_handler(int)(value)  # type: ignore[arg-type]


# --- for tests and for those who watch --------------------------------------------------------------------------------


async def test_strict_emits_are_switched_on_and_off() -> None:
    """A test would pass although an event is emitted that no client knows."""
    io = Server(strict_emits=True)
    io.emits("known", int)
    x = io.of("/x")
    await io.emit("known", 1)
    for emit in (io.emit("unknown"), io.emit("known", "text"), x.emit("known", 1)):
        with pytest.raises(ContractError):
            await emit
    io.check_emits(False)
    await io.emit("unknown")
    io.check_emits()
    with pytest.raises(ContractError):
        await io.emit("unknown")
    with pytest.raises(ContractError):
        await io.of("/later").emit("unknown")


def test_the_admin_ui_is_added_once() -> None:
    """Two pages would be told of half of the clients each; or anybody see all of them."""
    io = Server()
    with pytest.raises(ConfigurationError):
        io.instrument()
    assert "/admin" not in io.namespaces
    io.instrument(username="ada", password="secret", namespace="/ui")
    assert "/ui" in io.namespaces
    with pytest.raises(ConfigurationError, match="has the namespace /ui already"):
        io.instrument(auth=False)


def test_statistics_of_a_server_that_has_seen_nobody() -> None:
    """A graph would begin with a gap."""
    stats = Server().stats()
    assert set(stats.connects.values()) == {0}
    assert set(stats.events_refused.values()) == {0}


def test_mistakes_are_found_at_registration() -> None:
    """A wrong handler would be found by the first client instead of the first test run."""
    io = Server()

    @io.on("taken")
    async def taken(socket: Socket) -> None: ...

    for name in ("connect_error", "newListener", ""):
        with pytest.raises(ConfigurationError):
            io.on(name)(taken)
    with pytest.raises(ConfigurationError, match="exists already"):
        io.register_namespace(Namespace("/"))
    with pytest.raises(ConfigurationError, match="starts with"):
        io.of("admin")
    with pytest.raises(ConfigurationError, match="belongs to a server"):
        Server().register_namespace(io.of("/used"))
    with pytest.raises(ConfigurationError, match="belongs to no server"):
        _ = Namespace("/alone").adapter


async def test_reserved_names_cannot_be_emitted() -> None:
    """A client would take an event named "disconnect" for the real thing."""
    io = Server()
    with pytest.raises(ConfigurationError, match="reserved"):
        await io.emit("connect")


async def test_a_program_keeps_values_of_its_own() -> None:
    """A program would need a Redis client of its own to decide which of its servers is first."""
    io = Server()
    assert await io.store.add("$cleaning", b"1", 60.0) is None
    assert await io.store.add("$cleaning", b"2", 60.0) == b"1"
