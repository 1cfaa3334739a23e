"""Namespaces that clients bring into being: which, for whom, with what, and until when."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from rtframework import (
    AckTimeout,
    ConfigurationError,
    ConnectionRefused,
    EncodeError,
    Event,
    EventError,
    Limits,
    MemoryAdapter,
    Namespace,
    Packet,
    Server,
    Socket,
    Target,
)
from rtframework.protocols import AdapterFactory, CallNext, Emitter
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import ConnectError, JSClients
from tests.support.raw import raw_client
from tests.support.transports import Transport
from tests.support.until import until


async def refusal(js: JSClients, address: str, **auth: Any) -> str | None:
    """What a new client is told that asks for a namespace."""
    error = await (await js.connect(address, wait=False, auth=auth)).refused()
    message: str | None = error["message"]
    return message


# --- which names ------------------------------------------------------------------------------------------------------


async def test_a_template(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Each tenant would need its namespace written down in the program, and handlers could not tell tenants apart."""
    io = Server()
    chats = io.of(r"/chat/{tenant}/{room:\d+}")

    @chats.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("welcome", dict(socket.namespace.params))

    @chats.on("say")
    async def say(socket: Socket, text: str) -> str:
        await socket.namespace.emit("said", text)
        return socket.nsp

    url = (await serve(io)).url
    acme = await js.connect(f"{url}/chat/acme/1", via=transport)
    other = await js.connect(f"{url}/chat/other/1", via=transport)
    again = await other.of("/chat/acme/1")
    assert await acme.wait_for("welcome") == [{"tenant": "acme", "room": "1"}]
    assert await other.wait_for("welcome") == [{"tenant": "other", "room": "1"}]
    assert await acme.emit_with_ack("say", "hello") == "/chat/acme/1"
    assert await again.wait_for("said") == ["hello"]
    await other.expect_nothing("said")
    for name in ("/chat/acme/x", "/chat/acme/1/2", "/chat//1", "/chat"):
        assert await refusal(js, url + name) == "Invalid namespace"
    assert sorted(chats.children) == ["/chat/acme/1", "/chat/other/1"]
    assert set(io.namespaces) == {"/", *chats.children}
    assert io.namespaces["/chat/acme/1"].parent is chats
    assert (len(chats), set(chats.sockets)) == (3, {await each.id() for each in (acme, other, again)})


async def test_an_expression(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Programs that come from Node have their namespaces as expressions."""
    io = Server()
    log: list[Any] = []
    dynamic = io.of(re.compile(r"^/dynamic-(?P<number>\d+)$"))
    assert io.of(re.compile(r"^/dynamic-(?P<number>\d+)$")) is dynamic

    @dynamic.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        log.append(("use", socket.nsp))
        await call_next()

    @dynamic.on("connect")
    async def connect(socket: Socket) -> None:
        log.append(socket.namespace.params["number"])
        await dynamic.emit("hello", 1, "2", {"3": "4"})

    url = (await serve(io)).url
    client = await js.connect(f"{url}/dynamic-101", via=transport)
    assert await client.wait_for("hello") == [1, "2", {"3": "4"}]
    assert log == [("use", "/dynamic-101"), "101"]
    assert await refusal(js, f"{url}/abc") == "Invalid namespace"
    assert await refusal(js, f"{url}/x/dynamic-101") == "Invalid namespace"


async def test_a_function(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Which tenants there are is in a database; and who came second would come in unasked."""
    io = Server()
    asked: list[tuple[str, Mapping[str, Any]]] = []

    async def exists(name: str, auth: Mapping[str, Any]) -> bool:
        asked.append((name, dict(auth)))
        await asyncio.sleep(0)
        return name == "/acme" and auth.get("key") == "k"

    tenants = io.of(exists)
    assert io.of(exists) is tenants
    url = (await serve(io)).url
    client = await js.connect(f"{url}/acme", via=transport, auth={"key": "k"})
    assert await refusal(js, f"{url}/other", key="k") == "Invalid namespace"
    stranger = await js.connect(f"{url}/acme", via=transport, wait=False)
    assert (await stranger.refused())["message"] == "Invalid namespace"
    second = await js.connect(f"{url}/acme", via=transport, auth={"key": "k"})
    assert asked == [("/acme", {"key": "k"}), ("/other", {"key": "k"}), ("/acme", {}), ("/acme", {"key": "k"})]
    assert list(tenants.children) == ["/acme"]
    await io.of("/acme").emit("news", 1)
    for each in (client, second):
        assert await each.wait_for("news") == [1]


async def test_which_comes_first(serve: Serve, js: JSClients) -> None:
    """A rule that is wider than another would take its clients, or not, by chance."""
    io = Server()

    async def all_but_x(name: str, auth: Mapping[str, Any]) -> bool:
        return name != "/x"

    static = io.of("/static")
    made = {
        "/a/1": io.of(r"/a/{id:\d+}"),
        "/a/b": io.of("/a/{id}"),
        "/c": io.of(all_but_x),
        "/x": io.of(re.compile(".*")),
    }
    client = await js.connect((await serve(io)).url)
    for name, parent in made.items():
        await client.of(name)
        assert list(parent.children) == [name]
    await client.of("/static")
    assert len(static) == 1
    assert static.parent is None
    assert static.children == {}


async def test_names_that_cannot_be(serve: Serve, js: JSClients) -> None:
    """A client could make the server hold a megabyte for the name of each namespace, or fail."""
    io = Server(limits=Limits(max_namespace_name=20))
    everything = io.of(re.compile("(?s).*"))
    url = (await serve(io)).url
    client = await js.connect(url)
    assert await refusal(js, f"{url}/{20 * 'a'}") == "Invalid namespace"
    assert list(everything.children) == []
    await client.of("/" + 19 * "a")
    assert await refusal(js, f"{url}/a\nb") == "Invalid namespace"  # it would forge lines in a log
    for name in ("/ö{x}", "/__proto__", "/a?b=c"):
        await client.of(name)
        assert everything.children[name].params == {}


async def test_names_of_the_program(js: JSClients, serve: Serve) -> None:
    """``of`` with a child's name would give a namespace beside it, without the parent's handlers."""
    io = Server(cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")

    @chats.on("where")
    async def where(socket: Socket) -> str:
        return socket.nsp

    acme = io.of("/chat/acme")
    assert acme.params == {"tenant": "acme"}
    assert chats.children == {"/chat/acme": acme}
    url = (await serve(io)).url
    client = await js.connect(f"{url}/chat/acme")
    assert await client.emit_with_ack("where") == "/chat/acme"
    visitor = await client.of("/chat/other")
    other = io.of("/chat/other")
    for each in (client, visitor):
        await each.disconnect()
    await until(lambda: not len(chats))
    assert chats.children == {"/chat/acme": acme, "/chat/other": other}  # the program may hold them

    with pytest.raises(ConfigurationError, match="exists already"):
        io.register_namespace(Namespace("/chat/acme"))
    with pytest.raises(ConfigurationError, match="exists already"):
        io.of("/chat/acme", factory=Namespace)
    with pytest.raises(ConfigurationError, match="factory="):
        io.register_namespace(Namespace("/a/{b}"))
    with pytest.raises(ConfigurationError, match="another factory"):
        io.of("/chat/{tenant}", factory=lambda name: Namespace(name))
    for bad in (1, None, "chat", b"/x"):
        with pytest.raises(ConfigurationError):
            io.of(bad)  # type: ignore[arg-type]


async def test_a_namespace_from_a_factory(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A class could be used for one namespace only, or all tenants would share its state."""

    class Chat(Namespace):
        def __init__(self, name: str) -> None:
            super().__init__(name, ordered=True)
            self.messages: list[str] = []

        async def on_connection(self, socket: Socket) -> None:
            await socket.emit("history", self.messages)

        async def on_message(self, socket: Socket, text: str) -> str:
            self.messages.append(text)
            await self.emit("message", text)
            return self.params["tenant"]

    io = Server()
    chats = io.of("/chat/{tenant}", factory=Chat)
    assert io.of("/chat/{tenant}") is chats
    assert isinstance(io.of("/one", factory=Chat), Chat)

    @chats.on("count")
    async def count(socket: Socket) -> int:
        assert isinstance(socket.namespace, Chat)
        return len(socket.namespace.messages)

    url = (await serve(io)).url
    a = await js.connect(f"{url}/chat/a", via=transport)
    b = await js.connect(f"{url}/chat/b", via=transport)
    assert await a.emit_with_ack("message", "hello") == "a"
    assert await a.emit_with_ack("count") == 1
    assert await b.emit_with_ack("count") == 0
    assert await b.emit_with_ack("message", "hi") == "b"
    later = await b.of("/chat/a")
    assert await later.wait_for("history") == [["hello"]]
    await later.expect_nothing("message")
    assert b.received("message") == [["hi"]]


async def test_a_factory_that_fails(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in one class would harm other namespaces, or be seen by nobody."""
    io = Server()
    shared = Namespace("/shared/1")

    def fails(name: str) -> Namespace:
        raise RuntimeError("boom")

    io.of("/fails/{x}", factory=fails)
    io.of("/shared/{x}", factory=lambda name: shared)
    io.of("/wrong/{x}", factory=lambda name: None)  # type: ignore[arg-type, return-value]
    url = (await serve(io)).url
    client = await js.connect(url)
    await client.of("/shared/1")
    for name in ("/fails/1", "/shared/2", "/wrong/1"):
        error = await (await client.of(name, wait=False)).refused()
        assert (error["message"], error["data"]) == ("Internal server error", {"code": "internal_error"})
        assert name not in io.namespaces
    assert "boom" in caplog.text
    assert caplog.text.count("has to return a new namespace") == 2
    await client.barrier()


async def test_names_that_only_other_serializers_can_carry(serve: Serve, js: JSClients) -> None:
    """A name without a slash would be an exception in the log for whoever sends one."""
    io = Server(serializer=MsgpackSerializer())
    everything = io.of(re.compile("(?s).*"))
    client = await js.connect((await serve(io)).url + "/a b", parser="msgpack")
    other = await client.of("/a,b", wait=False)
    assert (await other.refused())["message"] == "Invalid namespace"
    assert list(everything.children) == ["/a b"]


async def test_the_order_of_events_is_that_of_the_parent(serve: Serve, js: JSClients) -> None:
    """A handler would wait its turn or not, depending on when it was registered."""
    io = Server()
    chats = io.of("/{tenant}", factory=partial(Namespace, ordered=True))

    @chats.on("early")
    async def early(socket: Socket) -> None: ...

    child = io.of("/acme")

    @chats.on("late")
    async def late(socket: Socket) -> None: ...

    @chats.on("ordered", ordered=True)
    async def ordered(socket: Socket) -> None: ...

    @child.on("own")
    async def own(socket: Socket) -> None: ...

    events = ("early", "late", "ordered", "own")
    assert {event: child._listening.handlers[event].ordered for event in events} == {
        "early": False,
        "late": False,
        "ordered": True,
        "own": True,
    }


# --- handlers and middleware ------------------------------------------------------------------------------------------


async def test_handlers_and_middleware_of_a_parent(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A guard that was added late would guard new tenants only; what one tenant has would serve all."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    log: list[str] = []

    @chats.on("who")
    async def who(socket: Socket) -> str:
        return "parent"

    @io.on("new_namespace")
    def new(namespace: Namespace) -> None:
        if namespace.params.get("tenant") == "own":

            @namespace.on("special")
            async def special(socket: Socket) -> str:
                return "own"

            @namespace.on("late")
            async def late_of_its_own(socket: Socket) -> str:
                log.append("own")
                return "own"

    url = (await serve(io)).url
    plain = await js.connect(f"{url}/chat/plain", via=transport)
    own = await js.connect(f"{url}/chat/own", via=transport)

    @chats.on("late")
    async def late(socket: Socket) -> str:
        return "parent"

    @chats.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("stay") == "out":
            raise ConnectionRefused("stay out")
        await call_next()

    @chats.use_event
    async def around(socket: Socket, event: Event, call_next: CallNext) -> Any:
        if event.name == "forbidden":
            raise EventError("forbidden")
        return f"({await call_next()})"

    @chats.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append(f"{socket.nsp} {reason}")

    after = await own.of("/chat/after")
    assert [await each.emit_with_ack("who") for each in (plain, own, after)] == ["(parent)"] * 3
    assert [await each.emit_with_ack("late") for each in (plain, own, after)] == ["(parent)"] * 3
    assert log == ["own"]  # it runs as well, after the parent's
    log.clear()
    assert await own.emit_with_ack("special") == "(own)"
    for each in (plain, after):
        assert (await each.emit_with_ack("special"))["error"]["code"] == "unknown_event"
        assert (await each.emit_with_ack("forbidden"))["error"]["code"] == "forbidden"
    for name in ("/chat/plain", "/chat/own", "/chat/after"):
        assert await refusal(js, url + name, stay="out") == "stay out"
    await after.disconnect()
    await until(lambda: log)
    assert log == ["/chat/after client namespace disconnect"]


async def test_listening_with_a_parent(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Only ``on`` would reach the children, or what is taken off again would go on in some of them."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    log: list[str] = []
    early = io.of("/chat/early")

    def note(what: str) -> Callable[..., Any]:
        def handler(socket: Socket, *args: Any) -> str:
            log.append(f"{what} {socket.namespace.params['tenant']}")
            return what

        return handler

    stays, goes = note("stays"), note("goes")
    chats.on("both")(stays)
    chats.on("both")(goes)
    early.on("both")(note("own"))
    chats.once("once")(note("once"))
    chats.once("connection")(note("connection"))
    chats.on("disconnecting")(note("leaves"))
    chats.on_any(note("any"))
    early.prepend_any(note("own any"))
    chats.prepend_any(note("first any"))
    chats.on_any_outgoing(note("outgoing"))
    assert [each.__qualname__ for each in early.listeners_any()] == [note("").__qualname__] * 3
    url = (await serve(io)).url
    first = await js.connect(f"{url}/chat/early", via=transport)
    second = await js.connect(f"{url}/chat/late", via=transport)
    assert log == ["connection early"]
    log.clear()

    assert await first.emit_with_ack("both") == "stays"
    names = ("first any", "any", "own any", "stays", "goes", "own")
    assert log == [f"{each} early" for each in names]
    log.clear()
    late = chats.children["/chat/late"]
    for children in (chats, early, late):
        assert children.listeners("both")[:2] == (stays, goes)
    late.off("both")
    late.off("both", goes)  # they are the parent's
    chats.off("both", goes)
    chats.off_any()
    assert await second.emit_with_ack("both") == "stays"
    assert await second.emit_with_ack("once") == "once"
    assert (await first.emit_with_ack("once"))["error"]["code"] == "unknown_event"
    assert log == ["stays late", "once late", "own any early"]
    log.clear()
    chats.on_any(note("again"))
    chats.off("both")
    assert await first.emit_with_ack("both") == "own"
    assert (await second.emit_with_ack("both"))["error"]["code"] == "unknown_event"
    assert log == ["again early", "own any early", "own early", "again late"]
    log.clear()
    await chats.emit("news", 1)
    await late.emit("news", 2)
    for client in (first, second):
        assert await client.wait_for("news") == [1]
    assert log == ["outgoing early", "outgoing late", "outgoing late"]
    chats.off_any_outgoing()
    log.clear()
    await chats.emit("news", 3)
    await first.disconnect()
    await until(lambda: log)
    assert log == ["leaves early"]
    assert late._listening in (chats._listening._heirs or ())


async def test_selecting_with_a_parent(serve: Serve, js: JSClients, transport: Transport) -> None:
    """To move or to disconnect people over all tenants, a program would have to go from child to child."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    clients = [await js.connect(f"{url}/chat/{tenant}", via=transport) for tenant in ("a", "b", "b")]
    ids = [await client.id() for client in clients]
    await chats.to(ids[0], ids[1]).sockets_join("x")
    assert [socket.id for socket in await chats.to("x").fetch_sockets()] == ids[:2]
    remotes = {remote.id: remote for remote in await chats.fetch_sockets()}
    assert [remotes[sid].nsp for sid in ids] == ["/chat/a", "/chat/b", "/chat/b"]
    await chats.children["/chat/a"].sockets_join(ids[1])  # a room of that name is another one in each child
    await remotes[ids[1]].emit("private", 1)
    await remotes[ids[1]].join("y")
    assert await clients[1].wait_for("private") == [1]
    await clients[0].expect_nothing("private")
    assert [socket.id for socket in await chats.to("y").fetch_sockets()] == [ids[1]]
    await chats.sockets_leave("x")
    assert await chats.to("x").fetch_sockets() == []
    await chats.to("y").disconnect_sockets()
    await until(lambda: len(chats) == 2)
    await chats.disconnect_sockets(close=True)
    await until(lambda: not len(chats))
    for nobody in (chats, io.of("/nobody/{here}")):
        assert await nobody.fetch_sockets() == []
        await nobody.sockets_join("x")


async def test_rooms_of_all_children_are_told_of(serve: Serve, js: JSClients) -> None:
    """A program would have to find each child's adapter by itself, and would miss those to come."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    heard: list[str] = []

    @chats.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join(f"room of {socket.nsp}")

    early = io.of("/chat/early")

    @chats.adapter.on("create_room")
    def created(room: str) -> None:
        if room.startswith("room"):
            heard.append(room)

    client = await js.connect((await serve(io)).url + "/chat/early")
    late = await client.of("/chat/late")
    assert heard == ["room of /chat/early", "room of /chat/late"]
    sid = await late.id()
    assert chats.adapter.rooms(sid) == {sid, "room of /chat/late"}
    chats.adapter.add(sid, ["x"])
    assert chats.adapter.sockets(Target(frozenset("x"))) == [sid]
    chats.adapter.remove(sid, ["x"])
    assert chats.sockets[sid].rooms == {sid, "room of /chat/late"}
    chats.adapter.off("create_room", created)
    await early.adapter.start()
    await client.of("/chat/later")
    assert len(heard) == 2
    with pytest.raises(ConfigurationError, match="cannot wait"):
        chats.adapter.on("create_room")(asyncio.sleep)


# --- emitting to all --------------------------------------------------------------------------------------------------


async def test_emitting_to_all_children(serve: Serve, js: JSClients, transport: Transport) -> None:
    """An announcement to all tenants would not reach each of them once, or not leave out whom it should."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    clients = [await js.connect(f"{url}/chat/{tenant}", via=transport) for tenant in ("a", "a", "b", "c")]
    outside = await clients[0].of("/")
    sockets = [chats.sockets[await client.id()] for client in clients]
    await sockets[0].join("x")
    await sockets[2].join("x", "y")
    await sockets[3].join("y")
    emits: dict[str, tuple[Any, list[int]]] = {
        "all": (chats, [0, 1, 2, 3]),
        "room": (chats.to("x"), [0, 2]),
        "rooms": (chats.in_("x", "y"), [0, 2, 3]),
        "except": (chats.except_("x"), [1, 3]),
        "one": (chats.to(sockets[3].id), [3]),
        "room_except": (chats.to("x", "y").except_("y"), [0]),
        "local": (chats.local.to("y"), [2, 3]),
        "nobody": (chats.to([]), []),
    }
    for event, (emitter, _) in emits.items():
        await emitter.emit(event, event)
    await outside.barrier()
    for client in clients:
        await client.barrier()
    got = {event: [n for n, client in enumerate(clients) for _ in client.received(event)] for event in emits}
    assert got == {event: expected for event, (_, expected) in emits.items()}
    assert not outside.received("all")

    with pytest.raises(EncodeError):
        await chats.emit("bad", object())
    with pytest.raises(EncodeError):
        await io.of("/nobody/{here}").emit("bad", object())
    with pytest.raises(EncodeError):
        await io.of("/nobody/{here}").emit_with_ack("bad", object())
    with pytest.raises(ConfigurationError, match="reserved"):
        await chats.emit("disconnect")
    await io.of("/nobody/{here}").emit("good", b"bytes")


async def test_asking_all_children(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A vote over all tenants would forget who did not answer."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    clients = [await js.connect(f"{url}/chat/{tenant}", via=transport) for tenant in ("a", "a", "b")]
    ids = [await client.id() for client in clients]
    for number, client in enumerate(clients):
        await client.answer("vote", number)
    assert dict(await chats.timeout(10).emit_with_ack("vote")) == dict(zip(ids, range(3), strict=True))
    await clients[1].silent("vote")
    with pytest.raises(AckTimeout) as caught:
        await chats.timeout(0.3).emit_with_ack("vote")
    assert caught.value.responses == {ids[0]: 0, ids[2]: 2}
    assert tuple(caught.value.missing) == (ids[1],)
    assert dict(await io.of("/nobody/{here}").emit_with_ack("vote")) == {}


async def test_an_adapter_that_fails_harms_its_own_namespace_only(serve: Serve, js: JSClients) -> None:
    """One tenant with a broken adapter would keep a message from all others."""

    class Fragile(MemoryAdapter):
        async def broadcast(self, packet: Packet, target: Target) -> None:
            if self.nsp == "/chat/a":
                raise OSError("gone")
            await super().broadcast(packet, target)

    io = Server(adapter=Fragile)
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    await js.connect(f"{url}/chat/a")
    b = await js.connect(f"{url}/chat/b")
    with pytest.raises(OSError, match="gone"):
        await chats.emit("news", 1)
    assert await b.wait_for("news") == [1]


# --- one of each ------------------------------------------------------------------------------------------------------


async def test_two_clients_that_ask_at_the_same_moment(serve: Serve, js: JSClients, transport: Transport) -> None:
    """They would be in two namespaces of one name, and not hear each other."""
    io = Server()
    waiting: list[asyncio.Future[bool]] = []
    made: list[str] = []

    async def both(name: str, auth: Mapping[str, Any]) -> bool:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        return await future

    parent = io.of(both)

    @io.on("new_namespace")
    async def new(namespace: Namespace) -> None:
        await asyncio.sleep(0.01)
        made.append(namespace.name)

    @parent.on("connection")
    async def connection(socket: Socket) -> None:
        assert made == ["/dynamic-101"]

    url = (await serve(io)).url
    clients = [await js.connect(f"{url}/dynamic-101", via=transport, wait=False) for _ in range(3)]
    await until(lambda: len(waiting) == 3)
    for future, answer in zip(waiting, (True, True, False), strict=True):
        future.set_result(answer)
    answers = await asyncio.gather(*[client.connected() for client in clients], return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, ConnectError)]
    assert ["Invalid namespace" in str(answer) for answer in refused] == [True]
    assert made == ["/dynamic-101"]
    await io.of("/dynamic-101").emit("message", 1)
    for client in [client for client, answer in zip(clients, answers, strict=True) if isinstance(answer, dict)]:
        assert await client.wait_for("message") == [1]


async def test_a_name_that_was_taken_while_a_function_was_asked(serve: Serve, js: JSClients) -> None:
    """A client would come into a namespace whose own function says no, or into a second one of the name."""
    io = Server()
    gates: dict[str, asyncio.Future[bool]] = {}

    async def slow(name: str, auth: Mapping[str, Any]) -> bool:
        gate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        gates[auth["who"]] = gate
        return await gate

    async def strict(name: str, auth: Mapping[str, Any]) -> bool:
        return bool(auth["who"] == "friend")

    first, second = io.of(slow), io.of(strict)
    url = (await serve(io)).url
    clients = {}
    for who in ("friend", "stranger", "early"):
        name = "/static" if who == "early" else "/x"
        clients[who] = await js.connect(url + name, auth={"who": who}, wait=False)
        await until(partial(gates.__contains__, who))
    gates["friend"].set_result(False)
    await clients["friend"].connected()
    gates["stranger"].set_result(True)
    assert (await clients["stranger"].refused())["message"] == "Invalid namespace"
    static = io.of("/static")
    gates["early"].set_result(True)
    await clients["early"].connected()
    assert (len(static), len(first), len(second)) == (1, 0, 1)


async def test_a_function_that_fails_or_hangs(
    serve: Serve, js: JSClients, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that is down would take the rest of the server with it, or leave clients waiting for ever."""
    io = Server(limits=Limits(namespace_timeout=0.2))
    ended: list[str] = []

    async def fails(name: str, auth: Mapping[str, Any]) -> bool:
        if name.startswith("/fails"):
            raise RuntimeError("the database is down")
        if name == "/cancelled":
            raise asyncio.CancelledError
        if name == "/refused":
            raise ConnectionRefused("not for you")
        if name == "/hangs":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
        return False

    io.of(fails)
    io.of("/fails/{but}")
    io.of("/ok/{x}")
    url = (await serve(io)).url
    client = await js.connect(url, via=transport)
    hanging = await client.of("/hangs", wait=False)
    await client.barrier()
    await client.of("/ok/1")
    for name in ("/fails", "/cancelled", "/refused"):
        assert await refusal(js, url + name) == "Invalid namespace"
    assert (await hanging.refused())["message"] == "Invalid namespace"
    assert ended == ["/hangs"]
    await client.of("/fails/further")  # the next parent is asked
    await client.barrier()
    assert caplog.text.count("failed to decide about a namespace") == 4
    assert "not for you" not in caplog.text


async def test_a_client_that_leaves_while_a_function_is_asked(serve: Serve, js: JSClients) -> None:
    """Clients that come and go would leave namespaces behind in which nobody ever was."""
    io = Server(limits=Limits(namespace_timeout=30))
    gate = asyncio.Event()
    asked: list[str] = []

    async def slow(name: str, auth: Mapping[str, Any]) -> bool:
        asked.append(name)
        await gate.wait()
        asked.append("answered")
        return True

    parent = io.of(slow)
    server = await serve(io)
    async with raw_client(server.url) as raw:
        ws, _ = await raw.open_websocket()
        await ws.send("40/x,")
        await until(lambda: asked)
        await ws.close()
    await until(lambda: not io._server.eio.connections)
    gate.set()
    await until(lambda: len(asked) == 2)
    client = await js.connect(f"{server.url}/y")
    assert list(parent.children) == ["/y"]
    await client.barrier()


# --- new_namespace ----------------------------------------------------------------------------------------------------


async def test_new_namespaces_are_announced(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A program could not prepare a namespace before its first client is in."""
    io = Server()
    chats = io.of("/chat/{tenant}")
    log: list[str] = []

    @io.on("new_namespace")
    async def new(namespace: Namespace) -> None:
        log.append(f"new {namespace.name}")
        await asyncio.sleep(0.01)

        @namespace.use
        async def guard(socket: Socket, call_next: CallNext) -> None:
            log.append(f"guarded {socket.nsp}")
            await call_next()

    @chats.on("connection")
    async def connection(socket: Socket) -> None:
        log.append(f"connected {socket.nsp}")

    io.of("/before")
    assert log == []
    url = (await serve(io)).url
    assert log == ["new /before"]
    client = await js.connect(f"{url}/chat/a", via=transport)
    assert log[1:] == ["new /chat/a", "guarded /chat/a", "connected /chat/a"]
    await js.connect(f"{url}/chat/a", via=transport)
    assert log[4:] == ["guarded /chat/a", "connected /chat/a"]
    io.of("/while/it/runs")
    await until(lambda: log[6:] == ["new /while/it/runs"])
    await client.barrier()


@pytest.mark.parametrize("how", ["raises", "raises later", "hangs", "adapter"])
async def test_a_namespace_that_cannot_be_opened(
    how: str, serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture
) -> None:
    """Clients would come in past guards that were not set up, or could never come in after one failure."""
    well = False

    class Starts(MemoryAdapter):
        async def start(self) -> None:
            if how == "adapter" and not well and self.nsp != "/":
                raise OSError("no connection")

    io = Server(adapter=Starts, limits=Limits(namespace_timeout=0.2))
    chats = io.of("/chat/{tenant}")
    if how == "raises":

        @io.on("new_namespace")
        def fail(namespace: Namespace) -> None:
            if not well:
                raise RuntimeError("boom")
    else:

        @io.on("new_namespace")
        async def fail_later(namespace: Namespace) -> None:
            if not well and how == "raises later":
                raise RuntimeError("boom")
            if not well and how == "hangs":
                await asyncio.Event().wait()

    url = (await serve(io)).url
    client = await js.connect(url)
    other = await js.connect(url)
    asking = [await each.of("/chat/a", wait=False) for each in (client, other)]
    for each in asking:
        error = await each.refused()
        assert (error["message"], error["data"]) == ("Internal server error", {"code": "internal_error"})
    assert not chats.children
    assert set(io.namespaces) == {"/"}
    assert "cannot be" in caplog.text
    well = True
    await client.of("/chat/a")
    await client.barrier()


# --- cleaning up ------------------------------------------------------------------------------------------------------


class Recorded(MemoryAdapter):
    """Writes down its life."""

    log: list[str]
    gate: asyncio.Event | None = None

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter)

    async def start(self) -> None:
        type(self).log.append(f"start {self.nsp}")

    async def close(self) -> None:
        type(self).log.append(f"closing {self.nsp}")
        gate = type(self).gate
        if gate is not None:
            await gate.wait()
        type(self).log.append(f"closed {self.nsp}")


def recorded() -> type[Recorded]:
    """A class of its own for each test."""
    return type("OfThisTest", (Recorded,), {"log": []})


def closing_slowly(adapter: type[Recorded]) -> AdapterFactory:
    """Its adapters close in several steps."""

    def make(nsp: str, emitter: Emitter) -> Recorded:
        made = adapter(nsp, emitter)
        close = made.close

        async def close_slowly() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            await close()

        made.close = close_slowly  # type: ignore[method-assign]
        return made

    return make


@pytest.mark.parametrize("leaving", ["disconnect", "kill", "refused"])
async def test_empty_children_are_cleaned_up(leaving: str, serve: Serve, js: JSClients, transport: Transport) -> None:
    """A namespace for each document would cost memory long after all have closed the document."""
    adapter = recorded()
    io = Server(adapter=adapter, cleanup_empty_child_namespaces=True, ping_interval=0.3, ping_timeout=0.7)
    io.of("/static")
    chats = io.of("/chat/{tenant}")

    @chats.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("out"):
            raise ConnectionRefused("out")
        await call_next()

    url = (await serve(io)).url
    stays = await js.connect(f"{url}/chat/stays", via=transport)
    await (await stays.of("/static")).disconnect()
    assert await refusal(js, f"{url}/chat/stays", out=True) == "out"
    if leaving == "refused":
        assert await refusal(js, f"{url}/chat/a", out=True) == "out"
    else:
        one, two = [await js.connect(f"{url}/chat/a", via=transport) for _ in range(2)]
        child = weakref.ref(chats.children["/chat/a"])
        await one.disconnect()
        await until(lambda: len(chats.children["/chat/a"]) == 1)
        await two.emit("x")
        await two.barrier()
        await (two.disconnect() if leaving == "disconnect" else two.kill())
    await until(lambda: "closed /chat/a" in adapter.log)
    assert adapter.log.count("closed /chat/a") == 1
    assert list(chats.children) == ["/chat/stays"]
    assert set(io.namespaces) == {"/", "/static", "/chat/stays"}
    if leaving != "refused":
        del one, two
        await until(lambda: gc.collect() is not None and child() is None)
    again = await js.connect(f"{url}/chat/a", via=transport)
    assert len(chats.children["/chat/a"]) == 1
    await again.barrier()


async def test_children_are_kept_unless_asked(serve: Serve, js: JSClients) -> None:
    """What a program keeps with a namespace would be gone with its last client."""
    io = Server()
    chats = io.of("/chat/{tenant}")

    @chats.use
    async def guard(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("out"):
            raise ConnectionRefused("out")
        await call_next()

    url = (await serve(io)).url
    client = await js.connect(url)
    first = await client.of("/chat/a")
    child = chats.children["/chat/a"]
    await first.disconnect()
    assert await refusal(js, f"{url}/chat/b", out=True) == "out"
    await until(lambda: not len(chats))
    assert list(chats.children) == ["/chat/a", "/chat/b"]
    await client.of("/chat/a")
    assert chats.children["/chat/a"] is child


async def test_a_child_lives_until_its_disconnect_handlers_are_done(serve: Serve, js: JSClients) -> None:
    """A disconnect handler would write its farewell through an adapter that is closed."""
    adapter = recorded()
    io = Server(adapter=adapter, cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")
    gate = asyncio.Event()

    @chats.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        adapter.log.append("handler starts")
        await gate.wait()
        adapter.log.append("handler ends")

    client = await js.connect((await serve(io)).url + "/chat/a")
    adapter.log.clear()
    await client.disconnect()
    await until(lambda: adapter.log)
    assert list(chats.children) == ["/chat/a"]
    gate.set()
    await until(lambda: not chats.children)
    await until(lambda: len(adapter.log) == 4)
    assert adapter.log == ["handler starts", "handler ends", "closing /chat/a", "closed /chat/a"]


async def test_a_client_that_comes_during_the_clean_up(serve: Serve, js: JSClients, transport: Transport) -> None:
    """It would be put into a namespace that is going, and hear nothing; or its adapter be closed under it."""
    adapter = recorded()
    adapter.gate = asyncio.Event()
    io = Server(adapter=adapter, cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")
    hold = asyncio.Event()

    @chats.use
    async def slow(socket: Socket, call_next: CallNext) -> None:
        if socket.handshake.auth.get("slow"):
            await hold.wait()
        await call_next()

    url = (await serve(io)).url
    one = await js.connect(f"{url}/chat/a", via=transport)
    first = chats.children["/chat/a"]
    arriving = await js.connect(f"{url}/chat/a", via=transport, auth={"slow": True}, wait=False)
    await until(lambda: io._host.dynamic._children["/chat/a"]._needed)
    await one.disconnect()
    await until(lambda: not len(first))
    assert chats.children["/chat/a"] is first  # somebody is on the way in
    hold.set()
    await arriving.connected()
    assert len(first) == 1
    await arriving.disconnect()
    await until(lambda: not chats.children)

    late = await js.connect(f"{url}/chat/a", via=transport, wait=False)
    await until(lambda: chats.children)
    assert not len(chats)
    assert adapter.log[-1] == "closing /chat/a"
    adapter.gate.set()
    await late.connected()
    assert adapter.log[-3:] == ["closing /chat/a", "closed /chat/a", "start /chat/a"]
    assert chats.children["/chat/a"] is not first
    await io.of("/chat/a").emit("news", 1)
    assert await late.wait_for("news") == [1]
    assert not io._host.dynamic._closing


async def test_the_number_of_children_is_bounded(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """One client could fill the memory with namespaces, or keep all others from making any."""
    adapter = recorded()
    io = Server(adapter=adapter, limits=Limits(max_dynamic_namespaces=2))
    chats = io.of("/chat/{tenant}")
    kept = io.of("/chat/kept")
    url = (await serve(io)).url
    client = await js.connect(url)
    a, b = await client.of("/chat/a"), await client.of("/chat/b")
    with caplog.at_level(logging.WARNING):
        assert await refusal(js, f"{url}/chat/c") == "Invalid namespace"
    assert "there are 2 dynamic namespaces" in caplog.text
    await client.of("/chat/kept")
    await js.connect(f"{url}/chat/a")
    assert (len(kept), len(chats)) == (1, 4)
    await b.disconnect()
    await until(lambda: len(chats) == 3)
    assert list(io._host.dynamic._idle) == ["/chat/b"]
    back = await js.connect(f"{url}/chat/b")
    assert await refusal(js, f"{url}/chat/c") == "Invalid namespace"  # it is not empty any more
    await back.disconnect()
    await until(lambda: io._host.dynamic._idle)
    await client.of("/chat/c")  # in the place of the empty one
    assert sorted(chats.children) == ["/chat/a", "/chat/c", "/chat/kept"]
    await until(lambda: "closed /chat/b" in adapter.log)
    io.of("/chat/by the program")
    assert len(chats.children) == 4
    assert await refusal(js, f"{url}/chat/d") == "Invalid namespace"
    await a.barrier()


async def test_stopping_closes_a_child_once_whose_handler_hangs(serve: Serve, js: JSClients) -> None:
    """An adapter would be closed under itself when a server stops that is busy."""
    adapter = recorded()
    io = Server(adapter=closing_slowly(adapter), cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")

    @chats.on("disconnect")
    async def disconnect(socket: Socket) -> None:
        await asyncio.Event().wait()

    server = await serve(io)
    await js.connect(f"{server.url}/chat/a")
    adapter.log.clear()
    await server.stop()
    await asyncio.sleep(0)
    assert sorted(adapter.log) == sorted(
        f"{what} {name}" for name in ("/", "/chat/a") for what in ("closing", "closed")
    )


async def test_an_adapter_that_does_not_close(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """One name could be lost for ever, or be served by two adapters at once."""
    adapter = recorded()
    adapter.gate = asyncio.Event()
    io = Server(adapter=adapter, cleanup_empty_child_namespaces=True, limits=Limits(namespace_timeout=0.2))
    chats = io.of("/chat/{tenant}")
    url = (await serve(io)).url
    await (await js.connect(f"{url}/chat/a")).disconnect()
    await until(lambda: not chats.children)
    for _ in range(2):
        assert await refusal(js, f"{url}/chat/a") == "Internal server error"
    assert caplog.text.count("cannot be opened") == 2
    assert adapter.log.count("closing /chat/a") == 1
    adapter.gate.set()
    await until(lambda: not io._host.dynamic._closing)
    client = await js.connect(f"{url}/chat/a")
    await client.barrier()
    assert len(chats) == 1


async def test_stopping_closes_every_child_once(serve: Serve, js: JSClients) -> None:
    """An adapter's connection would be left open, or be closed twice, at every restart."""
    adapter = recorded()
    io = Server(adapter=closing_slowly(adapter), cleanup_empty_child_namespaces=True)
    chats = io.of("/chat/{tenant}")

    @chats.on("disconnect")
    async def disconnect(socket: Socket) -> None:
        await asyncio.sleep(0.01)

    io.of("/chat/by the program")
    server = await serve(io)
    for name in ("a", "b"):
        await js.connect(f"{server.url}/chat/{name}")
    await server.stop()
    names = ["/", "/chat/a", "/chat/b", "/chat/by the program"]
    assert Counter(adapter.log) == Counter(
        f"{what} {name}" for name in names for what in ("start", "closing", "closed")
    )
