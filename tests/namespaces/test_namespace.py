"""A namespace: what is registered with it, what it shows to a program, and that it belongs to one server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rtframework import ConfigurationError, Namespace, Recovery, Server, Socket, emits
from rtframework.protocols import CallNext
from tests.support.clients import FakeClient, make_host


@pytest.mark.parametrize("name", ["", "x", "/a,b", None, 1, b"/"])
def test_names_that_cannot_be(name: Any) -> None:
    """A namespace would be made that no client can ask for."""
    with pytest.raises(ConfigurationError, match='starts with "/" and has no comma'):
        Namespace(name)


async def test_without_a_server_it_says_so() -> None:
    """A class that is never registered would fail with an AttributeError out of the framework."""
    namespace = Namespace("/x")
    asked: list[Callable[[], Any]] = [lambda: namespace.server, lambda: namespace.adapter]
    for ask in asked:
        with pytest.raises(ConfigurationError, match="belongs to no server"):
            ask()
    for act in (namespace.emit("e"), namespace.fetch_sockets(), namespace.server_side_emit("e")):
        with pytest.raises(ConfigurationError, match="belongs to no server"):
            await act


async def test_what_a_program_sees() -> None:
    """A program could change the tables of the server by mistake, or see a copy that is out of date."""
    host = make_host()
    namespace = host.of("/x", None)
    sockets = namespace.sockets
    assert namespace, "it is there, though nobody is in it"
    assert (len(namespace), dict(sockets), dict(namespace.children), dict(namespace.params)) == (0, {}, {}, {})
    ada = FakeClient(host)
    await ada.connect("/x")
    assert (len(namespace), dict(sockets)) == (1, {"ada1": ada.socket("/x")})
    assert repr(namespace) == "<Namespace /x with 1 socket(s)>"
    assert (namespace.label, namespace.server) == ("/x", host.server)
    for view in (sockets, namespace.children):
        with pytest.raises(TypeError):
            view["y"] = 1  # type: ignore[index]


def test_a_class() -> None:
    """Methods of a class would be called for no event, or take the place of what a namespace can do."""

    @emits("said", str)
    class Chat(Namespace):
        def on_say(self, socket: Socket, text: str) -> None: ...

        def on_connection(self, socket: Socket) -> None: ...

        @emits("left")
        def on_disconnect(self, socket: Socket, reason: str) -> None: ...

        def only_a_method(self) -> None: ...

    chat = Chat("/chat")
    assert chat.listeners("say") == (chat.on_say,)
    assert chat.listeners("connection") == (chat.on_connection,)
    assert chat.listeners("disconnect") == (chat.on_disconnect,)
    assert [each.event for each in chat.declared] == ["said", "left"]
    for name in ("on_any", "on_server_side", "on_any_outgoing"):
        with pytest.raises(ConfigurationError, match=rf"{name} of Wrong would replace Namespace\.{name}"):
            type("Wrong", (Namespace,), {name: lambda self, socket: None})("/x")


@pytest.mark.parametrize(
    "register",
    [
        lambda namespace: namespace.on("e")(lambda socket: None),
        lambda namespace: namespace.on("connection")(lambda socket: None),
        lambda namespace: namespace.on_any(lambda socket, event: None),
        lambda namespace: namespace.on_any_outgoing(lambda socket, event: None),
        lambda namespace: namespace.on_server_side("e")(lambda: None),
        lambda namespace: namespace.emits("e"),
        lambda namespace: namespace.exception_handler(ValueError)(lambda socket, error: None),
    ],
)
def test_nothing_that_is_registered_is_overlooked(register: Callable[[Namespace], Any]) -> None:
    """A namespace would be replaced by another, and what was registered with it be lost without a word."""
    namespace = Namespace("/x")
    assert namespace._is_pristine
    register(namespace)
    assert not namespace._is_pristine


def test_middleware_is_registered_too() -> None:
    """A guard would be lost with the namespace that takes the place of one."""

    async def connects(socket: Socket, call_next: CallNext) -> None: ...

    async def event(socket: Socket, event: Any, call_next: CallNext) -> None: ...

    first, second = Namespace("/x"), Namespace("/y")
    assert first.use(connects) is connects
    assert second.use_event(event) is event
    assert (first.middlewares, second.event_middlewares) == ([connects], [event])
    assert not first._is_pristine
    assert not second._is_pristine


async def test_an_authenticator_of_its_own() -> None:
    """A namespace for staff would be open to whoever the server's authenticator lets in."""

    class Says:
        def __init__(self, user: str) -> None:
            self.user = user

        async def authenticate(self, handshake: Any) -> str:
            return self.user

    host = make_host(auth=Says("of the server"))
    own = Namespace("/own")
    own._authenticator = Says("own")
    host.add(own)
    host.of("/other", None)
    ada = FakeClient(host)
    for name in ("/own", "/other"):
        await ada.connect(name)
    assert ada.socket("/own").user == "own"
    assert ada.socket("/other").user == "of the server"


async def test_who_watches_hears_of_each_socket_once() -> None:
    """The Admin UI would show clients that have left, or one of two."""
    host = make_host(recovery=Recovery())
    main = host.of("/", None)
    log: list[tuple[str, str, set[str]]] = []

    class Watcher:
        def admitted(self, socket: Socket) -> None:
            log.append(("admitted", socket.id, set(socket.rooms)))

        def gone(self, socket: Socket, reason: str) -> None:
            log.append((reason, socket.id, set(main.adapter.rooms(socket.id))))

    main._watcher = Watcher()

    @main.use
    async def middleware(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("ok", True):
            await call_next()

    ada = FakeClient(host)
    await ada.connect("/", {"ok": False})
    await ada.connect()
    ada.socket().accept()
    await ada.socket().join("room")
    pid = ada.socket()._pid
    ada.drop()
    again = FakeClient(host, "again")
    await again.connect("/", {"pid": pid})
    assert log == [
        ("admitted", "ada2", {"ada2"}),
        ("transport close", "ada2", {"ada2", "room"}),
        ("admitted", "ada2", {"ada2", "room"}),
    ]


async def test_events_of_other_servers_are_listed() -> None:
    """``routes`` would not show who listens to other servers; or a reserved name be emitted to them."""
    namespace = Namespace("/x")
    for event in ("a", "b", "a"):
        namespace.on_server_side(event)(lambda *args: None)
    assert namespace._server_side_events() == ("a", "b")
    assert len(namespace._server_side_handlers("a")) == 2
    assert namespace._server_side_handlers("c") == ()
    namespace.on_server_side(1)(lambda: None)
    namespace.on_server_side("1")(lambda: None)
    assert [each.name for each in namespace._server_side_handlers(1)] == [1, "1"]
    assert namespace._server_side_handlers("1") == namespace._server_side_handlers(1)
    with pytest.raises(ConfigurationError):
        namespace.on_server_side("disconnect")
    make_host().add(namespace)
    for emit in (namespace.server_side_emit, namespace.server_side_emit_with_ack):
        with pytest.raises(ConfigurationError):
            await emit("disconnect")


def test_the_nearest_word_on_order_counts() -> None:
    """An event that is explicitly not ordered would wait all the same."""
    namespace = Namespace("/late")

    @namespace.on("free", ordered=False)
    async def free(socket: Socket) -> None: ...

    @namespace.on("inherits")
    async def inherits(socket: Socket) -> None: ...

    Server(ordered=True).register_namespace(namespace)
    assert not namespace._listening.handlers["free"].ordered
    assert namespace._listening.handlers["inherits"].ordered
